"""Deviations and intervals of mixtures of members."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.ensemble import (
    BlendRegressor,
    EnsembleRegressor,
    GroupedRegressor,
    HybridRegressor,
    PerTaskRegressor,
)
from skgnn_mtl.ensemble._members import mean_squares
from skgnn_mtl.ensemble._widths import Mixture, moments_of, takes_return_std
from skgnn_mtl.metrics._widths import half_width

BAYES = PerTaskRegressor(BayesianRidge())
PLAIN = PerTaskRegressor(Ridge())
TREE = PerTaskRegressor(DecisionTreeRegressor(splitter="random", max_depth=3))
IDENTITY = FunctionTransformer()


class Embedding(PerTaskRegressor):
    """A linear model whose embedding is its input."""

    def embed(self, X):
        return np.asarray(X)


class Picky(RegressorMixin, BaseEstimator):
    """Takes return_std, but cannot answer."""

    def fit(self, X, y):
        self.mean_ = np.nanmean(y, axis=0)
        return self

    def predict(self, X, return_std=False):
        if return_std:
            raise ValueError("return_std=True needs loss='gaussian_nll'.")
        return np.broadcast_to(self.mean_, (len(X), *np.shape(self.mean_)))


# -- the mixture ------------------------------------------------------------------


def test_the_total_variance_by_hand():
    # Means 1 and 3 with variances 2 and 4: mean 2 or, by weights 1/4 and 3/4, 2.5.
    means = np.array([[[1.0]], [[3.0]]])
    variances = [np.array([[2.0]]), np.array([[4.0]])]
    equal = Mixture(means, variances, ["a", "b"], "")
    assert equal.mean()[0, 0] == 2.0
    assert equal.variance()[0, 0] == 3.0 + 1.0
    weighted = Mixture(means, variances, ["a", "b"], "", np.array([[0.25], [0.75]]))
    assert weighted.mean()[0, 0] == 2.5
    # 0.25 * 2 + 0.75 * 4, and 0.25 * 1.5 ** 2 + 0.75 * 0.5 ** 2
    assert weighted.variance()[0, 0] == pytest.approx(3.5 + 0.75)


def test_the_variance_is_that_of_draws_from_the_members():
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(size=(3, 2, 2)), rng.uniform(0.5, 2, (3, 2, 2))
    weights = rng.dirichlet(np.ones(3), size=2).T
    mixture = Mixture(means, list(deviations**2), list("abc"), "", weights)
    for n in range(2):
        for t in range(2):
            member = rng.choice(3, size=400_000, p=weights[:, t])
            draws = rng.normal(means[member, n, t], deviations[member, n, t])
            assert mixture.mean()[n, t] == pytest.approx(draws.mean(), abs=0.01)
            assert mixture.variance()[n, t] == pytest.approx(draws.var(), rel=0.01)


def test_a_member_without_weight_does_not_count():
    means = np.array([[[1.0]], [[np.nan]]])
    mixture = Mixture(
        means, [np.ones((1, 1)), means[1]], list("ab"), "", np.array([[1.0], [0.0]])
    )
    assert mixture.variance()[0, 0] == 1.0
    assert mixture.mean()[0, 0] == 1.0


def test_mean_squares_count_labelled_rows_by_weight():
    truth = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [5.0, np.nan]])
    found = np.array([[2.0, 0.0], [4.0, 0.0], [9.0, 0.0], [np.nan, 0.0]])
    weights = np.array([[3.0], [1.0], [1.0], [1.0]])
    errors = mean_squares((found - truth) ** 2, weights)
    assert errors[0] == (3 * 1 + 1 * 4) / 4
    assert np.isnan(errors[1])


@pytest.mark.parametrize("coverage", [0, 1, 90, -0.1, "0.9", None, np.nan])
def test_a_coverage_is_between_0_and_1(coverage, numbers):
    X, y = numbers
    for model in (BAYES, EnsembleRegressor(BAYES, 2), BlendRegressor([("a", BAYES)])):
        with pytest.raises(ValueError, match="between 0 and 1"):
            model.fit(X, y).predict_interval(X, coverage=coverage)


# -- which estimators have a width ------------------------------------------------


def test_a_width_is_found_through_pipelines_searches_and_ensembles():
    search = GridSearchCV(Ridge(), {"alpha": [1.0]})
    scored = GridSearchCV(Ridge(), {"alpha": [1.0]}, scoring="neg_mean_squared_error")
    assert takes_return_std(make_pipeline(StandardScaler(), BAYES))
    assert takes_return_std(GridSearchCV(BayesianRidge(), {}))
    assert takes_return_std(PerTaskRegressor(scored))
    assert takes_return_std(EnsembleRegressor(PLAIN))
    mixed = [("plain", PLAIN), ("bayes", BAYES), ("none", None)]
    assert takes_return_std(BlendRegressor(mixed, weights="oof"))
    assert takes_return_std(BlendRegressor([*mixed[:1], ("other", PLAIN)]))
    assert takes_return_std(BlendRegressor(mixed[1:]))
    assert takes_return_std(HybridRegressor())
    assert takes_return_std(HybridRegressor(BAYES))
    assert takes_return_std(HybridRegressor(PLAIN, Ridge()))
    assert takes_return_std(HybridRegressor(PLAIN, embeddings=True))
    assert takes_return_std(HybridRegressor(blend=False))
    for without in (
        BlendRegressor(mixed),
        BlendRegressor(mixed[:1]),
        EnsembleRegressor(PLAIN, 1),
        HybridRegressor(PLAIN),
        HybridRegressor(BAYES, Ridge()),
        HybridRegressor(BAYES, Ridge(), blend=False),
        Ridge(),
        PLAIN,
        search,
        make_pipeline(search),
        object(),
    ):
        assert not takes_return_std(without)


def test_a_search_by_the_squared_error_has_the_variance_of_its_folds(numbers):
    X, y = numbers
    column = y["Tb"].to_numpy()
    rows = ~np.isnan(column)
    search = GridSearchCV(
        Ridge(), {"alpha": [1.0, 100.0]}, scoring="neg_mean_squared_error", cv=KFold(4)
    )
    model = PerTaskRegressor(search).fit(X, column)
    errors = [
        np.mean(
            (
                Ridge().fit(X[rows][a], column[rows][a]).predict(X[rows][b])
                - column[rows][b]
            )
            ** 2
        )
        for a, b in KFold(4).split(X[rows])
    ]
    _, std = model.predict(X[:3], return_std=True)
    np.testing.assert_allclose(std, np.sqrt(np.mean(errors)))
    # Of several tasks, the score is a mean over tasks.
    search.scoring = "neg_mean_squared_error"
    both = search.fit(X, X[:, :2])
    assert moments_of(both, X, 2, "a")[1] is None
    own = GridSearchCV(
        BayesianRidge(), {"tol": [1e-3]}, scoring="neg_mean_squared_error"
    ).fit(X[rows], column[rows])
    expected = own.best_estimator_.predict(X, return_std=True)[1] ** 2
    # At the end of a pipeline, too, whose predict cannot pass on return_std.
    for member in (own, make_pipeline(own), make_pipeline("passthrough", own)):
        found = moments_of(member, X, 1, "a")[1]
        np.testing.assert_array_equal(found[:, 0], expected)


def test_an_estimator_that_cannot_answer_has_no_width(numbers):
    X, y = numbers
    mean, variance = moments_of(Picky().fit(X, y), X, 2, "a")
    assert variance is None
    assert mean.shape == (60, 2)
    picky = EnsembleRegressor(Picky(), 3, resample="folds").fit(X, y)
    _, std = picky.predict(X, return_std=True)
    assert (std**2 >= picky.oof_mse_).all()
    with pytest.raises(ValueError, match="the fault is another"):
        moments_of(Faulty().fit(X, y), X, 2, "a")


class Faulty(Picky):
    def predict(self, X, return_std=False):
        if return_std:
            raise ValueError("the fault is another")
        return super().predict(X)


# -- one learner for each task ----------------------------------------------------


def test_deviations_per_task_are_those_of_the_estimators(numbers):
    X, y = numbers
    model = PerTaskRegressor(
        make_pipeline(StandardScaler(), GaussianProcessRegressor(RBF() + WhiteKernel()))
    ).fit(X, y)
    mean, std = model.predict(X[:5], return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X[:5]))
    for t, part in enumerate(model.estimators_):
        expected = part.predict(X[:5], return_std=True)[1]
        np.testing.assert_allclose(std[:, t], expected)
    ends = model.predict_interval(X[:5], coverage=0.8)
    assert ends.shape == (5, 2, 2)
    np.testing.assert_allclose(ends[..., 0], mean - half_width(0.8) * std)
    np.testing.assert_allclose(ends[..., 1], mean + half_width(0.8) * std)


def test_deviations_beside_large_means_are_not_rounded(numbers):
    X, y = numbers
    model = PerTaskRegressor(BayesianRidge()).fit(X, y["Tb"] + 1e9)
    expected = model.estimators_[0].predict(X, return_std=True)[1]
    _, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(std, expected, rtol=1e-12)


def test_one_dimension_stays_one(numbers):
    X, y = numbers
    model = PerTaskRegressor(BayesianRidge()).fit(X, y["Tb"])
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (60,)
    assert model.predict_interval(X).shape == (60, 1, 2)


def test_a_transform_brings_the_ends_of_intervals_back(numbers):
    X, y = numbers
    inside = PerTaskRegressor(BayesianRidge()).fit(X, y)
    model = PerTaskRegressor(
        BayesianRidge(),
        target_transform={
            "Tb": "log10",
            "logP": FunctionTransformer(np.negative, np.negative),
        },
    ).fit(X, pd.DataFrame({"Tb": 10 ** y["Tb"], "logP": -y["logP"]}))
    found, expected = (m.predict_interval(X, 0.7) for m in (model, inside))
    np.testing.assert_allclose(found[:, 0], 10 ** expected[:, 0])
    # A falling transform exchanges the ends.
    np.testing.assert_allclose(found[:, 1], -expected[:, 1, ::-1])
    mean, std = model.predict(X, return_std=True)
    m, s = inside.predict(X, return_std=True)
    np.testing.assert_allclose(mean[:, 0], 10 ** m[:, 0])
    lognormal = TargetTransforms(("Tb",), ("log10",)).inverse_std(m[:, :1], s[:, :1])
    np.testing.assert_allclose(std[:, :1], lognormal)
    np.testing.assert_allclose(std[:, 1], s[:, 1])


def test_a_learner_without_a_width_says_what_to_set(numbers):
    X, y = numbers
    model = PLAIN.fit(X, y)
    for ask in (
        lambda: model.predict(X, return_std=True),
        lambda: model.predict_interval(X),
    ):
        with pytest.raises(ValueError, match=r"task 'Tb'.*return_std.*BayesianRidge"):
            ask()


# -- members of one kind ----------------------------------------------------------


def test_members_of_folds_have_their_error_out_of_fold(numbers):
    X, y = numbers
    tree = PerTaskRegressor(DecisionTreeRegressor(max_depth=3))
    model = EnsembleRegressor(tree, 3, resample="folds", random_state=0).fit(X, y)
    errors = (model.oof_predictions_ - y.to_numpy()) ** 2
    np.testing.assert_allclose(model.oof_mse_, np.nanmean(errors, axis=0))
    means = np.stack([m.predict(X) for m in model.estimators_])
    _, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(std**2, model.oof_mse_ + means.var(axis=0))
    model.set_params(resample="seeds").fit(X, y)
    assert not hasattr(model, "oof_mse_")


@pytest.mark.parametrize(
    "model",
    [
        TREE,
        EnsembleRegressor(TREE, 1),
        BlendRegressor([("a", TREE), ("b", None)]),
        GroupedRegressor(TREE, [[0], [1]]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_one_member_has_no_spread(model, numbers):
    X, y = numbers
    with pytest.raises(ValueError, match="return_std is not possible"):
        model.fit(X, y).predict(X, return_std=True)
    # Several of them have that of their means.
    outer = EnsembleRegressor(model, 2, random_state=0).fit(X, y)
    means = np.stack([member.predict(X) for member in outer.estimators_])
    _, std = outer.predict(X, return_std=True)
    np.testing.assert_allclose(std, means.std(axis=0))
    assert std.any()


def test_without_folds_there_is_the_spread_but_no_interval(numbers):
    X, y = numbers
    model = EnsembleRegressor(TREE, 3, random_state=0).fit(X, y)
    means = np.stack([m.predict(X) for m in model.estimators_])
    _, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(std, means.std(axis=0))
    with pytest.raises(ValueError, match="Member 0.*not known. Use resample='folds'"):
        model.predict_interval(X)


# -- members of different kinds ---------------------------------------------------


def test_a_blend_adds_the_variances_by_weight(numbers):
    X, y = numbers
    pipe = make_pipeline(StandardScaler(), PerTaskRegressor(BayesianRidge()))
    model = BlendRegressor(
        [("a", BAYES), ("b", pipe)], weights=[[0.2, 1.0], [0.8, 0.0]]
    ).fit(X, y)
    (m1, s1), (m2, s2) = (
        m.predict(X, return_std=True) for m in model.named_estimators_.values()
    )
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, [0.2, 1.0] * m1 + [0.8, 0.0] * m2)
    variance = [0.2, 1.0] * (s1**2 + (m1 - mean) ** 2) + [0.8, 0.0] * (
        s2**2 + (m2 - mean) ** 2
    )
    np.testing.assert_allclose(std**2, variance)
    np.testing.assert_allclose(std[:, 1], s1[:, 1])
    ends = model.predict_interval(X, 0.5)
    np.testing.assert_allclose(np.diff(ends)[..., 0] / 2, half_width(0.5) * std)


def test_a_blend_with_learned_weights_knows_the_noise_of_its_members(numbers):
    X, y = numbers
    weight = np.random.default_rng(1).uniform(size=60)
    model = BlendRegressor(
        [("plain", PLAIN), ("bayes", BAYES)], weights="oof", cv=KFold(3)
    ).fit(X, y, sample_weight=weight)
    squares = np.full((60, 2), np.nan)
    for train, test in KFold(3).split(X):
        PLAIN.fit(X[train], y.iloc[train], sample_weight=weight[train])
        squares[test] = (PLAIN.predict(X[test]) - y.to_numpy()[test]) ** 2
    for t in range(2):
        rows = ~np.isnan(squares[:, t])
        expected = np.average(squares[rows, t], weights=weight[rows])
        assert model.oof_mse_[0, t] == pytest.approx(expected)
    (plain, bayes), weights = model.estimators_, model.weights_
    m1, (m2, s2) = plain.predict(X), bayes.predict(X, return_std=True)
    mean, std = model.predict(X, return_std=True)
    within = weights[0] * model.oof_mse_[0] + weights[1] * s2**2
    between = weights[0] * (m1 - mean) ** 2 + weights[1] * (m2 - mean) ** 2
    np.testing.assert_allclose(std**2, within + between)
    assert not hasattr(model.set_params(weights=None).fit(X, y), "oof_mse_")


def test_a_blend_refuses_a_known_width_beside_an_unknown_one(numbers):
    X, y = numbers
    model = BlendRegressor([("plain", PLAIN), ("bayes", BAYES)]).fit(X, y)
    for ask in (
        lambda: model.predict(X, return_std=True),
        lambda: model.predict_interval(X),
    ):
        with pytest.raises(ValueError, match=r"'plain'.: .*Use weights='oof'") as error:
            ask()
        assert "bayes'" not in str(error.value)
    spread = BlendRegressor([("a", PLAIN), ("b", PerTaskRegressor(Ridge(50)))])
    means = [m.predict(X) for m in spread.fit(X, y).estimators_]
    _, std = spread.predict(X, return_std=True)
    np.testing.assert_allclose(std, np.std(means, axis=0))
    with pytest.raises(ValueError, match="not known"):
        spread.predict_interval(X)


def test_a_mere_spread_is_no_width_of_a_member(numbers):
    X, y = numbers
    spread = EnsembleRegressor(PLAIN, 2)
    total = EnsembleRegressor(PLAIN, 2, resample="folds", random_state=0)
    frozen = FrozenEstimator(clone(spread).fit(X, y))
    for inner in (spread, make_pipeline(StandardScaler(), spread), frozen):
        blend = BlendRegressor([("inner", inner), ("bayes", BAYES)]).fit(X, y)
        with pytest.raises(ValueError, match="'inner'"):
            blend.predict(X, return_std=True)
    for inner in (total, make_pipeline(StandardScaler(), total)):
        blend = BlendRegressor([("inner", inner)]).fit(X, y)
        for found, expected in zip(
            blend.predict(X, return_std=True),
            blend.estimators_[0].predict(X, return_std=True),
            strict=True,
        ):
            np.testing.assert_allclose(found, expected)


# -- hybrids ----------------------------------------------------------------------


def test_a_hybrid_adds_network_and_learner(numbers):
    X, y = numbers
    model = HybridRegressor(BAYES, BayesianRidge(tol=0.1), descriptors=IDENTITY)
    model.fit(X, y)
    (m1, s1), (m2, s2) = (
        part.predict(X, return_std=True) for part in (model.network_, model.learner_)
    )
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, (m1 + m2) / 2)
    np.testing.assert_allclose(std**2, (s1**2 + s2**2) / 2 + (m1 - m2) ** 2 / 4)
    alone = model.set_params(blend=False).fit(X, y)
    np.testing.assert_allclose(alone.predict(X, return_std=True)[1], s2)


def test_a_hybrid_with_embeddings_knows_the_error_of_its_network(numbers):
    X, y = numbers
    network = Embedding(LinearRegression())
    model = HybridRegressor(
        network,
        BayesianRidge(),
        descriptors=IDENTITY,
        embeddings=True,
        cv=KFold(3),
    ).fit(X, y)
    squares = np.full((60, 2), np.nan)
    for train, test in KFold(3).split(X):
        network.fit(X[train], y.iloc[train])
        squares[test] = (network.predict(X[test]) - y.to_numpy()[test]) ** 2
    np.testing.assert_allclose(model.oof_mse_, np.nanmean(squares, axis=0))
    _, std = model.predict(X, return_std=True)
    assert (std**2 > model.oof_mse_ / 2).all()
    before = model.predict(X)
    # Until the next fit, predictions are those of the last one.
    np.testing.assert_array_equal(model.set_params(embeddings=False).predict(X), before)
    model.fit(X, y)
    assert not hasattr(model, "oof_mse_")
    with pytest.raises(ValueError, match=r"network'?\]?: .*such as the default"):
        model.predict(X, return_std=True)


def test_the_default_learner_has_its_error_out_of_fold(numbers):
    X, y = numbers
    model = HybridRegressor(BAYES, descriptors=IDENTITY, cv=2, random_state=0)
    model.fit(X, y)
    errors = [-search.best_score_ for search in model.learner_.estimators_]
    _, std = model.learner_.predict(X, return_std=True)
    np.testing.assert_allclose(std**2, np.broadcast_to(errors, std.shape))
    assert np.isfinite(model.predict(X, return_std=True)[1]).all()


class Blind(FunctionTransformer):
    def transform(self, X):
        table = np.array(X, dtype=float)
        table[3:] = np.nan
        return table


@pytest.mark.filterwarnings("ignore:.*NaN in:UserWarning")
def test_rows_without_descriptors_have_no_width(numbers):
    X, y = numbers
    model = HybridRegressor(BAYES, BayesianRidge(), descriptors=IDENTITY).fit(X, y)
    model.descriptors_ = Blind()
    mean, std = model.predict(X, return_std=True)
    assert np.isfinite(std[:3]).all()
    assert np.isnan(mean[3:]).all()
    assert np.isnan(std[3:]).all()
    model.descriptors_ = FunctionTransformer(lambda X: np.full((len(X), 4), np.nan))
    assert np.isnan(model.predict(X, return_std=True)[1]).all()
    assert np.isnan(model.predict_interval(X)).all()


class Unread(BayesianRidge):
    """Cannot read rows of a negative first number."""

    def predict(self, X, return_std=False):
        found = super().predict(X, return_std)
        for table in found if return_std else [found]:
            table[X[:, 0] < 0] = np.nan
        return found


def test_a_row_that_the_network_cannot_read_has_no_width(numbers):
    X, y = numbers
    network = PerTaskRegressor(Unread())
    model = HybridRegressor(
        network, BayesianRidge(), descriptors=IDENTITY, blend=False
    ).fit(X, y)
    for table in model.predict(X, return_std=True):
        np.testing.assert_array_equal(np.isnan(table).all(axis=1), X[:, 0] < 0)
        assert np.isfinite(table[X[:, 0] >= 0]).all()


# -- statistics -------------------------------------------------------------------


def test_normal_intervals_of_a_right_model_cover():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4400, 3))
    y = X @ rng.normal(size=(3, 2)) + [0.5, 2.0] * rng.normal(size=(4400, 2))
    y[rng.random(y.shape) < 0.3] = np.nan
    for model in (
        PerTaskRegressor(BayesianRidge()),
        EnsembleRegressor(PLAIN, 4, resample="folds", random_state=0),
        BlendRegressor([("a", PLAIN), ("b", BAYES)], weights="oof"),
        HybridRegressor(BAYES, BayesianRidge(), descriptors=IDENTITY),
    ):
        model = pickle.loads(pickle.dumps(model.fit(X[:400], y[:400])))
        low, high = np.moveaxis(model.predict_interval(X[400:], 0.9), 2, 0)
        known = ~np.isnan(y[400:])
        inside = (low <= y[400:]) & (y[400:] <= high)
        for t in range(2):
            assert inside[known[:, t], t].mean() == pytest.approx(0.9, abs=0.025)
