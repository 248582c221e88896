"""GATE with labels that are bounds, of sources and of added tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.gate import AdditionModel


@pytest.fixture
def y(gaps):
    return pd.DataFrame(gaps, columns=["a", "b", "c"])


def with_bounds(y, task, entry):
    """The table with an entry in the first three labelled rows of a task."""
    table = y.astype(object)
    rows = np.flatnonzero(y[task].notna())[:3]
    table.iloc[rows, y.columns.get_loc(task)] = entry
    return table, rows


@pytest.mark.parametrize("task", ["a", "c"])
def test_by_default_a_bound_is_an_error_that_says_what_to_set(make, graphs, y, task):
    table, rows = with_bounds(y, task, ">1")
    message = f"'>1' of task '{task}' in row {rows[0]}. Set censored='bound'"
    with pytest.raises(ValueError, match=message):
        make(target_tasks="c").fit(graphs, table)
    with pytest.raises(ValueError, match="'censored' parameter of GATERegressor"):
        make(censored="bounds").fit(graphs, y)


@pytest.mark.parametrize("task", ["a", "c"])
def test_dropped_bounds_are_gaps(make, graphs, y, task):
    table, rows = with_bounds(y, task, "<1e-3")
    found = make(target_tasks="c", censored="drop").fit(graphs, table)
    table.iloc[rows, y.columns.get_loc(task)] = np.nan
    wanted = make(target_tasks="c").fit(graphs, table)
    assert np.array_equal(found.predict(graphs), wanted.predict(graphs))


@pytest.mark.parametrize("task", ["a", "c"])
def test_bounds_that_all_predictions_violate_are_exact_labels(make, graphs, y, task):
    # In a short training all outputs are small, and this bound lies far off.
    high = float(y[task].max() + 50)
    few = {"target_tasks": "c", "max_epochs": 2, "lr": 1e-4}
    table, rows = with_bounds(y, task, f">={high!r}")
    found = make(censored="bound", **few).fit(graphs, table)
    table.iloc[rows, y.columns.get_loc(task)] = high
    wanted = make(**few).fit(graphs, table)
    assert np.array_equal(found.predict(graphs), wanted.predict(graphs))
    # Except for the widths, which are those of exact labels.
    _, narrow = found.predict(graphs, return_std=True)
    _, wide = wanted.predict(graphs, return_std=True)
    column = "abc".index(task)
    assert (narrow[:, column] < 0.8 * wide[:, column]).all()


@pytest.mark.parametrize("task", ["a", "c"])
def test_satisfied_bounds_do_not_pull(make, graphs, y, task):
    few = {"target_tasks": "c", "max_epochs": 2, "lr": 1e-5, "censored": "bound"}
    # Scales count bounds as their numbers, and must be the same here.
    few["normalize_targets"] = False
    found = [
        make(**few).fit(graphs, with_bounds(y, task, f"<{limit}")[0]).predict(graphs)
        for limit in (1e3, 1e4)
    ]
    assert np.array_equal(*found)
    exact = make(**few).fit(graphs, with_bounds(y, task, 1e3)[0]).predict(graphs)
    assert not np.allclose(exact, found[0])


def test_a_task_of_bounds_alone_cannot_be_added(make, graphs, y):
    model = make(censored="bound").fit(graphs, y[["a", "b"]])
    labels = np.array([">1"] * 29 + ["5"], dtype=object)
    with pytest.raises(ValueError, match=r"'t' has 1 exact label\(s\) on valid"):
        model.add_task(graphs, labels, name="t")


def test_sources_are_ranked_by_exact_labels(make, graphs, y, monkeypatch):
    model, chosen = make(censored="bound").fit(graphs, y), []
    build = AdditionModel.__init__

    def spy(self, whole, positions, *rest):
        chosen.append(positions)
        build(self, whole, positions, *rest)

    monkeypatch.setattr(AdditionModel, "__init__", spy)
    predicted = model.predict(graphs)
    # Ten exact labels follow the second source, and the bounds follow the first.
    labels = predicted[:, 1].astype(object)
    labels[10:] = [f"<{1e3 * value:f}" for value in predicted[10:, 0]]
    model.add_task(graphs, labels, name="t", sources=1)
    assert chosen == [[1]]
