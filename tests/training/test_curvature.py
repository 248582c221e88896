"""Curvature at the batches of a training: unbiased, traceless, in time."""

import pytest
import torch
from random_tasks import batch, model, step

from skgnn_mtl.curvature import second_derivatives
from skgnn_mtl.encoders import GIN
from skgnn_mtl.training import LOSSES
from skgnn_mtl.training._curvature import (
    gauss_newton_diagonals,
    gauss_newton_traces,
)
from skgnn_mtl.weighting import Curvature, JacobianAggregation


def dense_traces(network, graphs, labels, loss):
    return dense_diagonals(network, graphs, labels, loss).sum(dim=1)


def dense_diagonals(network, graphs, labels, loss):
    """Diagonals from the gradient of every single output."""
    outputs, shared = network(graphs), network.shared_parameters()
    targets, weights = labels.targets, labels.weights
    second = second_derivatives(lambda x: LOSSES[loss](x, targets), outputs)
    size = sum(p.numel() for p in shared)
    diagonals = torch.zeros(outputs.shape[1], size, dtype=torch.float64)
    for i, t in (weights > 0).nonzero().tolist():
        grads = torch.autograd.grad(outputs[i, t], shared, retain_graph=True)
        square = torch.cat([g.reshape(-1) for g in grads]).square()
        diagonals[t] += weights[i, t] / weights[:, t].sum() * second[i, t] * square
    return diagonals


@pytest.mark.parametrize("loss", ["squared_error", "huber"])
def test_the_trace_is_unbiased(loss):
    network, (graphs, labels) = model().eval(), batch()
    exact = dense_traces(network, graphs, labels, loss)
    generator = torch.Generator().manual_seed(0)
    samples = torch.stack(
        [
            gauss_newton_traces(network, graphs, labels, LOSSES[loss], 1, generator)[0]
            for _ in range(600)
        ]
    )
    error = samples.std(dim=0) / len(samples) ** 0.5
    assert (error < 0.1 * exact).all()
    assert ((samples.mean(dim=0) - exact).abs() < 4 * error).all()


def test_the_trace_of_one_graph_is_exact():
    network, (graphs, labels) = model().eval(), batch([7])
    found, masses = gauss_newton_traces(network, graphs, labels, LOSSES["huber"])
    torch.testing.assert_close(found, dense_traces(network, graphs, labels, "huber"))
    torch.testing.assert_close(masses, labels.weights[0])


class Preconditioned(JacobianAggregation):
    """Stores the diagonals that it receives."""

    def forward(self, jacobian, diagonals=None, tasks=None):
        self.seen = diagonals(), tasks
        return jacobian.sum(dim=0)


def test_the_diagonal_is_unbiased():
    loss = "huber"
    network, (graphs, labels) = model(), batch()
    exact = dense_diagonals(network.eval(), graphs, labels, loss)
    generator = torch.Generator().manual_seed(0)
    tasks = torch.tensor([2, 0])
    samples = torch.stack(
        [
            gauss_newton_diagonals(
                network, graphs, labels, LOSSES[loss], tasks, generator
            )
            for _ in range(600)
        ]
    )
    assert (samples >= 0).all()
    error = samples.std(dim=0) / len(samples) ** 0.5
    z = (samples.mean(dim=0) - exact[tasks]) / error.clamp(min=1e-14)
    # Of some hundred coordinates few are beyond three errors.
    assert z.abs().quantile(0.95) < 3
    torch.testing.assert_close(
        samples.mean(dim=0).sum(dim=1), exact[tasks].sum(dim=1), rtol=0.2, atol=0
    )


def test_the_diagonal_of_one_graph_is_exact():
    network, (graphs, labels) = model().train(), batch([7])
    tasks = torch.arange(labels.n_tasks)[labels.weights[0] > 0]
    found = gauss_newton_diagonals(network, graphs, labels, LOSSES["huber"], tasks)
    assert network.training
    exact = dense_diagonals(network.eval(), graphs, labels, "huber")
    torch.testing.assert_close(found, exact[tasks])


def test_an_aggregation_that_names_diagonals_receives_them():
    method = Preconditioned()
    training, network = step(method), model()
    record = training.backward(network, *batch(range(6)))
    samples, tasks = method.seen
    assert not record.present[2]
    assert tasks.tolist() == [0, 1, 3]
    size = sum(p.numel() for p in network.shared_parameters())
    assert samples.shape == (3, size)
    assert (samples.sum(dim=1) > 0).all()
    with pytest.raises(ValueError, match="Auxiliary tasks have no outputs"):
        gauss_newton_diagonals(
            network, *batch(), LOSSES["squared_error"], torch.tensor([1, 4])
        )
    with pytest.raises(ValueError, match="absolute_error.*Use another loss"):
        step(Preconditioned(), "absolute_error")


def test_more_probes_are_the_mean_of_single_ones():
    network, (graphs, labels) = model().eval(), batch()
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    loss = LOSSES["squared_error"]
    mean, _ = gauss_newton_traces(network, graphs, labels, loss, 3, first)
    single = [
        gauss_newton_traces(network, graphs, labels, loss, 1, second)[0]
        for _ in range(3)
    ]
    torch.testing.assert_close(mean, torch.stack(single).mean(dim=0))


def test_weights_are_one_for_k_steps_and_then_renewed_every_k():
    method = Curvature(update_every=3)
    training, network = step(method), model()
    used = [training.backward(network, *batch()).weights for _ in range(7)]
    assert all((w == 1).all() for w in used[:3])
    assert not (used[3] == 1).any()
    assert torch.equal(used[3], used[5])
    assert not torch.equal(used[5], used[6])
    assert int(method.n_steps) == 7


def test_between_two_evaluations_the_gradients_are_those_of_fixed_weights():
    training, network = step(Curvature(update_every=2)), model()
    for _ in range(3):
        network.zero_grad()
        record = training.backward(network, *batch())
    found = network.heads.weight.grad.clone()
    network.zero_grad()
    losses, _ = training.losses(network, *batch())
    (losses * record.weights).sum().backward()
    torch.testing.assert_close(found, network.heads.weight.grad)


@pytest.mark.parametrize("rows", [None, range(6)], ids=["all", "one absent"])
def test_an_absent_task_keeps_its_curvature(rows):
    method = Curvature(update_every=1, n_batches=1)
    training, network = step(method), model()
    for part in (None, None, rows):
        before = method.means.clone()
        record = training.backward(network, *batch(part))
    changed = method.means != before
    assert changed.tolist() == record.present.tolist()
    assert (record.weights[~record.present] == 0).all()


def test_an_evaluation_changes_nothing_else():
    """Statistics, mode, gradients and torch's generator are as before."""
    network = model(GIN(width=6, n_layers=2, norm="batch", dropout=0.3)).train()
    plain = model(GIN(width=6, n_layers=2, norm="batch", dropout=0.3)).train()
    trainings = step(Curvature(update_every=1)), step(Curvature(update_every=100))
    for _ in range(3):
        states = []
        for training, net in zip(trainings, (network, plain), strict=True):
            torch.manual_seed(5)
            training.backward(net, *batch())
            assert net.training
            states.append(torch.get_rng_state())
        assert torch.equal(*states)
    first, second = network.state_dict(), plain.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("statistic", ["ggn_trace", "ggn_max"])
def test_a_loss_without_second_derivative_is_refused_before_the_training(statistic):
    with pytest.raises(ValueError, match="absolute_error.*hessian_max"):
        step(Curvature(statistic=statistic), "absolute_error")


@pytest.mark.parametrize("statistic", ["ggn_max", "hessian_max"])
def test_weights_follow_the_largest_eigenvalues_of_the_latest_batches(statistic):
    method = Curvature(statistic=statistic, update_every=1, clip=None, ema=0.0, floor=0)
    training, network = step(method, "huber"), model()
    first, second = batch(range(6)), batch()
    for part in (first, second, second):
        record = training.backward(network, *part)
    matrix = dense_matrices(network.eval(), *second, "huber", statistic)
    largest = torch.linalg.eigvalsh(matrix)[:, -1]
    # Two Lanczos steps from the vectors before come close from below.
    assert (method.means <= largest * (1 + 1e-9)).all()
    assert (method.means > 0.9 * largest).all()
    expected = 1 / method.means
    torch.testing.assert_close(record.weights, expected / expected.mean())
    vectors = training.state()["vectors"]
    quotients = torch.einsum("tp,tpq,tq->t", vectors, matrix, vectors)
    torch.testing.assert_close(quotients, method.means, rtol=1e-6, atol=0)


def dense_matrices(network, graphs, labels, loss, statistic):
    """Matrices (t, p, p) of both latest batches, which are the same batch."""
    shared = network.shared_parameters()
    size = sum(p.numel() for p in shared)
    outputs = network(graphs)
    matrices = torch.zeros(outputs.shape[1], size, size, dtype=torch.float64)

    def flat(value, **options):
        parts = torch.autograd.grad(
            value, shared, retain_graph=True, materialize_grads=True, **options
        )
        return torch.cat([part.reshape(-1) for part in parts])

    targets, weights = labels.targets, labels.weights
    shares = weights / weights.sum(dim=0)
    if statistic == "ggn_max":
        second = second_derivatives(lambda x: LOSSES[loss](x, targets), outputs)
        for i, t in (weights > 0).nonzero().tolist():
            g = flat(outputs[i, t])
            matrices[t] += shares[i, t] * second[i, t] * g[:, None] * g
        return matrices
    losses = (shares * LOSSES[loss](outputs, targets)).sum(dim=0)
    for t, value in enumerate(losses):
        slope = flat(value, create_graph=True)
        matrices[t] = torch.stack([flat(x) for x in slope])
    return matrices
