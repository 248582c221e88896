"""Every solver against an independent one, or against the definition."""

import statistics

import numpy as np
import pytest
import torch
from random_jacobians import conflicting_jacobian, generator, make, random_jacobian
from scipy.optimize import minimize

from skgnn_mtl.weighting import (
    IMTLG,
    MGDA,
    NTKMTLSR,
    AlignedMTL,
    CAGrad,
    ConFIG,
    FairGrad,
    GradVac,
    NashMTL,
    PCGrad,
    UPGrad,
)
from skgnn_mtl.weighting._solvers import conflict_averse


def grams(*sizes):
    for n in sizes:
        for J in (
            random_jacobian(n, decades=2.0, n_parameters=60),
            conflicting_jacobian(n, n_parameters=60),
        ):
            yield J.numpy(), (J @ J.T)


def simplex(objective, n):
    """Minimum over the simplex by sequential quadratic programming."""
    starts = [np.full(n, 1 / n), *np.random.default_rng(0).dirichlet(np.ones(n), 3)]
    results = [
        minimize(
            objective,
            start,
            method="SLSQP",
            bounds=[(0, 1)] * n,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        for start in starts
    ]
    return min(result.fun for result in results)


def test_mgda_finds_the_shortest_combination():
    for J, G in grams(2, 3, 11):
        w = make(MGDA, len(J)).task_weights(G).numpy() / len(J)
        assert w.sum() == pytest.approx(1.0)
        assert (w >= 0).all()
        scale = np.trace(J @ J.T) / len(J)
        oracle = simplex(lambda v, J=J, s=scale: ((v @ J) ** 2).sum() / s, len(J))
        assert ((w @ J) ** 2).sum() / scale <= oracle + 1e-9


@pytest.mark.parametrize("decades", [0.0, 2.0, 6.0])
@pytest.mark.parametrize("n_tasks", [2, 11, 20, 40])
def test_mgda_satisfies_its_optimality_conditions(n_tasks, decades):
    J = random_jacobian(n_tasks, decades=decades, n_parameters=100)
    method = make(MGDA, n_tasks)
    w, report = method.decide(J @ J.T)
    point = w @ J / n_tasks
    gap = (point @ point - (J @ point).min()) / (point @ point)
    assert gap <= (1e-10 if decades < 6.0 else 1e-8)
    assert report.residual <= 1e-10


def test_mgda_normalisations_are_those_of_the_scaled_gradients():
    J, losses = random_jacobian(4), torch.tensor([0.5, 1.0, 2.0, 4.0]).double()
    d = J.norm(dim=1)
    for name, divisor in (("l2", d), ("loss", losses), ("loss+", losses * d)):
        method = make(MGDA, 4, normalization=name)
        K = J / divisor[:, None]
        torch.testing.assert_close(
            method.task_weights(J @ J.T, losses=losses),
            make(MGDA, 4).task_weights(K @ K.T),
        )


def test_known_minimum_norm_points():
    # orthogonal: weights as the inverse squares; an acute pair: the shorter one alone
    w = make(MGDA, 2).task_weights(torch.diag(torch.tensor([1.0, 4.0])))
    torch.testing.assert_close(w, torch.tensor([1.6, 0.4]))
    w = make(MGDA, 2).task_weights(torch.tensor([[1.0, 1.5], [1.5, 4.0]]))
    torch.testing.assert_close(w, torch.tensor([2.0, 0.0]))


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.0, 8.0])
@pytest.mark.parametrize("n_tasks", [2, 3, 11, 20, 40])
def test_fair_weights_solve_their_equations(n_tasks, alpha):
    for J, G in grams(n_tasks):
        method = make(FairGrad, len(J), alpha=alpha, rescale="none")
        weights, report = method.decide(G)
        w = weights.numpy()
        assert (w > 0).all()
        residual = np.abs((G.numpy() @ w) * w ** (1 / alpha) - 1).max()
        assert residual <= 1e-8
        assert report.converged
        assert report.residual == pytest.approx(residual, abs=1e-10)


def test_nash_is_fair_at_one_and_has_the_published_norm():
    for J, G in grams(3, 11):
        nash = make(NashMTL, len(J), rescale="none").task_weights(G)
        fair = make(FairGrad, len(J), rescale="none").task_weights(G)
        torch.testing.assert_close(nash, fair)
        direction = nash.numpy() @ J
        assert direction @ direction == pytest.approx(len(J), rel=1e-7)
        clipped = make(NashMTL, len(J), max_norm=1.0, rescale="none").task_weights(G)
        assert np.linalg.norm(clipped.numpy() @ J) == pytest.approx(1.0)


def test_small_alpha_is_equal_weighting():
    J = random_jacobian(4, decades=0.5)
    w = make(FairGrad, 4, alpha=0.01).task_weights(J @ J.T)
    torch.testing.assert_close(w, torch.ones(4).double(), rtol=0.05, atol=0)


@pytest.mark.parametrize("cls", [NashMTL, FairGrad])
def test_without_a_solution_the_stationary_point_is_reported(cls):
    J = random_jacobian(3)
    J[2] = -(J[0] + 2 * J[1])
    method = make(cls, 3, rescale="none")
    w, report = method.decide(J @ J.T)
    assert report.stationary
    assert report.converged
    assert (w @ J).norm() < 1e-6 * J.norm()


@pytest.mark.parametrize("c", [0.1, 0.4, 1.0, 2.0])
def test_conflict_averse_weights_minimise_their_objective(c):
    for J, G in grams(2, 3, 11):
        n, mean = len(J), J.mean(axis=0)
        r = c * np.linalg.norm(mean)
        method = make(CAGrad, n, c=c, shrink=0)
        w, report = method.decide(G)
        direction = w.numpy() @ J / n
        assert report.residual <= 1e-10
        # the correction has the length of the radius
        correction = direction - mean
        assert np.linalg.norm(correction) == pytest.approx(r, rel=1e-6)
        # duality: worst slope of the best direction equals the minimum over weights
        scale = np.trace(G.numpy()) / n
        oracle = simplex(
            lambda v, J=J, m=mean, r=r, s=scale: (
                ((v @ J) @ m + r * np.linalg.norm(v @ J)) / s
            ),
            n,
        )
        assert (J @ direction).min() / scale == pytest.approx(oracle, abs=1e-6)


@pytest.mark.parametrize("c", [0.1, 0.4, 2.0])
def test_faces_and_the_bracketing_search_find_the_same_direction(c):
    cases = [G.numpy() for _, G in grams(2, 3, 11, 20)]
    # twice the same task: the weights are free, the direction is not
    cases += [G[np.ix_(rows, rows)] for G in cases for rows in [[0, 0, 1]]]
    n_iter = []
    for G in cases:
        found, _, report = conflict_averse(G, c)
        searched, _, _ = conflict_averse(G, c, n_guesses=0)
        scale = np.sqrt(np.diagonal(G).mean())
        difference = found - searched
        assert np.sqrt(abs(difference @ G @ difference)) <= 1e-6 * scale
        assert report.residual <= 1e-10
        n_iter.append(report.n_iter)
    assert np.median(n_iter) <= 2


def test_shrinking_divides_and_radius_zero_is_the_sum():
    J = random_jacobian(3)
    G = J @ J.T
    parts = [make(CAGrad, 3, c=0.5, shrink=s).task_weights(G) for s in (0, 1, 2)]
    torch.testing.assert_close(parts[1], parts[0] / 1.25)
    torch.testing.assert_close(parts[2], parts[0] / 1.5)
    torch.testing.assert_close(
        make(CAGrad, 3, c=0.0).task_weights(G), torch.ones(3).double()
    )


def test_conflict_aversion_reports_a_vanishing_mean():
    J = random_jacobian(3)
    J[2] = -(J[0] + J[1])
    method = make(CAGrad, 3)
    w, report = method.decide(J @ J.T)
    assert w.tolist() == [1.0] * 3
    assert report.stationary


@pytest.mark.parametrize("c", [0.4, 1.0])
def test_conflict_aversion_reports_opposite_gradients(c):
    """A mean of exactly zero, or a solution that improves no more than one task."""
    G = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    method = make(CAGrad, 2, c=c)
    decision = method(G)
    assert decision.weights.tolist() == [1.0] * 2
    assert decision.report.stationary
    # The weights of a solution are left alone.
    scales = torch.tensor([1.0, 3.0]).double()
    first, second = (
        make(CAGrad, 2, c=c).task_weights(scales[:, None] * M * scales)
        for M in (G, torch.tensor([[1.0, -1 + 1e-9], [-1 + 1e-9, 1.0]]).double())
    )
    torch.testing.assert_close(first, second, rtol=1e-3, atol=0)


def test_projections_on_the_dual_cone_satisfy_the_optimality_conditions():
    for J, G in grams(2, 3, 11, 20):
        method = make(UPGrad, len(J))
        w, report = method.decide(G)
        direction = w.numpy() @ J
        assert report.residual <= 1e-10
        assert (J @ direction >= -1e-9).all()
    for J, _ in grams(3):
        expected = sum(_project(J, g) for g in J)
        G = torch.from_numpy(J @ J.T)
        direction = make(UPGrad, 3).task_weights(G).numpy() @ J
        np.testing.assert_allclose(direction, expected, rtol=1e-5, atol=1e-7)


def _project(J, g):
    """Nearest point with J x >= 0, by another algorithm."""
    return minimize(
        lambda x: 0.5 * ((x - g) ** 2).sum(),
        np.zeros_like(g),
        jac=lambda x: x - g,
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: J @ x, "jac": lambda x: J},
        options={"ftol": 1e-15, "maxiter": 500},
    ).x


def _orders(n, seed):
    keys = torch.rand(n, n, generator=generator(seed), dtype=torch.float64).numpy()
    np.fill_diagonal(keys, np.inf)
    return keys.argsort(axis=0)[:-1].T


@pytest.mark.parametrize("n_tasks", [2, 3, 11])
def test_projections_equal_those_of_explicit_vectors(n_tasks):
    for J, G in grams(n_tasks):
        for seed in range(3):
            total = np.zeros(J.shape[1])
            for i, order in enumerate(_orders(len(J), seed)):
                g = J[i].copy()
                for j in order:
                    g -= min(0.0, g @ J[j]) / (J[j] @ J[j]) * J[j]
                total += g
            w = make(PCGrad, len(J)).task_weights(G, generator=generator(seed))
            np.testing.assert_allclose(w.numpy() @ J, total, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n_tasks", [2, 3, 11])
def test_vaccinations_equal_those_of_explicit_vectors(n_tasks):
    beta = 0.3
    method = make(GradVac, n_tasks, beta=beta)
    targets = np.zeros((n_tasks, n_tasks))
    for step in range(6):
        J = random_jacobian(n_tasks, decades=1.0, seed=step).numpy()
        total = np.zeros(J.shape[1])
        for i, order in enumerate(_orders(n_tasks, step)):
            g = J[i].copy()
            for j in order:
                length, d = np.linalg.norm(g), np.linalg.norm(J[j])
                c, target = g @ J[j] / (length * d), targets[i, j]
                if c < target:
                    root = np.sqrt(1 - target**2)
                    pull = target * np.sqrt(1 - c**2) - c * root
                    g = g + length * pull / (d * root) * J[j]
                targets[i, j] = (1 - beta) * target + beta * c
            total += g
        G = torch.from_numpy(J @ J.T)
        w = method.task_weights(G, generator=generator(step)).numpy()
        np.testing.assert_allclose(w @ J, total, rtol=1e-8, atol=1e-8)
        cosines = method.target_cosines.numpy()
        np.testing.assert_allclose(cosines, targets, atol=1e-10)


def test_impartial_directions_have_equal_projections():
    for J, G in grams(2, 3, 11):
        d = np.linalg.norm(J, axis=1)
        w = make(IMTLG, len(J)).task_weights(G).numpy()
        projections = J @ (w @ J) / d
        np.testing.assert_allclose(projections, projections[0], rtol=1e-8)
        assert abs(w.sum()) == pytest.approx(len(J))
        published = np.linalg.solve(G.numpy(), d)
        published *= len(J) / abs(published.sum())
        np.testing.assert_allclose(np.abs(w), np.abs(published), rtol=1e-7)


def test_impartial_weights_of_a_negative_sum_are_flipped_and_counted():
    found = 0
    for seed in range(200):
        J = random_jacobian(11, rank=6, decades=1.4, seed=seed)
        method = make(IMTLG, 11)
        w, report = method.decide(J @ J.T)
        if report.flipped:
            found += 1
            published = make(IMTLG, 11, on_negative="published")
            torch.testing.assert_close(w, -published.task_weights(J @ J.T))
    assert found > 0


def test_conflict_free_directions_follow_the_published_formula():
    for J, G in grams(2, 3, 11):
        U = J / np.linalg.norm(J, axis=1, keepdims=True)
        x = np.linalg.pinv(U) @ np.ones(len(J))
        unit = x / np.linalg.norm(x)
        w = make(ConFIG, len(J)).task_weights(G).numpy()
        np.testing.assert_allclose(w @ J, (J @ unit).sum() * unit, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("scale", "reduce"),
    [("min", min), ("mean", np.mean), ("median", statistics.median_low)],
)
@pytest.mark.parametrize("rank", [None, 4, 5])
def test_aligned_gradients_have_equal_singular_values(scale, reduce, rank):
    J = random_jacobian(6, rank=rank)
    w = make(AlignedMTL, 6, scale=scale).task_weights(J @ J.T).numpy()
    U, s, V = np.linalg.svd(J.numpy(), full_matrices=False)
    kept = s > 1e-6
    sigma = reduce(s[kept] ** 2)
    aligned = np.sqrt(sigma) * U[:, kept] @ V[kept]
    np.testing.assert_allclose(w @ J.numpy(), aligned.sum(axis=0), rtol=1e-6, atol=1e-9)


def test_kernel_balance_is_the_normalised_sum_or_that_of_the_largest_part():
    J = random_jacobian(3, decades=2.0)
    G = J @ J.T
    parameters = {"n_splits": 1, "gradients": "parameters", "rescale": "none"}
    w = make(NTKMTLSR, 3, **parameters).task_weights(G)
    torch.testing.assert_close(w, (G.trace() / G.diagonal()).sqrt())
    parts = torch.stack([G, 4 * G, torch.diag(torch.tensor([900.0, 0, 0]).double())])
    largest = torch.tensor([900.0, 0, 0]).double().maximum(4 * G.diagonal())
    w = make(NTKMTLSR, 3, rescale="none").task_weights(parts)
    torch.testing.assert_close(w, (largest.sum() / largest).sqrt())


PINNED = {
    MGDA: [0.75, 0.9, 1.35],
    NashMTL: [0.903239822, 0.947815793, 1.148944385],
    CAGrad: [0.871982928, 1.046379514, 1.569569271],
    UPGrad: [1.428571429, 1.5, 1.285714286],
    AlignedMTL: [0.6949573, 0.741793459, 0.906277553],
    IMTLG: [0.949567266, 1.041080246, 1.009352489],
    ConFIG: [0.947468867, 1.038779617, 1.007121974],
}


@pytest.mark.parametrize("cls", PINNED, ids=lambda cls: cls.__name__.lower())
def test_weights_of_a_hand_made_gramian_stay_what_they_are(cls):
    G = torch.tensor([[2.0, -1.0, 0.5], [-1.0, 3.0, -0.5], [0.5, -0.5, 1.0]]).double()
    np.testing.assert_allclose(make(cls, 3).task_weights(G), PINNED[cls], rtol=1e-7)
