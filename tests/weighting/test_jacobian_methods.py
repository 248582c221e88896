"""Rules on single coordinates, against their formulas."""

import pytest
import torch
from random_jacobians import generator, make, random_jacobian

from skgnn_mtl.weighting import DBMTL, GradDrop


def test_coordinates_of_one_sign_pass_unchanged():
    J = random_jacobian(4)
    J[:, :10] = J[:, :10].abs()
    J[:, 10:20] = -J[:, 10:20].abs()
    J[:, 20] = 0.0
    result = make(GradDrop, 4).direction(J, generator=generator())
    torch.testing.assert_close(result[:21], J.sum(dim=0)[:21])


@pytest.mark.parametrize("leak", [0.0, 0.3, [0.0, 0.5, 1.0]])
def test_signs_are_kept_with_their_probability(leak):
    J, draws = random_jacobian(3), generator()
    method = make(GradDrop, 3, leak=leak)
    results = torch.stack([method.direction(J, generator=draws) for _ in range(4000)])
    leaks = torch.as_tensor(leak, dtype=J.dtype).expand(3)[:, None]
    up, down = J.clamp(min=0.0), J.clamp(max=0.0)
    P = (1 + J.sum(dim=0) / J.abs().sum(dim=0)) / 2
    expected = (leaks * J + (1 - leaks) * (P * up + (1 - P) * down)).sum(dim=0)
    error = results.std(dim=0) / 4000**0.5 + 1e-12
    assert ((results.mean(dim=0) - expected).abs() < 5 * error).all()
    # each draw is one of the two
    kept = [(leaks * J + (1 - leaks) * part).sum(dim=0) for part in (up, down)]
    nearest = torch.minimum((results - kept[0]).abs(), (results - kept[1]).abs())
    assert nearest.max() < 1e-12


def test_a_wide_matrix_uses_one_draw_per_coordinate_in_their_order():
    J = torch.randn(3, 40_000, generator=generator(), dtype=torch.float64)
    J[:, 30_000:30_010] = 0.0
    result = make(GradDrop, 3).direction(J, generator=generator(1))
    U = torch.rand(40_000, generator=generator(1), dtype=torch.float64)
    size = J.abs().sum(dim=0)
    P = (1 + J.sum(dim=0) / torch.where(size > 0, size, 1.0)) / 2
    up, down = J.clamp(min=0.0).sum(dim=0), J.clamp(max=0.0).sum(dim=0)
    torch.testing.assert_close(result, torch.where(P > U, up, down))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_dual_balancing_follows_its_formula(decay):
    method, Y = make(DBMTL, 3, beta=0.8, beta_decay=decay), 0.0
    losses = torch.tensor([0.1, 1.0, 10.0]).double()
    for k in range(1, 6):
        J = random_jacobian(3, seed=k)
        h = J / (losses[:, None] + 1e-8)
        Y = h + 0.8 / k**decay * (Y - h)
        norms = Y.norm(dim=1, keepdim=True)
        expected = (norms.max() / norms * Y).sum(dim=0)
        torch.testing.assert_close(method.direction(J, losses=losses), expected)
