"""Similarity of the tasks' gradients and curvatures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._gram import cosines, gram

from ._lanczos import RitzPairs
from ._trace import wide_standard_error


def gradient_cosine(gradients: Tensor) -> np.ndarray:
    """Compute the cosines between gradients.

    Parameters
    ----------
    gradients : Tensor of shape (t, P)
        One row per task.

    Returns
    -------
    cosines : ndarray of shape (t, t)
        NaN for a task without gradient.
    """
    G = gram(gradients).cpu().numpy()
    norms = np.sqrt(np.diag(G))
    return cosines(G, norms[:, None], norms)


def subspace_overlap(bases: list[Tensor | None]) -> np.ndarray:
    r"""Compute the overlaps :math:`|V_s^T V_t|_F^2 / k` of the tasks' top eigenspaces.

    Parameters
    ----------
    bases : list of Tensor of shape (k, P)
        Orthonormal rows of each task; None for a task without any.

    Returns
    -------
    overlap : ndarray of shape (t, t)
        In [0, 1]; k/P for random spaces.
    """
    overlap = np.full((len(bases), len(bases)), np.nan)
    for s, V in enumerate(bases):
        for t, W in enumerate(bases[: s + 1]):
            if V is None or W is None:
                continue
            shared = float((V @ W.T).double().square().sum())
            overlap[s, t] = overlap[t, s] = shared / min(len(V), len(W))
    return overlap


def hessian_cosine(
    products: Tensor,
    probes: Tensor,
    pairs: Sequence[Sequence[RitzPairs]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute cosines of the matrices in the Frobenius product, from common probes.

    :math:`\mathrm{tr}(H_s H_t)` is the mean over the probes v of

    .. math:: (H_s v) \cdot (H_t v) - (D_s v) \cdot (D_t v) + \mathrm{tr}(D_s D_t)

    for any matrices :math:`D_t` that do not depend on v. Here they come from the Ritz
    pairs :math:`\theta, y` of the other probes' runs, :math:`D = \sum \theta\, y y^T`.
    The large eigenvalues, which cause most of the variance, then count exactly. The
    error of the ratio is that of its linearisation.

    Parameters
    ----------
    products : Tensor of shape (t, v, P)
        Products of each task's matrix with v common probes.
    probes : Tensor of shape (v, P)
        The probes.
    pairs : sequence of sequence of RitzPairs
        Ritz pairs per probe and task; without them nothing is deflated.

    Returns
    -------
    cosines : ndarray of shape (t, t)
        In [-1, 1]; NaN for a zero matrix.
    errors : ndarray of shape (t, t)
        Standard errors with Student's factor, not below the rounding; NaN from a
        single probe.
    """
    samples = np.stack([gram(H).cpu().numpy() for H in products.transpose(0, 1)])
    for row, deflated in enumerate(pairs):
        samples[row] += _deflation(deflated, probes[row])
    norms = np.sqrt(np.diag(samples.mean(axis=0)))
    scaled = cosines(samples, norms[:, None], norms)
    mean = cosines(samples.mean(axis=0), norms[:, None], norms)
    own = np.diagonal(scaled, axis1=1, axis2=2)
    deviations = scaled - mean * (own[:, :, None] + own[:, None, :]) / 2
    rounding = 10 * torch.finfo(products.dtype).eps
    errors = np.hypot(wide_standard_error(deviations), rounding)
    return mean.clip(-1, 1), errors


def _deflation(pairs: Sequence[RitzPairs], probe: Tensor) -> np.ndarray:
    """Compute traces (t, t) of products of low-rank matrices, less their samples."""
    values = np.concatenate([p.values for p in pairs])
    rows = torch.cat([p.vectors for p in pairs])
    G = gram(rows).cpu().numpy()
    along = values * (rows @ probe).double().cpu().numpy()
    terms = np.outer(values, values) * G**2 - np.outer(along, along) * G
    task = np.repeat(np.arange(len(pairs)), [len(p.values) for p in pairs])
    sums = (task == np.arange(len(pairs))[:, None]).astype(np.float64)
    traces: np.ndarray = sums @ terms @ sums.T
    return traces


def cross_curvature(gradients: Tensor, products: list[Tensor | None]) -> np.ndarray:
    """Compute the curvature of each task's loss along each task's gradient.

    Parameters
    ----------
    gradients : Tensor of shape (t, P)
        One row per task.
    products : list of Tensor of shape (P, t)
        Product of each task's matrix with all gradients; None for a task without.

    Returns
    -------
    curvature : ndarray of shape (t, t)
        Row s is the task of the gradient, column t that of the loss.
    """
    squares = gradients.double().square().sum(dim=1)
    result = np.full((len(gradients), len(gradients)), np.nan)
    for t, product in enumerate(products):
        if product is not None:
            along = (gradients.double() * product.T.double()).sum(dim=1) / squares
            result[:, t] = along.cpu().numpy()
    return result


def share_in(V: Tensor, gradient: Tensor) -> float:
    """Compute the share of the squared norm of a vector in a subspace.

    Parameters
    ----------
    V : Tensor of shape (k, P)
        Orthonormal rows.
    gradient : Tensor of shape (P,)
        The vector.

    Returns
    -------
    share : float
        In [0, 1]; NaN for the zero vector.
    """
    square = float(gradient.double().square().sum())
    if square == 0:
        return float("nan")
    return float((V @ gradient).double().square().sum()) / square
