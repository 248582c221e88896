"""Hits by several criteria at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.metrics import ScreeningScores, nan_screening_scores

nan = float("nan")


def test_counts_are_those_of_sets_of_rows():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(500, 3))
    truth[rng.random(truth.shape) < 0.2] = nan
    found = rng.normal(size=(500, 3)) + np.nan_to_num(truth)
    scores = nan_screening_scores(truth, found, {0: (-0.5, None), 2: (-1.0, 0.8)})
    rows = {k for k in range(500) if not np.isnan(truth[k, [0, 2]]).any()}
    hits, predicted = (
        {k for k in rows if y[k, 0] >= -0.5 and -1.0 <= y[k, 2] <= 0.8}
        for y in (truth, found)
    )
    assert scores == ScreeningScores(
        len(rows), len(hits), len(predicted), len(hits & predicted)
    )
    assert scores.precision == len(hits & predicted) / len(predicted)
    assert scores.recall == len(hits & predicted) / len(hits)
    assert scores.enrichment == pytest.approx(scores.precision * len(rows) / len(hits))


def test_errors_of_separate_models_make_more_false_hits_than_common_ones():
    """Independent errors satisfy both criteria by chance more often than equal ones."""
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.normal(size=(20_000, 1)), 2, axis=1)
    common = truth + rng.normal(size=(20_000, 1))
    apart = truth + rng.normal(size=(20_000, 2))
    criteria = {0: (1.0, None), 1: (None, 1.5)}
    joint, separate = (
        nan_screening_scores(truth, y, criteria) for y in (common, apart)
    )
    assert joint.precision > separate.precision


def test_tasks_are_found_by_their_names():
    truth = pd.DataFrame({"logP": [1.0, 3.0], "logS": [0.0, 0.0]})
    scores = nan_screening_scores(truth, truth.to_numpy(), {"logP": (None, 1.0)})
    assert scores == ScreeningScores(n_rows=2, n_hits=1, n_predicted=1, n_found=1)


def test_invalid_rows_are_left_out():
    truth, found = np.ones((3, 2)), np.ones((3, 2))
    found[1] = nan
    with pytest.warns(UserWarning, match="have no prediction"):
        scores = nan_screening_scores(truth, found, {0: (0, 1)})
    assert scores.n_rows == 2


def test_without_hits_there_is_no_rate():
    scores = ScreeningScores(n_rows=4, n_hits=0, n_predicted=0, n_found=0)
    assert np.isnan([scores.precision, scores.recall, scores.enrichment]).all()


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({}, "not be empty"),
        ([(0, 1)], "a dict"),
        ({"x": (0, 1)}, "names the task 'x'"),
        ({0: 3}, "a pair"),
        ({0: (1, 2, 3)}, "a pair"),
        ({0: ("a", 1)}, "a pair"),
        ({0: (None, None)}, "must have a limit"),
        ({0: (2, 1)}, "must not be above high"),
    ],
)
def test_wrong_criteria_are_named(criteria, message):
    with pytest.raises(ValueError, match=message):
        nan_screening_scores(np.ones((2, 2)), np.ones((2, 2)), criteria)


def test_rows_without_common_labels_have_no_score():
    truth = np.array([[1.0, nan], [nan, 1.0]])
    with pytest.raises(ValueError, match=r"No row has a label of each of 'task_0'"):
        nan_screening_scores(truth, np.ones((2, 2)), {0: (0, 1), 1: (0, 1)})
