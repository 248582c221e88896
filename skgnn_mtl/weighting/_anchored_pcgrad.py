"""Auxiliary gradients projected so that they do not oppose the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ._anchored import relate_to_target
from ._base import Decision, GramianWeighting
from ._solvers import SolverReport


class AnchoredPCGrad(GramianWeighting):
    r"""Target-anchored gradient projection, a strategy of Dey and Ning (2024).

    Each auxiliary gradient loses the part that opposes the pooled target
    :math:`g_0 = \sum_\tau a_\tau g_\tau`:

    .. math:: g_0 + \sum_i (g_i - \gamma_i g_0), \qquad
        \gamma_i = \min(0, g_i^\top g_0) / \|g_0\|^2.

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
    PCGrad : Projects conflicting gradients on each other's normal plane.
    GCS : Weighs auxiliary tasks by the cosine with the target.
    GNS : Shortens auxiliary gradients to the length of the target's.
    RCGrad : Rotates auxiliary gradients that oppose the target.

    Notes
    -----
    :class:`PCGrad` differs in three points. It also projects the target, it projects
    auxiliary gradients on each other, and it does so in random order. A batch without a
    label of a target does not change the shared parameters; such steps are counted as
    stationary. On a plain Gramian the first task is the target.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import AnchoredPCGrad
    >>> AnchoredPCGrad().task_weights(torch.tensor([[1.0, -0.5], [-0.5, 4.0]]))
    tensor([1.5000, 1.0000])
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
        opposed = np.clip(relation.products, None, 0.0)[relation.auxiliary]
        factor = 1.0 - float(opposed.sum()) / relation.target_norm**2
        return relation.weights(factor, np.ones_like(relation.norms), gramian)
