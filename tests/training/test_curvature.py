"""Curvature at the batches of a training: unbiased, traceless, in time."""

import pytest
import torch
from random_tasks import TASKS, batch, model, step

from skgnn_mtl.encoders import GIN
from skgnn_mtl.training import LOSSES
from skgnn_mtl.training._curvature import (
    gauss_newton_diagonals,
    gauss_newton_traces,
    second_derivatives,
)
from skgnn_mtl.weighting import Curvature, JacobianAggregation


def dense_traces(network, graphs, labels, loss):
    return dense_diagonals(network, graphs, labels, loss).sum(dim=1)


def dense_diagonals(network, graphs, labels, loss):
    """Diagonals from the gradient of every single output."""
    outputs, shared = network(graphs), network.shared_parameters()
    targets, weights = labels
    second = second_derivatives(LOSSES[loss], outputs, targets)
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
    torch.testing.assert_close(masses, labels[1][0])


class Preconditioned(JacobianAggregation):
    """Keeps what it was handed."""

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
    tasks = torch.arange(labels[0].shape[1])[labels[1][0] > 0]
    found = gauss_newton_diagonals(network, graphs, labels, LOSSES["huber"], tasks)
    assert network.training
    exact = dense_diagonals(network.eval(), graphs, labels, "huber")
    torch.testing.assert_close(found, exact[tasks])


def test_an_aggregation_that_names_diagonals_is_handed_them():
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


def test_between_two_looks_the_gradients_are_those_of_fixed_weights():
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


def test_looking_leaves_no_trace():
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
        step(
            Curvature(statistic=statistic),
            "absolute_error",
            eigenvalues=lambda *known: None,
        )


def test_who_finds_eigenvalues_has_to_be_handed_in():
    with pytest.raises(ValueError, match="Nothing was handed in"):
        step(Curvature(statistic="ggn_max"))


def test_eigenvalues_come_from_where_the_step_was_told():
    seen = []

    def eigenvalues(statistic, network, loss, batches, vectors):
        seen.append((statistic, len(batches), vectors, network.training))
        return torch.tensor([1.0, 2.0, torch.nan, 4.0]), TASKS[:, None]

    method = Curvature(statistic="ggn_max", update_every=1, clip=None)
    training, network = step(method, eigenvalues=eigenvalues), model()
    for _ in range(3):
        record = training.backward(network, *batch())
    assert seen[0] == ("ggn_max", 2, None, False)
    assert torch.equal(seen[1][2], TASKS[:, None])
    assert torch.equal(training.state()["vectors"], TASKS[:, None])
    inverse = torch.tensor([1.0, 0.5, 0.25]).double()
    seen_tasks = record.weights[[0, 1, 3]]
    torch.testing.assert_close(seen_tasks, inverse / inverse.mean())
    assert record.weights[2] == 1.0
