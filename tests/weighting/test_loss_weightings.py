"""The axioms of loss weightings, and the formula of each method."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skgnn_mtl import weighting
from skgnn_mtl._component import part_names
from skgnn_mtl.weighting import Equal, Fixed, LossWeighting, ScaleInvariant, Uncertainty

NAMES = part_names(weighting, LossWeighting)
LOSSES = torch.tensor([0.5, 2.0, 1e-3, 40.0], dtype=torch.float64)


def make(cls, n_tasks=4, **parameters):
    if cls is Fixed:
        parameters.setdefault("weights", np.arange(1.0, n_tasks + 1))
    method = cls(**parameters)
    method.build(n_tasks)
    return method


@pytest.fixture(params=NAMES.values(), ids=NAMES.keys())
def method(request):
    return make(request.param)


def test_weights_are_the_derivatives_of_the_scalar(method):
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
    assert (weights > 0).all()
    assert not weights.requires_grad
    assert losses.grad is None


def test_present_tasks_see_what_they_would_see_alone(method):
    tasks = torch.tensor([0, 3])
    some = method.task_weights(LOSSES[tasks], tasks)
    torch.testing.assert_close(some, method.task_weights(LOSSES)[tasks])


def test_permuting_tasks_permutes_weights(method):
    order = torch.tensor([2, 0, 3, 1])
    permuted = method.task_weights(LOSSES[order], order)
    torch.testing.assert_close(permuted, method.task_weights(LOSSES)[order])


def test_finite_on_zero_tiny_and_huge_losses(method):
    extreme = torch.tensor([0.0, 1e-12, 1.0, 1e15], dtype=torch.float64)
    assert torch.isfinite(method.task_weights(extreme)).all()


def test_mean1_divides_by_the_mean(method):
    plain = method.task_weights(LOSSES)
    method.set_params(rescale="mean1")
    torch.testing.assert_close(method.task_weights(LOSSES), plain / plain.mean())


def test_pickle_keeps_the_state_and_clone_forgets_it(method):
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.normal_()
    again = pickle.loads(pickle.dumps(method))
    torch.testing.assert_close(again.task_weights(LOSSES), method.task_weights(LOSSES))
    assert not clone(method).state_dict()


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
        (None, "y has 2 columns, but 0 weights were given"),
        ([1, 2, 3], "y has 2 columns, but 3 weights were given"),
        ([0, 0], "not all zero"),
        ([1, -1], "none negative"),
        ([1, np.nan], "finite"),
        ({"a": 1, "c": 1}, r"name the tasks \['a', 'c'\], but the tasks are"),
    ],
)
def test_fixed_refuses_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=message):
        Fixed(weights).build(2, ["a", "b"])


def test_scale_invariant_does_not_see_the_unit_of_a_loss():
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


def test_uncertainty_starts_where_it_is_told():
    method = make(Uncertainty, init=-0.5)
    torch.testing.assert_close(
        method.task_weights(LOSSES.float()), torch.full((4,), 0.5 * np.exp(0.5)).float()
    )
