"""Projection of the gradients on the cone that harms no task."""

from __future__ import annotations

from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights
from ._solvers import project_on_dual_cone


class UPGrad(GramianWeighting):
    r"""Unconflicting projection of gradients, of Quinton and Rey (2024).

    Every gradient is projected on the cone :math:`\{x : J x \ge 0\}` of the directions
    that raise no loss, and the projections are added:

    .. math::

        w = \sum_i v_i, \qquad
        v_i = \arg\min_{v \ge e_i} v^\top G\, v.

    Without conflict this is :class:`Equal`. The direction is linear in the scale of
    each loss.

    Parameters
    ----------
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Notes
    -----
    Solved exactly by non-negative least squares, without regularisation.

    References
    ----------
    .. [1] P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization",
       2024, arXiv:2406.16232.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import UPGrad
    >>> UPGrad()(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([2.0000, 1.2500])
    """

    def __init__(
        self, *, gradients="parameters", update_every=1, rescale="none"
    ) -> None:
        super().__init__()
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        w, self.report = project_on_dual_cone(as_matrix(gramian))
        return as_weights(w, gramian)
