"""Scorer objects inside scikit-learn's cross-validation and searches."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl.metrics import (
    nan_mean_absolute_error,
    nan_r2_score,
    nan_r2_scorer,
    nan_root_mean_squared_error,
    neg_nan_mean_absolute_error_scorer,
    neg_nan_root_mean_squared_error_scorer,
    per_task_scorers,
    task_scorer,
)

SCORERS = {
    nan_r2_scorer: (nan_r2_score, 1),
    neg_nan_mean_absolute_error_scorer: (nan_mean_absolute_error, -1),
    neg_nan_root_mean_squared_error_scorer: (nan_root_mean_squared_error, -1),
}
METRICS = {
    "r2": (nan_r2_score, 1),
    "mae": (nan_mean_absolute_error, -1),
    "rmse": (nan_root_mean_squared_error, -1),
}
TASKS = ["gap", "dipole", "logP"]


class NanMean(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Predicts the labelled mean of each task, plus an offset; rows with X < 0: NaN."""

    n_predictions = 0

    def __init__(self, offset=0.0, keep_names=True):
        self.offset = offset
        self.keep_names = keep_names

    def fit(self, X, y, sample_weight=None):
        if self.keep_names:
            names = getattr(y, "columns", TASKS[: np.shape(y)[1]])
            self.task_names_ = list(names)
        self.mean_ = np.nanmean(np.asarray(y), axis=0)
        return self

    def predict(self, X):
        type(self).n_predictions += 1
        X = np.asarray(X)
        prediction = self.mean_ + self.offset + 0.1 * X[:, :1]
        return np.where(X[:, :1] < -9, np.nan, prediction)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 3)) * [1, 10, 100]
    y[rng.random(y.shape) < 0.3] = np.nan
    return X, y


@pytest.fixture(autouse=True)
def _count_from_zero():
    NanMean.n_predictions = 0


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_a_scorer_is_its_signed_function(data, scorer):
    X, y = data
    model, weight = NanMean().fit(X, y), np.arange(40)
    function, sign = SCORERS[scorer]
    assert scorer(model, X, y) == sign * function(y, model.predict(X))
    weighted = function(y, model.predict(X), sample_weight=weight)
    assert scorer(model, X, y, sample_weight=weight) == sign * weighted


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("task", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_a_task_scorer_is_one_raw_value(data, metric, task, weighted):
    X, y = data
    model = NanMean().fit(X, y)
    options = {"sample_weight": np.arange(40)} if weighted else {}
    function, sign = METRICS[metric]
    raw = function(y, model.predict(X), multioutput="raw_values", **options)
    for key in (task, TASKS[task]):
        score = task_scorer(metric, key)(model, X, y, **options)
        assert score == pytest.approx(sign * raw[task], rel=1e-14)
        assert isinstance(score, float)


def test_one_dimensional_y_has_task_0(data):
    X, y = data
    model = NanMean(keep_names=False).fit(X, y[:, :1])
    score = task_scorer("mae", 0)(model, X, y[:, 0])
    assert score == -nan_mean_absolute_error(y[:, 0], model.predict(X))
    named = task_scorer("mae", "gap")(model, X, pd.Series(y[:, 0], name="gap"))
    assert named == score


@pytest.mark.parametrize(
    "scorer", [*SCORERS, task_scorer("r2", 0), task_scorer("mae", "gap")], ids=repr
)
def test_scorers_survive_pickling_and_copying(data, scorer):
    X, y = data
    model = NanMean().fit(X, y)
    for twin in (pickle.loads(pickle.dumps(scorer)), copy.deepcopy(scorer)):
        assert twin(model, X, y) == scorer(model, X, y)
        assert repr(twin) == repr(scorer)


def test_cross_validate_shows_every_task_and_predicts_once_a_fold(data):
    X, y = data
    scoring = {
        "r2": nan_r2_scorer,
        **per_task_scorers(TASKS),
        **per_task_scorers(TASKS, "rmse"),
    }
    result = cross_validate(NanMean(), X, y, cv=4, scoring=scoring)
    assert NanMean.n_predictions == 4
    for fold, (train, test) in enumerate(KFold(4).split(X)):
        model = NanMean().fit(X[train], y[train])
        for metric in ("mae", "rmse"):
            raw = METRICS[metric][0](
                y[test], model.predict(X[test]), multioutput="raw_values"
            )
            for task, value in zip(TASKS, raw, strict=True):
                score = result[f"test_{metric}_{task}"][fold]
                assert score == pytest.approx(-value, rel=1e-14)


def test_scorers_of_single_tasks_alone_share_one_prediction_too(data):
    X, y = data
    scoring = {"a": task_scorer("mae", "gap"), "b": task_scorer("r2", 2)}
    cross_validate(NanMean(), X, y, cv=4, scoring=scoring)
    assert NanMean.n_predictions == 4


def test_grid_search_over_the_mean_and_every_task(data):
    X, y = data
    search = GridSearchCV(
        make_pipeline(StandardScaler(), NanMean()),
        {"nanmean__offset": [0.0, 50.0]},
        cv=2,
        scoring={"mean": nan_r2_scorer, **per_task_scorers(TASKS)},
        refit="mae_gap",
    ).fit(X, y)
    assert search.best_params_ == {"nanmean__offset": 0.0}
    assert np.isfinite(search.cv_results_["mean_test_mae_logP"]).all()
    # A fitted search and its pipeline are asked for the names of their last step.
    assert task_scorer("mae", "gap")(search, X, y) == task_scorer("mae", 0)(
        search, X, y
    )


def test_names_come_from_y_then_the_estimator_then_the_argument(data):
    X, y = data
    frame = pd.DataFrame(y, columns=TASKS)
    named, nameless = NanMean().fit(X, frame), NanMean(keep_names=False).fit(X, y)
    expected = task_scorer("mae", 1)(named, X, y)
    by_name = task_scorer("mae", "dipole")
    with_names = task_scorer("mae", "dipole", task_names=TASKS)
    for scorer, model, labels in (
        (by_name, named, frame),
        (by_name, named, y),
        (by_name, nameless, frame),
        (with_names, nameless, y),
    ):
        score = scorer(model, X, labels)
        assert score == pytest.approx(expected, rel=1e-14)
    with pytest.raises(ValueError, match="'dipole' cannot be found: neither y nor"):
        by_name(nameless, X, y)


def test_part_of_the_tasks_is_enough_where_y_has_columns(data):
    X, y = data
    frame = pd.DataFrame(y, columns=TASKS)
    model = NanMean(keep_names=False).fit(X, frame)
    scorer = per_task_scorers(["logP"])["mae_logP"]
    assert scorer(model, X, frame) == task_scorer("mae", 2)(model, X, frame)
    with pytest.raises(ValueError, match=r"3 column.* task names are 'logP'"):
        scorer(model, X, y)


@pytest.mark.parametrize(
    "scorer", [task_scorer("mae", "gap"), *SCORERS], ids=lambda scorer: repr(scorer)
)
def test_columns_of_y_in_another_order_than_fitted_are_refused(data, scorer):
    X, y = data
    frame = pd.DataFrame(y, columns=TASKS)
    model = NanMean().fit(X, frame)
    with pytest.raises(ValueError, match=r"columns of y .* differ from the tasks"):
        scorer(model, X, frame[TASKS[::-1]])


@pytest.mark.parametrize("task", ["missing", 3, -1])
def test_an_unknown_task_is_named(data, task):
    X, y = data
    with pytest.raises(ValueError, match=f"Task {task!r} cannot be found.*3 column"):
        task_scorer("mae", task)(NanMean().fit(X, y), X, y)


def test_wrong_arguments_of_the_factories():
    with pytest.raises(
        ValueError,
        match=r"one of \['average_precision', 'balanced_accuracy', 'mae', .*'mse'",
    ):
        task_scorer("mse", 0)
    with pytest.raises(ValueError, match="'gap' occurs twice"):
        per_task_scorers(["gap", "dipole", "gap"])
    with pytest.raises(ValueError, match=r"one string; pass a list: \['gap'\]"):
        per_task_scorers("gap")


def test_a_task_without_label_in_a_fold_is_nan_and_spoils_nothing(data):
    X, y = data
    y[10:20, 1] = np.nan
    with pytest.warns(UndefinedMetricWarning, match="of task 'dipole' is NaN"):
        result = cross_validate(
            NanMean(), X, y, cv=4, scoring=per_task_scorers(TASKS, "r2")
        )
    assert np.flatnonzero(np.isnan(result["test_r2_dipole"])).tolist() == [1]
    assert np.isfinite(result["test_r2_gap"]).all()


def test_invalid_graphs_are_left_out(data):
    X, y = data
    model = NanMean().fit(X, y)
    X[3] = -10
    for scorer in (neg_nan_mean_absolute_error_scorer, task_scorer("mae", "gap")):
        with pytest.warns(UserWarning, match=r"1 of 40 rows.*rows 3\."):
            score = scorer(model, X, y)
        rest = np.delete(X, 3, 0), np.delete(y, 3, 0)
        assert score == pytest.approx(scorer(model, *rest), rel=1e-14)


@pytest.mark.parametrize(
    "scoring",
    [neg_nan_mean_absolute_error_scorer, task_scorer("mae", "gap")],
    ids=["all tasks", "one task"],
)
def test_sample_weights_are_routed(data, scoring):
    X, y = data
    weight = np.random.default_rng(1).uniform(0, 1, 40)
    with config_context(enable_metadata_routing=True):
        scorer = copy.deepcopy(scoring).set_score_request(sample_weight=True)
        unweighted = copy.deepcopy(scoring).set_score_request(sample_weight=False)
        result = cross_validate(
            NanMean().set_fit_request(sample_weight=True),
            X,
            y,
            cv=4,
            scoring={"weighted": scorer, "unweighted": unweighted},
            params={"sample_weight": weight},
        )
    for fold, (train, test) in enumerate(KFold(4).split(X)):
        model = NanMean().fit(X[train], y[train])
        expected = scoring(model, X[test], y[test], sample_weight=weight[test])
        assert result["test_weighted"][fold] == pytest.approx(expected, rel=1e-14)
        expected = scoring(model, X[test], y[test])
        assert result["test_unweighted"][fold] == pytest.approx(expected, rel=1e-14)
