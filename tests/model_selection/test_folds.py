"""What ``cv`` of the meta-estimators may be; found by fuzzing."""

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.model_selection._folds import table_folds

PRESENCE = pd.DataFrame({"a": np.ones(6)})
X = np.zeros((6, 1))


@pytest.mark.parametrize("cv", [0, 1, -3, 7, True, 10**20])
def test_the_number_of_folds_is_named(cv):
    with pytest.raises(ValueError, match=rf"cv={cv} folds need .* n_samples=6"):
        table_folds(cv, X, X, PRESENCE)


@pytest.mark.parametrize(
    "cv",
    [b"a", "a", 0.5, ["a", 1], (0.5, None), [([0], [99])], [([0], ["a"])], object()],
)
def test_what_is_no_splitter_is_named(cv):
    with pytest.raises(ValueError, match="cv must be an integer, a splitter or a list"):
        table_folds(cv, X, X, PRESENCE)


@pytest.mark.parametrize("cv", [[], {}, ()])
def test_no_fold_is_named(cv):
    with pytest.raises(ValueError, match="gives no fold"):
        table_folds(cv, X, X, PRESENCE)


def test_masks_are_folds():
    mask = np.arange(6) < 4
    ((train, test),) = table_folds([(mask, ~mask)], X, X, PRESENCE)
    assert (train.tolist(), test.tolist()) == ([0, 1, 2, 3], [4, 5])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=str)
def test_a_missing_group_is_named(missing):
    for groups in (
        np.array([*"aab", missing, missing, missing], object),
        ["a", missing] * 3,
    ):
        row = [pd.isna(group) for group in groups].index(True)
        with pytest.raises(ValueError, match=rf"3 are missing, the first in row {row}"):
            table_folds(2, X, X, PRESENCE, groups)
