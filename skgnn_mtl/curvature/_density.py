"""Spectral densities from the quadrature nodes of Lanczos runs."""

from __future__ import annotations

import numpy as np


def density(nodes, weights, grid, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Smooth quadrature nodes to a density.

    .. math:: \phi(s) = \frac1{n} \sum_l \sum_k w_{lk}\, N(s; \theta_{lk}, \sigma^2)

    Parameters
    ----------
    nodes, weights : ndarray of shape (n_probes, m)
        Nodes of each run and their weights, which add up to 1 a run.
    grid : ndarray of shape (g,)
        Where to evaluate.
    sigma : float
        Width of the Gaussians.

    Returns
    -------
    values : ndarray of shape (g,)
        Mean over probes.
    error : ndarray of shape (g,)
        Jackknife standard error over probes; NaN from one probe.

    References
    ----------
    .. [1] S. Ubaru, J. Chen, Y. Saad, "Fast estimation of tr(f(A)) via stochastic
       Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38, 1075 (2017).
    """
    z = (grid[:, None, None] - nodes) / sigma
    bells = np.exp(-0.5 * z**2) / (sigma * np.sqrt(2 * np.pi))
    return _mean_and_error((bells * weights).sum(axis=2))


def cumulative(nodes, weights, grid) -> tuple[np.ndarray, np.ndarray]:
    """Sum the weights of the nodes up to each point: no width is needed.

    Parameters
    ----------
    nodes, weights : ndarray of shape (n_probes, m)
        Nodes of each run and their weights.
    grid : ndarray of shape (g,)
        Where to evaluate.

    Returns
    -------
    values, error : ndarray of shape (g,)
        Mean over probes, and its jackknife standard error.
    """
    below = nodes <= grid[:, None, None]
    return _mean_and_error((below * weights).sum(axis=2))


def _mean_and_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # The jackknife of a mean is its usual standard error.
    n = samples.shape[1]
    error = np.full(len(samples), np.nan)
    if n > 1:
        error = samples.std(axis=1, ddof=1) / np.sqrt(n)
    return samples.mean(axis=1), error


def default_sigma(nodes, weights) -> float:
    """Width that follows the spectrum: its range over twice the number of steps.

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
    return float(width) or 1e-3 * float(np.abs(used).max()) or 1e-12


def log_spread(values) -> tuple[float, float]:
    """Largest over smallest value, and standard deviation of the decimal logarithms.

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


def noise_floor(values, errors) -> float:
    r"""Log-spread that the errors alone would make.

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
