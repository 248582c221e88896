"""Scores of intervals and standard deviations, against formulas and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl.metrics import (
    interval_scorer,
    nan_calibration_error,
    nan_error_rank_correlation,
    nan_error_rank_correlation_scorer,
    nan_gaussian_nll,
    nan_interval_coverage,
    nan_interval_width,
    neg_nan_calibration_error_scorer,
    neg_nan_gaussian_nll_scorer,
)
from skgnn_mtl.metrics._widths import half_width

nan = float("nan")
RNG = np.random.default_rng(0)
N = 200
STD = RNG.uniform(0.5, 2.0, size=(N, 3))
MEAN = RNG.normal(size=(N, 3))
TRUE = MEAN + STD * RNG.normal(size=(N, 3))
Y = np.where(RNG.random((N, 3)) < 0.4, nan, TRUE)
WEIGHT = RNG.uniform(0.1, 2.0, size=N)
INTERVAL = np.stack([MEAN - 1.5 * STD, MEAN + STD], axis=-1)
BY_STD = [nan_gaussian_nll, nan_calibration_error, nan_error_rank_correlation]
BY_INTERVAL = [nan_interval_coverage, nan_interval_width]


def labelled(task):
    return ~np.isnan(Y[:, task])


def test_intervals_by_hand():
    found = nan_interval_coverage(
        Y, INTERVAL, sample_weight=WEIGHT, multioutput="raw_values"
    )
    widths = nan_interval_width(
        Y, INTERVAL, sample_weight=WEIGHT, multioutput="raw_values"
    )
    for t in range(3):
        rows = labelled(t)
        low, high = INTERVAL[rows, t].T
        inside = (low <= Y[rows, t]) & (Y[rows, t] <= high)
        np.testing.assert_allclose(found[t], np.average(inside, weights=WEIGHT[rows]))
        np.testing.assert_allclose(
            widths[t], np.average(2.5 * STD[rows, t], weights=WEIGHT[rows])
        )
    assert nan_interval_coverage(Y, INTERVAL) == pytest.approx(
        stats.norm.cdf(1) - stats.norm.cdf(-1.5), abs=0.05
    )


def test_half_widths_are_normal_quantiles():
    assert half_width(0.9) == pytest.approx(1.6448536)
    assert half_width(0.6826894921) == pytest.approx(1.0)


@pytest.mark.parametrize("coverage", [0, 1, 90, -0.1, True, "0.9", None, nan])
def test_a_coverage_is_between_0_and_1(coverage):
    with pytest.raises(ValueError, match=r"between 0 and 1, such as 0\.9, but is"):
        half_width(coverage)


def test_both_ends_belong_to_an_interval():
    assert nan_interval_coverage([0.0, 1.0, 2.0], [[0, 0], [0, 1], [0, 1.9]]) == (
        pytest.approx(2 / 3)
    )


def test_an_end_may_be_infinite():
    y = [0.0, 1.0, nan, 3.0]
    ends = [[-np.inf, 0.5], [2.0, np.inf], [-np.inf, np.inf], [2.0, 4.0]]
    assert nan_interval_coverage(y, ends) == pytest.approx(2 / 3)
    assert nan_interval_width(y, ends) == np.inf
    # Without a label, the width of an interval does not count.
    assert nan_interval_width([nan, nan, nan, 3.0], ends) == 2.0


def test_the_likelihood_is_that_of_scipy():
    found = nan_gaussian_nll(Y, MEAN, STD, sample_weight=WEIGHT, multioutput=[1, 2, 3])
    each = [
        -np.average(
            stats.norm(MEAN[rows, t], STD[rows, t]).logpdf(Y[rows, t]),
            weights=WEIGHT[rows],
        )
        for t, rows in enumerate(map(labelled, range(3)))
    ]
    assert found == pytest.approx(np.average(each, weights=[1, 2, 3]))


def test_the_rank_correlation_is_that_of_scipy():
    std = STD.round(1)  # with ties
    found = nan_error_rank_correlation(Y, MEAN, std, multioutput="raw_values")
    for t in range(3):
        rows = labelled(t)
        error = np.abs(Y - MEAN)[rows, t]
        expected = stats.spearmanr(error, std[rows, t]).statistic
        np.testing.assert_allclose(found[t], expected)
    # With weights it is the weighted correlation of the same ranks.
    weighted = nan_error_rank_correlation(
        Y[:, 0], MEAN[:, 0], std[:, 0], sample_weight=WEIGHT
    )
    rows = labelled(0)
    ranks = [stats.rankdata(np.abs(Y - MEAN)[rows, 0]), stats.rankdata(std[rows, 0])]
    a, b = (r - np.average(r, weights=WEIGHT[rows]) for r in ranks)
    w = WEIGHT[rows]
    expected = (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())
    assert weighted == pytest.approx(expected)
    # A weight of zero leaves a row out, also of the ranks.
    half = np.arange(N) % 2.0
    np.testing.assert_allclose(
        nan_error_rank_correlation(Y, MEAN, std, sample_weight=half),
        nan_error_rank_correlation(Y[1::2], MEAN[1::2], std[1::2]),
    )


def test_the_calibration_error_by_hand():
    found = nan_calibration_error(
        Y, MEAN, STD, n_bins=7, sample_weight=WEIGHT, multioutput="raw_values"
    )
    for t in range(3):
        rows = np.flatnonzero(labelled(t))
        rows = rows[np.argsort(STD[rows, t])]
        errors = []
        for part in np.array_split(rows, 7):
            w = WEIGHT[part]
            rmv = np.sqrt(np.average(STD[part, t] ** 2, weights=w))
            rmse = np.sqrt(np.average((Y - MEAN)[part, t] ** 2, weights=w))
            errors.append(abs(rmv - rmse) / rmv)
        np.testing.assert_allclose(found[t], np.mean(errors))


def test_few_labels_have_fewer_bins():
    wide = 3 * np.ones(29)
    wide[:10] = 1.0
    # Two bins of 15 and 14 although 10 are wanted; a bin of 10 would be exact.
    assert nan_calibration_error(wide, np.zeros(29), wide) == pytest.approx(0.0)
    errors = np.where(np.arange(9) % 2, 2.0, -2.0)
    assert nan_calibration_error(errors, np.zeros(9), np.ones(9)) == pytest.approx(1.0)
    rng = np.random.default_rng(1)
    std, labels = rng.uniform(1, 2, 29), rng.normal(size=29)
    assert nan_calibration_error(labels, np.zeros(29), std) == pytest.approx(
        nan_calibration_error(labels, np.zeros(29), std, n_bins=2)
    )


def test_the_true_width_gives_the_error_that_the_notes_state():
    rng = np.random.default_rng(2)
    std = rng.uniform(1, 3, size=100_000)
    found = nan_calibration_error(std * rng.normal(size=100_000), 0 * std, std,
                                  n_bins=1000)  # fmt: skip
    assert found == pytest.approx(0.564 / np.sqrt(100), rel=0.1)


@pytest.mark.parametrize("metric", BY_STD)
def test_scores_do_not_depend_on_the_container_or_on_gaps(metric):
    frames = (pd.DataFrame(table, columns=list("abc")) for table in (Y, MEAN, STD))
    expected = metric(Y, MEAN, STD, multioutput="raw_values")
    np.testing.assert_array_equal(metric(*frames, multioutput="raw_values"), expected)
    for t in range(3):
        rows = labelled(t)
        alone = metric(Y[rows, t], MEAN[rows, t], STD[rows, t])
        assert alone == pytest.approx(expected[t])
    # An invalid graph has neither a mean nor a width.
    mean, std = MEAN.copy(), STD.copy()
    mean[:5] = std[:5] = nan
    with pytest.warns(UserWarning, match="5 of 200 rows have no prediction"):
        found = metric(Y, mean, std)
    assert found == pytest.approx(metric(Y[5:], MEAN[5:], STD[5:]))


@pytest.mark.parametrize("metric", BY_INTERVAL)
def test_intervals_of_invalid_graphs_and_of_one_task(metric):
    interval = INTERVAL.copy()
    interval[:5] = nan
    with pytest.warns(UserWarning, match="5 of 200 rows have no prediction"):
        found = metric(Y, interval)
    assert found == pytest.approx(metric(Y[5:], INTERVAL[5:]))
    assert metric(Y[:, 0], INTERVAL[:, 0]) == metric(Y[:, [0]], INTERVAL[:, [0]])
    assert metric(Y[:, [0]], INTERVAL[:, 0]) == metric(Y[:, [0]], INTERVAL[:, [0]])


@pytest.mark.parametrize("metric", BY_STD)
@pytest.mark.parametrize("wrong", [0.0, -1.0, nan, np.inf])
def test_wrong_widths_are_named(metric, wrong):
    std = pd.DataFrame(STD, columns=["a", "b", "c"])
    std.iloc[7, 1] = wrong
    y = pd.DataFrame(Y, columns=list(std))
    message = rf"y_std must be above 0 and finite, but is {wrong} in row 7 of task 'b'"
    with pytest.raises(ValueError, match=message):
        metric(y, MEAN, std)
    with pytest.raises(ValueError, match="columns of y_std .*'b', 'a', 'c'.* order"):
        metric(y, MEAN, pd.DataFrame(STD, columns=["b", "a", "c"]))
    other = pd.DataFrame(STD, columns=["a std", "b std", "c std"])
    assert metric(y, MEAN, other) == metric(Y, MEAN, STD)
    with pytest.raises(ValueError, match=r"y_std has shape \(200, 2\)"):
        metric(Y, MEAN, STD[:, :2])


@pytest.mark.parametrize("metric", BY_INTERVAL)
def test_wrong_intervals_are_named(metric):
    for ends, text in {(2, 1): "2.0, 1.0", (np.inf, np.inf): "inf, inf"}.items():
        interval = INTERVAL.copy()
        interval[3, 2] = ends
        with pytest.raises(ValueError, match=rf"\[{text}\] in row 3 of task 'task_2'"):
            metric(Y, interval)
    interval = INTERVAL.copy()
    interval[3, 2, 1] = nan
    with pytest.raises(ValueError, match="row 3 of task 'task_2'"):
        metric(Y, interval)
    for wrong in (INTERVAL[..., 0], INTERVAL[:5], INTERVAL[..., :1], INTERVAL[:, :2]):
        with pytest.raises(ValueError, match=r"must have shape \(200, 3, 2\)"):
            metric(Y, wrong)
    with pytest.raises(ValueError, match=r"must have shape \(200, 1, 2\)"):
        metric(Y[:, 0], INTERVAL[:, 0].T)


def test_undefined_tasks_are_named_and_left_out():
    std = STD.copy()
    std[:, 1] = 1.0
    with pytest.warns(UndefinedMetricWarning, match="different errors.*'task_1'"):
        found = nan_error_rank_correlation(Y, MEAN, std, multioutput="raw_values")
    assert np.isnan(found).tolist() == [False, True, False]
    y = Y.copy()
    y[:, 2] = nan
    for metric in BY_STD:
        with pytest.warns(UndefinedMetricWarning, match="'task_2'"):
            assert metric(y, MEAN, STD) == pytest.approx(
                metric(Y[:, :2], MEAN[:, :2], STD[:, :2])
            )
    with pytest.raises(ValueError, match="nan_error_rank_correlation: no task has"):
        nan_error_rank_correlation(Y, MEAN, np.ones_like(STD))
    with pytest.raises(ValueError, match="n_bins must be a positive integer"):
        nan_calibration_error(Y, MEAN, STD, n_bins=0)


class Widths(RegressorMixin, BaseEstimator):
    """Predicts zeros with given widths."""

    def __init__(self, std=1.0):
        self.std = std

    def fit(self, X, y):
        self.n_tasks_ = np.shape(y)[1]
        return self

    def predict(self, X, return_std=False):
        mean = np.zeros((len(X), self.n_tasks_))
        return (mean, mean + self.std * np.exp(X[:, :1])) if return_std else mean

    def predict_interval(self, X, coverage=0.9):
        mean, std = self.predict(X, return_std=True)
        half = stats.norm.ppf(0.5 + coverage / 2) * std
        return np.stack([mean - half, mean + half], axis=-1)


X = RNG.normal(size=(N, 2))


def test_scorers_call_the_widths_of_any_estimator():
    pipe = make_pipeline(StandardScaler(), Widths()).fit(X, Y)
    Z = StandardScaler().fit_transform(X)
    mean, std = np.zeros((N, 3)), np.repeat(np.exp(Z[:, :1]), 3, axis=1)
    weighted = {"sample_weight": WEIGHT}
    expected = -nan_gaussian_nll(Y, mean, std, **weighted)
    assert neg_nan_gaussian_nll_scorer(pipe, X, Y, **weighted) == expected
    expected = -nan_calibration_error(Y, mean, std)
    assert neg_nan_calibration_error_scorer(pipe, X, Y) == expected
    expected = nan_error_rank_correlation(Y, mean, std)
    assert nan_error_rank_correlation_scorer(pipe, X, Y) == expected
    half = stats.norm.ppf(0.75) * std
    ends = np.stack([mean - half, mean + half], axis=-1)
    search = GridSearchCV(pipe, {"widths__std": [1.0]}, cv=2,
                          scoring=neg_nan_gaussian_nll_scorer).fit(X, Y)  # fmt: skip
    for scorer in (neg_nan_gaussian_nll_scorer, neg_nan_calibration_error_scorer):
        best = search.best_estimator_
        # A search inside of a pipeline, too, passes on X alone.
        for estimator in (search, make_pipeline(search), make_pipeline(best)):
            assert scorer(estimator, X, Y) == scorer(best, X, Y)
    for estimator in (pipe, search, make_pipeline(search)):
        scorer = interval_scorer("coverage", coverage=0.5)
        assert scorer(estimator, X, Y) == nan_interval_coverage(Y, ends)
        scorer = interval_scorer("width", coverage=0.5)
        assert scorer(estimator, X, Y) == -nan_interval_width(Y, ends)


def test_scorers_serve_searches_and_cross_validation():
    search = GridSearchCV(Widths(), {"std": [0.1, 10.0, 1e4]}, cv=3,
                          scoring=neg_nan_gaussian_nll_scorer)  # fmt: skip
    assert search.fit(X, Y).best_params_ == {"std": 10.0}
    scoring = {str(c): interval_scorer("coverage", coverage=c) for c in (0.5, 0.9)}
    found = cross_validate(Widths(), X, Y, scoring=scoring, error_score="raise")
    assert (found["test_0.5"] < found["test_0.9"]).all()
    # The contract is that of scikit-learn.
    truth = X @ [1.0, 2.0]
    model = BayesianRidge().fit(X, truth + RNG.normal(size=N))
    assert neg_nan_gaussian_nll_scorer(model, X, truth) > -1.5
    with pytest.raises(TypeError, match="BayesianRidge does not have predict_interval"):
        interval_scorer("width")(model, X, truth)
    with pytest.raises(ValueError, match="metric must be one of"):
        interval_scorer("depth")
    for wrong in (90, 1, nan, "0.9", None, [0.9], np.array([0.5, 0.9])):
        with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
            interval_scorer("width", coverage=wrong)


def test_columns_in_another_order_than_fitted_are_refused():
    frame = pd.DataFrame(Y, columns=["a", "b", "c"])
    model = Widths().fit(X, Y)
    model.task_names_ = list(frame)
    scorers = (neg_nan_gaussian_nll_scorer, interval_scorer("coverage"))
    for scorer in scorers:
        assert scorer(model, X, frame) == scorer(model, X, Y)
        with pytest.raises(ValueError, match="columns of y .* differ from the tasks"):
            scorer(make_pipeline(model), X, frame[["b", "a", "c"]])
        # The names of a fit on arrays say nothing.
        plain = Widths().fit(X, Y)
        plain.task_names_ = ["task_0", "task_1", "task_2"]
        assert scorer(plain, X, frame) == scorer(plain, X, Y)
