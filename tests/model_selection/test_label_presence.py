"""Labels of every task are spread evenly over the folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import KFold, cross_val_score

from skgnn_mtl.model_selection import LabelPresenceKFold


def labels_per_fold(splitter, y):
    """Labels of each task and rows in each fold, shape (n_splits, t + 1)."""
    present = np.column_stack([~np.isnan(y), np.ones(len(y), dtype=bool)])
    return np.array([present[test].sum(axis=0) for _, test in splitter.split(y, y)])


def sparse(n, shares, seed=0):
    """A table in which task t has about ``shares[t] * n`` labels."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, len(shares))) < shares, 1.0, np.nan)


TABLES = {
    "independent": sparse(2000, np.linspace(0.01, 0.9, 12)),
    "rare": sparse(500, [0.02, 0.02, 0.5]),
    "small": sparse(60, [0.4] * 5),
    "dense": np.ones((33, 2)),
    "blocks": np.kron(np.where(np.eye(4), 1.0, np.nan), np.ones((25, 1))),
    "nested": np.where(
        np.arange(1000)[:, None] < [1000, 300, 90, 27], 1.0, np.nan
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("n_splits", [2, 3, 5])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_counts_differ_from_the_mean_by_two_at_most(name, n_splits, seed):
    y = TABLES[name]
    splitter = LabelPresenceKFold(n_splits, shuffle=seed is not None, random_state=seed)
    counts = labels_per_fold(splitter, y)
    assert np.abs(counts - counts.mean(axis=0)).max() <= 2


def test_a_task_with_one_label_a_fold_is_in_every_fold():
    y = np.ones((1000, 2))
    y[5:, 1] = np.nan
    assert min(labels_per_fold(KFold(5), y)[:, 1]) == 0
    for seed in range(5):
        counts = labels_per_fold(LabelPresenceKFold(5, random_state=seed), y)
        np.testing.assert_array_equal(counts[:, 1], 1)


@pytest.mark.parametrize("n_splits", [2, 5, 10])
def test_real_tables(shared_data, n_splits):
    tox21 = pd.read_csv(shared_data / "tox21.csv").iloc[:, :12]
    adme = pd.read_csv(shared_data / "ADME_public_set_3521.csv").filter(like="LOG")
    for y in (tox21.to_numpy(dtype=float), adme.to_numpy(dtype=float)):
        splitter = LabelPresenceKFold(n_splits, random_state=0)
        counts = labels_per_fold(splitter, y)
        assert np.abs(counts - counts.mean(axis=0)).max() < 3


def test_folds_cover_every_row_once():
    y = TABLES["independent"]
    tested = []
    for train, test in LabelPresenceKFold(5, random_state=0).split(y, y):
        assert sorted([*train, *test]) == list(range(len(y)))
        tested += test.tolist()
    assert sorted(tested) == list(range(len(y)))


def test_folds_are_determined_by_the_seed():
    y = TABLES["small"]

    def folds(**options):
        split = LabelPresenceKFold(3, **options).split(y, y)
        return [test.tolist() for _, test in split]

    assert folds(random_state=0) == folds(random_state=0)
    assert folds(random_state=0) != folds(random_state=1)
    assert folds(shuffle=False) == folds(shuffle=False)


def test_values_of_labels_and_order_of_tasks_do_not_matter():
    y = TABLES["rare"]
    other = (y * np.random.default_rng(1).normal(size=y.shape))[:, [2, 0, 1]]
    for (_, a), (_, b) in zip(
        LabelPresenceKFold(3, random_state=0).split(y, y),
        LabelPresenceKFold(3, random_state=0).split(other, other),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_all_containers_give_one_result():
    y = TABLES["small"]
    with_none = np.where(np.isnan(y), None, y)
    expected = [t.tolist() for _, t in LabelPresenceKFold(3, shuffle=False).split(y, y)]
    for labels in (
        y.tolist(),
        with_none,
        with_none.tolist(),
        pd.DataFrame(y, index=np.arange(60)[::-1]),
        pd.DataFrame(y).astype("Float64"),
        pl.DataFrame(with_none.tolist(), schema=list("abcde"), orient="row"),
        np.where(np.isnan(y), None, "active"),
    ):
        split = LabelPresenceKFold(3, shuffle=False).split(y, labels)
        assert [test.tolist() for _, test in split] == expected


def test_it_works_as_cv_of_a_single_task():
    X, y = np.zeros((20, 1)), np.arange(20.0)
    scores = cross_val_score(DummyRegressor(), X, y, cv=LabelPresenceKFold(4))
    assert scores.shape == (4,)
    assert repr(LabelPresenceKFold(4)) == (
        "LabelPresenceKFold(n_splits=4, random_state=None, shuffle=True)"
    )
    assert LabelPresenceKFold(4).get_n_splits() == 4


def test_scarce_tasks_are_named():
    y = pd.DataFrame(np.ones((30, 3)), columns=["gap", "dipole", "logP"])
    y.iloc[2:, 1] = np.nan
    y.iloc[:, 2] = np.nan
    message = "2 of 3 tasks have fewer labels than the 5 folds.*'dipole': 2, 'logP': 0"
    with pytest.warns(UserWarning, match=message):
        list(LabelPresenceKFold(5).split(y, y))


def test_a_series_and_columns_of_one_name_are_named():
    series = pd.Series([1.0, np.nan, np.nan, 1.0], name="gap")
    with pytest.warns(UserWarning, match="1 of 1 tasks .* none: 'gap': 2"):
        list(LabelPresenceKFold(3).split(series, series))
    twice = pd.DataFrame({"gap": series, "other": 1.0 * series.index})
    twice.iloc[1:, 1] = np.nan
    twice.columns = ["gap", "gap"]
    with pytest.warns(UserWarning, match="2 of 2 tasks .* 'gap': 2, 'gap': 1"):
        list(LabelPresenceKFold(3).split(twice, twice))


def test_rows_without_label_are_spread_too():
    y = np.full((50, 2), np.nan)
    y[:20] = 1.0
    counts = labels_per_fold(LabelPresenceKFold(5, random_state=0), y)
    np.testing.assert_array_equal(counts, [[4, 4, 10]] * 5)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"n_splits": 1}, [1.0, 2.0], "at least 2, but is 1"),
        ({"n_splits": 3}, [1.0, 2.0], "only 2 row"),
        ({"n_splits": 2, "shuffle": False, "random_state": 0}, [1.0, 2.0], "no effect"),
        ({"n_splits": 2}, None, "y is None"),
        ({"n_splits": 2}, np.ones((2, 2, 2)), r"has shape \(2, 2, 2\)"),
    ],
    ids=str,
)
def test_wrong_input_is_refused(options, y, message):
    with pytest.raises(ValueError, match=message):
        next(LabelPresenceKFold(**options).split([0, 1], y))


def test_groups_are_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="ignored by LabelPresenceKFold"):
        list(LabelPresenceKFold(2).split([0, 1], [1.0, 2.0], groups=[0, 1]))
