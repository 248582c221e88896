"""Gradients of auxiliary tasks in relation to that of the pooled target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from skgnn_mtl._gram import cosines

from ._base import as_matrix, as_weights


@dataclass(frozen=True)
class TargetRelation:
    """Gradients in relation to that of the pooled target, :math:`g_0 = J^T a`.

    Parameters
    ----------
    anchor : ndarray of shape (t,)
        Weights a that pool the targets, 0 for auxiliary tasks.
    products : ndarray of shape (t,)
        Inner products of the gradients with :math:`g_0`.
    norms : ndarray of shape (t,)
        Lengths of the gradients.
    target_norm : float
        Length of :math:`g_0`.
    """

    anchor: np.ndarray
    products: np.ndarray
    norms: np.ndarray
    target_norm: float

    @property
    def auxiliary(self) -> np.ndarray:
        """Mask of the auxiliary tasks, bool (t,)."""
        auxiliary: np.ndarray = self.anchor == 0.0
        return auxiliary

    @property
    def cosines(self) -> np.ndarray:
        """Cosines of the gradients with :math:`g_0`, (t,); NaN for a vanished one."""
        return cosines(self.products, self.norms * self.target_norm)

    def weights(self, factor: float, auxiliary: np.ndarray, gramian: Tensor) -> Tensor:
        """Combine ``factor`` times :math:`g_0` and the auxiliary tasks to weights."""
        found = factor * self.anchor + np.where(self.auxiliary, auxiliary, 0.0)
        return as_weights(found, gramian)


def relate_to_target(gramian: Tensor, anchor: Tensor | None) -> TargetRelation | None:
    """Relate the gradients of a Gramian to that of the pooled target.

    Parameters
    ----------
    gramian : Tensor of shape (t, t)
        Inner products of the gradients.
    anchor : Tensor of shape (t,) or None
        Weights that pool the targets; the first task if not given.

    Returns
    -------
    relation : TargetRelation or None
        None if no target has a gradient.
    """
    G = as_matrix(gramian)
    a = np.eye(len(G))[0] if anchor is None else as_matrix(anchor)
    products = G @ a
    square = float(a @ products)
    norms = np.sqrt(np.diagonal(G))
    # Targets that cancel out have no direction to compare with.
    if square <= 1e-24 * float((a * norms).sum()) ** 2:
        return None
    return TargetRelation(a, products, norms, square**0.5)
