"""Members of one kind."""

import pickle

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.ensemble import (
    EnsembleClassifier,
    EnsembleRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.ensemble._ensemble import draw_rows
from skgnn_mtl.ensemble._members import probabilities_of

TREE = PerTaskRegressor(DecisionTreeRegressor(splitter="random", max_depth=4))


class Recorder(RegressorMixin, BaseEstimator):
    """Keeps the rows that it is given, and predicts the mean of each task."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, groups=None):
        self.rows_, self.groups_ = np.asarray(X)[:, 0], groups
        self.mean_ = np.nanmean(np.asarray(y), axis=0)
        return self

    def predict(self, X):
        return np.broadcast_to(self.mean_, (len(X), *self.mean_.shape))


class Broken(Recorder):
    def fit(self, X, y):
        raise FloatingPointError("the loss is NaN in epoch 3.")


class Gap(Recorder):
    """Predicts NaN in row 1 if its seed is odd."""

    def predict(self, X):
        found = np.array(super().predict(X))
        found[1] = np.nan if self.random_state % 2 else found[1]
        return found


def numbered(n=40):
    y = np.random.default_rng(0).normal(size=(n, 2))
    y[::3, 1] = np.nan
    return np.arange(float(n))[:, None], y


def test_the_prediction_is_the_mean_of_members_with_seeds_of_their_own(numbers):
    X, y = numbers
    model = EnsembleRegressor(TREE, 4, random_state=0).fit(X, y)
    seeds = {m.estimator.random_state for m in model.estimators_}
    assert len(seeds) == 4
    tables = [m.predict(X) for m in model.estimators_]
    np.testing.assert_allclose(model.predict(X), np.mean(tables, axis=0))
    assert TREE.estimator.random_state is None


def test_the_first_members_do_not_depend_on_the_number_of_members(numbers):
    X, y = numbers
    few = EnsembleRegressor(TREE, 2, random_state=3).fit(X, y)
    many = EnsembleRegressor(TREE, 3, random_state=3).fit(X, y)
    for one, other in zip(few.estimators_, many.estimators_[:2], strict=True):
        np.testing.assert_array_equal(one.predict(X), other.predict(X))


def test_seeds_reach_every_depth(numbers):
    X, y = numbers
    inner = PerTaskRegressor(make_pipeline(StandardScaler(), ExtraTreesRegressor(2)))
    model = EnsembleRegressor(inner, 2, random_state=0).fit(X, y)
    seeds = [m.estimator[-1].random_state for m in model.estimators_]
    assert all(isinstance(seed, int) for seed in seeds)
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("resample", ["seeds", "folds", "bootstrap"])
def test_numbers_do_not_depend_on_jobs_and_backend(numbers, resample):
    X, y = numbers
    model = EnsembleRegressor(TREE, 3, resample=resample, random_state=0)
    expected = model.fit(X, y).predict(X)
    for backend in ("loky", "threading"):
        with parallel_config(backend):
            found = clone(model).set_params(n_jobs=2).fit(X, y).predict(X)
        np.testing.assert_array_equal(found, expected)


def test_the_deviation_is_the_spread_of_the_members(numbers):
    X, y = numbers
    model = EnsembleRegressor(TREE, 4, random_state=0).fit(X, y)
    tables = np.stack([m.predict(X) for m in model.estimators_])
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X))
    np.testing.assert_allclose(std, np.sqrt(((tables - mean) ** 2).mean(axis=0)))


@pytest.mark.parametrize("pipe", [False, True])
def test_the_deviations_of_members_add_by_the_law_of_total_variance(numbers, pipe):
    X, y = numbers
    y = y["Tb"].fillna(0.0).to_numpy()
    inner = BayesianRidge()
    inner = make_pipeline(StandardScaler(), inner) if pipe else inner
    model = EnsembleRegressor(inner, 3, resample="bootstrap", random_state=0).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    # Samples of the mixture, an independent way to its moments.
    rng = np.random.default_rng(0)
    moments = [m.predict(X, return_std=True) for m in model.estimators_]
    draws = np.concatenate([rng.normal(a, s, size=(40_000, 60)) for a, s in moments])
    np.testing.assert_allclose(mean, draws.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(std, draws.std(axis=0), rtol=0.02)


def test_each_row_is_predicted_by_the_member_that_left_it_out():
    X, y = numbered()
    model = EnsembleRegressor(Recorder(), 4, resample="folds", random_state=0)
    model.fit(X, y)
    trained = np.zeros(40, dtype=int)
    for member in model.estimators_:
        rows = member.rows_.astype(int)
        trained[rows] += 1
        left_out = np.setdiff1d(np.arange(40), rows)
        assert np.isfinite(y[left_out]).any(axis=0).all()
        np.testing.assert_array_equal(
            model.oof_predictions_[left_out],
            np.broadcast_to(member.mean_, (len(left_out), 2)),
        )
    assert (trained == 3).all()
    assert model.oof_predictions_.shape == y.shape


def test_only_folds_have_predictions_out_of_fold():
    X, y = numbered()
    model = EnsembleRegressor(Recorder(), 4, resample="folds", random_state=0)
    assert model.fit(X, y[:, 0]).oof_predictions_.shape == (40,)
    assert not hasattr(model.set_params(resample="seeds").fit(X, y), "oof_predictions_")


@pytest.mark.parametrize("resample", ["folds", "bootstrap"])
def test_groups_stay_together(resample):
    X, y = numbered()
    groups = np.arange(40) // 4
    model = EnsembleRegressor(Recorder(), 3, resample=resample, random_state=0)
    for member in model.fit(X, y, groups=groups).estimators_:
        drawn = np.bincount(member.rows_.astype(int), minlength=40).reshape(10, 4)
        assert (drawn == drawn[:, :1]).all()
        np.testing.assert_array_equal(member.groups_, groups[member.rows_.astype(int)])


def test_copies_of_a_row_are_one_group_for_a_member():
    X, y = numbered()
    model = EnsembleRegressor(Recorder(), 2, resample="bootstrap", random_state=0)
    for member in model.fit(X, y).estimators_:
        assert len(member.rows_) == 40
        assert len(set(member.rows_)) < 40
        np.testing.assert_array_equal(member.groups_, member.rows_)
    seeds = EnsembleRegressor(Recorder(), 2, random_state=0).fit(X, y)
    assert seeds.estimators_[0].groups_ is None


def test_a_bootstrap_sample_has_a_label_of_each_task():
    presence = pd.DataFrame({"a": np.ones(50), "b": np.nan}, index=range(50))
    presence.loc[7, "b"] = 1.0
    for seed in range(20):
        rows = draw_rows(presence, None, seed)
        assert len(rows) == 50
        assert 7 in rows


def test_an_impossible_bootstrap_names_the_scarcest_task():
    presence = pd.DataFrame(np.where(np.eye(30) > 0, 1.0, np.nan)).add_prefix("task")
    with pytest.raises(ValueError, match=r"'task0' has 1 label\(s\)"):
        draw_rows(presence, None, 0)


def test_the_mean_number_of_copies_of_a_row_is_one():
    presence = pd.DataFrame({"a": np.ones(30)})
    counts = sum(
        np.bincount(draw_rows(presence, None, s), minlength=30) for s in range(400)
    )
    np.testing.assert_allclose(counts / 400, 1.0, atol=0.25)
    # Poisson-like: the variance of a multinomial count.
    assert 350 < counts.mean() < 450


def test_a_member_that_diverges_is_named():
    X, y = numbered()
    with pytest.raises(
        FloatingPointError, match="Member 0: the loss is NaN in epoch 3"
    ):
        EnsembleRegressor(Broken(), 2).fit(X, y)


def test_a_member_that_alone_predicts_nan_is_named():
    X, y = numbered()
    model = EnsembleRegressor(Gap(), 6, random_state=0).fit(X, y)
    odd = [k for k, m in enumerate(model.estimators_) if m.random_state % 2]
    assert 0 < len(odd) < 6
    with pytest.warns(UserWarning, match=f"'Member {odd[0]}'.*: NaN in 1 of 40 rows"):
        found = model.predict(X)
    assert np.isnan(found).any(axis=1).tolist() == [k == 1 for k in range(40)]


def test_a_task_with_too_few_labels_is_named():
    X, y = numbered()
    frame = pd.DataFrame(y, columns=["Tb", "logP"])
    frame.loc[1:, "logP"] = np.nan
    frame.loc[0, "logP"] = 1.0
    model = EnsembleRegressor(Recorder(), 4, resample="folds")
    with (
        pytest.warns(UserWarning, match="'logP': 1"),
        pytest.raises(
            ValueError, match="Task 'logP' has 1 label.*none in the training"
        ),
    ):
        model.fit(X, frame)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_members": 0}, "n_members"),
        ({"resample": "rows"}, "resample"),
        ({"n_members": 1, "resample": "folds"}, "at least 2 with resample='folds'"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    X, y = numbered()
    with pytest.raises(ValueError, match=message):
        EnsembleRegressor(Recorder(), **parameters).fit(X, y)


def test_a_member_of_one_target_is_sent_to_per_task(numbers):
    X, y = numbers

    class Flat(Recorder):
        def predict(self, X):
            return np.zeros(len(X))

    model = EnsembleRegressor(Flat(), 2).fit(X, y)
    with pytest.raises(
        ValueError, match=r"Member 0: .*\(60,\), but y has 2 task.*PerT"
    ):
        model.predict(X)


def test_it_is_searched_validated_and_pickled(numbers):
    X, y = numbers
    model = EnsembleRegressor(TREE, 2, random_state=0)
    grid = {"estimator__estimator__max_depth": [1, 6]}
    search = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(X, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert len(cross_validate(model, X, y, cv=3)["test_score"]) == 3


def test_networks_from_strings_with_invalid_rows(smiles):
    X, y = smiles
    X[3] = None
    network = MultiTaskGNNRegressor("dmpnn", max_epochs=2)
    pipe = make_pipeline(SmilesToGraph(on_error="nan"), network)
    model = EnsembleRegressor(pipe, 2, resample="folds", random_state=0)
    with pytest.warns(UserWarning, match="invalid graph"):
        model.fit(X, y)
    assert np.isnan(model.oof_predictions_).any(axis=1).nonzero()[0].tolist() == [3]
    with pytest.warns(UserWarning, match="invalid graph"):
        mean, std = model.predict(X, return_std=True)
    assert np.isnan(mean[3]).all()
    assert np.isnan(std[3]).all()
    assert (np.delete(std, 3, axis=0) > 0).all()


def test_networks_on_graphs_in_processes(smiles):
    X, y = smiles
    graphs = SmilesToGraph().transform(X)
    network = MultiTaskGNNRegressor("dmpnn", max_epochs=2, early_stopping=True)
    model = EnsembleRegressor(network, 2, resample="bootstrap", random_state=0)
    one = model.fit(graphs, y).predict(graphs)
    two = model.set_params(n_jobs=2).fit(graphs, y).predict(graphs)
    np.testing.assert_array_equal(one, two)


# -- classes ----------------------------------------------------------------------


def test_probabilities_are_averaged(labels):
    X, y = labels
    inner = PerTaskClassifier(DecisionTreeClassifier(max_depth=3))
    model = EnsembleClassifier(inner, 4, resample="bootstrap", random_state=0)
    found = model.fit(X, y).predict_proba(X)
    for t in range(2):
        parts = [m.predict_proba(X)[t] for m in model.estimators_]
        np.testing.assert_allclose(found[t], np.mean(parts, axis=0))
        np.testing.assert_array_equal(
            model.predict(X)[:, t], (found[t][:, 1] > 0.5).astype(float)
        )
    assert 0.8 < model.score(X, y) <= 1


def test_folds_spread_each_class(labels):
    X, y = labels
    y["Tb"] = np.where(np.arange(60) < 3, 1.0, 0.0)
    inner = PerTaskClassifier(LogisticRegression())
    model = EnsembleClassifier(inner, 3, resample="folds", random_state=0).fit(X, y)
    assert model.oof_predictions_.shape == (60, 2)
    assert ((model.oof_predictions_ > 0) & (model.oof_predictions_ < 1)).all()


def test_a_class_that_a_member_never_saw_has_probability_zero():
    X, y = np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 1])
    classes = [np.array([0, 1])]
    both = DecisionTreeClassifier().fit(X, y)
    zero = DecisionTreeClassifier().fit(X[:3], y[:3])
    one = DecisionTreeClassifier().fit(X[3:], y[3:])
    assert probabilities_of(both, X, classes, "a")[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert probabilities_of(zero, X, classes, "a")[:, 0].tolist() == [0] * 6
    assert probabilities_of(one, X, classes, "a")[:, 0].tolist() == [1] * 6
    with pytest.raises(ValueError, match="a: predict_proba gives 1 tasks, .* has 2"):
        probabilities_of(both, X, classes * 2, "a")


def test_a_member_of_one_dimension(numbers):
    X, y = numbers
    y = y["Tb"].fillna(0.0).to_numpy()
    model = EnsembleRegressor(Ridge(), 2).fit(X, y)
    np.testing.assert_allclose(model.predict(X), Ridge().fit(X, y).predict(X))
    assert model.predict(X).shape == (60,)
