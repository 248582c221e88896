"""Lanczos and what follows from it, on matrices with a known spectrum."""

import numpy as np
import pytest
import torch
from random_matrices import probes, symmetric
from sklearn.exceptions import ConvergenceWarning

from skgnn_mtl.curvature import KrylovUnion, lanczos, top_eigenpairs
from skgnn_mtl.curvature._trace import wide_standard_error


def union(A, count=4, steps=30, seed=0):
    V = probes(len(A), count, seed).to(A.dtype)
    return KrylovUnion(lanczos(lambda X: A @ X, V, steps))


RNG = np.random.default_rng(5)
SPECTRA = {
    "outliers": np.r_[30.0, 12, 7, 5, RNG.normal(scale=0.1, size=96)],
    "indefinite": np.linspace(-3, 5, 100),
    "cluster": np.r_[4 + np.array([0, 1e-9, 2e-9]), np.linspace(0, 1, 97)],
    "multiple": np.r_[np.full(3, 4.0), np.linspace(0, 1, 97)],
    "rank 3": np.r_[3.0, 2, 1, np.zeros(97)],
    "negative": -np.linspace(1, 2, 100),
    "tiny": 1e-9 * np.linspace(-1, 1, 100),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_an_eigenvalue_lies_within_the_residual_of_each_ritz_value(name):
    values = SPECTRA[name]
    result = union(symmetric(values), count=2, steps=15)
    for pairs in (result.largest(5), result.smallest(2)):
        distance = np.abs(pairs.values[:, None] - values).min(axis=1)
        assert (distance <= pairs.residuals * (1 + 1e-6) + 1e-15).all()
        assert pairs.residuals.max() < np.inf
        G = (pairs.vectors @ pairs.vectors.T).numpy()
        np.testing.assert_allclose(G, np.eye(len(G)), atol=1e-5)


@pytest.mark.parametrize("name", SPECTRA)
def test_residuals_are_those_of_the_returned_vectors(name):
    A = symmetric(SPECTRA[name])
    pairs = union(A, count=2, steps=15).largest(4)
    products = (A @ pairs.vectors.T).T
    true = torch.linalg.vector_norm(
        products - torch.from_numpy(pairs.values)[:, None] * pairs.vectors, dim=1
    ).numpy()
    scale = np.abs(SPECTRA[name]).max()
    np.testing.assert_allclose(pairs.residuals, true, rtol=1e-4, atol=3e-7 * scale)


def test_the_top_of_a_network_like_spectrum_is_exact():
    pairs = union(symmetric(SPECTRA["outliers"])).largest(4)
    np.testing.assert_allclose(pairs.values, [30, 12, 7, 5], rtol=1e-12)


def test_several_runs_find_a_multiple_eigenvalue_and_one_does_not():
    A = symmetric(SPECTRA["multiple"])
    np.testing.assert_allclose(union(A, 3, 10).largest(3).values, 4, rtol=1e-6)
    # In more steps rounding would bring the lost copies back.
    assert union(A, 1, 10).largest(2).values[1] < 1.1


# Powers of two: another factor would round the matrix itself.
@pytest.mark.parametrize("scale", [2.0**-33, 2.0**33])
def test_a_scaled_matrix_has_scaled_results(scale):
    A = symmetric(SPECTRA["outliers"])
    a, b = union(A), union(scale * A)
    for first, second in (
        (a.largest(4).values, b.largest(4).values),
        (a.smallest().values, b.smallest().values),
        (a.trace_samples(), b.trace_samples()),
        (a.trace_samples(2), b.trace_samples(2) / scale),
        (a.runs[0].nodes()[0], b.runs[0].nodes()[0]),
    ):
        np.testing.assert_allclose(second, scale * first, rtol=1e-10)


def test_zero_matrix_and_order_one():
    zero = union(torch.zeros(7, 7, dtype=torch.float64))
    assert zero.largest(3).values[0] == 0
    assert zero.largest(3).residuals[0] == 0
    assert (zero.trace_samples() == 0).all()
    single = union(torch.full((1, 1), -2.0, dtype=torch.float64))
    np.testing.assert_allclose(single.largest(1).values, [-2])
    np.testing.assert_allclose(single.trace_samples(), -2)


def test_an_invariant_space_ends_a_run():
    run = lanczos(lambda V: symmetric(SPECTRA["rank 3"]) @ V, probes(100, 1), 50)[0]
    assert len(run.alpha) <= 6
    assert run.beta[-1] < 1e-10


def test_full_reorthogonalisation_keeps_vectors_orthogonal():
    values = np.r_[1e6, 1e3, np.linspace(0, 1, 98)]
    run = lanczos(lambda V: symmetric(values) @ V, probes(100, 1), 100)[0]
    G = (run.vectors @ run.vectors.T).numpy()
    np.testing.assert_allclose(G, np.eye(len(G)), atol=1e-12)


def test_quadrature_has_the_moments_of_the_matrix():
    A = symmetric(SPECTRA["indefinite"])
    v = probes(100, 1)
    nodes, weights = lanczos(lambda V: A @ V, v, 10)[0].nodes()
    power = v[:, 0].clone()
    for k in range(6):
        exact = float(v[:, 0] @ power) / 100
        np.testing.assert_allclose((weights * nodes**k).sum(), exact, rtol=1e-9)
        power = A @ power


def test_float32_products_leave_a_floor_and_no_more():
    A = symmetric(SPECTRA["outliers"])
    pairs = union(A.float()).largest(4)
    np.testing.assert_allclose(pairs.values, [30, 12, 7, 5], rtol=3e-6)
    assert pairs.residuals.max() < 1e-3 * 30


def test_deflation_by_the_other_runs_is_unbiased_and_covers():
    values = np.r_[30.0, 12, 7, 5, np.random.default_rng(5).normal(size=56) * 0.3]
    A, trace, square = symmetric(values), values.sum(), (values**2).sum()
    estimates, errors, plain = [], [], []
    for seed in range(500):
        result = union(A, count=4, steps=5, seed=seed)
        samples = result.trace_samples()
        estimates.append([samples.mean(), result.trace_samples(2).mean()])
        errors.append(wide_standard_error(samples))
        plain.append(result.trace_samples(deflate=False).mean())
    estimates, errors = np.array(estimates), np.array(errors)
    noise = estimates.std(axis=0) / np.sqrt(500)
    assert (np.abs(estimates.mean(axis=0) - [trace, square]) < 3.5 * noise).all()
    assert (np.abs(estimates[:, 0] - trace) <= 2 * errors).mean() >= 0.85
    # Deflation also lowers the spread.
    assert estimates[:, 0].std() < 0.25 * np.std(plain)


def test_start_products_are_products():
    A = symmetric(SPECTRA["outliers"])
    V = probes(100, 3)
    products = KrylovUnion(lanczos(lambda X: A @ X, V, 5)).start_products()
    torch.testing.assert_close(products.T, A @ V, rtol=1e-12, atol=1e-12)


def test_top_eigenpairs_stop_early_and_say_when_they_did_not_converge():
    A = symmetric(SPECTRA["outliers"])
    calls = []

    def product(V):
        calls.append(V.shape[1])
        return A @ V

    pairs, converged = top_eigenpairs(product, probes(100, 1)[:, 0], 2, tol=1e-6)
    assert converged.all()
    assert sum(calls) < 40
    np.testing.assert_allclose(pairs.values, [30, 12], rtol=1e-9)
    with pytest.warns(ConvergenceWarning, match="raise max_steps"):
        _, converged = top_eigenpairs(
            lambda V: symmetric(SPECTRA["indefinite"]) @ V,
            probes(100, 1)[:, 0],
            5,
            max_steps=10,
        )
    assert not converged.all()


def test_bad_input_is_refused():
    A = torch.eye(3)
    with pytest.raises(ValueError, match="start vector"):
        lanczos(lambda V: A @ V, torch.zeros(3, 1), 2)
    with pytest.raises(ValueError, match="n_steps"):
        lanczos(lambda V: A @ V, torch.ones(3, 1), 0)
    with pytest.raises(FloatingPointError, match="not finite"):
        lanczos(lambda V: A @ V * np.nan, torch.ones(3, 1), 2)
