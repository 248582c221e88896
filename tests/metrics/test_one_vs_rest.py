"""Scores of tasks of more than two classes, against scikit-learn on labelled rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import cross_validate

from skgnn_mtl.metrics import (
    nan_balanced_accuracy_score,
    nan_balanced_accuracy_scorer,
    nan_brier_score,
    nan_expected_calibration_error,
    nan_log_loss,
    nan_roc_auc_score,
    nan_roc_auc_scorer,
    neg_nan_brier_score_scorer,
    neg_nan_expected_calibration_error_scorer,
    neg_nan_log_loss_scorer,
    per_task_scorers,
    task_scorer,
)

LABELS = [np.array(["a", "b", "c"]), np.array([0, 1]), np.array([0, 5, 7, 9])]
WEIGHT = np.random.default_rng(5).integers(0, 3, 90).astype(float)


@pytest.fixture
def table():
    """Labels of three tasks with gaps, and probabilities of their classes."""
    rng = np.random.default_rng(0)
    y = pd.DataFrame({f"t{t}": rng.choice(part, 90) for t, part in enumerate(LABELS)})
    proba = [rng.dirichlet(np.ones(len(part)), 90) for part in LABELS]
    return y.mask(rng.random(y.shape) < 0.3), proba


def by_sklearn(score, table, weight):
    values = []
    for (_, column), p in zip(table[0].items(), table[1], strict=True):
        rows = column.notna().to_numpy() & (weight > 0)
        values.append(score(column[rows].tolist(), p[rows], weight[rows]))
    return values


def auc(y, p, weight):
    p = p[:, 1] if p.shape[1] == 2 else p
    return roc_auc_score(y, p, multi_class="ovr", sample_weight=weight)


def brier(y, p, weight):
    return brier_score_loss(y, p if p.shape[1] > 2 else p[:, 1], sample_weight=weight)


@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (nan_roc_auc_score, auc),
        (nan_log_loss, lambda y, p, w: log_loss(y, p, sample_weight=w)),
        (nan_brier_score, brier),
    ],
    ids=["auc", "log loss", "brier"],
)
def test_scores_are_those_of_scikit_learn(function, reference, table):
    y, proba = table
    found = function(y, proba, sample_weight=WEIGHT, multioutput="raw_values")
    expected = by_sklearn(reference, table, WEIGHT)
    np.testing.assert_allclose(found, expected)
    assert function(y, proba, sample_weight=WEIGHT) == pytest.approx(np.mean(expected))
    # One task of one dimension.
    column = y["t0"]
    alone = function(column, proba[0], sample_weight=WEIGHT)
    assert alone == pytest.approx(expected[0])


def test_a_calibration_error_is_the_mean_over_classes(table):
    y, proba = table
    found = nan_expected_calibration_error(y["t0"], proba[0], n_bins=5)
    parts = [
        nan_expected_calibration_error(
            (y["t0"] == label).astype(float).where(y["t0"].notna()), p, n_bins=5
        )
        for label, p in zip(LABELS[0], proba[0].T, strict=True)
    ]
    assert found == pytest.approx(np.mean(parts))


@pytest.mark.parametrize("invalid", [False, True])
def test_balanced_accuracy_is_that_of_scikit_learn(invalid, table):
    y, _ = table
    rng = np.random.default_rng(1)
    pred = pd.DataFrame(
        {name: rng.choice(part, 90) for name, part in zip(y, LABELS, strict=True)}
    )
    rows = np.arange(90)
    if invalid:
        rows = rows[3:]
        pred = pred.astype(object)
        pred.iloc[:3] = np.nan
        with pytest.warns(UserWarning, match="3 of 90 rows have no prediction"):
            found = nan_balanced_accuracy_score(y, pred, multioutput="raw_values")
    else:
        found = nan_balanced_accuracy_score(y, pred, multioutput="raw_values")
    expected = []
    for name in y:
        known = rows[y[name].notna().to_numpy()[rows]]
        truth, chosen = y[name][known].tolist(), pred[name][known].tolist()
        expected.append(balanced_accuracy_score(truth, chosen))
    np.testing.assert_allclose(found, expected)


def test_balanced_accuracy_weighs_rows():
    found = nan_balanced_accuracy_score(
        [0, 0, 1, 1], [0, 1, 1, 1], sample_weight=[1, 3, 1, 0]
    )
    assert found == (1 / 4 + 1) / 2


def test_a_label_without_a_column_has_no_probability():
    y, p = ["a", "b", "c"], [[0.5, 0.5], [0.2, 0.8], [0.3, 0.7]]
    losses = [-np.log(0.5), -np.log(0.8), -np.log(np.finfo(float).eps)]
    found = nan_log_loss(y, p, labels=["a", "b"])
    assert found == pytest.approx(np.mean(losses))
    # The rest is wrong, too, where no class has it.
    squares = [0.5, 2 * 0.04, 0.3**2 + 0.7**2 + 1]
    assert nan_brier_score(y, p, labels=["a", "b"]) == pytest.approx(np.mean(squares))
    with pytest.raises(ValueError, match=r"'task_0' must have the shape \(3, 3\).*lab"):
        nan_log_loss(y, p)


def test_a_column_without_labels_does_not_count_in_the_area():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 8)
    y = np.array([0, 1] * 4)
    found = nan_roc_auc_score(y, p, labels=[0, 1, 2])
    two = [roc_auc_score(y == k, p[:, k]) for k in (0, 1)]
    assert found == pytest.approx(np.mean(two))


def test_arrays_for_another_number_of_tasks_are_refused(table):
    y, proba = table
    with pytest.raises(ValueError, match=r"arrays of 2 task\(s\), but y_true has 3"):
        nan_log_loss(y, proba[:2])


class Given(ClassifierMixin, BaseEstimator):
    """Predicts given probabilities of the rows that X numbers."""

    def __init__(self, proba=None, classes=None):
        self.proba, self.classes = proba, classes

    def fit(self, X, y):
        self.classes_ = self.classes
        return self

    def predict_proba(self, X):
        return [p[X[:, 0]] for p in self.proba]

    def predict(self, X):
        pairs = zip(self.classes, self.predict_proba(X), strict=True)
        columns = [part[p.argmax(axis=1)].astype(object) for part, p in pairs]
        return np.column_stack(columns)


def test_scorers_ask_for_the_classes_of_the_estimator(table):
    y, proba = table
    X = np.arange(90)[:, None]
    model = Given(proba, LABELS).fit(X, y)
    for scorer, function, sign in (
        (nan_roc_auc_scorer, nan_roc_auc_score, 1),
        (neg_nan_log_loss_scorer, nan_log_loss, -1),
        (neg_nan_brier_score_scorer, nan_brier_score, -1),
        (neg_nan_expected_calibration_error_scorer, nan_expected_calibration_error, -1),
    ):
        assert scorer(model, X, y) == sign * function(y, proba)
    # Rows without one of the classes: their columns must not move.
    rows = (y["t2"] != 5).to_numpy()
    found = neg_nan_log_loss_scorer(model, X[rows], y[rows])
    kept = [p[rows] for p in proba]
    assert found == pytest.approx(-nan_log_loss(y[rows], kept, labels=LABELS))
    for metric, function, made in (
        ("roc_auc", nan_roc_auc_score, proba),
        ("balanced_accuracy", nan_balanced_accuracy_score, model.predict(X)),
    ):
        each = function(y, made, multioutput="raw_values")
        scorers = per_task_scorers(y.columns, metric)
        assert [s(model, X, y) for s in scorers.values()] == pytest.approx(list(each))
    assert task_scorer("roc_auc", -1 + 3)(model, X, y) == pytest.approx(
        nan_roc_auc_score(y["t2"], proba[2])
    )


def test_classifiers_of_scikit_learn_are_scored_by_probabilities():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    y = np.digitize(X[:, 0] + rng.normal(size=90), [-0.7, 0.7])
    scoring = {
        "ours": nan_roc_auc_scorer,
        "theirs": "roc_auc_ovr",
        "balanced": nan_balanced_accuracy_scorer,
        "reference": "balanced_accuracy",
    }
    found = cross_validate(LogisticRegression(), X, y, cv=3, scoring=scoring)
    np.testing.assert_allclose(found["test_ours"], found["test_theirs"])
    np.testing.assert_allclose(found["test_balanced"], found["test_reference"])


def test_a_model_that_lacks_a_class_is_scored(table):
    """Its training rows may have had two of the three classes."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    model = LogisticRegression().fit(X[y < 2], y[y < 2])
    p = model.predict_proba(X)
    parts = [roc_auc_score(y == 0, p[:, 0]), roc_auc_score(y == 1, p[:, 1]), 0.5]
    assert nan_roc_auc_scorer(model, X, y) == pytest.approx(np.mean(parts))
