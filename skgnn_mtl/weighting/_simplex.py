"""Weights on the simplex that learn from the gradients of two halves of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._base import GramianWeighting, as_matrix, positions


class SimplexWeighting(GramianWeighting):
    r"""A Gramian weighting that descends on :math:`\|J^\top w\|^2 / 2` step by step.

    The gradient of this function is :math:`J J^\top w`. Its unbiased estimate needs the
    products :math:`C = J_1 J_2^\top` of gradients of two independent batches, here the
    halves of one batch.

    Parameters
    ----------
    gradients : {"parameters"}, default="parameters"
        Because two halves have nothing in common at the representation.
    update_every : int, default=1
        Steps between two updates of the weights.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.
    adaptive_momentum : bool or pair of floats, default=False
        As in :class:`GramianWeighting`.

    Attributes
    ----------
    w : Tensor of float64 of shape (n_tasks,)
        Buffer of the weights; they sum to 1.
    """

    w: Tensor

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the weights, equal at first.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        equal = torch.full((n_tasks,), 1.0 / n_tasks, dtype=torch.float64)
        self.register_buffer("w", equal)

    def read(self, tasks: Tensor | None) -> tuple[np.ndarray, np.ndarray, float]:
        """Read the weights of the present tasks.

        Parameters
        ----------
        tasks : Tensor of int64 of shape (t,) or None
            Their positions; None if all are present.

        Returns
        -------
        where : ndarray of int of shape (t,)
            Their positions.
        w : ndarray of shape (t,)
            Weights that sum to 1, equal if all of them were 0.
        total : float
            Sum of their weights among those of all tasks.
        """
        where = positions(len(self.w), tasks).numpy()
        w = self.w.cpu().numpy()[where]
        total = float(w.sum())
        if total <= 0.0:
            return where, np.full(len(w), 1.0 / len(w)), total
        return where, w / total, total

    def keep(self, where: np.ndarray, w: np.ndarray, total: float) -> None:
        """Store new weights of the present tasks, so that those of all sum to 1."""
        self.w[torch.from_numpy(where)] = torch.from_numpy(w * total).to(self.w)


def products(gramian: Tensor, cross: Tensor | None) -> np.ndarray:
    """Divide the products of both halves (t, t) by the squared mean length.

    Without halves, on a plain Gramian, they are those of the Gramian.
    """
    scale = float(gramian.diagonal().double().sqrt().mean()) ** 2
    return as_matrix(gramian if cross is None else cross) / scale


def onto_simplex(values: np.ndarray) -> np.ndarray:
    """Find the closest vector (t,) without negative entries that sums to 1."""
    # The entries above a level are lowered by it, and the others are 0.
    ordered = np.sort(values)[::-1]
    levels = (np.cumsum(ordered) - 1.0) / np.arange(1, len(values) + 1)
    level = levels[np.flatnonzero(ordered > levels)[-1]]
    projected: np.ndarray = np.clip(values - level, 0.0, None)
    return projected
