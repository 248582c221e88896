"""Members of different kinds."""

import pickle

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, cross_validate
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.ensemble import (
    BlendClassifier,
    BlendRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.ensemble._weights import HALFWAY, shrunk, simplex_weights

LINE = PerTaskRegressor(Ridge())
TREE = PerTaskRegressor(DecisionTreeRegressor(max_depth=2, random_state=0))
MEMBERS = [("line", LINE), ("tree", TREE)]


class Blank(RegressorMixin, BaseEstimator):
    """Predicts NaN in the second of two tasks."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        found = np.zeros((len(X), 2))
        found[:, 1] = np.nan
        return found


# -- weights ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_weights_are_the_minimum_over_the_simplex(seed):
    rng = np.random.default_rng(seed)
    truth = 100 + rng.normal(size=40)
    predictions = truth[:, None] + rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3))
    weight = rng.random(40)

    def error(w):
        return (weight * (predictions @ w - truth) ** 2).sum()

    found = simplex_weights(predictions, truth, weight)
    best = minimize(
        error,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(found, best.x, atol=1e-4)
    assert error(found) <= best.fun * (1 + 1e-9)


def test_two_uncorrelated_members_are_weighed_by_their_variances():
    # Orthogonal errors of squared lengths 1 and 4: weights 4/5 and 1/5.
    truth = np.array([3.0, 7.0])
    predictions = truth[:, None] + np.diag([1.0, 2.0])
    found = simplex_weights(predictions, truth, np.ones(2))
    np.testing.assert_allclose(found, [0.8, 0.2])


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (1e6, 1), (0, 1e-15), (-5, 1e15)])
def test_weights_do_not_depend_on_the_unit(shift, scale):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    predictions = truth[:, None] + rng.normal(size=(30, 2))
    one = simplex_weights(predictions, truth, np.ones(30))
    other = simplex_weights(
        shift + scale * predictions, shift + scale * truth, np.ones(30)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_perfect_member_has_all_the_weight_and_perfect_ones_share_it():
    truth = np.arange(5.0)
    assert simplex_weights(
        np.column_stack([truth, truth + 1]), truth, np.ones(5)
    ) == pytest.approx([1, 0])
    assert simplex_weights(
        np.column_stack([truth, truth]), truth, np.ones(5)
    ) == pytest.approx([0.5, 0.5])


def test_few_labels_give_nearly_equal_weights():
    weights = np.array([1.0, 0.0])
    np.testing.assert_allclose(shrunk(weights, HALFWAY), [0.75, 0.25])
    np.testing.assert_allclose(shrunk(weights, 0), [0.5, 0.5])
    assert shrunk(weights, 10_000)[0] > 0.99


def test_weights_out_of_fold_by_hand(numbers):
    X, y = numbers
    cv = KFold(4, shuffle=True, random_state=1)
    weight = np.random.default_rng(2).random(60)
    model = BlendRegressor(MEMBERS, weights="oof", cv=cv)
    model.fit(X, y, sample_weight=weight)
    tables = np.zeros((2, 60, 2))
    for train, test in cv.split(X):
        for m, (_, part) in enumerate(MEMBERS):
            part = clone(part).fit(X[train], y.iloc[train], weight[train])
            tables[m, test] = part.predict(X[test])
    for t, name in enumerate(y):
        rows = y[name].notna().to_numpy()
        expected = shrunk(
            simplex_weights(tables[:, rows, t].T, y.to_numpy()[rows, t], weight[rows]),
            rows.sum(),
        )
        np.testing.assert_allclose(model.weights_[:, t], expected)
    assert model.weights_[0].min() > 0.6  # the tasks are linear


# -- predictions ------------------------------------------------------------------


def test_the_plain_mean_is_that_of_a_voting_regressor(numbers):
    X, y = numbers
    y = y["Tb"].fillna(0.0).to_numpy()
    parts = [("a", Ridge()), ("b", KNeighborsRegressor())]
    for weights in (None, [3.0, 1.0]):
        peer = VotingRegressor(parts, weights=weights).fit(X, y)
        model = BlendRegressor(parts, weights=weights).fit(X, y)
        np.testing.assert_allclose(model.predict(X), peer.predict(X))


def test_each_task_has_its_weights(numbers):
    X, y = numbers
    model = BlendRegressor(MEMBERS, weights=[[1.0, 0.0], [0.0, 2.0]]).fit(X, y)
    found = model.predict(X)
    np.testing.assert_allclose(found[:, 0], LINE.fit(X, y).predict(X)[:, 0])
    np.testing.assert_allclose(found[:, 1], TREE.fit(X, y).predict(X)[:, 1])
    np.testing.assert_array_equal(model.weights_.sum(axis=0), 1.0)


def test_members_are_cloned_and_named(numbers):
    X, y = numbers
    given = PerTaskRegressor(Ridge())
    model = BlendRegressor([("line", given), ("tree", TREE)]).fit(X, y)
    assert not hasattr(given, "estimators_")
    assert model.named_estimators_.line is model.estimators_[0]
    assert model.task_names_ == ["Tb", "logP"]
    assert model.n_features_in_ == 4


@pytest.mark.parametrize("nothing", [None, "drop"])
def test_a_member_is_left_out_by_name(numbers, nothing):
    X, y = numbers
    model = BlendRegressor(MEMBERS).set_params(tree=nothing).fit(X, y)
    np.testing.assert_allclose(model.predict(X), LINE.fit(X, y).predict(X))
    assert model.names_ == ["line"]
    assert model.weights_.shape == (1, 2)
    with pytest.raises(ValueError, match="that is not left out"):
        model.set_params(line=nothing).fit(X, y)


def test_members_and_their_parameters_are_searched_by_name(numbers):
    X, y = numbers
    model = BlendRegressor(MEMBERS)
    grid = {"line__estimator__alpha": [1e-3, 1e3], "tree": [None, TREE]}
    search = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(X, y)
    assert search.best_params_ == {"line__estimator__alpha": 1e-3, "tree": None}
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert len(cross_validate(model, X, y, cv=3)["test_score"]) == 3


@pytest.mark.parametrize("weights", [None, "oof"])
def test_n_jobs_changes_nothing(numbers, weights):
    X, y = numbers
    one = BlendRegressor(MEMBERS, weights=weights).fit(X, y)
    two = BlendRegressor(MEMBERS, weights=weights, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(one.weights_, two.weights_)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_groups_are_not_split_by_the_folds(numbers):
    X, y = numbers
    seen = []

    class Watcher(Ridge):
        def fit(self, X, y, groups=None):
            seen.append(set(groups))
            return super().fit(X, np.nan_to_num(y))

    groups = np.arange(60) % 6
    model = BlendRegressor([("a", Watcher())], weights="oof", cv=3)
    model.fit(X, y, groups=groups)
    assert [len(part) for part in seen] == [6, 4, 4, 4]


def test_a_network_and_trees_on_strings_with_an_invalid_row(smiles):
    X, y = smiles
    X[3] = "C1CC"
    network = make_pipeline(
        SmilesToGraph(on_error="nan"),
        MultiTaskGNNRegressor("dmpnn", max_epochs=2, random_state=0),
    )

    class Length(StandardScaler):
        def fit(self, X, y=None):
            return super().fit([[len(s)] for s in X])

        def transform(self, X):
            return super().transform([[float(len(s))] for s in X])

    trees = PerTaskRegressor(make_pipeline(Length(), Ridge()))
    model = BlendRegressor([("network", network), ("trees", trees)], weights="oof")
    with pytest.warns(UserWarning, match="invalid graph"):
        model.fit(X, y)
    with (
        pytest.warns(UserWarning, match="'network'.*: NaN in 1 of 24 rows.*: rows 3"),
        pytest.warns(UserWarning, match="invalid graph"),
    ):
        found = model.predict(X)
    assert np.isnan(found).any(axis=1).nonzero()[0].tolist() == [3]


def test_a_member_without_weight_has_no_say_by_nan(numbers):
    X, y = numbers
    parts = [("blank", Blank()), ("line", LINE)]
    model = BlendRegressor(parts, weights=[0.0, 1.0]).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), LINE.fit(X, y).predict(X))


def test_a_member_that_predicts_only_nan_is_named(numbers):
    X, y = numbers
    model = BlendRegressor([("line", LINE), ("blank", Blank())], weights="oof")
    with pytest.raises(ValueError, match="Member 'blank' .* of task 'logP'"):
        model.fit(X, y)


# -- bad input --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"weights": [1.0]}, ValueError, r"\(2,\) or \(2, 2\).*but has \(1,\)"),
        ({"weights": [1.0, -1.0]}, ValueError, "not negative"),
        ({"weights": [[1, 0], [1, 0]]}, ValueError, "not all be zero for a task"),
        ({"weights": "best"}, ValueError, "weights"),
        ({"estimators": LINE}, TypeError, "list of pairs"),
        ({"estimators": []}, ValueError, "not left out"),
        ({"estimators": [("a", LINE), ("a", TREE)]}, ValueError, "not unique"),
        ({"estimators": [("a", 3)]}, TypeError, "Member 'a' must be an estimator"),
        (
            {"estimators": [("a", LogisticRegression())]},
            TypeError,
            "Member 'a' must be a regressor",
        ),
        (
            {"weights": "oof", "cv": ShuffleSplit(2, random_state=0)},
            ValueError,
            "Each row must be in one test fold",
        ),
    ],
)
def test_wrong_parameters_are_refused(numbers, parameters, error, message):
    X, y = numbers
    with pytest.raises(error, match=message):
        BlendRegressor(**{"estimators": MEMBERS, **parameters}).fit(X, y)


# -- classes ----------------------------------------------------------------------

CLASSIFIERS = [
    ("line", PerTaskClassifier(LogisticRegression())),
    ("near", PerTaskClassifier(KNeighborsClassifier(3))),
]


def test_probabilities_are_averaged(labels):
    X, y = labels
    model = BlendClassifier(CLASSIFIERS).fit(X, y)
    parts = [part.fit(X, y).predict_proba(X) for _, part in CLASSIFIERS]
    for t, found in enumerate(model.predict_proba(X)):
        np.testing.assert_allclose(found, (parts[0][t] + parts[1][t]) / 2)
    assert 0.9 < model.score(X, y) <= 1


def test_class_weights_out_of_fold_prefer_the_better_member(labels):
    X, y = labels
    noise = make_pipeline(StandardScaler(), LogisticRegression(C=1e-9))
    members = [*CLASSIFIERS[:1], ("blind", PerTaskClassifier(noise))]
    model = BlendClassifier(members, weights="oof", cv=3).fit(X, y)
    assert (model.weights_[0] > 0.6).all()
