"""Errors of numeric X, y and weights name the entry; found by fuzzing."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN

N = 6
Y = np.arange(float(N))


def make(cls=MultiTaskGNNRegressor, **changes):
    return cls(GIN(4, n_layers=1), max_epochs=1, device="cpu", **changes)


def spoiled(entry):
    table = np.ones((N, 2), dtype=object)
    table[3, 1] = entry
    return table


@pytest.mark.parametrize(
    ("entry", "error", "shown"),
    [
        ("a", ValueError, "'a'"),
        ([1.0], (TypeError, ValueError), r"\[1.0\]"),
        ({}, TypeError, r"\{\}"),
        (10**400, ValueError, "1000.*"),
        (datetime.date(2020, 1, 1), TypeError, "datetime.date"),
        (pd.Timedelta(1, "s"), TypeError, "Timedelta"),
    ],
)
def test_the_entry_of_x_is_named(entry, error, shown):
    message = rf"X must be a table of numbers, but X\[3, 1\] = {shown}"
    with pytest.raises(error, match=message):
        make().fit(spoiled(entry), Y)
    model = make().fit(np.ones((N, 2)), Y)
    with pytest.raises(error, match=message):
        model.predict(spoiled(entry))


def test_a_gap_is_not_the_wrong_entry():
    table = spoiled("a")
    table[0, 0] = pd.NA
    with pytest.raises((TypeError, ValueError), match=r"X\[3, 1\] = 'a'"):
        make().fit(table, Y)


@pytest.mark.parametrize("X", [np.ones(N), np.ones((N, 2, 1)), np.float64(1.0)])
def test_other_dimensions_name_x(X):
    with pytest.raises(ValueError, match="X must be a table of numbers: "):
        make().fit(X, Y)


def test_dates_and_time_spans_are_no_numbers():
    """NumPy would turn them into nanoseconds without a word."""
    times = np.full((N, 2), np.datetime64("2020-01-01", "ns"))
    for X in (times, times - times):
        with pytest.raises(TypeError, match="make numbers of dates and time spans"):
            make().fit(X, Y)
    frame = pd.DataFrame({"a": np.ones(N), "b": times[:, 0]})
    with pytest.raises(TypeError, match="datetime64.* in column 1"):
        make().fit(frame, Y)


@pytest.mark.parametrize("entry", ["a", None, 10**400, [1.0], pd.NA, 1j])
def test_the_weight_is_named(entry, graphs, gaps):
    weights = [1.0] * len(graphs)
    weights[4] = entry
    holder = np.empty(len(graphs), dtype=object)
    for k, weight in enumerate(weights):
        holder[k] = weight
    with pytest.raises(ValueError, match=r"sample_weight\[4\] = "):
        make().fit(graphs, gaps, holder)


@pytest.mark.parametrize("weight", [[], [[1.0]], 1.0])
def test_the_shape_of_weights_is_named(weight, graphs, gaps):
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(30,\)"):
        make().fit(graphs, gaps, weight)


def test_both_lengths_are_named(graphs, gaps):
    with pytest.raises(ValueError, match="X has 30 rows, but y has 29"):
        make().fit(graphs, gaps[1:])


def test_an_empty_x_is_named(graphs):
    with pytest.raises(ValueError, match="X is empty"):
        make().fit(graphs[:0], Y[:0])


def test_lists_among_the_labels_are_named():
    ragged = [[1.0, 2.0], [1.0, [2.0, 3.0]], [1.0, 2.0]]
    with pytest.raises(ValueError, match="task 'task_1' has .* in row 1"):
        make().fit(np.ones((3, 2)), ragged)


def test_labels_that_cannot_be_keys_are_shown(graphs):
    labels = np.array([0, 1] * 15, dtype=object)
    labels[3] = {}
    with pytest.raises(ValueError, match=r"task 'task_0' has {} \(dict\) in row 3"):
        make(MultiTaskGNNClassifier).fit(graphs, labels)


# -- parameters ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.array([1, 2]), pd.NA, "yes", pd.Series([1])])
def test_warm_start_is_checked_before_it_is_used(value, graphs, gaps):
    with pytest.raises(ValueError, match="'warm_start' parameter"):
        make(warm_start=value).fit(graphs, gaps)


def test_text_is_no_splitter(graphs, gaps):
    for value in ("a", b"a"):
        with pytest.raises(ValueError, match="'validation' parameter"):
            make(validation=value).fit(graphs, gaps)


def test_what_a_loss_raises_has_a_note(graphs, gaps):
    with pytest.raises(TypeError) as caught:
        make(loss=int).fit(graphs, gaps)
    assert any("loss=<class 'int'>" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match="loss must .* has shape NoneType"):
        make(loss=lambda *_: None).fit(graphs, gaps)


def test_what_an_optimizer_raises_has_a_note(graphs, gaps):
    with pytest.raises(TypeError) as caught:
        make(optimizer=int).fit(graphs, gaps)
    assert any("optimizer=<class 'int'>" in note for note in caught.value.__notes__)


def test_a_target_task_may_be_an_array_without_dimensions(graphs, gaps):
    model = make(target_tasks=np.array(1), task_weighting="gcs").fit(graphs, gaps)
    twin = make(target_tasks=1, task_weighting="gcs")
    assert model.task_names_ == twin.fit(graphs, gaps).task_names_
    with pytest.raises(ValueError, match="target_tasks names"):
        make(target_tasks=np.array(7)).fit(graphs, gaps)
