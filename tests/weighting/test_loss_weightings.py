"""The axioms of loss weightings, and the formula of each method."""

import numpy as np
import pytest
import torch
from random_jacobians import LOSS_METHODS, generator

from skgnn_mtl.training import LOSSES as LOSS_FUNCTIONS
from skgnn_mtl.training import TrainingStep
from skgnn_mtl.weighting import (
    DWA,
    FAMO,
    IMTLL,
    PBI,
    RLW,
    STCH,
    Equal,
    Fixed,
    GeometricMean,
    GO4Align,
    ScaleInvariant,
    Uncertainty,
)

LOSSES = torch.tensor([0.5, 2.0, 1e-3, 40.0], dtype=torch.float64)


def make(cls, n_tasks=4, **parameters):
    if cls is Fixed:
        parameters.setdefault("weights", np.arange(1.0, n_tasks + 1))
    method = cls(**parameters)
    method.build(n_tasks)
    return method


@pytest.fixture(params=LOSS_METHODS.values(), ids=LOSS_METHODS.keys())
def method(request):
    return make(request.param)


def test_weights_are_the_derivatives_of_the_scalar(method):
    if isinstance(method, (RLW, FAMO, GO4Align)):
        pytest.skip("random, or with a constant that depends on the losses")
    weights = method.task_weights(LOSSES)
    for t in range(4):
        h = 1e-6 * LOSSES[t]
        up, down = LOSSES.clone(), LOSSES.clone()
        up[t] += h
        down[t] -= h
        slope = (method(up) - method(down)) / (2 * h)
        torch.testing.assert_close(
            weights[t], slope.detach().double(), rtol=1e-5, atol=0
        )


def test_weights_are_positive_detached_and_leave_the_losses_alone(method):
    losses = LOSSES.clone().requires_grad_()
    weights = method.task_weights(losses)
    # Small losses are to rise towards the preference.
    assert (weights > 0).all() or isinstance(method, PBI)
    assert not weights.requires_grad
    assert losses.grad is None


def test_finite_on_zero_tiny_and_huge_losses(method):
    extreme = torch.tensor([0.0, 1e-12, 1.0, 1e15], dtype=torch.float64)
    assert torch.isfinite(method.task_weights(extreme)).all()


def test_mean1_divides_by_the_mean(method):
    if "rescale" not in method.get_params():
        pytest.skip("learns what the weights are")
    plain = method.task_weights(LOSSES, generator=generator())
    # Another one, because a method may learn from the losses.
    other = make(type(method), rescale="mean1")
    scaled = other.task_weights(LOSSES, generator=generator())
    torch.testing.assert_close(scaled, plain / plain.mean())


def test_equal_is_the_sum():
    assert make(Equal)(LOSSES) == LOSSES.sum()
    assert make(Equal).task_weights(LOSSES).tolist() == [1.0] * 4


def test_fixed_is_the_weighted_sum_by_position_or_name():
    by_name = Fixed({"b": 3.0, "a": 0.0})
    by_name.build(2, ["a", "b"])
    assert by_name.task_weights(LOSSES[:2]).tolist() == [0.0, 3.0]
    assert make(Fixed).task_weights(LOSSES).tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "There are 2 tasks .* but 0 weights were given"),
        ([1, 2, 3], "There are 2 tasks .* but 3 weights were given"),
        ([0, 0], "not all zero"),
        ([1, -1], "none negative"),
        ([1, np.nan], "finite"),
        ({"a": 1, "c": 1}, r"name the tasks \['a', 'c'\], but the tasks are"),
    ],
)
def test_fixed_refuses_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        Fixed(weights).build(2, ["a", "b"])


def test_scale_invariant_does_not_depend_on_the_unit_of_a_loss():
    method, units = make(ScaleInvariant, eps=0.0), torch.tensor([1e6, 1.0, 1e-6, 3.0])
    torch.testing.assert_close(
        method.task_weights(LOSSES * units) * LOSSES * units,
        method.task_weights(LOSSES) * LOSSES,
    )
    torch.testing.assert_close(method.task_weights(LOSSES), 1 / LOSSES)


def test_uncertainty_settles_where_the_direction_is_scale_invariant():
    method = make(Uncertainty).double()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        weights = method.task_weights(LOSSES)
        optimizer.step()
    torch.testing.assert_close(method.log_variances.detach(), LOSSES.log())
    torch.testing.assert_close(weights, 0.5 / LOSSES)


def test_uncertainty_starts_at_its_first_value():
    method = make(Uncertainty, init=-0.5)
    torch.testing.assert_close(
        method.task_weights(LOSSES.float()), torch.full((4,), 0.5 * np.exp(0.5)).float()
    )


def test_the_geometric_mean_is_one_and_its_weights_follow():
    method = make(GeometricMean, eps=0.0)
    mean = LOSSES.prod() ** 0.25
    torch.testing.assert_close(method(LOSSES), mean)
    torch.testing.assert_close(method.task_weights(LOSSES), mean / (4 * LOSSES))
    many = torch.full((400,), 1e-3, dtype=torch.float64)
    torch.testing.assert_close(method(many), many[0], rtol=1e-12, atol=0)


def test_imtl_l_settles_where_scaled_losses_are_one():
    method = make(IMTLL).double()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        weights = method.task_weights(LOSSES)
        optimizer.step()
    torch.testing.assert_close(weights, 1 / LOSSES, rtol=1e-5, atol=0)


def test_dwa_compares_the_last_two_epochs():
    method = make(DWA, temperature=0.5)
    assert method.task_weights(LOSSES).tolist() == [1.0] * 4
    method.end_epoch(torch.tensor([1.0, 2.0, 1.0, 1.0]))
    assert method.task_weights(LOSSES).tolist() == [1.0] * 4
    method.end_epoch(torch.tensor([0.5, 2.0, 0.2, 1.0]))
    rates = torch.tensor([0.5, 1.0, 0.2, 1.0], dtype=torch.float64)
    expected = 4 * torch.softmax(rates / 0.5, dim=0)
    torch.testing.assert_close(method.task_weights(LOSSES), expected)
    # An epoch without labels of a task does not change its two means.
    method.end_epoch(torch.tensor([np.nan, 2.0, 0.2, 1.0]))
    rates = torch.tensor([0.5, 1.0, 1.0, 1.0], dtype=torch.float64)
    expected = 4 * torch.softmax(rates / 0.5, dim=0)
    torch.testing.assert_close(method.task_weights(LOSSES), expected)


def test_random_weights_are_those_of_their_generator_and_sum_to_t():
    first, second, third = (
        make(RLW).task_weights(LOSSES, generator=generator(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    torch.testing.assert_close(first.sum(), torch.tensor(4.0).double())


@pytest.mark.parametrize("mu", [1.0, 0.1])
def test_stch_waits_for_the_nadir(mu):
    method = make(STCH, mu=mu, warmup_epochs=2)
    nadir = torch.tensor([1.0, 0.5, 2.0, 10.0], dtype=torch.float64)
    for _ in range(3):
        torch.testing.assert_close(method.task_weights(LOSSES), 1 / (LOSSES + 1e-8))
        method.end_epoch(nadir)
    ratios = (LOSSES / nadir).log() / mu
    expected = 4 * torch.softmax(ratios, dim=0) / LOSSES
    torch.testing.assert_close(method.task_weights(LOSSES), expected, rtol=1e-4, atol=0)
    method.end_epoch(7 * nadir)
    torch.testing.assert_close(method.task_weights(LOSSES), expected, rtol=1e-4, atol=0)


def test_famo_prefers_tasks_that_improve_least():
    method = make(FAMO).double()
    after = LOSSES * torch.tensor([0.5, 1.0, 0.9, 1.1])
    method.after_step(LOSSES, after)
    # the gradient is the softmax's Jacobian applied to the improvements
    delta = (LOSSES / after).log()
    jacobian = torch.autograd.functional.jacobian(
        lambda x: torch.softmax(x, dim=0), torch.zeros(4).double()
    )
    torch.testing.assert_close(
        method.logits.grad, jacobian @ delta, rtol=1e-4, atol=1e-8
    )
    assert method.logits.grad.argmax() == 0


def test_famo_forgets_at_its_published_rate():
    """Logits decay by the default in a step of training, as in those of others."""
    assert FAMO().weight_decay == 1e-3
    method, known = make(FAMO).double(), torch.linspace(-1, 1, 4).double()
    with torch.no_grad():
        method.logits.copy_(known)
    step = TrainingStep(method, LOSS_FUNCTIONS["squared_error"], 4)
    # Losses that do not change leave the decay alone; Adam divides by its size.
    method.after_step(LOSSES, LOSSES)
    method.logits.grad.zero_()
    step._adam.step(None)
    decay = 1e-3 * known
    expected = known - 0.025 * decay / (decay.abs() + 1e-8)
    torch.testing.assert_close(method.logits.detach(), expected, rtol=1e-9, atol=0)


def test_famo_weights_are_the_published_ones_times_t():
    method = make(FAMO, min_losses=[0.1, 0.0, 0.0, 1.0])
    D = LOSSES - torch.tensor([0.1, 0.0, 0.0, 1.0]) + 1e-8
    torch.testing.assert_close(
        method.task_weights(LOSSES), 4 * (1 / D) / (1 / D).sum(), rtol=1e-5, atol=0
    )
