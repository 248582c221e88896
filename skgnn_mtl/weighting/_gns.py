"""Auxiliary gradients no longer than the target's."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ._anchored import relate_to_target
from ._base import Decision, GramianWeighting
from ._constraints import POSITIVE
from ._solvers import SolverReport


class GNS(GramianWeighting):
    r"""Gradient norm scaling, a strategy compared by Dey and Ning (2024).

    Gradients of auxiliary tasks are shortened to the length of the pooled target's,
    :math:`g_0 = \sum_\tau a_\tau g_\tau`:

    .. math:: g_0 + \sum_i \min(s, \|g_0\| / \|g_i\|)\, g_i.

    The estimator's ``target_tasks`` names the target tasks.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    max_scale : float, default=1.0
        Largest factor s; above 1 short gradients are stretched.
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`g_0`: their labels in the batch, or equal.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``max_scale`` is not positive.

    See Also
    --------
    GCS : Weighs auxiliary tasks by the cosine with the target.
    AnchoredPCGrad : Removes the part of an auxiliary gradient that opposes the target.
    RCGrad : Rotates auxiliary gradients that oppose the target.

    Notes
    -----
    A batch without a label of a target does not change the shared parameters; such
    steps are counted as stationary. On a plain Gramian the first task is the target.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GNS
    >>> GNS().task_weights(torch.diag(torch.tensor([1.0, 16.0, 0.1])))
    tensor([1.0000, 0.2500, 1.0000])
    """

    compares_norms = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_scale": [POSITIVE],
    }

    def __init__(
        self, *, max_scale: float = 1.0, pool: str = "labels", **options: Any
    ) -> None:
        super().__init__(**options)
        self.max_scale = max_scale
        self.pool = pool

    def forward(
        self, gramian: Tensor, anchor: Tensor | None = None
    ) -> Tensor | Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        if not self.max_scale > 0:
            raise ValueError(f"max_scale must be > 0, got {self!r}.")
        relation = relate_to_target(gramian, anchor)
        if relation is None:
            nothing = gramian.new_zeros(len(gramian))
            return Decision(nothing, SolverReport(stationary=True))
        scales = np.minimum(self.max_scale, relation.target_norm / relation.norms)
        return relation.weights(1.0, scales, gramian)
