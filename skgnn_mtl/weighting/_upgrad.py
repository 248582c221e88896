"""Projection of the gradients on the cone that raises no loss."""

from __future__ import annotations

from torch import Tensor

from ._base import Decision, GramianWeighting, as_matrix, as_weights
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

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    See Also
    --------
    PCGrad : Projects conflicting gradients on each other's normal plane.
    MGDA : The shortest convex combination of the gradients.

    Notes
    -----
    The problem is solved exactly by non-negative least squares, without regularisation.

    References
    ----------
    .. [1] P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization",
       2024, arXiv:2406.16232.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import UPGrad
    >>> UPGrad().task_weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([2.0000, 1.2500])
    """

    def forward(self, gramian: Tensor) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        w, report = project_on_dual_cone(as_matrix(gramian))
        return Decision(as_weights(w, gramian), report)
