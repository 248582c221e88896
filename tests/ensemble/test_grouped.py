"""One model for each group of tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.model_selection import cross_validate
from small_estimators import SMILES, small, with_gaps

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph
from skgnn_mtl.ensemble import (
    GroupedClassifier,
    GroupedRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.model_selection._task_groups import best_partition

GRAPHS = SmilesToGraph().fit_transform(SMILES)
Y = pd.DataFrame(
    with_gaps(np.random.default_rng(0).normal(size=(len(SMILES), 3)), 0.1),
    columns=["a", "b", "c"],
)
GROUPS = [["c", "a"], ["b"]]


def test_each_group_has_the_model_of_its_columns():
    model = GroupedRegressor(small(), GROUPS).fit(GRAPHS, Y)
    found = model.predict(GRAPHS)
    for group in GROUPS:
        alone = small().fit(GRAPHS, Y[group]).predict(GRAPHS).reshape(-1, len(group))
        positions = [Y.columns.get_loc(name) for name in group]
        np.testing.assert_array_equal(found[:, positions], alone)
    assert model.task_groups_ == GROUPS
    assert model.task_names_ == ["a", "b", "c"]


def test_transforms_of_the_estimator_go_with_their_tasks():
    y = Y.assign(b=np.exp(Y["b"]))
    model = small(target_transform={"b": "log", "a": None})
    found = GroupedRegressor(model, GROUPS).fit(GRAPHS, y).predict(GRAPHS)
    alone = small(target_transform="log").fit(GRAPHS, y[["b"]]).predict(GRAPHS)
    np.testing.assert_array_equal(found[:, [1]], alone)
    with pytest.raises(ValueError, match="target_transform names the task 'd'"):
        GroupedRegressor(small(target_transform={"d": "log"}), GROUPS).fit(GRAPHS, y)


def test_groups_by_position_are_the_same():
    one, two = (
        GroupedRegressor(small(), groups).fit(GRAPHS, y).predict(GRAPHS)
        for groups, y in ((GROUPS, Y), ([[2, 0], [1]], Y.to_numpy()))
    )
    np.testing.assert_array_equal(one, two)


def test_widths_are_those_of_the_members():
    model = GroupedRegressor(small(), GROUPS).fit(GRAPHS, Y)
    mean, std = model.predict(GRAPHS, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(GRAPHS))
    first = model.estimators_[0].predict(GRAPHS, return_std=True)[1]
    np.testing.assert_allclose(std[:, [2, 0]], first, rtol=1e-12)
    ends = model.predict_interval(GRAPHS, coverage=0.5)
    np.testing.assert_allclose(ends.mean(axis=2), mean)
    assert (ends[..., 1] > ends[..., 0]).all()


def test_no_width_is_no_width_of_zero():
    X = np.arange(10.0)[:, None]
    y = np.column_stack([X[:, 0], -X[:, 0]])
    ridge = PerTaskRegressor(Ridge())
    with pytest.raises(ValueError, match=r"return_std|width"):
        GroupedRegressor(ridge, [[0], [1]]).fit(X, y).predict(X, return_std=True)
    bayes = GroupedRegressor(PerTaskRegressor(BayesianRidge()), [[0], [1]]).fit(X, y)
    assert (bayes.predict(X, return_std=True)[1] > 0).all()


def test_classes_keep_their_names():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = pd.DataFrame(
        {
            "a": np.where(X[:, 0] > 0, "yes", "no"),
            "b": np.where(X[:, 1] > 0, "toxic", "safe"),
        }
    ).astype(object)
    y.iloc[::5, 0] = None
    line = PerTaskClassifier(LogisticRegression())
    model = GroupedClassifier(line, [["b"], ["a"]]).fit(X, y)
    alone = clone(line).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))
    for found, wanted in zip(
        model.predict_proba(X), alone.predict_proba(X), strict=True
    ):
        np.testing.assert_allclose(found, wanted)
    assert [c.tolist() for c in model.classes_] == [["no", "yes"], ["safe", "toxic"]]


def test_a_network_of_classes():
    y = (Y > 0).astype(float).where(Y.notna())
    model = GroupedClassifier(small(MultiTaskGNNClassifier), GROUPS).fit(GRAPHS, y)
    group = small(MultiTaskGNNClassifier).fit(GRAPHS, y[["c", "a"]])
    found, wanted = model.predict_proba(GRAPHS), group.predict_proba(GRAPHS)
    np.testing.assert_array_equal(found[2], wanted[0])


def test_labels_of_weight_zero_do_not_count():
    X, y = np.arange(4.0)[:, None], np.array([[0.0, 0], [1, 1], [2, 2], [99, -99]])
    weight = np.array([1.0, 1, 1, 0])
    mean = PerTaskRegressor(DummyRegressor())
    with pytest.warns(UserWarning, match="does not take sample_weight"):
        model = GroupedRegressor(_Deaf(mean), [[0], [1]]).fit(X, y, weight)
    np.testing.assert_allclose(model.predict(X[:1]), [[1.0, 1.0]])


class _Deaf(PerTaskRegressor):
    def fit(self, X, y):
        return super().fit(X, y)


def test_suggested_groups_are_found_within_each_fold(tmp_path):
    model = GroupedRegressor(small(max_epochs=1), n_trials=1, random_state=0)
    found = cross_validate(model, GRAPHS, Y, cv=2, return_estimator=True)
    for fitted in found["estimator"]:
        assert sorted(n for g in fitted.task_groups_ for n in g) == ["a", "b", "c"]
        assert fitted.task_groups_ == [
            ["abc"[t] for t in group] for group in best_partition(fitted.effects_)
        ]
    given = clone(model).set_params(task_groups=GROUPS).fit(GRAPHS, Y)
    assert not hasattr(given, "effects_")
    found["estimator"][0].save(tmp_path / "model")
    again = GroupedRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.effects_, found["estimator"][0].effects_)


def test_one_task_and_no_division_are_one_group():
    one = GroupedRegressor(small(), random_state=0).fit(GRAPHS, Y["a"])
    assert one.task_groups_ == [["a"]] or one.task_groups_ == [["task_0"]]
    assert one.predict(GRAPHS).shape == (len(SMILES),)
    together = GroupedRegressor(small(), None).fit(GRAPHS, Y)
    np.testing.assert_array_equal(
        together.predict(GRAPHS), small().fit(GRAPHS, Y).predict(GRAPHS)
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["a", "b"]], "'c' in none"),
        ([["a", "b"], ["b", "c"]], "'b' in several"),
        ([["a", "b"], ["c", "d"]], "names the task 'd'"),
        (["a", "b", "c"], "list of lists"),
    ],
)
def test_what_is_no_partition_is_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        GroupedRegressor(small(), groups).fit(GRAPHS, Y)


def test_a_file_keeps_the_groups(tmp_path):
    model = GroupedRegressor(small(), GROUPS).fit(GRAPHS, Y)
    model.save(tmp_path / "model")
    again = GroupedRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(GRAPHS), model.predict(GRAPHS))
    assert again.task_groups_ == GROUPS
