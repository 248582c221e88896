"""Impartial multi-task learning on gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ._base import Decision, GramianWeighting, as_matrix, as_weights, rank_tolerance
from ._constraints import check_choice
from ._solvers import SolverReport, equal_projection, norms_and_cosines


class IMTLG(GramianWeighting):
    r"""Equal projections on all gradients, of Liu et al. (2021).

    The combination with weights that sum to T whose projections on all unit gradients
    are equal:

    .. math:: w = T\,v / \textstyle\sum_t v_t, \qquad v_t = (C^+ 1)_t / d_t,

    with the matrix C of cosines and the norms d of the gradients.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    on_negative : {"flip", "published"}, default="flip"
        What to do where :math:`\sum_t v_t` is negative, so that the published direction
        raises *every* loss. "flip" divides by the modulus, "published" by the sum.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``on_negative`` has another value.

    See Also
    --------
    IMTLL : Learned weights that make losses equal.
    ConFIG : The direction with equal cosines to all gradients.

    Notes
    -----
    The paper states :math:`v = G^+ d`, which is the same for linearly independent
    gradients. For dependent gradients the form with cosines keeps the purpose of the
    method: scaling a loss does not change the direction. Weights are large where the
    sum is near zero.

    References
    ----------
    .. [1] L. Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import IMTLG
    >>> IMTLG().task_weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    tensor([1.5000, 0.5000])
    """

    def __init__(self, *, on_negative: str = "flip", **options: Any) -> None:
        super().__init__(**options)
        self.on_negative = on_negative

    def forward(self, gramian: Tensor) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        check_choice(self, "on_negative", ("flip", "published"))
        d, C = norms_and_cosines(as_matrix(gramian))
        x = equal_projection(C, rank_tolerance(gramian))
        v = x / d
        total = v.sum()
        # A sum of zero has no direction: stay finite, and report it as stationary.
        stationary = bool(abs(total) <= 1e-12 * np.abs(v).sum())
        if stationary:
            total = np.abs(v).sum() or 1.0
        flipped = bool(total < 0 and self.on_negative == "flip")
        # Without full rank the projections differ; the residual reports by how much.
        report = SolverReport(
            float(np.ptp(C @ x)), stationary=stationary, flipped=flipped
        )
        weights = len(v) * v / (-total if flipped else total)
        return Decision(as_weights(weights, gramian), report)
