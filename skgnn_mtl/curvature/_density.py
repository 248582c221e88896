"""Spectral densities from the quadrature nodes of Lanczos runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._trace import wide_standard_error


def density(
    nodes: np.ndarray,
    weights: np.ndarray,
    grid: np.ndarray,
    sigma: float,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Smooth quadrature nodes to a density.

    .. math:: \phi(s) = \frac1{n} \sum_l \sum_k w_{lk}\, N(s; \theta_{lk}, \sigma^2)

    Parameters
    ----------
    nodes, weights : ndarray of shape (n_probes, m)
        Nodes of each run and their weights, which add up to 1 per run.
    grid : ndarray of shape (g,)
        Points to evaluate at.
    sigma : float
        Width of the Gaussians.
    size : int
        Order P of the matrix.

    Returns
    -------
    values : ndarray of shape (g,)
        Mean over probes.
    error : ndarray of shape (g,)
        Standard error over probes; NaN from one probe.

    References
    ----------
    .. [1] S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A)) via stochastic
       Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38, 1075 (2017).
    """
    z = (grid[:, None, None] - nodes) / sigma
    bells = np.exp(-0.5 * z**2) / (sigma * np.sqrt(2 * np.pi))
    return _mean_and_error(bells, weights, size)


def cumulative(
    nodes: np.ndarray, weights: np.ndarray, grid: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the weights of the nodes up to each point, without a width.

    Parameters
    ----------
    nodes, weights : ndarray of shape (n_probes, m)
        Nodes of each run and their weights.
    grid : ndarray of shape (g,)
        Points to evaluate at.
    size : int
        Order P of the matrix.

    Returns
    -------
    values, error : ndarray of shape (g,)
        Mean over probes, and its standard error.
    """
    below = (nodes <= grid[:, None, None]).astype(np.float64)
    values, error = _mean_and_error(below, weights, size)
    # The larger error of both sides, because a share near 0 or 1 has few samples.
    _, other = _mean_and_error(1.0 - below, weights, size)
    return values, np.maximum(error, other)


def _mean_and_error(
    functions: np.ndarray, weights: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Average quadratures of functions (g, n_probes, m), with the standard error.

    A few samples of a skewed distribution often underestimate its spread. At an
    isolated eigenvalue, for example, the weight is a squared component of the probe.
    The error is therefore at least that of directions drawn uniformly. The quadratures
    give the means of f over the spectrum. With them one direction has the variance
    :math:`u = 2 (\overline{f^2} - \bar f^2) / P`. With n directions the error is
    :math:`\sqrt{u/n + (u/n\bar f)^2}`. The second term, as of Poisson's distribution,
    matters where few eigenvalues contribute.
    """
    # Scaled, because squares of the tails of a density would underflow.
    scale = functions.max(axis=(1, 2))
    scale = np.where(scale > 0, scale, 1.0)
    functions = functions / scale[:, None, None]
    samples = (functions * weights).sum(axis=2)
    mean = samples.mean(axis=1)
    squares = (functions**2 * weights).sum(axis=2).mean(axis=1)
    variance = 2 * np.maximum(squares - mean**2, 0) / (size * samples.shape[1])
    grain = variance / np.where(mean > 0, mean, 1.0)
    error = np.maximum(wide_standard_error(samples.T), np.hypot(variance**0.5, grain))
    return scale * mean, scale * error


def default_sigma(nodes: np.ndarray, weights: np.ndarray) -> float:
    """Choose a width by the spectrum: its range over twice the number of steps.

    Parameters
    ----------
    nodes, weights : ndarray of shape (n_probes, m)
        Nodes of each run; those without weight are padding.

    Returns
    -------
    sigma : float
        Positive; NaN where no node has weight.
    """
    used = nodes[weights > 0]
    if not used.size:
        return np.nan
    width = np.ptp(used) / (2 * nodes.shape[1])
    # A single eigenvalue has no range.
    return float(width) or 1e-3 * float(np.abs(used).max()) or 1e-12


def log_spread(values: ArrayLike) -> tuple[float, float]:
    """Compute max over min, and the standard deviation of the decimal logarithms.

    Parameters
    ----------
    values : ndarray of shape (t,)
        A statistic of each task.

    Returns
    -------
    ratio, spread : float
        NaN if a value is missing or not positive.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 or not (np.isfinite(values) & (values > 0)).all():
        return np.nan, np.nan
    spread = np.log10(values).std(ddof=1)
    return float(values.max() / values.min()), float(spread)


def noise_floor(values: ArrayLike, errors: ArrayLike) -> float:
    r"""Compute the log-spread that the errors alone would cause.

    .. math:: \sqrt{\mathrm{mean}_t (e_t / (\ln 10\, m_t))^2}

    Parameters
    ----------
    values, errors : ndarray of shape (t,)
        A statistic of each task and its standard error.

    Returns
    -------
    floor : float
        NaN if a value is missing or not positive.
    """
    values, errors = np.asarray(values), np.asarray(errors)
    if not (values > 0).all():
        return np.nan
    return float(np.sqrt(np.mean((errors / (np.log(10) * values)) ** 2)))
