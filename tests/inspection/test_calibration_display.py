"""Widths against labels: both panels, their values and their names."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl.inspection import CalibrationDisplay
from skgnn_mtl.metrics import nan_calibration_error, nan_interval_coverage

NAN = float("nan")
RNG = np.random.default_rng(0)
N = 200
STD = RNG.uniform(0.5, 2.0, size=(N, 2))
MEAN = RNG.normal(size=(N, 2))
Y = pd.DataFrame(MEAN + STD * RNG.normal(size=(N, 2)), columns=["Tb (K)", "logP"])
Y.iloc[::3, 1] = NAN


def curves(ax):
    """The curves of the tasks, without the diagonal."""
    return [np.column_stack(line.get_data()) for line in ax.lines[:-1]]


def test_the_left_panel_has_the_coverage_of_normal_intervals():
    display = CalibrationDisplay.from_predictions(Y, MEAN, STD)
    left, right = display.axes_
    for curve, task, k in zip(curves(left), Y, range(2), strict=True):
        for predicted, observed in curve:
            half = norm.ppf(0.5 + predicted / 2) * STD[:, k]
            ends = np.column_stack([MEAN[:, k] - half, MEAN[:, k] + half])
            assert observed == nan_interval_coverage(Y[task], ends)
        assert curve[:, 0].tolist() == [
            0.1,
            0.2,
            0.3,
            0.4,
            0.5,
            0.6,
            0.7,
            0.8,
            0.9,
            0.95,
        ]
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    assert texts == list(Y)


def test_the_right_panel_is_the_calibration_error(tmp_path):
    display = CalibrationDisplay.from_predictions(Y, MEAN, STD, n_bins=5)
    expected = nan_calibration_error(Y, MEAN, STD, n_bins=5, multioutput="raw_values")
    for curve, error, task in zip(curves(display.axes_[1]), expected, Y, strict=True):
        width, rmse = curve.T
        assert len(curve) == 5
        assert (np.diff(width) > 0).all()
        assert np.mean(abs(width - rmse) / width) == pytest.approx(error)
        # In units of the labels' deviation.
        assert width.max() * np.nanstd(Y[task]) < 2.0
        assert width.max() * np.nanstd(Y[task]) > 1.7
    for ax in display.axes_:
        assert ax.get_xlim() == ax.get_ylim()
        assert ax.get_aspect() == 1
    display.figure_.savefig(tmp_path / "calibration.png")


class Widths(RegressorMixin, BaseEstimator):
    """Predicts zeros, unit widths, and intervals twice as wide as normal ones."""

    def fit(self, X, y):
        self.task_names_ = list(y.columns)
        return self

    def predict(self, X, return_std=False):
        mean = np.zeros((len(X), 2))
        return (mean, mean + 1.0) if return_std else mean

    def predict_interval(self, X, coverage=0.9):
        half = 2 * norm.ppf(0.5 + coverage / 2) * np.ones((len(X), 2))
        return np.stack([-half, half], axis=-1)


def test_estimators_give_their_own_intervals_else_normal_ones():
    X = RNG.normal(size=(N, 2))
    pipe = make_pipeline(StandardScaler(), Widths()).fit(X, Y)
    ends = Widths().predict_interval(X, 0.5)
    for y in (Y, Y[["logP", "Tb (K)"]], Y.to_numpy()):
        display = CalibrationDisplay.from_estimator(pipe, X, y, coverages=[0.5])
        observed = [curve[0, 1] for curve in curves(display.axes_[0])]
        expected = nan_interval_coverage(Y, ends, multioutput="raw_values")
        assert observed == expected.tolist()
        texts = display.axes_[1].get_legend().get_texts()
        assert [text.get_text() for text in texts] == list(Y)
    # An error of its own intervals is no reason to draw others.
    pipe[-1].predict_interval = lambda X, coverage: len(coverage)
    with pytest.raises(TypeError, match="has no len"):
        CalibrationDisplay.from_estimator(pipe, X, Y)
    y = X[:, 0] + RNG.normal(size=N)
    model = BayesianRidge().fit(X, y)
    display = CalibrationDisplay.from_estimator(model, X, y)
    (curve,) = curves(display.axes_[0])
    np.testing.assert_allclose(*curve.T, atol=0.1)


def test_tasks_axes_and_invalid_rows():
    mean, std = MEAN.copy(), STD.copy()
    mean[:3] = std[:3] = NAN
    with pytest.warns(UserWarning, match="3 of 200 rows have no prediction") as caught:
        display = CalibrationDisplay.from_predictions(Y, mean, std, tasks=["logP"])
    assert len(caught) == 1  # not once for each coverage
    rest = CalibrationDisplay.from_predictions(
        Y[3:], MEAN[3:], STD[3:], tasks=[1], axes=plt.subplots(1, 2)[1]
    )
    for found, expected in zip(display.axes_, rest.axes_, strict=True):
        np.testing.assert_allclose(*curves(found), *curves(expected))
    with pytest.raises(ValueError, match="tasks names 'pKa'"):
        rest.plot(tasks=["pKa"])
    with pytest.raises(ValueError, match="axes must be two"):
        rest.plot(axes=plt.subplots(1, 3)[1])
    with pytest.raises(ValueError, match="has 2 column"):
        CalibrationDisplay.from_predictions(Y, MEAN, STD, task_names=["a"])


def test_one_task_may_stand_alone():
    one, all_tasks = (
        CalibrationDisplay.from_predictions(Y, MEAN, STD, tasks=tasks)
        for tasks in ("logP", [list(Y).index("logP")])
    )
    for found, expected in zip(one.axes_, all_tasks.axes_, strict=True):
        np.testing.assert_array_equal(*curves(found), *curves(expected))


def test_searches_predict_their_widths():
    X = RNG.normal(size=(N, 2))
    search = GridSearchCV(make_pipeline(StandardScaler(), BayesianRidge()), {}, cv=2)
    y = X[:, 0] + RNG.normal(size=N)
    found, expected = (
        CalibrationDisplay.from_estimator(model, X, y)
        for model in (search.fit(X, y), search.best_estimator_)
    )
    np.testing.assert_array_equal(curves(found.axes_[0]), curves(expected.axes_[0]))


@pytest.mark.parametrize("coverage", [1.5, 0.0, 1.0, NAN, "0.5"])
def test_a_coverage_is_between_0_and_1(coverage):
    ends = np.stack([MEAN - STD, MEAN + STD], axis=2)
    with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
        CalibrationDisplay.from_predictions(Y, MEAN, STD, intervals={coverage: ends})
    X = RNG.normal(size=(N, 2))
    model = BayesianRidge().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
        CalibrationDisplay.from_estimator(model, X, X[:, 0], coverages=[coverage])


def test_there_are_coverages_and_bins():
    with pytest.raises(ValueError, match="intervals of one coverage at least"):
        CalibrationDisplay.from_predictions(Y, MEAN, STD, intervals={})
    for wrong in (0, 2.5, "3", None, NAN):
        with pytest.raises(ValueError, match="n_bins must be a positive integer"):
            CalibrationDisplay.from_predictions(Y, MEAN, STD, n_bins=wrong)


def test_a_task_without_labels_has_no_curve():
    y = Y.assign(logP=NAN)
    with pytest.warns(UserWarning, match="'logP'"):
        display = CalibrationDisplay.from_predictions(y, MEAN, STD)
    assert len(curves(display.axes_[1])[1]) == 0
