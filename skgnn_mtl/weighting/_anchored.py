"""What methods with target and auxiliary tasks know about the gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ._base import as_matrix, as_weights


@dataclass(frozen=True)
class Anchored:
    """Gradients seen from the pooled target, :math:`g_0 = J^T a`.

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
        """Which tasks are auxiliary, bool (t,)."""
        return self.anchor == 0.0

    @property
    def cosines(self) -> np.ndarray:
        """Cosines of the gradients with :math:`g_0`, (t,)."""
        return self.products / (self.norms * self.target_norm)

    def weights(self, factor: float, auxiliary: np.ndarray, gramian: Tensor) -> Tensor:
        """Weights (t,) of ``factor`` times :math:`g_0` and of the auxiliary tasks."""
        found = factor * self.anchor + np.where(self.auxiliary, auxiliary, 0.0)
        return as_weights(found, gramian)


def see_from_target(gramian: Tensor, anchor: Tensor | None) -> Anchored | None:
    """Look at a Gramian from its pooled target.

    Parameters
    ----------
    gramian : Tensor of shape (t, t)
        Inner products of the gradients.
    anchor : Tensor of shape (t,) or None
        Weights that pool the targets; the first task if not given.

    Returns
    -------
    seen : Anchored or None
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
    return Anchored(a, products, norms, square**0.5)
