"""How the tasks' gradients and curvatures lie to each other."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from skgnn_mtl._gram import gram


def gradient_cosine(gradients: Tensor) -> np.ndarray:
    """Cosines between gradients.

    Parameters
    ----------
    gradients : Tensor of shape (t, P)
        One row a task.

    Returns
    -------
    cosines : ndarray of shape (t, t)
        NaN for a task without gradient.
    """
    return _correlation(gram(gradients).cpu().numpy())


def label_overlap(labelled: np.ndarray) -> np.ndarray:
    """Share of the rows with the labels of both tasks among those with either.

    Parameters
    ----------
    labelled : ndarray of bool, (n, t)
        Where there is a label.

    Returns
    -------
    overlap : ndarray of shape (t, t)
        In [0, 1]; NaN for a task without labels.
    """
    common = labelled.T.astype(np.float64) @ labelled
    counts = np.diag(common)
    counts = np.where(counts > 0, counts, np.nan)
    return common / (counts[:, None] + counts - common)


def subspace_overlap(bases: list[Tensor | None]) -> np.ndarray:
    r"""Overlaps :math:`|V_s^T V_t|_F^2 / k` of the tasks' top eigenspaces.

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


def hessian_cosine(products: Tensor) -> np.ndarray:
    r"""Cosines of the matrices in the Frobenius product, from common probes.

    :math:`\mathrm{tr}(H_s H_t)` is the mean of :math:`(H_s v) \cdot (H_t v)`.

    Parameters
    ----------
    products : Tensor of shape (t, v, P)
        Products of each task's matrix with v common probes.

    Returns
    -------
    cosines : ndarray of shape (t, t)
        NaN for a zero matrix.
    """
    return _correlation(gram(products.flatten(1)).cpu().numpy())


def _correlation(G: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.diag(G))
    with np.errstate(divide="ignore", invalid="ignore"):
        return G / norms[:, None] / norms


def cross_curvature(gradients: Tensor, products: list[Tensor | None]) -> np.ndarray:
    """Curvature of each task's loss along each task's gradient.

    Parameters
    ----------
    gradients : Tensor of shape (t, P)
        One row a task.
    products : list of Tensor of shape (P, t)
        Product of each task's matrix with all gradients; None where there is none.

    Returns
    -------
    curvature : ndarray of shape (t, t)
        Row s makes the step, column t has the loss.
    """
    squares = gradients.double().square().sum(dim=1)
    result = np.full((len(gradients), len(gradients)), np.nan)
    for t, product in enumerate(products):
        if product is not None:
            along = (gradients.double() * product.T.double()).sum(dim=1) / squares
            result[:, t] = along.cpu().numpy()
    return result


def share_in(V: Tensor, gradient: Tensor) -> float:
    """Share of the squared norm of a vector in a subspace.

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
