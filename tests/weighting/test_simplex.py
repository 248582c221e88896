"""MoDo and SDMGrad against their rules, and as TorchJD has them."""

import itertools

import numpy as np
import pytest
import torch
from random_jacobians import conflicting_jacobian, make, random_jacobian
from scipy.optimize import minimize

from skgnn_mtl.weighting import MGDA, MoDo, SDMGrad
from skgnn_mtl.weighting._simplex import onto_simplex

RNG = np.random.default_rng(0)


def scaled(J):
    """Gradients with a mean length of 1, for which the rules have no other scale."""
    return J / J.norm(dim=1).mean()


def projection(values):
    """The closest point of the simplex, by a general solver."""
    found = minimize(
        lambda w: ((w - values) ** 2).sum(),
        np.full(len(values), 1 / len(values)),
        jac=lambda w: 2 * (w - values),
        bounds=[(0, None)] * len(values),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    return found.x


@pytest.mark.parametrize("n", [1, 2, 5])
def test_projections_are_the_closest_points(n):
    for scale in (0.1, 1.0, 10.0):
        values = scale * RNG.normal(size=n)
        found = onto_simplex(values)
        np.testing.assert_allclose(found, projection(values), atol=1e-6)
        assert found.sum() == pytest.approx(1.0)
    inside = RNG.dirichlet(np.ones(n))
    np.testing.assert_allclose(onto_simplex(inside), inside)


def crosses(n, t=3):
    """Gramians of batches, and products of gradients of their halves."""
    for k in range(n):
        J = scaled(random_jacobian(t, seed=k))
        noise = 0.3 * torch.from_numpy(RNG.normal(size=J.shape))
        yield J @ J.T, (J + noise) @ (J - noise).T


def test_modo_is_the_published_rule():
    method, w = make(MoDo, 3, gamma=0.2, rho=0.3), np.ones(3) / 3
    for G, C in crosses(5):
        found = method.task_weights(G, cross=C)
        w = projection(w - 0.2 * (C.numpy() @ w + 0.3 * w))
        np.testing.assert_allclose(found, 3 * w, atol=1e-5)


def test_sdmgrad_is_the_published_rule():
    method, w = make(SDMGrad, 3, pull=0.4, rate=0.5, n_iter=4), np.ones(3) / 3
    for G, C in crosses(4):
        found = method.task_weights(G, cross=C)
        velocity = 0.0
        for _ in range(4):
            velocity = 0.5 * velocity + C.numpy() @ (w + 0.4 / 3)
            w = projection(w - 0.5 * velocity)
        np.testing.assert_allclose(found, 3 * (w + 0.4 / 3) / 1.4, atol=1e-5)


def test_many_updates_reach_the_shortest_combination():
    for J in (conflicting_jacobian(4), random_jacobian(4)):
        G = J @ J.T
        shortest = make(MGDA, 4).task_weights(G) @ J
        for method in (
            make(MoDo, 4, rho=0.0, gamma=0.2),
            make(SDMGrad, 4, pull=0.0, rate=0.2, n_iter=1),
        ):
            for _ in range(3000):
                weights = method.task_weights(G)
            torch.testing.assert_close(weights @ J, shortest, rtol=1e-4, atol=1e-6)


def test_pulls_lead_to_equal_weights():
    G = random_jacobian(3) @ random_jacobian(3).T
    equal = torch.ones(3, dtype=torch.float64)
    far = make(SDMGrad, 3, pull=1e6).task_weights(G)
    torch.testing.assert_close(far, equal, rtol=1e-4, atol=0)
    method = make(MoDo, 3, rho=1e3, gamma=1e-4)
    for _ in range(500):
        weights = method.task_weights(G)
    torch.testing.assert_close(weights, equal, rtol=1e-2, atol=0)


@pytest.mark.parametrize("cls", [MoDo, SDMGrad])
def test_weights_of_all_tasks_stay_on_the_simplex_with_gaps(cls):
    method = make(cls, 4)
    for k, size in itertools.product(range(4), (1, 2, 3)):
        tasks = torch.arange(4)[torch.randperm(4)[:size]]
        J = random_jacobian(size, seed=k)
        weights = method.task_weights(J @ J.T, tasks=tasks)
        assert float(weights.sum()) == pytest.approx(size)
        assert float(method.w.sum()) == pytest.approx(1.0)
        assert (method.w >= 0).all()


@pytest.mark.parametrize("cls", [MoDo, SDMGrad])
def test_vanished_tasks_leave_the_products_of_halves(cls):
    J = random_jacobian(4)
    J[2] = 0.0
    C = J @ J.T + torch.eye(4, dtype=torch.float64)
    found = make(cls, 4).task_weights(J @ J.T, cross=C)
    rest = torch.tensor([0, 1, 3])
    alone = make(cls, 4).task_weights(
        (J @ J.T)[rest][:, rest], tasks=rest, cross=C[rest][:, rest]
    )
    torch.testing.assert_close(found[rest], alone)
    assert found[2] == 0.0


def test_torchjd_has_the_same_weights():
    aggregation = pytest.importorskip("torchjd.aggregation")
    pairs = [
        (make(MoDo, 3), aggregation.MoDoWeighting(0.1, 0.1)),
        (make(SDMGrad, 3), aggregation.SDMGradWeighting()),
    ]
    for ours, theirs in pairs:
        for k in range(4):
            J = scaled(random_jacobian(3, seed=k))
            weights = 3 * theirs(J @ J.T)
            torch.testing.assert_close(
                ours.task_weights(J @ J.T), weights, rtol=1e-5, atol=1e-6
            )
