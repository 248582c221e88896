"""Scores of probabilities, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from skgnn_mtl.metrics import (
    nan_brier_score,
    nan_expected_calibration_error,
    nan_log_loss,
    neg_nan_brier_score_scorer,
    neg_nan_expected_calibration_error_scorer,
    neg_nan_log_loss_scorer,
)

nan = float("nan")
RNG = np.random.default_rng(0)
PROBA = RNG.random((300, 3))
CLASSES = (RNG.random((300, 3)) < PROBA).astype(float)
Y = np.where(RNG.random((300, 3)) < 0.4, nan, CLASSES)
WEIGHT = RNG.uniform(0.1, 2.0, size=300)
METRICS = [nan_log_loss, nan_brier_score, nan_expected_calibration_error]
PEERS = {nan_log_loss: log_loss, nan_brier_score: brier_score_loss}


@pytest.mark.parametrize("metric", PEERS)
def test_each_task_is_scored_as_by_scikit_learn(metric):
    found = metric(Y, PROBA, sample_weight=WEIGHT, multioutput="raw_values")
    for t in range(3):
        rows = ~np.isnan(Y[:, t])
        peer = PEERS[metric](Y[rows, t], PROBA[rows, t], sample_weight=WEIGHT[rows])
        np.testing.assert_allclose(found[t], peer)


def test_the_calibration_error_by_hand():
    found = nan_expected_calibration_error(Y, PROBA, n_bins=5, sample_weight=WEIGHT,
                                           multioutput="raw_values")  # fmt: skip
    for t in range(3):
        rows = ~np.isnan(Y[:, t])
        p, c, w = PROBA[rows, t], Y[rows, t], WEIGHT[rows]
        total = 0.0
        for low in np.arange(5) / 5:
            part = (p >= low) & (p < low + 0.2)
            gap = np.average(p[part] - c[part], weights=w[part])
            total += abs(gap) * w[part].sum() / w.sum()
        np.testing.assert_allclose(found[t], total)
    # The last bin is closed.
    assert nan_expected_calibration_error([1, 0], [1.0, 0.0]) == 0.0
    with pytest.raises(ValueError, match="n_bins must be a positive integer"):
        nan_expected_calibration_error([1, 0], [1.0, 0.0], n_bins=2.5)


@pytest.mark.parametrize("metric", METRICS)
def test_any_two_labels_are_classes_in_sorted_order(metric):
    words = pd.DataFrame(Y, columns=["a", "b", "c"]).replace({0.0: "no", 1.0: "yes"})
    assert metric(words, PROBA) == metric(Y, PROBA)
    assert metric(2 * Y - 1, PROBA) == metric(Y, PROBA)


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_not_a_probability_or_a_class_is_named(metric):
    proba = PROBA.copy()
    proba[0], proba[np.flatnonzero(~np.isnan(Y[:, 1]))[2], 1] = nan, 1.5
    row = np.flatnonzero(~np.isnan(Y[:, 1]))[2]
    with pytest.warns(UserWarning, match="no prediction"):  # noqa: SIM117
        with pytest.raises(ValueError, match=rf"but is 1.5 in row {row} of task"):
            metric(Y, proba)
    y = Y.copy()
    y[np.flatnonzero(~np.isnan(y[:, 2]))[0], 2] = 2.0
    with pytest.raises(ValueError, match="Task 'task_2' must have two different"):
        metric(y, PROBA)


def test_one_class_is_enough_if_it_is_known():
    assert nan_brier_score([1, 1], [0.5, 1.0]) == 0.125
    with pytest.warns(UndefinedMetricWarning, match="a label 0 or 1"):
        found = nan_brier_score([["x", 1], ["x", 0]], [[0.5, 1], [0.5, 0]],
                                multioutput="raw_values")  # fmt: skip
    np.testing.assert_array_equal(found, [nan, 0.0])


def test_certain_and_wrong_is_finite():
    assert 30 < nan_log_loss([1], [0.0]) < 40


def test_scorers_take_probabilities():
    X = RNG.normal(size=(300, 2))
    y = X[:, 0] + RNG.normal(size=300) > 0
    model = LogisticRegression().fit(X, y)
    p = model.predict_proba(X)[:, 1]
    pairs = [
        (neg_nan_log_loss_scorer, nan_log_loss),
        (neg_nan_brier_score_scorer, nan_brier_score),
        (neg_nan_expected_calibration_error_scorer, nan_expected_calibration_error),
    ]
    for scorer, metric in pairs:
        assert scorer(model, X, y) == -metric(y, p)
        assert scorer(model, X, y, sample_weight=WEIGHT) == -metric(
            y, p, sample_weight=WEIGHT
        )
