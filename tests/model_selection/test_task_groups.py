"""Groups of tasks, from trial fits of sets of tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from skgnn_mtl.model_selection import suggest_task_groups
from skgnn_mtl.model_selection._task_groups import best_partition, effects_of

NAMES = ["a", "b", "c", "d"]
# a and b help each other, c and d too; c hurts a.
HELP = {
    ("a", "b"): -10,
    ("b", "a"): -20,
    ("c", "d"): -5,
    ("d", "c"): -5,
    ("a", "c"): 30,
}


class Friends(RegressorMixin, BaseEstimator):
    """Predicts with an error that follows from the tasks beside a task."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.names_ = list(y.columns)
        self.columns_ = [NAMES.index(name) for name in self.names_]
        self.n_rows_ = len(X)
        return self

    def predict(self, X):
        X = np.asarray(X)
        errors = [
            1 + sum(HELP.get((t, s), 0) for s in self.names_) / 100 for t in self.names_
        ]
        return X[:, self.columns_] + np.array(errors)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 4))
    y = pd.DataFrame(X, columns=NAMES)
    y.iloc[::7, 0] = np.nan
    return X, y


def test_effects_and_groups_are_those_of_the_tasks(table):
    found = suggest_task_groups(Friends(), *table, n_trials=40, random_state=0)
    assert sorted(map(sorted, found.groups)) == [["a", "b"], ["c", "d"]]
    for t in NAMES:
        for s in NAMES:
            wanted = HELP.get((t, s), 0)
            assert found.effects.loc[t, s] == pytest.approx(wanted, abs=0.5)
    # With the same rows, the errors of the last fits are known.
    assert found.errors.loc["a"].tolist() == pytest.approx([0.9, 1.2, 1.0])
    assert found.errors.loc["c"].tolist() == pytest.approx([0.95, 0.95, 1.0])
    together, alone = found.changes()
    assert alone == pytest.approx(100 * (0.9 + 0.8 + 0.95 + 0.95) / 4 - 100)
    assert together == pytest.approx(100 * (0.9 / 1.2 + 3) / 4 - 100)
    assert found.metric == "rmse"
    assert found.overlap.loc["a", "b"] == pytest.approx(85 / 100)


def test_rows_of_the_confirmation_are_in_no_trial(table, monkeypatch):
    X, y = table
    seen = []

    class Watching(Friends):
        def fit(self, X, y):
            seen.append((len(y.columns), frozenset(np.asarray(X)[:, 0])))
            return super().fit(X, y)

        def predict(self, X):
            seen.append((0, frozenset(np.asarray(X)[:, 0])))
            return super().predict(X)

    found = suggest_task_groups(Watching(), X, y, n_trials=3, random_state=0)
    last = seen[-1][1]
    n_fits = 4 + 1 + 3
    assert not any(rows & last for _, rows in seen[: 2 * n_fits])
    # A group of one task, or of all, is not fitted again.
    sets = {tuple(group) for group in found.groups} | {("a", "b", "c", "d")}
    sets |= {(name,) for name in NAMES}
    assert len(seen) == 2 * (n_fits + len(sets))


def test_the_number_of_jobs_does_not_matter(table):
    from joblib import parallel_config

    runs = []
    for n_jobs in (None, 2):
        with parallel_config("threading"):
            runs.append(
                suggest_task_groups(
                    Friends(), *table, n_trials=5, random_state=1, n_jobs=n_jobs
                )
            )
    assert runs[0].groups == runs[1].groups
    pd.testing.assert_frame_equal(runs[0].effects, runs[1].effects)


class Coin(ClassifierMixin, BaseEstimator):
    """A classifier whose order of the rows is right, or random beside other tasks."""

    def fit(self, X, y):
        self.n_ = y.shape[1]
        self.classes_ = [np.array([0.0, 1.0])] * self.n_
        return self

    def predict_proba(self, X):
        X = np.asarray(X)[:, 0]
        score = 1 / (1 + np.exp(-X)) if self.n_ == 1 else np.full(len(X), 0.5)
        return [np.column_stack([1 - score, score])] * self.n_


def test_classifiers_are_compared_by_the_area_under_the_curve():
    X = np.random.default_rng(0).normal(size=(80, 1))
    y = pd.DataFrame({"a": X[:, 0] > 0.3, "b": X[:, 0] + 0.5 > 0.0}).astype(float)
    y.iloc[:10, 0] = 1 - y.iloc[:10, 0]
    y.iloc[10:20, 1] = 1 - y.iloc[10:20, 1]
    found = suggest_task_groups(Coin(), X, y, n_trials=2, random_state=0)
    assert found.metric == "roc_auc"
    assert found.groups == [["a"], ["b"]]


def brute_force(effects):
    """The best of all partitions."""

    def partitions(items):
        if not items:
            yield []
            return
        first, rest = items[0], items[1:]
        for part in partitions(rest):
            yield [[first], *part]
            for k in range(len(part)):
                yield [*part[:k], [first, *part[k]], *part[k + 1 :]]

    return min(cost(effects, part) for part in partitions(list(range(len(effects)))))


def cost(effects, groups):
    return sum(effects[t, s] for g in groups for t in g for s in g if t != s)


@pytest.mark.parametrize("seed", range(8))
def test_partitions_are_the_best_of_all(seed):
    effects = np.random.default_rng(seed).normal(size=(7, 7))
    groups = best_partition(effects)
    assert sorted(t for group in groups for t in group) == list(range(7))
    assert cost(effects, groups) == pytest.approx(brute_force(effects))


def test_the_diagonal_is_no_effect():
    assert best_partition(np.array([[-9.0, 1.0], [1.0, -9.0]])) == [[0], [1]]
    assert best_partition(np.array([[0.0, -1.0], [0.5, 0.0]])) == [[0, 1]]


def test_a_task_without_an_error_has_no_effect():
    trials = pd.DataFrame(
        {
            "task": ["a", "b", "a", "b"],
            "error": [0.0, 1.0, 0.5, np.nan],
            "learned": [("a",), ("b",), ("a", "b"), ("a", "b")],
        }
    )
    assert (effects_of(trials, ["a", "b"]) == 0).all(axis=None)


def test_what_is_wrong_is_named(table):
    X, y = table
    with pytest.raises(ValueError, match="at least two tasks"):
        suggest_task_groups(Friends(), X, y[["a"]])
    with pytest.raises(ValueError, match="n_trials must be a positive integer"):
        suggest_task_groups(Friends(), X, y, n_trials=0)


def test_a_task_with_fewer_labels_than_folds_is_warned_of(table):
    X, y = table
    y.iloc[2:, 3] = np.nan
    with pytest.warns(UserWarning, match="fewer labels than the 5 folds.*'d': 2"):
        found = suggest_task_groups(Friends(), X, y, n_trials=2, random_state=0)
    # With this seed no label of d is among the rows that compare the trials.
    assert found.errors.loc[["a", "b", "c"]].notna().all(axis=None)
    assert (found.effects.loc["d"] == 0).all()


class Shifted(Friends):
    """Has a transform by task, which must name no other one."""

    def __init__(self, random_state=None, target_transform=None):
        super().__init__(random_state)
        self.target_transform = target_transform

    def fit(self, X, y):
        assert set(self.target_transform) == {"a", "d"} & set(y.columns)
        return super().fit(X, y)


def test_transforms_go_with_their_tasks(table):
    model = Shifted(target_transform={"a": "log", "d": None})
    found = suggest_task_groups(model, *table, n_trials=2, random_state=0)
    assert found.effects.shape == (4, 4)
