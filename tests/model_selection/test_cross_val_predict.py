"""Predictions out of fold, of tasks with gaps."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeRegressor
from small_estimators import small

from skgnn_mtl import (
    GNNPretrainer,
    MultiTaskGNNClassifier,
    SmilesToGraph,
)
from skgnn_mtl.encoders import GIN
from skgnn_mtl.metrics import nan_roc_auc_score
from skgnn_mtl.model_selection import ScaffoldKFold, cross_val_predict_with_gaps

nan = np.nan
S = [*("CCO", "CCN", "CCC", "CCCl", "CCBr"), *("CCF", "CC(=O)O", "CNC", "COC", "CCS")]
Y = np.array([[0, 1, nan, 1, 0, 1, 0, 1, 0, 1], [1, 0, 1, nan, 0, 1, 1, 0, 1, 0.0]]).T
SETTINGS = {"encoder": GIN(width=4, n_layers=1), "max_epochs": 2, "lr": 0.03}


def classifier(**changes):
    return small(MultiTaskGNNClassifier, **SETTINGS, **changes)


def regressor(**changes):
    return small(**SETTINGS, **changes)


@pytest.fixture(scope="module")
def X():
    return SmilesToGraph().transform(S)


def by_hand(model, X, y, cv, method):
    found = np.full(Y.shape, nan)
    for train, test in cv.split(X):
        fitted = clone(model).fit(X[train], y[train])
        part = getattr(fitted, method)(X[test])
        if isinstance(part, list):
            part = np.column_stack([task[:, 1] for task in part])
        found[test] = part
    return found


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_logits"])
def test_each_row_is_predicted_by_the_model_of_the_other_rows(method, X):
    cv = KFold(3, shuffle=True, random_state=1)
    found = cross_val_predict_with_gaps(classifier(), X, Y, cv=cv, method=method)
    np.testing.assert_array_equal(found, by_hand(classifier(), X, Y, cv, method))
    if method == "predict_proba":
        assert 0 <= nan_roc_auc_score(Y, found) <= 1


def test_regressors_predict_what_scikit_learn_predicts(X):
    y = np.arange(20.0).reshape(10, 2)
    expected = cross_val_predict(regressor(), X, y, cv=KFold(2))
    found = cross_val_predict_with_gaps(regressor(), X, y, cv=2)
    np.testing.assert_array_equal(found, expected)
    y[0, 0] = nan
    assert np.isfinite(cross_val_predict_with_gaps(regressor(), X, y, cv=2)).all()


FRAME = pd.DataFrame(Y, columns=[5, ("a", 1)], index=range(9, -1, -1))
TABLES = {
    "frame": FRAME,
    "polars": pl.DataFrame(Y.tolist(), schema=["a", "b"], orient="row").fill_nan(None),
    "pyarrow": pa.table({"a": pa.array(Y[:, 0], from_pandas=True), "b": Y[:, 1]}),
    "masked": np.ma.masked_invalid(Y),
    "lists": Y.tolist(),
    "tuples": tuple(map(tuple, Y)),
}


@pytest.mark.parametrize("y", TABLES.values(), ids=TABLES)
def test_tables_of_any_kind_are_paired_by_position(y, X):
    options = {"cv": 2, "method": "predict_proba"}
    expected = cross_val_predict_with_gaps(classifier(), X, Y, **options)
    found = cross_val_predict_with_gaps(classifier(), X, y, **options)
    np.testing.assert_array_equal(found, expected)
    strings = pd.Series(S, index=range(10))
    model = make_pipeline(SmilesToGraph(), classifier())
    found = cross_val_predict_with_gaps(model, strings, y, **options)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_the_shape_is_that_of_y(method, X):
    flat = cross_val_predict_with_gaps(classifier(), X, Y[:, 0], cv=2, method=method)
    assert flat.shape == (10,)
    if method != "decision_function":
        column = Y[:, :1]
        table = cross_val_predict_with_gaps(
            classifier(), X, column, cv=2, method=method
        )
        np.testing.assert_array_equal(table, flat[:, None])


def test_text_labels_and_their_second_class(X):
    text = np.where(np.isnan(Y), None, np.where(Y == 1, "yes", "no"))
    options = {"cv": 2, "method": "predict_proba"}
    np.testing.assert_array_equal(
        cross_val_predict_with_gaps(classifier(), X, text, **options),
        cross_val_predict_with_gaps(classifier(), X, Y, **options),
    )
    found = cross_val_predict_with_gaps(classifier(), X, text, cv=2)
    assert set(found.ravel()) <= {"yes", "no"}


def test_folds_that_know_one_class_only(X):
    y = Y.copy()
    y[:5, 0], y[5:, 0] = 0, 1
    with pytest.warns(UserWarning, match="one class only"):
        found = cross_val_predict_with_gaps(
            classifier(), X, y, cv=KFold(2), method="predict_proba"
        )
    # The model of the last rows knows the second class, and the other the first.
    assert found[:5, 0].tolist() == [1.0] * 5
    assert found[5:, 0].tolist() == [0.0] * 5
    with (
        pytest.warns(UserWarning, match="one class only"),
        pytest.raises(ValueError, match=r"classes \[1.0\] of task 'task_0', not \[0.0"),
    ):
        cross_val_predict_with_gaps(
            classifier(), X, y, cv=KFold(2), method="predict_logits"
        )


def test_invalid_graphs_are_nan():
    with pytest.warns(UserWarning, match="1 of 10"):
        X = SmilesToGraph(on_error="nan").transform([*S[:9], "C1"])
    for method in ("predict_proba", "predict"):
        with pytest.warns(UserWarning, match="invalid"):
            found = cross_val_predict_with_gaps(
                classifier(), X, Y, cv=KFold(2), method=method
            )
        assert np.isnan(found[9].astype(float)).all()
        assert not np.isnan(found[:9].astype(float)).any()


def test_rows_without_any_label_are_predicted(X):
    y = Y.copy()
    y[4] = nan
    found = cross_val_predict_with_gaps(classifier(), X, y, cv=2)
    assert np.isin(found, [0, 1]).all()


def test_splitters_groups_masks_and_searches(X):
    for cv, groups in (
        (GroupKFold(2), list("aabbccddee")),
        (ScaffoldKFold(2), None),
        (None, None),
        ([(np.arange(10) < 5, np.arange(10) >= 5), (range(5, 10), range(5))], None),
    ):
        found = cross_val_predict_with_gaps(
            regressor(), X, np.arange(10.0), cv=cv, groups=groups
        )
        assert np.isfinite(found).all()
    search = GridSearchCV(classifier(), {"lr": [1e-3]}, cv=KFold(2))
    found = cross_val_predict_with_gaps(
        search, X, [0, 1] * 5, cv=KFold(2), method="predict_proba"
    )
    assert found.shape == (10,)


def test_arguments_of_fit_are_split_along(X):
    weight = pd.Series(np.r_[np.zeros(4), np.ones(6)], index=range(9, -1, -1))
    y = np.where(weight == 0, 1e6, np.arange(10.0))
    found = cross_val_predict_with_gaps(
        regressor(), X, y, cv=KFold(5), params={"sample_weight": weight}
    )
    assert abs(found).max() < 100


def test_processes_change_nothing(X):
    options = {"cv": 2, "method": "predict_proba"}
    np.testing.assert_array_equal(
        cross_val_predict_with_gaps(classifier(), X, Y, n_jobs=2, **options),
        cross_val_predict_with_gaps(classifier(), X, Y, **options),
    )


def test_other_estimators():
    X = np.random.default_rng(0).normal(size=(10, 2))
    tree = cross_val_predict_with_gaps(DecisionTreeRegressor(), X, X.tolist(), cv=2)
    assert tree.shape == (10, 2)
    labels = np.where(X[:, 0] > 0, "b", "a")
    for method in ("predict_proba", "decision_function"):
        found = cross_val_predict_with_gaps(
            LogisticRegression(), X, labels, cv=KFold(2), method=method
        )
        expected = cross_val_predict(
            LogisticRegression(), X, labels, cv=KFold(2), method=method
        )
        expected = expected if expected.ndim == 1 else expected[:, 1]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("cv", "times"),
    [
        (ShuffleSplit(2, random_state=0), "row 0 is in 0"),
        (RepeatedKFold(n_splits=2, n_repeats=2), "row 0 is in 2"),
        ([(range(5, 10), range(5)), (range(4), range(4, 10))], "row 4 is in 2"),
    ],
)
def test_rows_that_are_not_tested_once_are_refused(cv, times, X):
    with pytest.raises(ValueError, match=f"one test fold, but {times}"):
        cross_val_predict_with_gaps(regressor(), X, Y, cv=cv)


class Wide(ClassifierMixin, BaseEstimator):
    """Gives a column too many."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.zeros((len(X), 3))


def test_other_misuse_is_refused(X):
    with pytest.raises(ValueError, match="method must be one of"):
        cross_val_predict_with_gaps(regressor(), X, Y, method="transform")
    with pytest.raises(ValueError, match=r"shape \(5, 3\) for 5 rows of 2 tasks"):
        cross_val_predict_with_gaps(Wide(), X, Y, cv=2)
    with pytest.raises(ValueError, match="task_1.* has 3 classes, .*predict_proba"):
        y = np.column_stack([Y[:, 0], np.arange(10.0) // 4])
        cross_val_predict_with_gaps(classifier(), X, y, method="predict_logits")
    with pytest.raises(ValueError, match="inconsistent numbers"):
        cross_val_predict_with_gaps(regressor(), X, Y[:5])
    with pytest.raises(AttributeError, match="predict"):
        cross_val_predict_with_gaps(GNNPretrainer(max_epochs=1), X, Y, cv=2)
