"""Errors of a training: what they name, and what they leave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_estimators import SMILES, small

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.training import TrainingStep
from skgnn_mtl.training._faults import (
    NotFinite,
    lacks_memory,
    require_finite_gramian,
    require_finite_weights,
)


@pytest.fixture(scope="module")
def graphs():
    return SmilesToGraph().fit_transform(SMILES)


@pytest.fixture
def y(graphs):
    return np.column_stack([graphs.n_nodes, graphs.n_edges, -graphs.n_nodes]) * 1.0


def breaking(monkeypatch, epoch, change):
    """Change the loss of a batch in an epoch."""
    backward, count = TrainingStep.backward, {"steps": 0}

    def broken(step, model, graphs, labels):
        count["steps"] += 1
        record = backward(step, model, graphs, labels)
        if count["steps"] == epoch:  # an epoch has one step
            change(record, model)
        return record

    monkeypatch.setattr(TrainingStep, "backward", broken)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_loss_names_epoch_and_task(value, graphs, y, monkeypatch):
    def change(record, model):
        record.losses[1] = value

    breaking(monkeypatch, 2, change)
    model = small()
    message = (
        "The training loss of 'task_1' became NaN or infinite in epoch 2. Lower lr"
    )
    with pytest.raises(FloatingPointError, match=message):
        model.fit(graphs, y)
    assert not model.__sklearn_is_fitted__()


def test_a_task_without_a_label_is_not_broken(graphs, y):
    y[:, 2] = np.nan
    y[0, 2] = 1.0
    weights = np.ones(len(y))
    weights[0] = 1e-3
    small(batch_size=8).fit(graphs, y, sample_weight=weights)


def test_a_broken_weight_stops_before_it_is_kept(graphs, y, monkeypatch, tmp_path):
    def change(record, model):
        for parameter in model.parameters():
            parameter.grad.fill_(torch.nan)

    path = tmp_path / "fit"
    expected = small().fit(graphs, y).predict(graphs)
    with monkeypatch.context() as patch:
        breaking(patch, 2, change)
        message = "A weight of the network became NaN or infinite in epoch 2"
        with pytest.raises(FloatingPointError, match=message):
            small(checkpoint=path).fit(graphs, y)
    # What is in the file is the last good state.
    model = small(checkpoint=path).fit(graphs, y)
    np.testing.assert_array_equal(model.predict(graphs), expected)


def test_a_diverging_refit_leaves_the_fitted_model(graphs, y, monkeypatch):
    model = small(warm_start=True).fit(graphs, y)
    before = model.predict(graphs)
    breaking(monkeypatch, 1, lambda record, model: record.losses.fill_(torch.nan))
    with pytest.raises(FloatingPointError, match="'task_0', 'task_1', 'task_2'"):
        model.fit(graphs, y)
    np.testing.assert_array_equal(model.predict(graphs), before)


def test_broken_gradients_name_epoch_and_task(graphs, y, monkeypatch):
    backward = TrainingStep.backward

    def scaled(step, model, graphs, labels):
        with torch.no_grad():
            model.heads.weight[2] = 1e30
        return backward(step, model, graphs, labels)

    monkeypatch.setattr(TrainingStep, "backward", scaled)
    message = "The gradient of the loss of 'task_2' became NaN or infinite in epoch 1"
    with pytest.raises(FloatingPointError, match=message):
        small(task_weighting="mgda").fit(graphs, y)


def test_positions_are_those_of_the_present_tasks():
    G = torch.eye(3)
    G[1, 1] = torch.inf
    with pytest.raises(NotFinite) as error:
        require_finite_gramian(G, torch.tensor([0, 4, 5]))
    assert error.value.tasks == [4]
    with pytest.raises(NotFinite) as error:
        require_finite_gramian(torch.stack([torch.eye(3), G]), None)
    assert error.value.tasks == [1]
    assert require_finite_gramian(torch.eye(2), None).equal(torch.eye(2))


def test_a_network_without_parameters_is_finite():
    require_finite_weights(torch.nn.Identity(), 1, "")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(("size", "advice"), [(16, "Try batch_size=8"), (1, "Choose")])
def test_too_little_memory_names_a_batch_size(
    error, size, advice, graphs, y, monkeypatch
):
    def fail(*args):
        raise error

    monkeypatch.setattr(TrainingStep, "backward", fail)
    model = small(batch_size=size)
    with pytest.raises(
        MemoryError, match=f"batch_size={size} needs.*{advice}"
    ) as found:
        model.fit(graphs, y)
    assert found.value.__cause__ is error
    assert not model.__sklearn_is_fitted__()


def test_other_errors_stay_as_they_are(graphs, y, monkeypatch):
    def fail(*args):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(TrainingStep, "backward", fail)
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        small().fit(graphs, y)
    assert not lacks_memory(RuntimeError("shapes differ"))
