"""Area under the ROC curve, and average precision, with gaps."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neural_network import MLPClassifier

from skgnn_mtl.metrics import (
    nan_average_precision_score,
    nan_average_precision_scorer,
    nan_balanced_accuracy_scorer,
    nan_roc_auc_score,
    nan_roc_auc_scorer,
    task_scorer,
)

PAIRS = [
    (nan_roc_auc_score, roc_auc_score),
    (nan_average_precision_score, average_precision_score),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_it_is_the_score_of_each_task_on_its_labelled_rows(ours, theirs):
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, (40, 3)).astype(float), rng.normal(size=(40, 3))
    y[rng.random((40, 3)) < 0.4] = np.nan
    weight = rng.random(40)
    expected = [
        theirs(y[k, t], score[k, t], sample_weight=weight[k])
        for t in range(3)
        for k in [~np.isnan(y[:, t])]
    ]
    raw = ours(y, score, sample_weight=weight, multioutput="raw_values")
    np.testing.assert_allclose(raw, expected)
    found = ours(y, score, sample_weight=weight)
    assert found == pytest.approx(np.mean(expected))
    names = np.array(["no", "yes"], dtype=object)
    words = pd.DataFrame(
        {t: [None if v != v else names[int(v)] for v in y[:, t]] for t in range(3)}
    )
    assert ours(words, score, sample_weight=weight) == found
    assert ours(2 * y - 1, score, sample_weight=weight) == found


def test_numbers_beside_strings_are_sorted_as_numbers():
    y = pd.DataFrame(
        {"active": ["no", "yes", None, "yes"], "grade": [10, 2, 10, float("nan")]}
    )
    score = [[0.1, 0.9], [0.9, 0.2], [0.5, 0.8], [0.8, 0.5]]
    values = nan_roc_auc_score(y, score, multioutput="raw_values")
    np.testing.assert_array_equal(values, [1.0, 1.0])


def test_tasks_of_one_class_are_left_out_and_third_classes_refused():
    y, score = [[0, 1], [1, 1]], [[0.1, 0.2], [0.2, 0.3]]
    with pytest.warns(UndefinedMetricWarning, match="task_1"):
        assert nan_roc_auc_score(y, score) == 1.0
    with pytest.raises(ValueError, match="no task has two distinct labels"):
        nan_roc_auc_score([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="must have two different labels, but has 3"):
        nan_roc_auc_score([0, 1, 2], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "scorer",
    [nan_roc_auc_scorer, nan_average_precision_scorer, nan_balanced_accuracy_scorer],
)
def test_columns_in_another_order_than_fitted_are_refused(scorer):
    X = np.random.default_rng(0).normal(size=(30, 2))
    y = pd.DataFrame(X > 0, columns=["a", "b"]).astype(int)
    forest = RandomForestClassifier(5, random_state=0).fit(X, y.to_numpy())
    forest.task_names_ = ["a", "b"]
    assert scorer(forest, X, y) > 0.8
    with pytest.raises(ValueError, match=r"columns of y \('b', 'a'\) differ"):
        scorer(forest, X, y[["b", "a"]])


def test_scorers_take_classifiers_of_scikit_learn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, :2] + 0.5 * rng.normal(size=(60, 2)) > 0).astype(int)
    forest = RandomForestClassifier(10, random_state=0).fit(X[:40], y[:40])
    p = np.column_stack([task[:, 1] for task in forest.predict_proba(X[40:])])
    expected = [roc_auc_score(y[40:, t], p[:, t]) for t in range(2)]
    found = nan_roc_auc_scorer(forest, X[40:], y[40:])
    assert found == pytest.approx(np.mean(expected))
    assert task_scorer("roc_auc", 1)(forest, X[40:], y[40:]) == expected[1]
    expected = [average_precision_score(y[40:, t], p[:, t]) for t in range(2)]
    found = nan_average_precision_scorer(forest, X[40:], y[40:])
    assert found == pytest.approx(np.mean(expected))
    precision = task_scorer("average_precision", 1)
    assert precision(forest, X[40:], y[40:]) == pytest.approx(expected[1])


def test_a_table_of_probabilities_has_a_column_a_task():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = (X[:, :3] + 0.5 * rng.normal(size=(60, 3)) > 0).astype(int)
    network = MLPClassifier((), solver="lbfgs", max_iter=1000, random_state=0)
    p = network.fit(X[:40], y[:40]).predict_proba(X[40:])
    assert p.shape == (20, 3)
    expected = [roc_auc_score(y[40:, t], p[:, t]) for t in range(3)]
    found = nan_roc_auc_scorer(network, X[40:], y[40:])
    assert found == pytest.approx(np.mean(expected))
    assert task_scorer("roc_auc", 1)(network, X[40:], y[40:]) == expected[1]
    # Of one task the columns are classes.
    p = network.fit(X[:40], y[:40, 0]).predict_proba(X[40:])
    expected = roc_auc_score(y[40:, 0], p[:, 1])
    assert nan_roc_auc_scorer(network, X[40:], y[40:, 0]) == expected


def test_the_scorer_tells_what_it_asks_for():
    shown = repr(nan_roc_auc_scorer)
    assert "nan_roc_auc_score" in shown
    assert "response_method=('decision_function', 'predict_proba')" in shown


def test_the_average_precision_of_three_classes_is_that_of_each_against_the_rest():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    parts = [average_precision_score(y == k, p[:, k]) for k in range(3)]
    assert nan_average_precision_score(y, p) == pytest.approx(np.mean(parts))
