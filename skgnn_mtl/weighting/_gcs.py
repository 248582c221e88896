"""Auxiliary tasks weighted by their cosine with the target."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._anchored import see_from_target
from ._base import GramianWeighting
from ._solvers import SolverReport


class GCS(GramianWeighting):
    r"""Gradient cosine similarity of Du et al. (2018).

    An auxiliary task counts as far as its gradient agrees with that of the pooled
    target, :math:`g_0 = \sum_\tau a_\tau g_\tau`:

    .. math:: g_0 + \sum_i \max(0, c_i)\, g_i, \qquad
        c_i = \frac{g_i^\top g_0}{\|g_i\|\,\|g_0\|}.

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
    A batch without a label of a target leaves the shared parameters alone; such steps
    are counted as stationary. On a plain Gramian the first task is the target.

    References
    ----------
    .. [1] Y. Du et al., "Adapting Auxiliary Losses Using Gradient Similarity", 2018,
       arXiv:1812.02224.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GCS
    >>> GCS()(torch.tensor([[1.0, 1.0, -1.0], [1.0, 4.0, 0.0], [-1.0, 0.0, 4.0]]))
    tensor([1.0000, 0.5000, 0.0000])
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
        return seen.weights(1.0, np.clip(seen.cosines, 0.0, None), gramian)
