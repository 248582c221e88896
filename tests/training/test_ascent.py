"""Gradients at moved weights, against copies of the network that are moved."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from random_tasks import GRAPHS, N_TASKS, batch, data, jacobian_of, model, step
from torch import nn

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl._flat import flatten
from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphLoader
from skgnn_mtl.optimizers import SAM, SAMO
from skgnn_mtl.training import LOSSES, at_moved, task_losses
from skgnn_mtl.training._ascent import joined
from skgnn_mtl.training._jacobian import task_pass
from skgnn_mtl.weighting import FAMO, Equal, FairGrad, ScaleInvariant, UPGrad

SQUARES = LOSSES["squared_error"]
# Task 2 has no labels among the first rows.
GAPS = np.arange(6)


class Quadratics(nn.Module):
    """Losses (w - c)^T A (w - c) / 2 of two tasks."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        self.A = torch.tensor([[[3.0, 1.0], [1.0, 2.0]], [[1.0, 0.0], [0.0, 5.0]]])
        self.A = self.A.double()
        self.c = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)

    def forward(self):
        d = self.w - self.c
        return torch.einsum("ti,tij,tj->t", d, self.A, d) / 2


def test_on_two_quadratics_samo_has_its_closed_form():
    """Task k has the gradient A_k (w + m_k - c_k) at its own moved point."""
    quadratics, method = Quadratics(), SAMO(rho=0.2, beta=0.4)
    d = (quadratics.w - quadratics.c).detach()
    own = torch.einsum("tij,tj->ti", quadratics.A, d)
    total = own.sum(dim=0)
    for k in range(2):
        mixed = 0.6 * total + 0.4 * total.norm() * own[k] / own[k].norm()
        expected = quadratics.A[k] @ (d[k] + 0.2 * mixed / mixed.norm())
        (move,) = method([total], [own[k]])
        losses = at_moved(lambda m: m(), quadratics, {"w": move})
        (found,) = torch.autograd.grad(losses[k], quadratics.w)
        torch.testing.assert_close(found, expected)
    assert quadratics.w.tolist() == [1.0, 2.0]


def losses_of(network, graphs, labels):
    found, _ = task_losses(
        network.evaluate(graphs), labels.targets, labels.weights, SQUARES
    )
    return found


def moved_copy(network, parameters, move):
    """A copy of a network whose parameters have been moved in place."""
    twin = copy.deepcopy(network)
    named = dict(twin.named_parameters())
    names = {id(p): name for name, p in network.named_parameters()}
    with torch.no_grad():
        for parameter, part in zip(parameters, move, strict=True):
            named[names[id(parameter)]].add_(part)
    return twin


def sums(network, graphs, labels, parameters):
    return torch.autograd.grad(losses_of(network, graphs, labels).sum(), parameters)


WEIGHTINGS = {
    "equal": Equal,
    "scale-invariant": ScaleInvariant,
    "upgrad": UPGrad,
    "at the representation": lambda: FairGrad(gradients="representation"),
}


@pytest.mark.parametrize("rows", [None, GAPS], ids=["all", "gaps"])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_step_of_sam_is_a_step_of_the_moved_network(name, rows):
    network, (graphs, labels) = model(), batch(rows)
    parameters = list(network.parameters())
    move = SAM(rho=0.3)(sums(network, graphs, labels, parameters))
    twin = moved_copy(network, parameters, move)
    expected = step(WEIGHTINGS[name]()).backward(twin, graphs, labels)
    plain = step(Equal()).losses(network, graphs, labels)[0]
    sharp = step(WEIGHTINGS[name]())
    sharp.sharpen(SAM(rho=0.3))
    record = sharp.backward(network, graphs, labels)
    for p, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, other.grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(record.weights, expected.weights)
    # A record is about the network that the optimizer changes.
    torch.testing.assert_close(record.losses, plain)


def rows_of_samo(network, graphs, labels, method, tasks, seed=0):
    """Gradients of the shared parameters, each of a moved copy; and of the heads."""
    shared, generator = network.shared_parameters(), torch.Generator().manual_seed(seed)
    total, rows, heads = sums(network, graphs, labels, shared), [], []
    for t in tasks:
        z = [
            torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for p in shared
        ]
        above, below = (
            losses_of(
                moved_copy(network, shared, [sign * method.sigma * part for part in z]),
                graphs,
                labels,
            )[t].detach()
            for sign in (1, -1)
        )
        slope = (above - below) / (2 * method.sigma)
        move = method(total, [slope * part for part in z])
        twin = moved_copy(network, shared, move)
        loss = losses_of(twin, graphs, labels)[t]
        rows.append(jacobian_of([loss], twin.shared_parameters())[0])
        heads.append(jacobian_of([loss], twin.head_parameters())[0])
    return torch.stack(rows), torch.stack(heads)


@pytest.mark.parametrize("rows", [None, GAPS], ids=["all", "gaps"])
@pytest.mark.parametrize("weighting", [Equal, UPGrad])
def test_a_step_of_samo_takes_each_gradient_at_its_own_point(weighting, rows):
    network, (graphs, labels) = model(), batch(rows)
    method = SAMO(rho=0.3, beta=0.5)
    tasks = [t for t in range(N_TASKS) if rows is None or t != 2]
    J, H = rows_of_samo(network, graphs, labels, method, tasks)
    sharp = step(weighting())
    sharp.sharpen(method)
    sharp.backward(network, graphs, labels)
    weights = torch.ones(len(J), dtype=torch.float64)
    if weighting is UPGrad:
        weights = UPGrad().task_weights(J @ J.T)
    shared, heads = network.shared_parameters(), network.head_parameters()
    found = flatten([p.grad for p in shared], shared)
    torch.testing.assert_close(found, weights @ J, rtol=1e-9, atol=1e-12)
    found = flatten([p.grad for p in heads], heads)
    torch.testing.assert_close(found, H.sum(dim=0), rtol=1e-9, atol=1e-12)


def test_both_methods_reach_auxiliary_tasks_and_likelihoods():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(len(GRAPHS), 2))
    for optimizer in ("sam", "samo"):
        fitted = MultiTaskGNNRegressor(
            GIN(8, n_layers=2, dropout=0.1),
            auxiliary_tasks=["infomax"],
            loss="beta_nll",
            task_weighting="gcs",
            optimizer=optimizer,
            max_epochs=2,
            random_state=0,
        ).fit(GRAPHS, y)
        assert np.isfinite(fitted.predict(GRAPHS)).all()
        assert np.isfinite(list(fitted.history_[-1]["train_losses"].values())).all()


@pytest.mark.parametrize("method", [SAM(0.1), SAMO(0.1)], ids=["sam", "samo"])
def test_further_passes_leave_no_trace(method):
    """Statistics, dropout and draws go on as after a single pass."""
    states = []
    for sharp in (False, True):
        encoder = GIN(6, n_layers=2, dropout=0.5)
        network, (graphs, labels) = model(encoder).train(), batch()
        current = step(FAMO())
        if sharp:
            current.sharpen(method)
        torch.manual_seed(1)
        record = current.backward(network, graphs, labels)
        buffers = dict(network.named_buffers())
        states.append((record.losses, torch.get_rng_state(), buffers))
    (plain, rng, buffers), (found, other, others) = states
    torch.testing.assert_close(found, plain)
    assert torch.equal(rng, other)
    assert buffers.keys() == others.keys()
    for name, value in buffers.items():
        torch.testing.assert_close(value, others[name])


def test_all_passes_have_the_same_dropout_masks():
    """Without a move the gradients are the plain ones."""
    gradients = []
    for method in (None, SAM(0.0), SAMO(0.0)):
        network, (graphs, labels) = model(GIN(6, n_layers=2, dropout=0.5)), batch()
        current = step(Equal())
        if method is not None:
            current.sharpen(method)
        torch.manual_seed(1)
        current.backward(network.train(), graphs, labels)
        parameters = list(network.parameters())
        gradients.append(flatten([p.grad for p in parameters], parameters))
    for found in gradients[1:]:
        torch.testing.assert_close(found, gradients[0], rtol=1e-10, atol=1e-13)


def test_a_batch_without_labels_makes_no_step():
    network, (graphs, labels) = model(), batch()
    labels.weights.zero_()
    sharp = step(Equal())
    sharp.sharpen(SAMO())
    empty = type(labels)(labels.targets, labels.weights)
    record = sharp.backward(network, graphs, empty)
    assert not record.present.any()
    assert all(p.grad is None for p in network.parameters())


def test_frozen_bodies_train_their_heads():
    for method in (SAM(), SAMO()):
        network, (graphs, labels) = model(), batch()
        for p in network.shared_parameters():
            p.requires_grad_(False)
        sharp = step(Equal())
        sharp.sharpen(method)
        sharp.backward(network, graphs, labels)
        assert all(p.grad.any() for p in network.head_parameters())


def test_the_passes_of_a_large_set_run_on_the_meta_device():
    graphs, labels = next(iter(GraphLoader(data(), 20)))
    network = model(dtype=torch.float32).to("meta")
    method = SAM()
    moves = {
        name: method([torch.ones_like(p)])[0] for name, p in network.named_parameters()
    }
    found = at_moved(lambda m, g: m.evaluate(g), network, moves, graphs.to("meta"))
    assert found.device.type == "meta"
    assert found.shape == labels.targets.shape


def test_the_gradient_of_a_task_walks_through_its_own_pass_alone():
    network, (graphs, labels) = model(), batch()
    passes = {t: task_pass(network, graphs, labels, SQUARES) for t in range(N_TASKS)}
    first = task_pass(network, graphs, labels, SQUARES)
    result = joined(first, passes)
    for t in range(N_TASKS):
        assert result.seed(t)[0] is passes[t].outputs
    torch.testing.assert_close(result.outputs, first.outputs)
    torch.testing.assert_close(result.slopes, first.slopes)
