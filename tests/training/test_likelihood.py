"""The likelihood of normal labels, and the gradients that it hands to the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_tasks import GRAPHS, N_TASKS, TASKS, batch, jacobian_of

from skgnn_mtl.encoders import GIN
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import (
    GaussianNLL,
    MultiTaskModel,
    TrainingStep,
    log_variances,
    task_losses,
    tobit_nll,
)
from skgnn_mtl.training._jacobian import (
    fill_jacobian,
    representation_gramian,
    task_pass,
)
from skgnn_mtl.weighting import Equal, Fixed


@pytest.fixture
def outputs():
    torch.manual_seed(0)
    return torch.randn(6, 4, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def targets():
    return torch.randn(6, 2, dtype=torch.float64, generator=torch.manual_seed(1))


def standard_deviations(outputs):
    """Split outputs into means and standard deviations."""
    means, raw = outputs.chunk(2, dim=1)
    return means, (log_variances(raw) / 2).exp()


def nll(outputs, targets):
    """By torch's own normal distribution, up to the constant."""
    means, deviations = standard_deviations(outputs)
    normal = torch.distributions.Normal(means, deviations)
    return -normal.log_prob(targets) - np.log(2 * np.pi) / 2 + 5.0


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_values_are_the_likelihood_and_gradients_are_weighted(outputs, targets, beta):
    values = GaussianNLL(beta)(outputs, targets)
    torch.testing.assert_close(values, nll(outputs, targets))
    (found,) = torch.autograd.grad(values.sum(), outputs)
    (plain,) = torch.autograd.grad(nll(outputs, targets).sum(), outputs)
    variances = standard_deviations(outputs)[1].detach() ** 2
    torch.testing.assert_close(found, plain * (variances**beta).repeat(1, 2))


def test_the_warm_up_learns_means_as_by_the_squared_error(outputs, targets):
    shared = GaussianNLL(0.0)
    loss = shared.for_training(10)

    def slopes():
        (found,) = torch.autograd.grad(loss(outputs, targets).sum(), outputs)
        return found[:, :2]

    squares = outputs.detach()[:, :2] - targets
    for _ in range(2):
        torch.testing.assert_close(slopes(), squares)
        loss.end_epoch()
    assert not torch.allclose(slopes(), squares)
    # The loss that all fits share has not counted, and a continuation does not warm up.
    assert (shared.n_epochs, shared.for_training(0).n_warmup) == (0, 0)


@pytest.mark.parametrize("raw", [-1e4, -12.0, 0.0, 12.0, 1e4])
def test_log_variances_are_bounded_and_losses_positive(raw):
    outputs = torch.tensor([[0.0, raw]], requires_grad=True)
    for label in (0.0, 1e3):
        value = GaussianNLL(0.5)(outputs, torch.tensor([[label]]))
        assert torch.isfinite(value)
        assert value >= 0
        assert torch.isfinite(torch.autograd.grad(value.sum(), outputs)[0]).all()
    log_variance = 2 * standard_deviations(outputs)[1].log()
    assert -10.0001 <= log_variance <= 10.0001
    if raw == 0:
        assert abs(log_variance) < 1e-3


# -- the network, and gradients of each task -------------------------------------------


@pytest.fixture
def network():
    """With log-variances that depend on the graph."""
    torch.manual_seed(0)
    encoder = GIN(width=6, n_layers=2, norm=None, activation="tanh")
    model = MultiTaskModel(
        encoder, Mean(), GRAPHS.schema, N_TASKS, (5,), variances=True
    ).double()
    torch.nn.init.normal_(model.log_variances.weight)
    return model


def losses_of(model, graphs, labels):
    outputs = model.evaluate(graphs)
    return task_losses(outputs, labels.targets, labels.weights, GaussianNLL(0.5))[0]


def test_heads_of_variances_begin_at_0_and_leave_the_other_weights():
    def make(variances):
        torch.manual_seed(3)
        encoder = GIN(width=6, n_layers=1, norm=None)
        return MultiTaskModel(
            encoder, Mean(), GRAPHS.schema, 2, (5,), variances=variances
        ).double()

    plain, model = make(False), make(True)
    graphs, _ = batch()
    assert plain.log_variances is None
    outputs = model.evaluate(graphs)
    assert outputs.shape == (len(GRAPHS), 4)
    torch.testing.assert_close(outputs[:, :2], plain(graphs))
    torch.testing.assert_close(model(graphs), plain(graphs))
    assert not outputs[:, 2:].any()
    assert len(model.head_parameters()) == len(plain.head_parameters()) + 2
    assert len(model.shared_parameters()) == len(plain.shared_parameters())


def test_the_jacobian_has_the_gradients_of_both_heads(network):
    graphs, labels = batch()
    result = task_pass(network, graphs, labels, GaussianNLL(0.5))
    losses = losses_of(network, graphs, labels)
    shared = network.shared_parameters()
    expected = jacobian_of(losses, shared)
    found = torch.empty_like(expected)
    fill_jacobian(found, result, TASKS, shared)
    torch.testing.assert_close(found, expected)
    fill_jacobian(found, result, TASKS, shared, chunk=3)
    torch.testing.assert_close(found, expected)
    # The first row stands for two pooled tasks.
    pool = torch.tensor([0.25, 0.75, 0.0, 0.0], dtype=torch.float64)
    fill_jacobian(found, result, TASKS, shared, pool=pool)
    torch.testing.assert_close(found[0], pool @ expected)


@pytest.mark.parametrize("tasks", [[0, 1, 2, 3], [3, 1]], ids=str)
def test_the_gramian_at_the_representation_has_both_heads(network, tasks):
    graphs, labels = batch()
    result = task_pass(network, graphs, labels, GaussianNLL(0.5))
    tasks = torch.tensor(tasks)
    z = network.represent(graphs).detach().requires_grad_()
    losses = task_losses(
        network.read(z), labels.targets, labels.weights, GaussianNLL(0.5)
    )[0]
    J = jacobian_of(losses[tasks], [z])
    torch.testing.assert_close(representation_gramian(result, tasks), J @ J.T)


def test_a_step_sets_the_gradients_of_weighted_losses(network):
    weighting = Fixed([1.0, 2.0, 3.0, 4.0])
    weighting.build(N_TASKS)
    graphs, labels = batch()
    step = TrainingStep(weighting, GaussianNLL(0.5), N_TASKS)
    step.backward(network, graphs, labels)
    losses = losses_of(network, graphs, labels)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    expected = torch.autograd.grad(weights @ losses, list(network.parameters()))
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(step.losses(network, graphs, labels)[0], losses)


def test_epochs_of_a_step_end_the_warm_up():
    weighting = Equal()
    weighting.build(2)
    loss = GaussianNLL(0.0).for_training(5)
    step = TrainingStep(weighting, loss, 2)
    step.end_epoch(np.zeros(2))
    assert loss.n_epochs == loss.n_warmup == 1


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_bounds_have_the_likelihood_of_tobit(outputs, targets, beta):
    signs = torch.tensor([[0, 1], [-1, 0], [1, 1], [0, 0], [-1, -1], [0, 1.0]])
    signs = signs.double()
    loss = GaussianNLL(beta)
    found = loss(outputs, torch.complex(targets, signs))
    means, raw = outputs.chunk(2, dim=1)
    expected = tobit_nll(means, log_variances(raw), targets, signs)
    bounds = signs != 0
    torch.testing.assert_close(found[bounds], expected[bounds])
    torch.testing.assert_close(found[~bounds], loss(outputs, targets)[~bounds])


def test_labels_without_a_bound_have_the_same_loss_as_complex_numbers(outputs, targets):
    nothing = torch.zeros_like(targets)
    loss = GaussianNLL()
    same = loss(outputs, torch.complex(targets, nothing)) == loss(outputs, targets)
    assert same.all()
