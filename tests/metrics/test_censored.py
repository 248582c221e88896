"""Labels that are bounds: how they are read, and what scores make of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from skgnn_mtl.metrics import (
    nan_mean_absolute_error,
    nan_r2_scorer,
    read_censored,
    task_scorer,
)

nan = float("nan")
BOUNDS = {
    ">100": (1, 100.0),
    "<0.77": (-1, 0.77),
    "<= 3": (-1, 3.0),
    ">=5": (1, 5.0),
    " > -2.5e1 ": (1, -25.0),
    "≥ .5": (1, 0.5),
    "≤7.": (-1, 7.0),
    ">>4": (1, 4.0),
    "<<4": (-1, 4.0),
}


@pytest.mark.parametrize(("text", "expected"), BOUNDS.items(), ids=BOUNDS)
def test_a_bound_is_a_number_and_a_sign(text, expected):
    values, signs = read_censored([1.5, text, None, "2"])
    np.testing.assert_array_equal(values, [1.5, expected[1], nan, 2.0])
    np.testing.assert_array_equal(signs, [0, expected[0], 0, 0])
    assert values.dtype == np.float64
    assert signs.dtype == np.int8


@pytest.mark.parametrize(
    "text",
    [
        "~5",
        "≈5",
        "1-2",
        "5±1",
        ">100 nM",
        ">",
        ">inf",
        "> 1_0",
        ">1,5",
        "=5",
        "=>5",
        ">٥",
    ],
)
def test_what_is_unclear_is_an_error(text):
    frame = pd.DataFrame({"a": [1.0, 2.0], "logD": [">3", text]}, index=[5, 4])
    with pytest.raises(ValueError, match=r"task 'logD' has .* in row 1"):
        read_censored(frame)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, list, np.array])
def test_every_container_is_read_alike(kind):
    columns = {"a": ["1", ">2", None], "b": ["<3", None, "4"]}
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    y = kind(columns) if kind in (pd.DataFrame, pl.DataFrame) else kind(rows)
    values, signs = read_censored(y)
    np.testing.assert_array_equal(values, [[1, 3], [2, nan], [nan, 4]])
    np.testing.assert_array_equal(signs, [[0, -1], [1, 0], [0, 0]])


def test_the_table_of_the_user_stays():
    y = np.array([">1", 2.0], dtype=object)
    read_censored(y)
    nan_mean_absolute_error(y, [5.0, 3.0])
    assert y.tolist() == [">1", 2.0]


def test_scores_leave_bounds_out():
    y = pd.DataFrame({"a": [1.0, ">2", 4.0, 5.0], "b": ["<3", 1.0, nan, 2.0]})
    gaps = pd.DataFrame({"a": [1.0, nan, 4.0, 5.0], "b": [nan, 1.0, nan, 2.0]})
    predicted = np.arange(8.0).reshape(4, 2)

    class Model(RegressorMixin, BaseEstimator):
        def predict(self, X):
            return predicted

        def __sklearn_is_fitted__(self):
            return True

    assert nan_mean_absolute_error(y, predicted) == nan_mean_absolute_error(
        gaps, predicted
    )
    for scorer in (nan_r2_scorer, task_scorer("rmse", "b")):
        assert scorer(Model(), None, y) == scorer(Model(), None, gaps)
    with pytest.raises(ValueError, match="y_pred must hold numbers"):
        nan_mean_absolute_error([1.0, 2.0], [">1", 2.0])
