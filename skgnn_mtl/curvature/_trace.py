r"""Traces from products with random probes, each with its standard error.

All maps take ``matmat``, (P, k) -> (P, k), and probes as columns: independent vectors
with mean zero and covariance I, so that :math:`E\,v^T A v = \mathrm{tr}\,A`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from scipy.linalg import solve_triangular
from torch import Tensor

Matmat = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace.

    Parameters
    ----------
    value : float
        The estimate, unbiased.
    sem : float
        Standard error of the estimate; NaN from a single sample.
    samples : ndarray of shape (n_samples,)
        Samples whose mean is ``value``.
    n_products : int
        Products with the matrix.

    See Also
    --------
    hutchinson : Trace by random probes.
    xtrace : Trace by exchangeable probes.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import hutchinson, make_probes
    >>> A = torch.diag(torch.arange(1.0, 5.0, dtype=torch.float64))
    >>> probes = make_probes(4, 3, torch.Generator().manual_seed(0))
    >>> hutchinson(lambda V: A @ V, probes.double()).value  # exact: A is diagonal
    10.0
    """

    value: float
    sem: float
    samples: np.ndarray
    n_products: int


def _estimate(samples: np.ndarray, n_products: int) -> TraceEstimate:
    n = len(samples)
    sem = float(samples.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return TraceEstimate(float(samples.mean()), sem, samples, n_products)


def wide_standard_error(samples: np.ndarray) -> np.ndarray:
    """Estimate the standard error of a mean, widened for few samples.

    Two plain standard errors of four normal samples cover 86 %, those of many samples
    95 %. Two errors of this function cover 95 % for any number of samples, by the
    factor of Student's distribution.

    Parameters
    ----------
    samples : ndarray of shape (n, ...)
        Independent samples, along the first axis.

    Returns
    -------
    error : ndarray of shape (...)
        NaN from a single sample.
    """
    n = len(samples)
    if n < 2:
        return np.full(samples.shape[1:], np.nan)
    factor = stats.t.ppf(stats.norm.cdf(2), n - 1) / 2
    error: np.ndarray = factor * samples.std(axis=0, ddof=1) / np.sqrt(n)
    return error


def make_probes(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw Rademacher probes: entries -1 and 1, each with probability one half.

    Parameters
    ----------
    size : int
        Length P of a probe.
    count : int
        Number of probes.
    generator : torch.Generator
        Source of the signs; on the CPU, so that every device gets the same probes.

    Returns
    -------
    probes : Tensor of float32 of shape (P, count)
        One probe per column; the first columns do not depend on ``count``.

    See Also
    --------
    hutchinson : Trace by random probes.

    References
    ----------
    .. [1] M. F. Hutchinson, "A stochastic estimator of the trace of the influence
       matrix for Laplacian smoothing splines", Commun. Stat. Simul. 19, 433 (1990).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import make_probes
    >>> make_probes(3, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([3, 2])
    """
    # Probes are rows here, so that the first ones do not depend on the count.
    signs = torch.randint(0, 2, (count, size), generator=generator, dtype=torch.int8)
    return (2 * signs - 1).float().T


def _columns_dot(X: Tensor, Y: Tensor) -> np.ndarray:
    return (X.double() * Y.double()).sum(dim=0).cpu().numpy()


def hutchinson(matmat: Matmat, probes: Tensor) -> TraceEstimate:
    r"""Estimate a trace by the mean of :math:`v^T A v`.

    The variance of a sample is :math:`2(|A|_F^2 - \sum_i A_{ii}^2)` for Rademacher
    probes. It can be large compared with the trace of an indefinite matrix, which is
    why the error matters.

    Parameters
    ----------
    matmat : callable
        Product with the symmetric matrix.
    probes : Tensor of shape (P, n)
        Independent probes.

    Returns
    -------
    estimate : TraceEstimate
        From n products.

    See Also
    --------
    deflated_hutchinson : Trace by probes after some eigenvectors are taken out.
    hutchpp : Trace by a low-rank part and probes.
    xtrace : Trace by exchangeable probes.

    References
    ----------
    .. [1] M. F. Hutchinson, "A stochastic estimator of the trace of the influence
       matrix for Laplacian smoothing splines", Commun. Stat. Simul. 19, 433 (1990).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import hutchinson
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> hutchinson(lambda V: A @ V, torch.tensor([[1.0, 1.0], [1.0, -1.0]])).samples
    array([7., 3.])
    """
    return _estimate(_columns_dot(probes, matmat(probes)), probes.shape[1])


def deflated_hutchinson(matmat: Matmat, V: Tensor, probes: Tensor) -> TraceEstimate:
    r"""Estimate a trace exactly on a subspace, by Hutchinson in its complement.

    .. math:: \mathrm{tr}(V^T A V) + \frac1n \sum_l w_l^T A w_l, \quad
        w_l = (I - V V^T) v_l

    It is unbiased for any orthonormal V that does not depend on the probes [1]_.

    Parameters
    ----------
    matmat : callable
        Product with the symmetric matrix.
    V : Tensor of shape (P, k)
        Orthonormal columns, for instance approximate top eigenvectors.
    probes : Tensor of shape (P, n)
        Independent probes.

    Returns
    -------
    estimate : TraceEstimate
        From k + n products.

    See Also
    --------
    hutchinson : Trace by random probes.
    hutchpp : Trace by a low-rank part and probes.

    References
    ----------
    .. [1] R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff, "Hutch++: Optimal Stochastic
       Trace Estimation", SOSA 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import deflated_hutchinson
    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> V = torch.tensor([[1.0], [0.0]])
    >>> deflated_hutchinson(lambda V: A @ V, V, torch.tensor([[1.0], [1.0]])).value
    5.0
    """
    exact = _columns_dot(V, matmat(V)).sum()
    W = probes - V @ (V.T @ probes)
    samples = exact + _columns_dot(W, matmat(W))
    return _estimate(samples, V.shape[1] + probes.shape[1])


def hutchpp(matmat: Matmat, probes: Tensor) -> TraceEstimate:
    """Estimate a trace by Hutch++: deflation by the range of a random sketch.

    A third of the n products finds the range, and a third gives the exact trace on it.
    The last third is Hutchinson's estimate in the complement.

    Parameters
    ----------
    matmat : callable
        Product with the symmetric matrix.
    probes : Tensor of shape (P, 2 k)
        Independent probes; the first k make the sketch.

    Returns
    -------
    estimate : TraceEstimate
        From 3 k products.

    Raises
    ------
    ValueError
        If the number of probes is odd.

    See Also
    --------
    xtrace : Trace by exchangeable probes.
    hutchinson : Trace by random probes.

    References
    ----------
    .. [1] R. A. Meyer, C. Musco, C. Musco, D. P. Woodruff, "Hutch++: Optimal Stochastic
       Trace Estimation", SOSA 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import hutchpp, make_probes
    >>> A = torch.zeros(50, 50, dtype=torch.float64)
    >>> A[:2, :2] = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> probes = make_probes(50, 8, torch.Generator().manual_seed(0)).double()
    >>> round(hutchpp(lambda V: A @ V, probes).value, 9)
    5.0
    """
    k = probes.shape[1] // 2
    if probes.shape[1] != 2 * k or not k:
        raise ValueError(
            f"Hutch++ needs an even number of probes, got {probes.shape[1]}."
        )
    Q = _orthonormal(matmat(probes[:, :k]))
    estimate = deflated_hutchinson(matmat, Q, probes[:, k:])
    return _estimate(estimate.samples, k + estimate.n_products)


def _orthonormal(Y: Tensor) -> Tensor:
    """Compute an orthonormal basis of the columns' span, internally in float64."""
    basis: Tensor = torch.linalg.qr(Y.double())[0].to(Y.dtype)
    return basis


def xtrace(matmat: Matmat, probes: Tensor) -> TraceEstimate:
    r"""Estimate a trace by XTrace, the leave-one-out version of Hutch++.

    With Y = A Omega = Q R, Z = A Q, H = Q^T Z, W = Q^T Omega and s_i the normalised
    columns of :math:`R^{-T}`, :math:`\mu_i = W_i - s_i (s_i \cdot W_i)`, sample i is

    .. math:: \mathrm{tr} H - s_i^T H s_i + (P - k + 1) \frac{
        \omega_i \cdot y_i - 2 \mu_i \cdot Z^T \omega_i + \mu_i^T H \mu_i}
        {|\omega_i|^2 - |\mu_i|^2}.

    The standard error is somewhat too small for fast decaying spectra, because the
    samples share their sketch.

    Parameters
    ----------
    matmat : callable
        Product with the symmetric matrix.
    probes : Tensor of shape (P, k)
        Independent probes of norm :math:`\sqrt{P}`, fewer than P.

    Returns
    -------
    estimate : TraceEstimate
        From 2 k products.

    See Also
    --------
    hutchpp : Trace by a low-rank part and probes.
    hutchinson : Trace by random probes.

    References
    ----------
    .. [1] E. N. Epperly, J. A. Tropp, R. J. Webber, "XTrace: Making the Most of Every
       Sample in Stochastic Trace Estimation", SIAM J. Matrix Anal. Appl. 45 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import make_probes, xtrace
    >>> A = torch.diag(0.5 ** torch.arange(60.0, dtype=torch.float64))
    >>> probes = make_probes(60, 20, torch.Generator().manual_seed(0)).double()
    >>> round(xtrace(lambda V: A @ V, probes).value, 4)
    2.0
    """
    size, k = probes.shape
    Omega = probes.double()
    Y = matmat(probes).double()
    Q, R = torch.linalg.qr(Y)
    Z = matmat(Q.to(probes.dtype)).double()
    H, W = (Q.T @ Z).cpu().numpy(), (Q.T @ Omega).cpu().numpy()
    T = (Z.T @ Omega).cpu().numpy()
    S, rank_deficient = _left_out_directions(R.cpu().numpy())
    mu = W - S * (S * W).sum(axis=0)
    # Without full rank no direction of range(Q) depends on the left-out probe.
    mu[:, rank_deficient] = W[:, rank_deficient]
    lost = np.where(rank_deficient, 0.0, np.einsum("ni,nm,mi->i", S, H, S))
    form = _columns_dot(Omega, Y) - 2 * (mu * T).sum(axis=0)
    form += np.einsum("ni,nm,mi->i", mu, H, mu)
    rest = _columns_dot(Omega, Omega) - (mu * mu).sum(axis=0)
    # A probe within the span has no rest to divide by.
    factor = np.where(rest > 1e-12 * size, (size - k + 1) / np.maximum(rest, 1e-300), 0)
    return _estimate(np.trace(H) - lost + factor * form, 2 * k)


def _left_out_directions(R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find directions (k, k) of range(Q) due to single probes; mask probes without."""
    k = len(R)
    diagonal = np.abs(np.diag(R))
    if diagonal.min() <= 1e-13 * diagonal.max() or diagonal.max() == 0:
        return np.zeros((k, k)), np.ones(k, dtype=bool)
    inverse = solve_triangular(R, np.eye(k), trans="T")
    return inverse / np.linalg.norm(inverse, axis=0), np.zeros(k, dtype=bool)


def nystrom(products: Tensor, sketch: Tensor) -> tuple[np.ndarray, Tensor]:
    r"""Approximate the eigenvalues of a semi-definite matrix from one sketch.

    .. math:: A \approx (A \Omega)(\Omega^T A \Omega)^{-1}(A \Omega)^T,

    with a shift for stability. It needs a single pass: the products with Gauss-Newton
    matrices of many tasks share their forward derivatives. Use it for quick estimates,
    and report the values of :func:`top_eigenpairs`.

    Parameters
    ----------
    products : Tensor of shape (P, k)
        Product of the matrix with the sketch.
    sketch : Tensor of shape (P, k)
        Orthonormal columns.

    Returns
    -------
    values : ndarray of shape (k,)
        Approximate eigenvalues in falling order, none above the true one.
    vectors : Tensor of shape (P, k)
        Orthonormal columns.

    See Also
    --------
    lanczos : Ritz values of a symmetric matrix.
    xtrace : Trace by exchangeable probes.

    References
    ----------
    .. [1] J. A. Tropp, A. Yurtsever, M. Udell, V. Cevher, "Fixed-rank approximation of
       a positive-semidefinite matrix from streaming data", NIPS 2017, algorithm 3.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import nystrom
    >>> A = torch.diag(torch.tensor([4.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    >>> sketch = torch.linalg.qr(torch.randn(4, 3, dtype=torch.float64))[0]
    >>> nystrom(A @ sketch, sketch)[0].round(6) + 0.0
    array([4., 1., 0.])
    """
    eps = torch.finfo(products.dtype).eps
    Y, Omega = products.double(), sketch.double()
    shift = float(np.sqrt(len(Y)) * eps * torch.linalg.matrix_norm(Y, 2))
    if shift == 0:
        return np.zeros(Y.shape[1]), sketch
    # Shifted, so that the Cholesky factor exists; subtracted again below.
    Y = Y + shift * Omega
    core = Omega.T @ Y
    factor = torch.linalg.cholesky((core + core.T) / 2)
    B = torch.linalg.solve_triangular(factor.T, Y, upper=True, left=False)
    U, s, _ = torch.linalg.svd(B, full_matrices=False)
    values = (s.square() - shift).clamp(min=0).cpu().numpy()
    return values, U.to(products.dtype)
