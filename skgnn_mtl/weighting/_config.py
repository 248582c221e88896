"""Conflict-free directions."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights, rank_tolerance
from ._solvers import SolverReport, equal_projection, norms_and_cosines


class ConFIG(GramianWeighting):
    r"""Conflict-free inverse gradients of Liu, Chu and Thuerey (2024).

    The direction with the same cosine to all gradients, as long as the sum of the
    gradients' projections on it. With the unit gradients as rows of U,

    .. math::

        x = U^+ 1, \qquad
        \Bigl(\sum_t g_t^\top \frac{x}{\|x\|}\Bigr) \frac{x}{\|x\|}.

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
    Published on the Jacobian, but the Gramian is enough: :math:`x = J^\top y` with
    :math:`y_t = (C^+ 1)_t / d_t`, the cosines C and the norms d. For linearly
    independent gradients it is parallel to :class:`IMTLG`, and never points uphill.

    References
    ----------
    .. [1] Q. Liu, M. Chu, N. Thuerey, "ConFIG: Towards Conflict-free Training of
       Physics Informed Neural Networks", ICLR 2025, arXiv:2408.11104.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ConFIG
    >>> ConFIG()(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    tensor([2.0000, 0.6667])
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
        d, C = norms_and_cosines(as_matrix(gramian))
        y = equal_projection(C, rank_tolerance(gramian))
        slopes = C @ y
        square = y @ slopes
        if square <= 1e-24:
            self.report = SolverReport(stationary=True)
            return as_weights(np.ones_like(d), gramian)
        # Equal cosines need a full rank; otherwise how unequal they are is told.
        self.report = SolverReport(float(np.ptp(slopes)))
        return as_weights((d @ slopes) / square * y / d, gramian)
