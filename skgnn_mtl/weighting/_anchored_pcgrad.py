"""Auxiliary gradients projected so that they do not oppose the target."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._anchored import see_from_target
from ._base import GramianWeighting
from ._solvers import SolverReport


class AnchoredPCGrad(GramianWeighting):
    r"""Target-anchored gradient projection, a strategy of Dey and Ning (2024).

    What opposes the pooled target :math:`g_0 = \sum_\tau a_\tau g_\tau` is taken out of
    each auxiliary gradient:

    .. math:: g_0 + \sum_i (g_i - \gamma_i g_0), \qquad
        \gamma_i = \min(0, g_i^\top g_0) / \|g_0\|^2.

    Which tasks are targets is said by the estimator's ``target_tasks``.

    Parameters
    ----------
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
    Not :class:`PCGrad`: the target is never projected, auxiliary tasks not on each
    other, and there is no random order. A batch without a label of a target leaves the
    shared parameters alone; such steps are counted as stationary. On a plain Gramian
    the first task is the target.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import AnchoredPCGrad
    >>> AnchoredPCGrad()(torch.tensor([[1.0, -0.5], [-0.5, 4.0]]))
    tensor([1.5000, 1.0000])
    """

    def __init__(
        self,
        *,
        pool="labels",
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
        self.pool = pool
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        seen = see_from_target(gramian, anchor)
        if seen is None:
            self.report = SolverReport(stationary=True)
            return gramian.new_zeros(len(gramian))
        opposed = np.clip(seen.products, None, 0.0)[seen.auxiliary]
        factor = 1.0 - float(opposed.sum()) / seen.target_norm**2
        return seen.weights(factor, np.ones_like(seen.norms), gramian)
