"""Intervals that cover a wanted share of labels."""

import pickle
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.ensemble import ConformalRegressor, EnsembleRegressor, PerTaskRegressor
from skgnn_mtl.ensemble._crepes import intervals, least_labels
from skgnn_mtl.ensemble._repeats import row_keys
from skgnn_mtl.model_selection import scaffold_groups

pytest.importorskip("crepes")
LINE = PerTaskRegressor(Ridge())
BAYES = PerTaskRegressor(BayesianRidge())


class Zero(RegressorMixin, BaseEstimator):
    """Predicts 0, with the deviation of the first column."""

    def fit(self, X, y, groups=None):
        self.n_tasks_ = np.asarray(y).reshape(len(y), -1).shape[1]
        self.rows_, self.groups_ = np.asarray(X)[:, -1], groups
        return self

    def predict(self, X, return_std=False):
        X = np.asarray(X)
        mean = np.zeros((len(X), self.n_tasks_))
        std = np.repeat(X[:, :1], self.n_tasks_, axis=1)
        return (mean, std) if return_std else mean


def numbered(n):
    """Rows that know their number, so that tests can tell them."""
    return np.column_stack([np.ones(n), np.arange(n)])


def covered(model, X, y, coverage=None):
    """Share of the labels of each task inside of the intervals."""
    low, high = np.moveaxis(model.predict_interval(X, coverage), 2, 0)
    inside = np.where(np.isnan(y), np.nan, (low <= y) & (y <= high))
    return np.nanmean(inside, axis=0)


def linear(n, seed, noise=lambda X: np.array([0.5, 2.0])):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 3))
    y = X @ [[1.0, 2], [0, -1], [3, 1]] + noise(X) * rng.normal(size=(n, 2))
    y[rng.random(y.shape) < 0.3] = np.nan
    return X, y


# -- quantiles by hand ------------------------------------------------------------


@pytest.mark.parametrize(
    ("coverage", "n"),
    [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.8, 4), (0.7, 3), (0.1, 1)],
)
def test_least_numbers_of_labels(coverage, n):
    assert least_labels(coverage) == n


@pytest.mark.parametrize(
    ("n", "coverage", "rank"),
    [
        *((9, 0.9, 9), (10, 0.9, 10), (18, 0.9, 18), (19, 0.9, 18), (20, 0.9, 19)),
        *((4, 0.8, 4), (9, 0.8, 8), (9, 0.7, 7), (9, 0.5, 5), (1, 0.5, 1)),
    ],
)
def test_the_interval_ends_at_the_error_of_its_rank(n, coverage, rank):
    # Errors 1, 2, ..., n in any order and of any sign.
    rng = np.random.default_rng(0)
    errors = rng.permutation(np.arange(1.0, n + 1)) * rng.choice([-1, 1], n)
    y = np.concatenate([errors, [0.0]])
    model = ConformalRegressor(
        Zero(), cv=[([n], list(range(n)))], coverage=coverage
    ).fit(numbered(n + 1), y)
    ends = model.predict_interval(numbered(2))
    np.testing.assert_array_equal(ends, [[[-rank, rank]]] * 2)


def test_every_rank_of_many_numbers_of_labels():
    for n in range(9, 300):
        ends = intervals(
            np.arange(1.0, n + 1),
            None,
            None,
            mean=np.zeros(1),
            std=None,
            new_categories=None,
            coverage=0.9,
        )
        # In whole numbers, because floats round.
        assert ends[0, 1] == -((-9 * (n + 1)) // 10)


def test_errors_are_divided_by_deviations():
    # Errors over deviations are 1, 2, ..., 9.
    std = np.array([1.0, 2, 4, 8, 1, 2, 4, 8, 1])
    y = np.arange(1, 10) * std
    X = np.column_stack([np.append(std, 1), np.arange(10)])
    model = ConformalRegressor(
        Zero(), normalise="std", cv=[([9], list(range(9)))], coverage=0.7
    ).fit(X, np.append(y, 0))
    ends = model.predict_interval([[1.0, 0], [0.5, 0]])
    np.testing.assert_array_equal(ends[:, 0], [[-7, 7], [-3.5, 3.5]])
    np.testing.assert_array_equal(model.widths_[:, 0], std)


# -- coverage ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["split", "cross"])
@pytest.mark.parametrize("normalise", [None, "std"])
def test_the_mean_coverage_over_calibration_sets(method, normalise):
    shares, n = [], 60
    for seed in range(40):
        X, y = linear(n + 400, seed)
        model = ConformalRegressor(
            BAYES, method=method, normalise=normalise, cv=2, random_state=seed
        ).fit(X[:n], y[:n])
        shares.append(covered(model, X[n:], y[n:]))
    # About 21 (42) labels calibrate each task: the expected share is between 0.9 and
    # 0.9 + 1 / 22, and that of a single one spreads by 0.065.
    mean = np.mean(shares, axis=0)
    assert (mean > 0.9 - 3 * 0.065 / np.sqrt(40)).all()
    assert (mean < 0.9 + 1 / 22 + 3 * 0.065 / np.sqrt(40)).all()


@pytest.mark.parametrize("method", ["split", "cross"])
def test_uneven_noise_is_followed_by_normalised_intervals(method):
    def noise(X):
        return 0.2 + 1.8 * (X[:, :1] > 0)

    class Knowing(Zero):
        def predict(self, X, return_std=False):
            mean = np.asarray(X) @ [[1.0, 2], [0, -1], [3, 1]]
            std = 0 * mean + noise(np.asarray(X))
            return (mean, std) if return_std else mean

    X, y = linear(6000, 0, noise)
    calm = X[4000:, 0] < 0
    plain = ConformalRegressor(Knowing(), method=method, random_state=0)
    scaled = clone(plain).set_params(normalise="std")
    for model in (plain, scaled):
        model.fit(X[:4000], y[:4000])
        assert covered(model, X[4000:], y[4000:]) == pytest.approx(0.9, abs=0.04)
    widths = [np.diff(m.predict_interval(X[4000:]))[..., 0].T for m in (plain, scaled)]
    assert np.ptp(widths[0], axis=1) == pytest.approx(0, abs=1e-9)
    assert (widths[1][:, calm] < widths[0][:, calm] / 3).all()
    assert (widths[1][:, ~calm] > widths[0][:, ~calm]).all()
    for part in (calm, ~calm):
        share = covered(scaled, X[4000:][part], y[4000:][part])
        assert share == pytest.approx(0.9, abs=0.05)
    # Without the width, calm rows are covered too often and the others too rarely.
    assert (covered(plain, X[4000:][calm], y[4000:][calm]) > 0.98).all()
    assert (covered(plain, X[4000:][~calm], y[4000:][~calm]) < 0.85).all()


def test_a_parameter_that_is_set_after_the_fit_waits_for_the_next(numbers):
    X, y = numbers
    for before, after in [("std", None), (None, "std")]:
        model = ConformalRegressor(
            BAYES, normalise=before, random_state=0, coverage=0.5
        )
        expected = model.fit(X, y).predict_interval(X)
        model.set_params(normalise=after)
        np.testing.assert_array_equal(model.predict_interval(X), expected)
        assert not np.allclose(model.fit(X, y).predict_interval(X), expected)


def test_categories_that_are_set_after_the_fit_wait_for_the_next(numbers):
    def sign(X):
        return np.asarray(X)[:, 0] > 0

    X, y = numbers
    model = ConformalRegressor(LINE, coverage=0.5, random_state=0)
    for before, after in [(None, sign), (sign, None), (sign, lambda X: ["new"])]:
        expected = model.set_params(categories=before).fit(X, y).predict_interval(X)
        model.set_params(categories=after)
        np.testing.assert_array_equal(model.predict_interval(X), expected)


def test_categories_have_quantiles_of_their_own():
    def noise(X):
        return np.where(X[:, :1] > 0, 3.0, 0.3)

    def kind(X):
        first = np.asarray(X)[:, 0]
        return np.select([first > 99, first > 0], ["new", "loud"], "calm")

    X, y = linear(3000, 1, noise)
    model = ConformalRegressor(LINE, categories=kind, random_state=0)
    model.fit(X[:2000], y[:2000])
    for name in ("loud", "calm"):
        rows = kind(X[2000:]) == name
        share = covered(model, X[2000:][rows], y[2000:][rows])
        assert share == pytest.approx(0.9, abs=0.05)
    assert set(model.categories_) == {"loud", "calm"}
    rows = np.zeros((3, X.shape[1]))
    rows[:, 0] = -1, 100, 1
    with pytest.warns(UserWarning, match="1 of 3 rows are of a category without"):
        ends = model.predict_interval(rows)
    np.testing.assert_array_equal(ends[1], [[-np.inf, np.inf]] * 2)
    width = np.diff(ends)[..., 0]
    assert (width[2] > 5 * width[0]).all()


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_errors_may_be_divided_by_a_mere_spread(in_pipeline, numbers):
    X, y = numbers
    trees = PerTaskRegressor(ExtraTreesRegressor(2, min_samples_leaf=5))
    members = EnsembleRegressor(trees, 3, random_state=0)
    estimator = make_pipeline(StandardScaler(), members) if in_pipeline else members
    model = ConformalRegressor(estimator, normalise="std", cv=2, random_state=0)
    ends = model.fit(X, y).predict_interval(X)
    mean, std = model.estimator_.predict(X, return_std=True)
    scores = np.abs(model.residuals_ / model.widths_)
    for t in range(2):
        known = np.sort(scores[~np.isnan(scores[:, t]), t])
        rank = int(np.ceil(0.9 * (len(known) + 1) - 1e-9))
        np.testing.assert_allclose(
            ends[:, t, 1], mean[:, t] + known[rank - 1] * std[:, t]
        )
    search = GridSearchCV(
        members, {"n_members": [3]}, cv=2, scoring="neg_mean_absolute_error"
    )
    model = ConformalRegressor(search, normalise="std", cv=2, random_state=0)
    ends = model.fit(X, y.fillna(0)).predict_interval(X)
    assert (np.ptp(np.diff(ends), axis=0) > 0).all()


def test_a_row_without_a_prediction_has_no_deviation():
    class Gaps(Zero):
        def predict(self, X):
            return np.where(np.asarray(X)[:, 0] > 0, 0.0, np.nan)

    X, y = numbered(20), np.random.default_rng(0).normal(size=20)
    search = GridSearchCV(Gaps(), {}, scoring="neg_mean_squared_error", cv=2)
    model = ConformalRegressor(search, cv=2, random_state=0).fit(X, y)
    mean, std = model.predict([[1.0, 0], [0.0, 1]], return_std=True)
    assert np.isnan(mean).tolist() == np.isnan(std).tolist() == [False, True]
    assert std[0] == pytest.approx(np.sqrt(-model.estimator_.best_score_))


# -- which rows calibrate ---------------------------------------------------------


def test_split_calibrates_on_rows_that_do_not_train():
    y = np.random.default_rng(0).normal(size=(100, 2))
    y[::4, 1] = np.nan
    model = ConformalRegressor(Zero(), random_state=0).fit(numbered(100), y)
    trained = model.estimator_.rows_.astype(int)
    rest = np.setdiff1d(np.arange(100), trained)
    assert len(trained) == 80
    np.testing.assert_array_equal(model.residuals_, y[rest])
    # Labels of the scarce task are in the split as often as rows.
    assert (~np.isnan(y[rest, 1])).sum() == 15


def test_cross_takes_each_row_out_of_fold(numbers):
    X, y = numbers
    model = ConformalRegressor(BAYES, method="cross", normalise="std", cv=KFold(3))
    model.fit(X, y)
    for train, test in KFold(3).split(X):
        mean, std = clone(BAYES).fit(X[train], y.iloc[train]).predict(X[test], True)
        np.testing.assert_allclose(model.residuals_[test], y.to_numpy()[test] - mean)
        np.testing.assert_allclose(model.widths_[test], std)
    np.testing.assert_allclose(model.predict(X), clone(BAYES).fit(X, y).predict(X))


def test_groups_are_whole_on_one_side():
    X, y = numbered(100), np.random.default_rng(0).normal(size=100)
    groups = np.repeat(np.arange(20), 5)
    for model in (
        ConformalRegressor(Zero(), random_state=1).fit(X, y, groups=groups),
        ConformalRegressor(Zero(), random_state=1, groups=lambda X: X[:, -1] // 5).fit(
            X, y
        ),
    ):
        trained = model.estimator_.rows_.astype(int)
        assert len(trained) == 80
        rest = np.setdiff1d(np.arange(100), trained)
        assert not set(groups[trained]) & set(groups[rest])
        # The estimator is given those of its rows.
        np.testing.assert_array_equal(model.estimator_.groups_, groups[trained])


@pytest.mark.parametrize("found", [None, [0, 1], [[0]] * 100])
def test_a_function_must_return_a_group_for_each_row(found):
    X = np.arange(100.0)[:, None]
    model = ConformalRegressor(Zero(), random_state=1, groups=lambda X: found)
    with pytest.raises(
        ValueError, match="groups must return one group for each of 100"
    ):
        model.fit(X, X[:, 0])


def test_new_groups_are_covered_by_a_split_of_groups():
    # A group shares its error, which a random split of rows does not show.
    rng = np.random.default_rng(0)

    def grouped(n_groups):
        groups = np.repeat(np.arange(n_groups), 4)
        code = rng.normal(size=(n_groups, 2))[groups]
        error = rng.normal(size=n_groups)[groups]
        return code, error + 0.1 * rng.normal(size=len(groups)), groups

    X, y, groups = grouped(200)
    X_new, y_new, _ = grouped(400)
    trees = ExtraTreesRegressor(30, random_state=0)
    model = ConformalRegressor(trees, cv=2, random_state=0)
    with pytest.warns(UserWarning, match="calibration rows equal a training row"):
        model.fit(X, y)
    by_row = covered(model, X_new, y_new[:, None])
    by_group = covered(model.fit(X, y, groups=groups), X_new, y_new[:, None])
    assert by_row < 0.6
    assert by_group == pytest.approx(0.9, abs=0.06)


def test_scaffolds_and_smiles(smiles, tmp_path):
    X, y = smiles
    network = make_pipeline(
        SmilesToGraph("chemprop"), MultiTaskGNNRegressor(max_epochs=1, random_state=0)
    )
    model = ConformalRegressor(
        network, groups=scaffold_groups, cv=2, coverage=0.7, random_state=0
    ).fit(X, y)
    ends = model.predict_interval([*X[:3], "CCCCCCN"])
    assert ends.shape == (4, 2, 2)
    assert (ends[..., 0] < ends[..., 1]).all()
    model.save(tmp_path / "model")
    again = ConformalRegressor.load(tmp_path / "model")
    assert again.groups is scaffold_groups
    found = again.predict_interval(X)
    np.testing.assert_array_equal(found, model.predict_interval(X))
    graphs = SmilesToGraph("chemprop").transform(X)
    model.set_params(estimator=network[-1], groups=None).fit(graphs, y)
    assert model.predict_interval(graphs[:3]).shape == (3, 2, 2)


@pytest.mark.filterwarnings("ignore:.*invalid graph:UserWarning")
@pytest.mark.filterwarnings("ignore:.*are left out:UserWarning")
def test_rows_that_cannot_be_read_do_not_calibrate(smiles):
    X, y = smiles
    network = make_pipeline(
        SmilesToGraph("chemprop", on_error="nan"),
        MultiTaskGNNRegressor(max_epochs=1, random_state=0),
    )
    X[3] = "no molecule"
    fold = [(list(range(12, 24)), list(range(12)))]
    model = ConformalRegressor(network, cv=fold, coverage=0.7).fit(X, y)
    assert np.isnan(model.residuals_[3]).all()
    ends = model.predict_interval([X[0], "nothing"])
    assert np.isfinite(ends[0]).all()
    assert np.isnan(ends[1]).all()
    rows = ~np.isnan(model.residuals_[:, 0])
    assert rows.sum() == 11
    model.coverage = 0.92  # 12 labels were enough, but 11 are not
    with pytest.raises(ValueError, match="has 11 calibration label"):
        model.fit(X, y[:, 0])


# -- a fitted estimator -----------------------------------------------------------


def test_a_fitted_estimator_is_calibrated_as_it_is():
    X, y = linear(3000, 2)
    y = pd.DataFrame(y, columns=["a", "b"])
    fitted = clone(BAYES).fit(X[:500], y[:500])
    model = ConformalRegressor(FrozenEstimator(fitted), method="prefit")
    # Columns in another order are brought into that of the estimator.
    model.fit(X[500:1000], y[500:1000][["b", "a"]])
    assert model.task_names_ == ["a", "b"]
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(
        model.predict(X[:5], return_std=True)[1], fitted.predict(X[:5], True)[1]
    )
    share = covered(model, X[1000:], y[1000:].to_numpy())
    assert share == pytest.approx(0.9, abs=0.035)
    # An array has no names, so that those of the fit hold.
    plain = clone(model).fit(X[500:1000], y[500:1000].to_numpy())
    assert plain.task_names_ == ["a", "b"]
    assert plain.score(X, y[["b", "a"]]) == plain.score(X, y)
    # A clone keeps what is frozen, and loses what is not.
    assert clone(model).fit(X[500:], y[500:]).predict(X[:1]).shape == (1, 2)
    bare = ConformalRegressor(fitted, method="prefit").fit(X[500:], y[500:])
    with pytest.raises(NotFittedError, match="prefit.*PerTaskRegressor.*FrozenEst"):
        clone(bare).fit(X, y)


@pytest.mark.parametrize("method", ["split", "cross"])
def test_a_frozen_estimator_is_not_fitted_again(method, numbers):
    X, y = numbers
    frozen = FrozenEstimator(clone(LINE).fit(X, y))
    with pytest.raises(ValueError, match=f"'{method}'.*frozen. Set method='prefit'"):
        ConformalRegressor(frozen, method=method).fit(X, y)


def test_training_rows_of_a_fitted_estimator_are_noticed(numbers):
    X, y = numbers
    trees = PerTaskRegressor(ExtraTreesRegressor(5, random_state=0)).fit(X, y)
    model = ConformalRegressor(trees, method="prefit")
    count = y["Tb"].notna().sum()
    with pytest.warns(UserWarning, match=f"{count} of {count} calibration labels"):
        model.fit(X, y)
    network = MultiTaskGNNRegressor(max_epochs=1, random_state=0).fit(X, y)
    pipe = make_pipeline(StandardScaler().fit(X), network)
    with pytest.warns(UserWarning, match="'Tb', 'logP' have the mean of the training"):
        ConformalRegressor(pipe, method="prefit", coverage=0.5).fit(X, y)
    # Its means are those of logarithms.
    network = clone(network).set_params(target_transform="log").fit(X, np.exp(y))
    with pytest.warns(UserWarning, match="'Tb', 'logP' have the mean of the training"):
        ConformalRegressor(network, method="prefit", coverage=0.5).fit(X, np.exp(y))
    half = clone(trees).fit(X[:30], y[:30])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ConformalRegressor(half, method="prefit").fit(X[30:], y[30:])
        # Labels that have no logarithm are new ones, and no error.
        ConformalRegressor(network, method="prefit", coverage=0.5).fit(X, -np.exp(y))


# -- rows on both sides -----------------------------------------------------------


def test_folds_must_not_share_rows(numbers):
    X, y = numbers
    folds = [(list(range(30)), list(range(28, 60)))]
    with pytest.raises(ValueError, match="Fold 0 of cv calibrates on training.*28, 29"):
        ConformalRegressor(LINE, cv=folds).fit(X, y)
    with pytest.raises(ValueError, match="Each row must be in one test fold"):
        ConformalRegressor(LINE, method="cross", cv=ShuffleSplit(2)).fit(X, y)


def test_equal_rows_on_both_sides_are_reported(numbers, smiles):
    X, y = numbers
    X[40] = X[3]
    folds = [(list(range(30)), list(range(30, 60)))]
    with pytest.warns(UserWarning, match="1 of 30 calibration rows.*rows 40.*groups"):
        ConformalRegressor(LINE, cv=folds).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ConformalRegressor(LINE, cv=[(range(30), range(41, 60))]).fit(X, y)
    graphs = SmilesToGraph().transform(["CC", "CCC", "CC"])
    keys = [row_keys(values) for values in (graphs, ["CC", "CCC", "CC"], [0, 1, 0])]
    for found in keys:
        assert found[0] == found[2] != found[1]
    assert row_keys(graphs.without_ids()) is None
    assert row_keys(np.zeros((2, 2, 2))) is None
    table = pd.DataFrame({"a": ["C", "C"], "b": [1.0, 2.0]})
    assert len(set(row_keys(table))) == 2


# -- what is refused --------------------------------------------------------------


def test_a_task_with_too_few_labels_is_refused_before_the_fit(numbers):
    X, y = numbers
    y.loc[8:, "logP"] = np.nan

    class Never(Zero):
        def fit(self, X, y):
            raise AssertionError("fitted")

    few = int(y["logP"].notna().sum())
    with pytest.raises(ValueError, match=rf"'logP' has {few} cal.*needs at least 9"):
        ConformalRegressor(Never(), method="cross", cv=2).fit(X, y)
    with pytest.raises(ValueError, match="Task 'Tb' has .*0.95 needs at least 19"):
        ConformalRegressor(Never(), coverage=0.95).fit(X, y)
    fold = [(list(range(8)), list(range(8, 60)))]
    with pytest.raises(ValueError, match="Task 'logP' has 0 calibration label"):
        ConformalRegressor(Never(), cv=fold).fit(X, y)


def test_a_higher_coverage_than_that_of_the_fit_needs_its_labels(numbers):
    X, y = numbers
    model = ConformalRegressor(LINE, cv=2, coverage=0.8, random_state=0).fit(X, y)
    n = (~np.isnan(model.residuals_)).sum(axis=0)
    assert model.predict_interval(X, coverage=0.9).shape == (60, 2, 2)
    with pytest.raises(ValueError, match=rf"'Tb' has {n[0]} cal.*0.99 needs .* 99"):
        model.predict_interval(X, coverage=0.99)
    with pytest.raises(ValueError, match="between 0 and 1, such as 0.9, but is 90"):
        model.predict_interval(X, coverage=90)
    with pytest.raises(ValueError, match="between 0 and 1"):
        ConformalRegressor(LINE, coverage=1.0).fit(X, y)
    narrow, wide = (np.diff(model.predict_interval(X, c)) for c in (None, 0.9))
    np.testing.assert_array_equal(narrow, np.diff(model.predict_interval(X, 0.8)))
    assert (wide >= narrow).all()


def test_a_small_category_is_refused_by_name(numbers):
    X, y = numbers

    def kind(X):
        return np.where(np.arange(len(X)) < 3, "rare", "common")

    with pytest.raises(ValueError, match="'Tb' has . calibration.*category 'rare'"):
        ConformalRegressor(LINE, cv=2, categories=kind).fit(X, y)
    with pytest.raises(ValueError, match=r"categories must.*the shape \(1,\)"):
        ConformalRegressor(LINE, cv=2, categories=lambda X: ["a"]).fit(X, y)


def test_a_width_that_does_not_exist_says_what_to_set(numbers):
    X, y = numbers
    with pytest.raises(ValueError, match="return_std is not.*normalise=None"):
        ConformalRegressor(LINE, normalise="std").fit(X, y)
    model = ConformalRegressor(LINE, cv=2).fit(X, y)
    with pytest.raises(ValueError, match="PerTaskRegressor: return_std is not poss"):
        model.predict(X, return_std=True)
    X[:, 0] = 0.0
    with pytest.raises(ValueError, match=r"\d+ of \d+ are zero"):
        ConformalRegressor(Zero(), normalise="std", cv=2).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "jackknife"}, "method"),
        ({"normalise": "mad"}, "normalise"),
        ({"groups": [1, 2]}, "groups"),
        ({"categories": "scaffold"}, "categories"),
    ],
)
def test_other_parameters_are_refused(parameters, message, numbers):
    with pytest.raises(ValueError, match=f"The '{message}' parameter"):
        ConformalRegressor(LINE, **parameters).fit(*numbers)


# -- the contract -----------------------------------------------------------------


@pytest.mark.parametrize("method", ["split", "cross"])
def test_numbers_do_not_depend_on_jobs_and_survive_pickling(method, numbers):
    X, y = numbers
    members = EnsembleRegressor(BAYES, 2, random_state=0)
    model = ConformalRegressor(
        members, method=method, normalise="std", cv=3, random_state=0
    )
    expected = model.fit(X, y).predict_interval(X)
    parallel = clone(model).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(parallel.predict_interval(X), expected)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_interval(X), expected)


def test_one_task_and_weights(numbers):
    X, y = numbers
    weight = np.ones(60)
    weight[::3] = 0
    model = ConformalRegressor(LINE, method="cross", cv=3, random_state=0)
    model.fit(X, y["Tb"], sample_weight=weight)
    assert np.isnan(model.residuals_[::3]).all()
    assert model.predict(X).shape == (60,)
    assert model.predict_interval(X).shape == (60, 1, 2)
    y_gap = y["Tb"].where(weight > 0)
    other = clone(model).fit(X, y_gap)
    np.testing.assert_allclose(other.predict_interval(X), model.predict_interval(X))


def test_parameters_are_searched_and_scored(numbers):
    X, y = numbers
    y = y.fillna(0)
    search = GridSearchCV(
        ConformalRegressor(LINE, cv=2, random_state=0),
        {"estimator__estimator__alpha": [0.1, 1e4]},
        cv=2,
    ).fit(X, y)
    assert search.best_params_ == {"estimator__estimator__alpha": 0.1}
    assert search.predict(X).shape == (60, 2)
    scores = cross_val_score(
        ConformalRegressor(LINE, cv=GroupKFold(3), groups=lambda X: np.arange(len(X))),
        X,
        y,
        cv=2,
    )
    assert (scores > 0.5).all()


def test_the_filters_of_warnings_stay(numbers, monkeypatch):
    X, y = numbers
    for name in [n for n in sys.modules if n.split(".")[0] == "crepes"]:
        monkeypatch.delitem(sys.modules, name)  # imported again, as in a new process
    before = list(warnings.filters)
    ConformalRegressor(LINE, cv=2).fit(X, y).predict_interval(X)
    assert warnings.filters == before
