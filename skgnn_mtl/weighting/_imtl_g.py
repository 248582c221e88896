"""Impartial multi-task learning on gradients."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights, rank_tolerance
from ._solvers import SolverReport, equal_projection, norms_and_cosines


class IMTLG(GramianWeighting):
    r"""Equal projections on all gradients, of Liu et al. (2021).

    The combination with weights that sum to T whose projections on all unit gradients
    are equal:

    .. math:: w = T\,v / \textstyle\sum_t v_t, \qquad v_t = (C^+ 1)_t / d_t,

    with the matrix C of cosines and the norms d of the gradients.

    Parameters
    ----------
    on_negative : {"flip", "published"}, default="flip"
        What to do where :math:`\sum_t v_t` is negative and the published direction
        raises *every* loss: divide by its modulus, or not.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Raises
    ------
    ValueError
        In use, if ``on_negative`` is something else.

    Notes
    -----
    Published as :math:`v = G^+ d`, the same for linearly independent gradients. For
    dependent ones the form with cosines keeps what the method is about: scaling a loss
    does not change the direction. Weights are large where the sum is near zero.

    References
    ----------
    .. [1] L. Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import IMTLG
    >>> IMTLG()(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    tensor([1.5000, 0.5000])
    """

    def __init__(
        self,
        *,
        on_negative="flip",
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
        self.on_negative = on_negative
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        if self.on_negative not in ("flip", "published"):
            raise ValueError(f"on_negative must be flip or published, got {self!r}.")
        d, C = norms_and_cosines(as_matrix(gramian))
        x = equal_projection(C, rank_tolerance(gramian))
        v = x / d
        total = v.sum()
        # A sum of zero has no direction at all: stay finite, and say so.
        stationary = bool(abs(total) <= 1e-12 * np.abs(v).sum())
        if stationary:
            total = np.abs(v).sum() or 1.0
        flipped = bool(total < 0 and self.on_negative == "flip")
        # Equal projections need a full rank; otherwise how unequal they are is told.
        self.report = SolverReport(
            float(np.ptp(C @ x)), stationary=stationary, flipped=flipped
        )
        return as_weights(len(v) * v / (-total if flipped else total), gramian)
