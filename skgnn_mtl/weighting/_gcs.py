"""Auxiliary tasks weighted by their cosine with the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ._anchored import relate_to_target
from ._base import Decision, GramianWeighting
from ._solvers import SolverReport


class GCS(GramianWeighting):
    r"""Gradient cosine similarity of Du et al. (2018).

    The weight of an auxiliary task is the cosine of its gradient with that of the
    pooled target, :math:`g_0 = \sum_\tau a_\tau g_\tau`, and 0 if they conflict:

    .. math:: g_0 + \sum_i \max(0, c_i)\, g_i, \qquad
        c_i = \frac{g_i^\top g_0}{\|g_i\|\,\|g_0\|}.

    The estimator's ``target_tasks`` names the target tasks.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`g_0`: their labels in the batch, or equal.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    See Also
    --------
    GNS : Shortens auxiliary gradients to the length of the target's.
    AnchoredPCGrad : Removes the part of an auxiliary gradient that opposes the target.

    Notes
    -----
    A batch without a label of a target does not change the shared parameters; such
    steps are counted as stationary. On a plain Gramian the first task is the target.

    References
    ----------
    .. [1] Y. Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018,
       arXiv:1812.02224.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GCS
    >>> G = torch.tensor([[1.0, 1.0, -1.0], [1.0, 4.0, 0.0], [-1.0, 0.0, 4.0]])
    >>> GCS().task_weights(G)
    tensor([1.0000, 0.5000, 0.0000])
    """

    def __init__(self, *, pool: str = "labels", **options: Any) -> None:
        super().__init__(**options)
        self.pool = pool

    def forward(
        self, gramian: Tensor, anchor: Tensor | None = None
    ) -> Tensor | Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        relation = relate_to_target(gramian, anchor)
        if relation is None:
            nothing = gramian.new_zeros(len(gramian))
            return Decision(nothing, SolverReport(stationary=True))
        return relation.weights(1.0, np.clip(relation.cosines, 0.0, None), gramian)
