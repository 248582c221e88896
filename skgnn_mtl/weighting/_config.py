"""Conflict-free directions."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._base import Decision, GramianWeighting, as_matrix, as_weights, rank_tolerance
from ._solvers import SolverReport, equal_projection, norms_and_cosines


class ConFIG(GramianWeighting):
    r"""Conflict-free inverse gradients of Liu, Chu and Thuerey (2024).

    The direction has the same cosine to all gradients. Its length is the sum of the
    gradients' projections on it. With the unit gradients as rows of U,

    .. math::

        x = U^+ 1, \qquad
        \Bigl(\sum_t g_t^\top \frac{x}{\|x\|}\Bigr) \frac{x}{\|x\|}.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    See Also
    --------
    IMTLG : Weights that make projections on all gradients equal.
    AlignedMTL : Gradients with their singular values made equal.

    Notes
    -----
    The paper states the rule for the Jacobian, but the Gramian is enough. In its terms
    :math:`x = J^\top y` with :math:`y_t = (C^+ 1)_t / d_t`, the cosines C and the norms
    d. For linearly independent gradients x is parallel to the direction of
    :class:`IMTLG`, and it never points uphill.

    References
    ----------
    .. [1] Q. Liu, M. Chu, N. Thuerey, "ConFIG: Towards Conflict-free Training of
       Physics Informed Neural Networks", ICLR 2025, arXiv:2408.11104.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ConFIG
    >>> ConFIG().task_weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    tensor([2.0000, 0.6667])
    """

    def forward(self, gramian: Tensor) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        d, C = norms_and_cosines(as_matrix(gramian))
        y = equal_projection(C, rank_tolerance(gramian))
        slopes = C @ y
        square = y @ slopes
        if square <= 1e-24:
            equal = as_weights(np.ones_like(d), gramian)
            return Decision(equal, SolverReport(stationary=True))
        # Without full rank the cosines differ; the residual reports by how much.
        report = SolverReport(float(np.ptp(slopes)))
        weights = (d @ slopes) / square * y / d
        return Decision(as_weights(weights, gramian), report)
