"""Weights from learned homoscedastic uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._base import LossWeighting, present
from ._constraints import FINITE, POSITIVE


class Uncertainty(LossWeighting):
    r"""Homoscedastic uncertainty weighting of Kendall, Gal and Cipolla (2018).

    .. math::

        S = \sum_t \tfrac12 e^{-s_t} L_t + \tfrac12 s_t, \qquad
        w_t = \tfrac12 e^{-s_t},

    with a learned log variance :math:`s_t` for each task. At its minimum over s,
    :math:`s_t = \log L_t` and the direction is that of :class:`ScaleInvariant`.

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
    IMTLL : Learned weights that make losses equal.
    ScaleInvariant : Sum of the logarithms of the losses.

    References
    ----------
    .. [1] A. Kendall, Y. Gal, R. Cipolla, "Multi-Task Learning Using Uncertainty to
       Weigh Losses for Scene Geometry and Semantics", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Uncertainty
    >>> weighting = Uncertainty()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([1.0, 4.0]))
    tensor([0.5000, 0.5000])
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
        """Create the log variances.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.log_variances = nn.Parameter(torch.full((n_tasks,), float(self.init)))

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        s = present(self.log_variances, tasks)
        return 0.5 * ((-s).exp() * losses + s).sum()
