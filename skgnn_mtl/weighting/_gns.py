"""Auxiliary gradients no longer than the target's."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._anchored import see_from_target
from ._base import GramianWeighting
from ._solvers import SolverReport


class GNS(GramianWeighting):
    r"""Gradient norm scaling, a strategy compared by Dey and Ning (2024).

    Gradients of auxiliary tasks are shortened to the length of the pooled target's,
    :math:`g_0 = \sum_\tau a_\tau g_\tau`:

    .. math:: g_0 + \sum_i \min(s, \|g_0\| / \|g_i\|)\, g_i.

    Which tasks are targets is said by the estimator's ``target_tasks``.

    Parameters
    ----------
    max_scale : float, default=1.0
        Largest factor s; above 1 short gradients are stretched.
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`g_0`: their labels in the batch, or equal.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Notes
    -----
    A batch without a label of a target leaves the shared parameters alone; such steps
    are counted as stationary. On a plain Gramian the first task is the target.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GNS
    >>> GNS()(torch.tensor([[1.0, 0.0, 0.0], [0.0, 16.0, 0.0], [0.0, 0.0, 0.1]]))
    tensor([1.0000, 0.2500, 1.0000])
    """

    compares_norms = True

    def __init__(
        self,
        *,
        max_scale=1.0,
        pool="labels",
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
        self.max_scale = max_scale
        self.pool = pool
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        if not self.max_scale > 0:
            raise ValueError(f"max_scale must be > 0, got {self!r}.")
        seen = see_from_target(gramian, anchor)
        if seen is None:
            self.report = SolverReport(stationary=True)
            return gramian.new_zeros(len(gramian))
        scales = np.minimum(self.max_scale, seen.target_norm / seen.norms)
        return seen.weights(1.0, scales, gramian)
