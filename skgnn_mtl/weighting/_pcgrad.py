"""Projection of conflicting gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights


class PCGrad(GramianWeighting):
    r"""Projecting conflicting gradients, of Yu et al. (2020).

    Every gradient :math:`g_i` meets the others in random order; where it has a negative
    inner product with :math:`g_j`, its component along :math:`g_j` is removed. The
    direction is the sum of the modified gradients. In coefficients, starting from
    :math:`c = e_i`,

    .. math:: p = (G c)_j < 0 \;\Rightarrow\; c_j \leftarrow c_j - p / G_{jj}.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    See Also
    --------
    GradVac : Gradients moved to a running mean of their cosines.
    UPGrad : Projects each gradient on the cone without conflict.
    AnchoredPCGrad : Removes the part of an auxiliary gradient that opposes the target.

    Notes
    -----
    For two tasks the direction raises neither loss; for more, conflicts can remain. All
    :math:`g_i` are projected at once, in T - 1 updates of a (T, T) matrix.

    References
    ----------
    .. [1] T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import PCGrad
    >>> PCGrad().task_weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([2.0000, 1.2500])
    """

    def forward(
        self, gramian: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        rows, diagonal = np.arange(len(G)), np.diagonal(G)
        C, Q = np.eye(len(G)), G.copy()  # coefficients, and their products C G
        for others in random_orders(len(G), generator):
            p = Q[rows, others]
            change = np.where(p < 0.0, -p / diagonal[others], 0.0)
            C[rows, others] += change
            Q += change[:, None] * G[others]
        return as_weights(C.sum(axis=0), gramian)


def random_orders(n: int, generator: torch.Generator | None) -> np.ndarray:
    """Draw random orders in which each task meets the others.

    Parameters
    ----------
    n : int
        Number of tasks.
    generator : torch.Generator, optional
        Source of randomness.

    Returns
    -------
    orders : ndarray of int64 of shape (n - 1, n)
        Column i is an order of the tasks other than i.
    """
    keys = torch.rand(n, n, generator=generator, dtype=torch.float64).numpy()
    # Infinite keys sort last, where they are cut off: no task meets itself.
    np.fill_diagonal(keys, np.inf)
    return keys.argsort(axis=0)[:-1]
