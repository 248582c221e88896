"""Scaffold splitters: partitions, disjoint scaffolds, balance, the published rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_validate,
)

from skgnn_mtl.featurizers import SmilesToGraph
from skgnn_mtl.metrics import neg_nan_mean_absolute_error_scorer
from skgnn_mtl.model_selection import (
    ScaffoldKFold,
    ScaffoldSplit,
    scaffold_groups,
    scaffold_train_test_split,
)

CLASSIC = {"chirality": True, "acyclic": "one"}


def published_rule(groups, fractions=(0.8, 0.1, 0.1)):
    """The split as one would write it down, group by group."""
    members = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    n = len(groups)
    train, valid, test = [], [], []
    for rows in sorted(members.values(), key=lambda g: (len(g), g[0]), reverse=True):
        if len(train) + len(rows) <= fractions[0] * n:
            train += rows
        elif len(train) + len(valid) + len(rows) <= (1 - fractions[2]) * n:
            valid += rows
        else:
            test += rows
    return train, valid, test


def folds(splitter, X):
    return [test.tolist() for _, test in splitter.split(X)]


# -- ScaffoldKFold --------------------------------------------------------------------


@pytest.mark.parametrize("n_splits", [2, 3, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"acyclic": "one"},
        {"generic": True},
        {"shuffle": True, "random_state": 0},
    ],
    ids=str,
)
def test_folds_cover_every_row_once_and_share_no_scaffold(smiles, n_splits, options):
    splitter = ScaffoldKFold(n_splits, **options)
    kinds = {k: v for k, v in options.items() if k in ("acyclic", "generic")}
    groups = scaffold_groups(smiles, **kinds)
    n, tested = len(smiles), []
    assert splitter.get_n_splits(smiles) == n_splits
    for train, test in splitter.split(smiles):
        assert sorted([*train, *test]) == list(range(n))
        assert not set(groups[train]) & set(groups[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(n))


def test_folds_are_of_equal_size_where_groups_are_small():
    rings = [f"C1{'C' * (2 + i)}1" for i in range(30)]
    X = rings[:20] + [r + "O" for r in rings[:10]] + rings[20:] + ["O" + rings[0]]
    sizes = [len(test) for _, test in ScaffoldKFold(4).split(X)]
    assert max(sizes) - min(sizes) <= 1


def test_fold_sizes_differ_by_the_largest_group_at_most(smiles):
    largest = np.bincount(scaffold_groups(smiles)).max()
    for n_splits in (2, 3, 4, 5, 7):
        sizes = [len(test) for test in folds(ScaffoldKFold(n_splits), smiles)]
        assert max(sizes) - min(sizes) <= largest


def test_a_large_group_makes_one_large_fold():
    X = ["c1ccccc1" + "C" * n for n in range(12)] + [f"C1{'C' * n}1" for n in (2, 3, 4)]
    assert [len(test) for test in folds(ScaffoldKFold(3), X)] == [12, 2, 1]


def test_folds_are_determined_by_the_seed(smiles):
    assert folds(ScaffoldKFold(3), smiles) == folds(ScaffoldKFold(3), smiles)
    shuffled = [
        folds(ScaffoldKFold(3, shuffle=True, random_state=seed), smiles)
        for seed in (0, 0, 1)
    ]
    assert shuffled[0] == shuffled[1]
    assert shuffled[0] != shuffled[2]
    assert shuffled[0] != folds(ScaffoldKFold(3), smiles)


def test_unreadable_rows_are_spread_over_the_folds(smiles):
    X = [None if i % 4 == 0 else s for i, s in enumerate(smiles)]
    with pytest.raises(ValueError, match=r"X\[0\] is missing"):
        next(ScaffoldKFold(3).split(X))
    tests = folds(ScaffoldKFold(3, on_error="nan"), X)
    assert sorted(row for test in tests for row in test) == list(range(len(X)))
    assert min(sum(X[i] is None for i in test) for test in tests) > 1


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({"n_splits": 1}, ["C", "N"], "n_splits must be an integer of at least 2"),
        ({"n_splits": 2.0}, ["C", "N"], "n_splits must be an integer"),
        ({"n_splits": 3}, ["c1ccccc1"] * 9 + ["C"], "the 10 rows have only 2 diff"),
        ({"n_splits": 2}, [], "the 0 rows have only 0"),
        ({"random_state": 0}, ["C", "N"], "random_state=0 has no effect"),
        ({"acyclic": "x"}, ["C", "N"], "acyclic must be one of"),
    ],
    ids=str,
)
def test_k_folds_that_cannot_be(options, X, message):
    with pytest.raises(ValueError, match=message):
        next(ScaffoldKFold(**options).split(X))


@pytest.mark.parametrize("splitter", [ScaffoldKFold(3), ScaffoldSplit((0.7, 0.3))])
def test_groups_are_ignored_with_a_warning(smiles, splitter):
    with pytest.warns(UserWarning, match="groups parameter is ignored by Scaffold"):
        list(splitter.split(smiles, groups=np.arange(len(smiles))))


def test_repr_shows_the_parameters():
    assert repr(ScaffoldKFold(3, shuffle=True)).startswith("ScaffoldKFold(acyclic=")
    assert "n_splits=3" in repr(ScaffoldKFold(3))
    assert "fractions=(0.7, 0.3)" in repr(ScaffoldSplit((0.7, 0.3)))


# -- inside scikit-learn --------------------------------------------------------------


class GroupedMean(RegressorMixin, BaseEstimator):
    """A mean that records the groups it was given."""

    def __init__(self, offset=0.0):
        self.offset = offset

    def fit(self, X, y, groups=None):
        self.mean_ = np.nanmean(y, axis=0)
        self.groups_ = groups
        return self

    def predict(self, X):
        return np.tile(self.mean_ + self.offset, (len(X), 1))


@pytest.mark.parametrize(
    "cv",
    [
        ScaffoldKFold(3),
        ScaffoldKFold(3, shuffle=True, random_state=0),
        ScaffoldSplit((0.7, 0.3)),
        ScaffoldSplit(order="random", n_splits=3, random_state=1),
    ],
    ids=["k folds", "shuffled", "split", "random splits"],
)
def test_every_container_works_as_cv(smiles, cv):
    y = np.arange(len(smiles), dtype=float)
    index = np.random.default_rng(0).permutation(len(smiles))
    expected = None
    for X in (
        smiles,
        np.array(smiles, dtype=object),
        pd.Series(smiles, index=index),
        pd.DataFrame({"smiles": smiles}, index=index),
        pl.Series(smiles),
        SmilesToGraph().transform(smiles),
    ):
        result = cross_validate(
            DummyRegressor(), X, y, cv=cv, scoring="neg_mean_absolute_error"
        )["test_score"]
        expected = result if expected is None else expected
        np.testing.assert_array_equal(result, expected)
    assert len(expected) == cv.get_n_splits()


def test_cross_val_predict_and_nan_in_y(smiles):
    y = np.random.default_rng(0).normal(size=(len(smiles), 2))
    y[::3, 0] = y[1::4, 1] = np.nan
    X = SmilesToGraph().transform(smiles)
    assert cross_val_predict(GroupedMean(), X, y, cv=ScaffoldKFold(3)).shape == y.shape
    search = GridSearchCV(
        GroupedMean(),
        {"offset": [0.0, 9.0]},
        cv=ScaffoldKFold(3),
        scoring=neg_nan_mean_absolute_error_scorer,
    ).fit(X, y)
    assert search.best_params_ == {"offset": 0.0}


def test_with_metadata_routing_groups_go_to_the_estimator_only(smiles):
    y = np.arange(len(smiles), dtype=float)
    with config_context(enable_metadata_routing=True):
        model = GroupedMean().set_fit_request(groups=True)
        result = cross_validate(
            model,
            smiles,
            y,
            cv=ScaffoldKFold(3),
            params={"groups": scaffold_groups(smiles)},
            scoring="neg_mean_absolute_error",
            return_estimator=True,
            return_indices=True,
        )
    for fitted, rows in zip(
        result["estimator"], result["indices"]["train"], strict=True
    ):
        np.testing.assert_array_equal(fitted.groups_, scaffold_groups(smiles)[rows])


def test_groups_serve_the_group_splitters_of_scikit_learn(smiles):
    groups = scaffold_groups(smiles)
    ours = [len(test) for test in folds(ScaffoldKFold(3), smiles)]
    theirs = [len(t) for _, t in GroupKFold(3).split(smiles, groups=groups)]
    assert sorted(ours) == sorted(theirs)


# -- ScaffoldSplit --------------------------------------------------------------------


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.5, 0.1, 0.4)]
)
def test_the_published_rule(smiles, fractions):
    parts = ScaffoldSplit(fractions).parts(smiles)
    expected = published_rule(scaffold_groups(smiles, **CLASSIC), fractions)
    assert [part.tolist() for part in parts] == [list(part) for part in expected]


def test_shares_are_exact_in_spite_of_rounding():
    # 0.7 + 0.2 < 0.9 in floating point; ten groups of one row.
    X = [f"C1{'C' * n}1" for n in range(2, 12)]
    parts = ScaffoldSplit((0.7, 0.2, 0.1)).parts(X)
    assert [part.tolist() for part in parts] == [[9, 8, 7, 6, 5, 4, 3], [2, 1], [0]]


def test_as_cv_the_last_part_is_tested(smiles):
    split = ScaffoldSplit()
    train, valid, test = split.parts(smiles)
    ((fitted, tested),) = split.split(smiles)
    assert fitted.tolist() == sorted([*train, *valid])
    assert tested.tolist() == sorted(test)


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (0.6, 0.2, 0.2), (0.4, 0.2, 0.2, 0.2)]
)
@pytest.mark.parametrize("order", ["size", "random"])
def test_parts_cover_every_row_and_share_no_scaffold(smiles, fractions, order):
    seed = 0 if order == "random" else None
    split = ScaffoldSplit(fractions, order=order, random_state=seed)
    parts = split.parts(smiles)
    assert len(parts) == len(fractions)
    assert sorted(np.concatenate(parts)) == list(range(len(smiles)))
    groups = scaffold_groups(smiles, **CLASSIC)
    seen = [set(groups[part]) for part in parts]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_random_order_never_overfills_the_small_parts(smiles):
    n, distinct = len(smiles), set()
    split = ScaffoldSplit(
        (0.6, 0.2, 0.2),
        order="random",
        n_splits=20,
        acyclic="own",
        random_state=3,
    )
    for train, test in split.split(smiles):
        assert 0 < len(test) <= 0.2 * n
        assert not set(train) & set(test)
        distinct.add(tuple(test))
    assert len(distinct) > 10
    again = [tuple(test) for _, test in split.split(smiles)]
    assert set(again) == distinct


def test_unreadable_rows_are_in_no_part(smiles):
    X = [*smiles[:5], None, *smiles[5:], "C1CC"]
    readable = np.delete(np.arange(len(X)), [5, len(X) - 1])
    parts = ScaffoldSplit(on_error="nan").parts(X)
    expected = ScaffoldSplit().parts(smiles)
    for part, rows in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part, readable[rows])
    with pytest.raises(ValueError, match=r"X\[5\] is missing"):
        ScaffoldSplit().parts(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.8, 0.3)}, "the sum 1"),
        ({"fractions": (1.0,)}, "two or more"),
        ({"fractions": (1.2, -0.2)}, "positive"),
        ({"fractions": (0.5, np.nan)}, "positive"),
        ({"order": "shuffled"}, "order must be one of .* but is 'shuffled'"),
        ({"n_splits": 2}, "need order='random'"),
        ({"random_state": 0}, "need order='random'"),
        ({"n_splits": 0, "order": "random"}, "at least 1"),
        ({"fractions": (0.98, 0.01, 0.01)}, "Part 1 of 3 is empty"),
    ],
    ids=str,
)
def test_splits_that_cannot_be(smiles, options, message):
    with pytest.raises(ValueError, match=message):
        ScaffoldSplit(**options).parts(smiles)


def test_one_scaffold_cannot_be_split():
    with pytest.raises(ValueError, match=r"Part 0 of 2 is empty: 9 rows in 1 scaffold"):
        ScaffoldSplit((0.5, 0.5)).parts(["c1ccccc1"] * 9)
    with pytest.raises(ValueError, match="row that can be read as SMILES"):
        ScaffoldSplit(on_error="nan").parts([None, "C1CC"])


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "other fractions or acyclic='own' or order='random'."),
        ({"order": "random"}, "other fractions or acyclic='own'."),
        ({"acyclic": "own"}, "other fractions or order='random'."),
        ({"order": "random", "acyclic": "own"}, "Choose other fractions."),
    ],
    ids=str,
)
def test_no_option_is_advised_that_is_set(options, advice):
    with pytest.raises(ValueError, match="is empty") as error:
        ScaffoldSplit((0.5, 0.5), **options).parts(["c1ccccc1"] * 9)
    assert str(error.value).endswith(advice)


# -- scaffold_train_test_split --------------------------------------------------------


def test_output_order_is_that_of_train_test_split(smiles):
    y = np.arange(len(smiles))
    train, test = ScaffoldSplit((0.8, 0.2)).parts(smiles)
    X_train, X_test, y_train, y_test = scaffold_train_test_split(
        smiles, y, test_size=0.2
    )
    assert X_train == [smiles[i] for i in train]
    assert X_test == [smiles[i] for i in test]
    np.testing.assert_array_equal(y_train, train)
    np.testing.assert_array_equal(y_test, test)


def test_with_a_validation_part(smiles):
    y = np.arange(len(smiles))
    *X_parts, y_train, y_valid, y_test = scaffold_train_test_split(
        smiles, y, test_size=0.1, valid_size=0.1
    )
    for rows, X_part, part in zip(
        (y_train, y_valid, y_test), X_parts, ScaffoldSplit().parts(smiles), strict=True
    ):
        np.testing.assert_array_equal(rows, part)
        assert X_part == [smiles[i] for i in part]


def test_every_container_is_cut_alike(smiles):
    y = np.arange(len(smiles))
    frame = pd.DataFrame({"a": y, "b": -y}, index=y[::-1])
    graphs = SmilesToGraph().transform(smiles)
    for X in (
        tuple(smiles),
        np.array(smiles),
        pd.Series(smiles, index=y + 7),
        pl.Series(smiles),
        graphs,
    ):
        X_train, X_test, y_train, y_test, f_train, f_test, g_train, g_test = (
            scaffold_train_test_split(X, y, frame, graphs, test_size=0.3)
        )
        assert list(getattr(X_test, "ids", X_test)) == [smiles[i] for i in y_test]
        assert list(getattr(X_train, "ids", X_train)) == [smiles[i] for i in y_train]
        assert f_train["a"].tolist() == y_train.tolist()
        assert f_test["b"].tolist() == (-y_test).tolist()
        assert g_train == graphs[y_train]
        assert g_test == graphs[y_test]


def test_random_order_follows_the_seed(smiles):
    y = np.arange(len(smiles))
    options = {"order": "random", "test_size": 0.3}
    parts = [
        scaffold_train_test_split(smiles, y, **options, random_state=seed)[3].tolist()
        for seed in (0, 0, 1)
    ]
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_size": 0.0}, "fractions between 0 and 1, but 0.0"),
        ({"test_size": 10}, "fractions between 0 and 1, but 10"),
        ({"valid_size": 1.5}, "fractions between 0 and 1, but 1.5"),
        ({"test_size": 0.5, "valid_size": 0.5}, "positive numbers with the sum 1"),
        ({"random_state": 0}, "need order='random'"),
    ],
    ids=str,
)
def test_wrong_sizes_are_refused(smiles, options, message):
    with pytest.raises(ValueError, match=message):
        scaffold_train_test_split(smiles, **options)


def test_different_lengths_are_refused(smiles):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        scaffold_train_test_split(smiles, [1.0, 2.0])
