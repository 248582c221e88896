"""One-sided losses, and the likelihood of censored labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from skgnn_mtl.training import LOSSES, BoundedLoss, nearest_allowed, tobit_nll

OUTPUTS = torch.tensor([[1.0], [3.0], [1.0], [3.0], [1.0], [2.0]])
VALUES = torch.tensor([[2.0]] * 6)
SIGNS = torch.tensor([[1.0], [1.0], [-1.0], [-1.0], [0.0], [1.0]])
SATISFIED = [1, 2, 5]


@pytest.mark.parametrize("name", LOSSES)
def test_a_satisfied_bound_has_no_loss_slope_or_curvature(name):
    outputs = OUTPUTS.clone().requires_grad_()
    losses = BoundedLoss(LOSSES[name])(outputs, torch.complex(VALUES, SIGNS))
    plain = LOSSES[name](OUTPUTS, VALUES)
    rest = [0, 3, 4]
    assert losses[SATISFIED].abs().max() == 0
    torch.testing.assert_close(losses[rest], plain[rest], rtol=0, atol=0)
    (slopes,) = torch.autograd.grad(losses.sum(), outputs, create_graph=True)
    assert slopes[SATISFIED].abs().max() == 0
    # An output below a lower bound rises, one above an upper bound falls.
    assert slopes[0] < 0 < slopes[3]
    if name == "squared_error":
        (second,) = torch.autograd.grad(slopes.sum(), outputs)
        # At the bound itself the loss is squared on one side.
        assert second[:, 0].tolist() == [2, 0, 0, 2, 2, 2]


def test_the_squared_loss_of_a_bound_is_the_distance_to_what_it_allows():
    targets = torch.complex(VALUES, SIGNS)
    found = nearest_allowed(OUTPUTS, targets)
    assert found[:, 0].tolist() == [2, 3, 1, 2, 2, 2]
    losses = BoundedLoss(LOSSES["squared_error"])(OUTPUTS, targets)
    torch.testing.assert_close((OUTPUTS - found) ** 2, losses)
    assert nearest_allowed(OUTPUTS, VALUES) is VALUES


def test_real_targets_reach_the_loss_as_they_are():
    seen = []
    loss = BoundedLoss(lambda outputs, targets: seen.append(targets) or outputs)
    assert loss(OUTPUTS, VALUES) is OUTPUTS
    assert seen[0] is VALUES


def test_the_tobit_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    mean, values = rng.normal(size=(2, 50, 3))
    scale = rng.uniform(0.3, 2.0, size=(50, 3))
    signs = rng.integers(-1, 2, size=(50, 3)).astype(float)
    normal = stats.norm(mean, scale)
    expected = -np.select(
        [signs == 0, signs == 1], [normal.logpdf(values), normal.logsf(values)],
        normal.logcdf(values),
    )  # fmt: skip
    tensors = map(torch.from_numpy, (mean, 2 * np.log(scale), values, signs))
    np.testing.assert_allclose(tobit_nll(*tensors), expected, rtol=1e-10)


def test_the_tobit_likelihood_is_finite_far_away():
    mean = torch.tensor([[-1e2], [1e2]], requires_grad=True)
    log_variance = torch.zeros(2, 1, requires_grad=True)
    signs = torch.tensor([[1.0], [1.0]])
    losses = tobit_nll(mean, log_variance, torch.zeros(2, 1), signs)
    losses.sum().backward()
    assert losses[0] > 5e3
    assert losses[1] == 0
    for slope in (mean.grad, log_variance.grad):
        assert slope.isfinite().all()
    # As for a squared loss, because log Phi(-z) is about -z^2 / 2.
    torch.testing.assert_close(mean.grad[0, 0], torch.tensor(-1e2), rtol=1e-3, atol=0)


def test_both_tobit_parameters_are_recovered_from_censored_draws():
    rng = np.random.default_rng(1)
    draws = torch.from_numpy(rng.normal(1.0, 2.0, size=(4000, 1)))
    floor, signs = 0.5, -(draws < 0.5).double()
    values = draws.clamp(min=floor)
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = tobit_nll(theta[0], theta[1], values, signs).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    mean, scale = theta[0].item(), theta[1].div(2).exp().item()
    assert abs(mean - 1.0) < 0.1
    assert abs(scale - 2.0) < 0.1
