"""Impartial multi-task learning on losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._base import LossWeighting, present
from ._constraints import FINITE, POSITIVE


class IMTLL(LossWeighting):
    r"""Learned scales that bring all losses to 1, of Liu et al. (2021).

    .. math:: S = \sum_t e^{s_t} L_t - s_t, \qquad w_t = e^{s_t},

    with a learned :math:`s_t` for each task. At its minimum over s,
    :math:`s_t = -\log L_t` and the direction is that of :class:`ScaleInvariant`, which
    it follows with a lag.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    init : float, default=0.0
        First value of every :math:`s_t`.
    lr : float, default=0.025
        Learning rate of the Adam that trains s, apart from the estimator's optimizer
        and its schedule.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    IMTLG : Weights that make projections on all gradients equal.
    Uncertainty : Learned weights of losses.

    References
    ----------
    .. [1] L. Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import IMTLL
    >>> weighting = IMTLL()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([1.0, 4.0]))
    tensor([1., 1.])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "init": [FINITE],
        "lr": [POSITIVE],
    }

    def __init__(self, *, init: float = 0.0, lr: float = 0.025, **options: Any) -> None:
        super().__init__(**options)
        self.init = init
        self.lr = lr

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the log scales.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.log_scales = nn.Parameter(torch.full((n_tasks,), float(self.init)))

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        s = present(self.log_scales, tasks)
        return (s.exp() * losses - s).sum()
