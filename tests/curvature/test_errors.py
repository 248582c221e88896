"""Two standard errors of whatever probes estimate cover what dense matrices say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from random_matrices import probes as random_probes
from scipy.stats import norm
from scipy.stats import t as student

from skgnn_mtl.curvature import (
    HessianSpectrum,
    KrylovUnion,
    TaskProblem,
    hessian_spectrum,
    lanczos,
    task_spectra,
)
from skgnn_mtl.curvature._density import cumulative, density

SIZE, SEEDS = 100, range(50)
RNG = np.random.default_rng(0)


def symmetric(top, shared, bulk):
    """Large eigenvalues, in directions that tasks share partly, on a bulk of noise."""
    own = RNG.normal(size=(SIZE, len(top)))
    basis = np.linalg.qr(shared[:, : len(top)] + own)[0]
    noise = RNG.normal(size=(SIZE, SIZE)) * bulk / np.sqrt(2 * SIZE)
    return basis * top @ basis.T + noise + noise.T


SHARED = RNG.normal(size=(SIZE, 8))
FACTORS = RNG.normal(size=(60, SIZE)) * np.geomspace(1, 0.03, 60)[:, None]
MATRICES = np.stack(
    [
        symmetric([10.0, 6, 4, 2, -3], SHARED, 0.3),
        symmetric([8.0, 7, 3, 1], SHARED, 0.3),
        FACTORS.T @ FACTORS / 60,  # as a Gauss-Newton matrix
    ]
)
EIGENVALUES = np.linalg.eigvalsh(MATRICES)
PRODUCTS = np.einsum("sij,tij->st", MATRICES, MATRICES)
NORMS = np.sqrt(np.diag(PRODUCTS))
COSINES = PRODUCTS / NORMS[:, None] / NORMS
PAIRS = np.triu_indices(3, k=1)


def quadratic(matrices, dtype=torch.float64):
    """Losses whose Hessians are the matrices."""
    A = torch.from_numpy(matrices).to(dtype)
    w = torch.ones(SIZE, dtype=dtype, requires_grad=True)
    return TaskProblem(
        outputs=lambda batch: w.expand(2, -1),
        losses=lambda outputs, batch: A @ outputs[0] @ outputs[0] / 2,
        parameters={"w": w},
        batches=[None],
        masses=torch.full((1, len(A)), 2.0, dtype=torch.float64),
        task_names=tuple(f"task_{t}" for t in range(len(A))),
    )


def spectra(problem, seeds=SEEDS, **options):
    options = {"n_eigenvalues": 3, "n_lanczos": 12, "tol": 1.0, **options}
    return [task_spectra(problem, seed=seed, **options) for seed in seeds]


def stacked(found, name):
    return np.stack([getattr(s, name) for s in found])


@pytest.fixture(scope="module")
def found():
    return spectra(quadratic(MATRICES))


@pytest.fixture(scope="module")
def plain():
    """Without deflation, as before."""
    return spectra(quadratic(MATRICES), trace="hutchinson")


@pytest.mark.parametrize("kind", ["found", "plain"])
def test_cosines_of_hessians_are_unbiased_and_covered(kind, request):
    sample = request.getfixturevalue(kind)
    cosines, errors = (
        stacked(sample, name)[:, *PAIRS]
        for name in ("hessian_cosine", "hessian_cosine_error")
    )
    misses = cosines - COSINES[PAIRS]
    assert (abs(misses.mean(axis=0)) <= 4 * misses.std(axis=0) / 50**0.5).all()
    assert ((abs(misses) <= 2 * errors).mean(axis=0) >= 0.85).all()
    # Errors that are too wide would carry no information.
    assert (np.median(errors, axis=0) <= 2.5 * misses.std(axis=0)).all()


def test_deflation_lowers_the_spread_of_the_cosines(found, plain):
    spread, wide = (stacked(s, "hessian_cosine").std(axis=0) for s in (found, plain))
    assert (spread[PAIRS] <= wide[PAIRS] / 3).all()
    # The error shows where the sign is uncertain, because it depends on the seed.
    weak = abs(COSINES[PAIRS]) < 0.1
    assert weak.any()
    signs = np.sign(stacked(plain, "hessian_cosine")[:, *PAIRS])[:, weak]
    assert (signs == 1).any()
    assert (signs == -1).any()


def test_cosines_cost_no_further_product(found):
    lonely = spectra(quadratic(MATRICES), seeds=[0], pairwise=False)[0]
    # Lanczos, and the gradients of all tasks in place of its own.
    assert (found[0].n_matvec == lonely.n_matvec + 2).all()


@pytest.mark.parametrize("name", ["trace", "frobenius"])
@pytest.mark.parametrize("kind", ["found", "plain"])
def test_traces_and_frobenius_norms_are_covered(name, kind, request):
    sample = request.getfixturevalue(kind)
    power, field = {"trace": (1, "trace"), "frobenius": (2, "frobenius_sq")}[name]
    truth = (EIGENVALUES**power).sum(axis=1)
    misses = stacked(sample, field) - truth
    errors = stacked(sample, f"{name}_sem")
    assert ((abs(misses) <= 2 * errors).mean(axis=0) >= 0.85).all()
    assert (np.median(errors, axis=0) <= 4 * misses.std(axis=0)).all()


def test_the_error_of_a_single_direction_is_covered():
    """Its samples are squares of one normal number: four of them often agree."""
    y = np.linalg.qr(RNG.normal(size=(SIZE, 1)))[0]
    A, covered = torch.from_numpy(5 * y @ y.T), []
    for seed in range(400):
        probes = random_probes(SIZE, 4, seed)
        union = KrylovUnion(lanczos(lambda V: A @ V, probes, 2))
        for power in (1, 2):
            miss = union.trace_samples(power, deflate=False).mean() - 5**power
            covered.append(abs(miss) <= 2 * union.trace_error(power, deflate=False))
    # Student's factor alone gives 0.82.
    assert np.mean(covered) >= 0.87


@pytest.mark.parametrize("count", [3, 8])
def test_a_probe_is_deflated_by_runs_independent_of_it(count):
    A = torch.from_numpy(MATRICES[0])
    probes = random_probes(SIZE, 3, seed=1)
    runs = lanczos(lambda V: A @ V, probes, 6)
    for run, pairs in enumerate(KrylovUnion(runs).independent_pairs(count)):
        others = KrylovUnion([r for k, r in enumerate(runs) if k != run])
        everything = others.largest(SIZE)
        order = np.argsort(-abs(everything.values))[:count]
        np.testing.assert_allclose(pairs.values, everything.values[order], rtol=1e-6)
        same = (pairs.vectors * everything.vectors[order]).sum(dim=1).abs()
        torch.testing.assert_close(same, torch.ones_like(same), rtol=1e-4, atol=0)
    assert KrylovUnion(runs[:1]).independent_pairs(count) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_probes", [4, 8])
def test_results_exact_to_rounding_have_the_error_of_rounding(dtype, n_probes):
    low = np.stack([FACTORS[:6].T @ FACTORS[:6], FACTORS[3:9].T @ FACTORS[3:9]])
    sample = spectra(quadratic(low, dtype), range(10), n_lanczos=20, n_probes=n_probes)
    norms = np.sqrt((low**2).sum(axis=(1, 2)))
    misses = stacked(sample, "hessian_cosine")[:, 0, 1]
    misses -= (low[0] * low[1]).sum() / norms.prod()
    errors = stacked(sample, "hessian_cosine_error")[:, 0, 1]
    assert (abs(misses) <= 2 * errors).all()
    assert (errors <= 100 * torch.finfo(dtype).eps).all()
    for name, field in (("trace", "trace"), ("frobenius", "frobenius_sq")):
        power = 1 if name == "trace" else 2
        truth = (np.linalg.eigvalsh(low) ** power).sum(axis=1)
        misses = abs(stacked(sample, field) - truth)
        errors = stacked(sample, f"{name}_sem")
        assert (misses <= 2 * errors).all()
        assert (errors <= 50 * torch.finfo(dtype).eps * truth).all()


@pytest.mark.parametrize("n_probes", [2, 4])
def test_bands_of_the_density_and_its_sum_are_covered(n_probes, found):
    problem = quadratic(MATRICES)
    sample = found if n_probes == 4 else spectra(problem, n_probes=n_probes)
    inside = {"density": [], "cumulative": []}
    for s in sample:
        for task, values in enumerate(EIGENVALUES):
            grid = np.linspace(values[0], values[-1], 60)
            width = np.ptp(grid) / 24
            z = (grid[:, None] - values) / width
            bells = np.exp(-(z**2) / 2) / width / np.sqrt(2 * np.pi)
            for name, (curve, band), truth in (
                ("density", s.density(grid, width)[1:], bells.mean(axis=1)),
                (
                    "cumulative",
                    s.cumulative(grid + 1e-9),
                    (values <= grid[:, None] + 1e-9).mean(axis=1),
                ),
            ):
                inside[name].append(abs(curve[task] - truth) <= 2 * band[task])
    for name, hits in inside.items():
        shares = np.reshape(hits, (len(SEEDS), 3, 60)).mean(axis=(0, 2))
        assert (shares >= 0.85).all(), (name, shares)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_bands_at_an_isolated_eigenvalue_are_covered(side):
    """The weight of one eigenvector of P in a probe is a square, over P."""
    grid = np.array([side, 0.5 * side])
    covered = []
    for _ in range(1000):
        share = RNG.normal(size=(4, 1)) ** 2 / 500
        nodes = np.repeat([[0.0, side]], 4, axis=0)
        weights = np.hstack([1 - share, share])
        value, band = density(nodes, weights, grid, 0.01, size=500)
        peak = 1 / (0.01 * np.sqrt(2 * np.pi))
        hit = abs(value[0] - peak / 500) <= 2 * band[0]
        value, band = cumulative(nodes, weights, grid, size=500)
        truth = 1 / 500 if side < 0 else 499 / 500
        covered.append((hit, abs(value[1] - truth) <= 2 * band[1]))
    # Student's factor alone gives 0.82.
    assert (np.mean(covered, axis=0) >= 0.95).all()


def test_bands_have_the_factor_of_student():
    """Also where the probes scatter more than directions drawn uniformly do."""
    nodes = np.array([[0.0, 1.0], [0.1, 1.0], [0.3, 1.0]])
    weights = np.array([[0.4, 0.6], [0.5, 0.5], [0.1, 0.9]])
    _, band = cumulative(nodes, weights, np.array([0.5]), size=10**12)
    factor = student.ppf(norm.cdf(2), 2) / 2
    assert band[0] == pytest.approx(factor * np.std([0.4, 0.5, 0.1], ddof=1) / 3**0.5)
    _, band = cumulative(nodes[:1], weights[:1], np.array([0.5]), size=10)
    assert np.isnan(band[0])


def test_bands_follow_the_tails_however_small():
    """Squares of numbers below 1e-160 are zero, the error is not."""
    s = spectra(quadratic(MATRICES), seeds=[0])[0]
    _, values, band = s.density(np.array([30.0]), sigma=0.7)
    assert (values[:2] < 1e-160).all()
    assert (band > 0).any()
    assert (band[values > 0] > 0.1 * values[values > 0]).all()
    grid = np.linspace(-4, 11, 30)
    known = s.ritz_values[0], s.ritz_weights[0], grid
    np.testing.assert_array_equal(s.cumulative(grid)[1][0], cumulative(*known, SIZE)[1])


def test_cosines_of_equal_and_opposite_matrices_are_exact():
    A = MATRICES[0]
    s = spectra(quadratic(np.stack([A, 3 * A, -A])), seeds=[3])[0]
    signs = np.array([1.0, 1.0, -1.0])
    np.testing.assert_allclose(s.hessian_cosine, np.outer(signs, signs), atol=1e-9)
    assert (s.hessian_cosine_error < 1e-9).all()
    assert (s.hessian_cosine_error >= torch.finfo(torch.float64).eps).all()
    assert (abs(s.hessian_cosine) <= 1).all()


def test_cosines_have_an_error_only_where_there_are_several_probes():
    problem = quadratic(MATRICES)
    single = spectra(problem, seeds=[0], n_probes=1)[0]
    assert np.isnan(single.hessian_cosine_error).all()
    assert np.isfinite(single.hessian_cosine).all()
    none = spectra(problem, seeds=[0], pairwise=False)[0]
    assert np.isnan(none.hessian_cosine_error).all()


def test_cosines_in_files_tables_and_without_labels(gin, tmp_path):
    y = gin.y.copy()
    y[1:, 2] = np.nan
    with pytest.warns(UserWarning, match="fewer than two labels"):
        s = hessian_spectrum(gin.model, gin.X, y, tol=1.0, random_state=0)
    assert np.isnan(s.hessian_cosine_error[2]).all()
    assert np.isnan(s.hessian_cosine[:, 2]).all()
    assert np.isfinite(s.hessian_cosine_error[:2, :2]).all()
    assert "hessian_cosine_error" in s.to_frame("pairs")
    s.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as archive:
        content = {k: archive[k] for k in archive.files if k != "hessian_cosine_error"}
    np.savez(tmp_path / "old.npz", **content)
    old = HessianSpectrum.load(tmp_path / "old.npz")
    assert np.isnan(old.hessian_cosine_error).all()
    again = HessianSpectrum.load(tmp_path / "new.npz")
    np.testing.assert_equal(again.hessian_cosine_error, s.hessian_cosine_error)
    replace(old, hessian_cosine_error=s.hessian_cosine_error)


def test_the_sketch_of_nystrom_has_errors_as_well(gin):
    s = hessian_spectrum(
        gin.model, gin.X, gin.y, matrix="ggn", method="nystrom", dtype="float64",
        n_samples=None, random_state=0,
    )  # fmt: skip
    matrices = np.stack([gin.gauss_newton(t).numpy() for t in range(3)])
    products = np.einsum("sij,tij->st", matrices, matrices)
    norms = np.sqrt(np.diag(products))
    misses = s.hessian_cosine - products / norms[:, None] / norms
    assert (abs(misses) <= 3 * s.hessian_cosine_error + 1e-12).all()
    assert (s.hessian_cosine_error[PAIRS] > 0).all()
