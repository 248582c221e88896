"""COSMOS and PBI against their formulas, and as TorchJD has them."""

import math

import numpy as np
import pytest
import torch

from skgnn_mtl.weighting import COSMOS, PBI

LOSSES = torch.tensor([0.5, 2.0, 0.1, 4.0], dtype=torch.float64)
R = np.array([1.0, 3.0, 2.0, 2.0])


def make(cls, n_tasks=4, names=None, **parameters):
    method = cls(**parameters)
    method.build(n_tasks, names)
    return method


@pytest.mark.parametrize("penalty", [0.0, 0.5, 8.0])
def test_cosmos_is_the_weighted_sum_less_a_cosine(penalty):
    r, L = R / 8, LOSSES.numpy()
    cosine = sum(r * L) / math.sqrt(sum(r**2) * sum(L**2))
    found = make(COSMOS, penalty=penalty, preferences=R)(LOSSES)
    assert float(found) == pytest.approx(4 * (sum(r * L) - penalty * cosine))


def test_losses_along_the_preference_leave_cosmos_the_weighted_sum():
    method = make(COSMOS, penalty=3.0, preferences=R)
    weights = method.task_weights(torch.from_numpy(0.7 * R))
    torch.testing.assert_close(weights, torch.from_numpy(R / 2))


@pytest.mark.parametrize("theta", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("ideal", [0.0, [0.1, 0.2, 0.05, 1.0]])
def test_pbi_is_the_distance_along_and_across(theta, ideal):
    L = LOSSES.numpy() - ideal
    # By the angle between both, in place of projected vectors.
    cosine = L @ R / (np.linalg.norm(L) * np.linalg.norm(R))
    length, sine = np.linalg.norm(L), math.sqrt(1 - cosine**2)
    factor = 4 * np.linalg.norm(R) / R.sum()
    found = make(PBI, theta=theta, preferences=R, ideal=ideal)(LOSSES)
    assert float(found) == pytest.approx(factor * length * (cosine + theta * sine))


def test_on_the_preference_pbi_is_the_distance_alone():
    method = make(PBI, preferences=R)
    weights = method.task_weights(torch.from_numpy(0.3 * R))
    torch.testing.assert_close(weights, torch.from_numpy(4 * R / R.sum()))
    # In single precision the part across is never quite zero.
    for seed in range(20):
        value = torch.rand((), generator=torch.Generator().manual_seed(seed)) + 0.1
        weights = make(PBI, n_tasks=3).task_weights(value.expand(3))
        torch.testing.assert_close(weights, torch.ones(3))


def test_descent_on_pbi_brings_losses_to_the_preference():
    """Two tasks that share a parameter meet where their losses have the ratio."""
    x = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    method = make(PBI, n_tasks=2, preferences=[1.0, 4.0])
    for _ in range(3000):
        losses = torch.stack([x**2, (1 - x) ** 2])
        weights = method.task_weights(losses)
        (slope,) = torch.autograd.grad(weights @ losses, x)
        x.data -= 1e-4 * slope
    ratio = (1 - x.detach()) ** 2 / x.detach() ** 2
    assert float(ratio) == pytest.approx(4.0, rel=1e-2)


@pytest.mark.parametrize("cls", [COSMOS, PBI])
def test_preferences_have_names_or_positions_and_no_scale(cls):
    by_position = make(cls, preferences=[3.0, 1.0, 2.0, 2.0])
    names = {"b": 0.1, "a": 0.3, "c": 0.2, "d": 0.2}
    by_name = make(cls, names=list("abcd"), preferences=names)
    torch.testing.assert_close(
        by_name.task_weights(LOSSES), by_position.task_weights(LOSSES)
    )
    with pytest.raises(ValueError, match="There are 4 tasks .* but 2 weights"):
        make(cls, preferences=[1.0, 2.0])
    # Of the present tasks, also those without a preference.
    absent = make(cls, preferences=[0.0, 0.0, 1.0, 1.0])
    tasks = torch.tensor([0, 1])
    assert torch.isfinite(absent.task_weights(LOSSES[:2], tasks)).all()


def test_torchjd_has_the_same_scalars_up_to_the_number_of_tasks():
    scalarization = pytest.importorskip("torchjd.scalarization")
    r = torch.from_numpy(R / R.sum())
    theirs = scalarization.COSMOS(0.7, r)(LOSSES)
    ours = make(COSMOS, penalty=0.7, preferences=R)(LOSSES)
    torch.testing.assert_close(ours, 4 * theirs)
    theirs = scalarization.PBI(5.0, r)(LOSSES)
    ours = make(PBI, preferences=R)(LOSSES)
    torch.testing.assert_close(ours, 4 * r.norm() / r.sum() * theirs)
