"""Bayesian linear regression at the last linear map, and errors at left-out labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skgnn_mtl.curvature import (
    GramMatrix,
    LastLayerPosterior,
    fit_posterior,
    left_out_errors,
)
from skgnn_mtl.curvature._last_layer import _RIDGES


@pytest.fixture(params=[(40, 6), (4, 9)], ids=["tall", "wide"])
def rows(request):
    """Vectors, one of them zero, errors and weights of the mean 1."""
    n, d = request.param
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, d))
    vectors[1] = 0
    weights = rng.uniform(0.5, 2, size=n)
    return vectors, rng.normal(size=n), weights / weights.mean()


def gram(vectors, weights):
    return (vectors * weights[:, None]).T @ vectors


def test_variances_are_those_of_bayesian_linear_regression(rows):
    vectors, _, weights = rows
    G, noise, precision = gram(vectors, weights), 0.3, 0.7
    posterior = LastLayerPosterior(GramMatrix.of(G), precision * noise, noise)
    covariance = np.linalg.inv(G / noise + precision * np.eye(len(G)))
    new = np.random.default_rng(1).normal(size=(7, len(G)))
    expected = noise + np.einsum("ni,ij,nj->n", new, covariance, new)
    np.testing.assert_allclose(posterior.variances(new), expected, rtol=1e-9)
    np.testing.assert_allclose(posterior.prior_precision, precision)
    # In single precision, and without what no row has told.
    lean = LastLayerPosterior(posterior.matrix.seen(posterior.ridge), 0.21, noise)
    assert len(lean.matrix.basis) == np.linalg.matrix_rank(G)
    np.testing.assert_allclose(lean.variances(new), expected, rtol=1e-3)


def test_the_rounding_of_a_lean_matrix_does_not_meet_a_tiny_ridge():
    rng = np.random.default_rng(0)
    # All directions are seen, and the constant one is much longer than the others.
    vectors = np.hstack([rng.normal(size=(80, 12)), np.full((80, 1), 5.0)])
    G = gram(vectors, np.ones(80))
    ridge = np.linalg.eigvalsh(G)[-1] * _RIDGES[0]
    lean = LastLayerPosterior(GramMatrix.of(G).seen(ridge), ridge, 1.0)
    leverages = np.einsum("ni,ij,nj->n", vectors, np.linalg.inv(G), vectors)
    np.testing.assert_allclose(lean.variances(vectors), 1 + leverages, rtol=1e-4)


def test_prior_and_noise_maximise_the_density_of_left_out_errors(rows):
    vectors, errors, weights = rows
    weights = np.ones_like(weights)
    G = gram(vectors, weights)
    found = fit_posterior(GramMatrix.of(G), vectors, errors, weights, 1e-9)

    def density(ridge: float, noise: float) -> float:
        """Refit without each row, and look its error up."""
        total = 0.0
        for vector, error in zip(vectors, errors, strict=True):
            rest = G - np.outer(vector, vector) + ridge * np.eye(len(G))
            variance = noise * (1 + vector @ np.linalg.solve(rest, vector))
            total += norm.logpdf(error, scale=np.sqrt(variance))
        return total

    best = density(found.ridge, found.noise)
    assert best > density(found.ridge, found.noise * 1.01)
    assert best > density(found.ridge, found.noise * 0.99)
    largest = np.linalg.eigvalsh(G)[-1]
    for ridge in largest * _RIDGES[10::5]:
        for noise in np.geomspace(0.1, 3, 20):
            assert best > density(ridge, noise) - 1e-9


def test_a_weight_counts_a_row_again(rows):
    vectors, errors, _ = rows
    n = len(errors)
    twice = np.where(np.arange(n) < n // 2, 2.0, 1.0)
    again = np.repeat(np.arange(n), twice.astype(int))
    matrix = GramMatrix.of(gram(vectors, twice))
    one = fit_posterior(matrix, vectors, errors, twice, 1e-9)
    # Noise for a ridge is a weighted mean of squares.
    leverages = twice * matrix.leverages(vectors, np.array([one.ridge]))[0]
    squares = (errors**2 * (1 - leverages))[again]
    np.testing.assert_allclose(one.noise, squares.mean(), rtol=1e-9)


def test_left_out_errors_are_those_of_a_regression_without_the_label(rows):
    vectors, labels, weights = rows
    kernel, ridge = vectors @ vectors.T, 0.8
    centred = labels - weights @ labels / weights.sum()

    def predict(known: np.ndarray) -> np.ndarray:
        inner = kernel[np.ix_(known, known)] + ridge * np.diag(1 / weights[known])
        return kernel[:, known] @ np.linalg.solve(inner, centred[known])

    everything = np.arange(len(labels))
    residuals = centred - predict(everything)
    training_error = np.sqrt(weights @ residuals**2 / weights.sum())
    found = left_out_errors(kernel, labels, weights, training_error)
    for row in everything:
        rest = np.delete(everything, row)
        expected = centred[row] - predict(rest)[row]
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


def test_ends_of_the_left_out_errors():
    x = np.random.default_rng(2).normal(size=(6, 6))
    kernel, labels, weights = x @ x.T + np.eye(6), x[:, 0], np.ones(6)
    # A network that fits all labels: the errors of interpolation.
    inverse = np.linalg.inv(kernel)
    expected = inverse @ (labels - labels.mean()) / np.diag(inverse)
    found = left_out_errors(kernel, labels, weights, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # One that has learned nothing, and one whose hidden units are all dead.
    for matrix, error in ((kernel, 100.0), (0 * kernel, 0.0)):
        found = left_out_errors(matrix, labels, weights, error)
        np.testing.assert_allclose(found, labels - labels.mean(), atol=0.02)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_few_labels_leave_a_positive_width(n_rows):
    vectors, ones = np.zeros((n_rows, 3)), np.ones(n_rows)
    labels = np.full(n_rows, 2.0)
    errors = left_out_errors(vectors @ vectors.T, labels, ones, 0.0)
    matrix = GramMatrix.of(gram(vectors, ones))
    posterior = fit_posterior(matrix, vectors, errors, ones, 0.25)
    assert posterior.noise == 0.25
    assert posterior.variances(vectors).tolist() == [0.25] * n_rows
    assert np.isfinite(posterior.variances(np.ones((1, 3)))).all()


def test_widths_are_those_of_laplace_torch(rows):
    laplace = pytest.importorskip("laplace")
    vectors, labels, _ = rows
    X, y = torch.from_numpy(vectors[:, :-1]), torch.from_numpy(labels)[:, None]
    network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(X.shape[1], 1))
    network.double()
    peer = laplace.Laplace(
        network,
        "regression",
        subset_of_weights="last_layer",
        hessian_structure="full",
        sigma_noise=torch.tensor(0.5).double(),
        prior_precision=torch.tensor(0.7).double(),
    )
    data = torch.utils.data.TensorDataset(X, y)
    peer.fit(torch.utils.data.DataLoader(data, batch_size=3))
    new = torch.randn(5, X.shape[1], generator=torch.Generator().manual_seed(0))
    _, variance = peer(new.double())
    one = np.ones((len(X), 1))
    G = gram(np.hstack([X.numpy(), one]), one[:, 0])
    own = LastLayerPosterior(GramMatrix.of(G), ridge=0.7 * 0.25, noise=0.25)
    found = own.variances(np.hstack([new.double().numpy(), one[:1].repeat(5, 0)]))
    expected = variance[:, 0, 0].detach().numpy() + 0.25
    np.testing.assert_allclose(found, expected, rtol=1e-6)
