"""Traces on matrices with a known one."""

import functools

import numpy as np
import pytest
import torch
from random_matrices import probes as random_probes

from skgnn_mtl.curvature import (
    deflated_hutchinson,
    hutchinson,
    hutchpp,
    nystrom,
    xtrace,
)

RNG = np.random.default_rng(1)
BASIS = np.linalg.qr(RNG.normal(size=(60, 60)))[0]
SPECTRUM = np.r_[20.0, 9, 5, RNG.normal(size=57)]  # indefinite
A = torch.from_numpy(BASIS * SPECTRUM @ BASIS.T)


def product(V):
    return A @ V


probes = functools.partial(random_probes, 60)


TOP = torch.from_numpy(BASIS[:, :3].copy())
ESTIMATORS = {
    "hutchinson": lambda seed: hutchinson(product, probes(20, seed)),
    "deflated": lambda seed: deflated_hutchinson(product, TOP, probes(20, seed)),
    "hutch++": lambda seed: hutchpp(product, probes(20, seed)),
    "xtrace": lambda seed: xtrace(product, probes(12, seed)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_unbiased_and_covered_by_two_standard_errors(name):
    estimates = [ESTIMATORS[name](seed) for seed in range(500)]
    values = np.array([e.value for e in estimates])
    errors = np.array([e.sem for e in estimates])
    assert abs(values.mean() - SPECTRUM.sum()) < 3.5 * values.std() / np.sqrt(500)
    assert (np.abs(values - SPECTRUM.sum()) <= 2 * errors).mean() >= 0.85


def test_variance_of_hutchinson_follows_its_formula():
    matrix = A.numpy()
    exact = 2 * ((matrix**2).sum() - (np.diag(matrix) ** 2).sum())
    samples = hutchinson(product, probes(20_000, 0)).samples
    np.testing.assert_allclose(samples.var(), exact, rtol=0.05)


def test_xtrace_equals_its_slow_leave_one_out_definition():
    Omega = probes(8, 3).numpy()
    matrix, (size, k) = A.numpy(), Omega.shape
    samples = []
    for i in range(k):
        Q = np.linalg.qr(np.delete(matrix @ Omega, i, axis=1))[0]
        w = Omega[:, i] - Q @ (Q.T @ Omega[:, i])
        w *= np.sqrt(size - k + 1) / np.linalg.norm(w)
        samples.append(np.trace(Q.T @ matrix @ Q) + w @ matrix @ w)
    fast = xtrace(product, torch.from_numpy(Omega))
    np.testing.assert_allclose(fast.samples, samples, rtol=1e-12)
    assert fast.n_products == 16


def test_low_rank_and_zero_matrices_are_exact():
    low = torch.from_numpy(BASIS[:, :2] * [3.0, 1] @ BASIS[:, :2].T)
    for estimate in (
        hutchpp(lambda V: low @ V, probes(12, 0)),
        xtrace(lambda V: low @ V, probes(8, 0)),
    ):
        np.testing.assert_allclose(estimate.value, 4, rtol=1e-6)
    zero = xtrace(torch.zeros_like, probes(8, 0))
    assert zero.value == 0


def test_probes_are_signs_and_the_first_ones_do_not_depend_on_the_count():
    few, many = probes(3, 7), probes(9, 7)
    assert (few.abs() == 1).all()
    assert torch.equal(few, many[:, :3])


def test_one_sample_has_no_error_bar():
    assert np.isnan(hutchinson(product, probes(1, 0)).sem)
    with pytest.raises(ValueError, match="even"):
        hutchpp(product, probes(3, 0))


def test_nystrom_is_a_lower_bound_and_exact_at_low_rank():
    decay = 2.0 ** -np.arange(60.0)
    matrix = torch.from_numpy(BASIS * decay @ BASIS.T)
    sketch = torch.linalg.qr(torch.from_numpy(RNG.normal(size=(60, 20))))[0]
    values, vectors = nystrom(matrix @ sketch, sketch)
    assert (values[:10] <= decay[:10] * (1 + 1e-7)).all()
    np.testing.assert_allclose(values[:5], decay[:5], rtol=1e-3)
    G = (vectors.T @ vectors).numpy()
    np.testing.assert_allclose(G, np.eye(20), atol=1e-8)
    zero, _ = nystrom(torch.zeros(60, 20, dtype=torch.float64), sketch)
    assert (zero == 0).all()
