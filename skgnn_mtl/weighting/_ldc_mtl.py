"""Small differences between weighted losses of neighbouring tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._base import LossWeighting, present
from ._capabilities import EpochAware
from ._constraints import NOT_NEGATIVE, POSITIVE

_EPS = 1e-8
# Mean of the authors' uniform draw of the first logits in [0.2, 1].
_FIRST_LOGIT = 0.6


class LDCMTL(LossWeighting, EpochAware):
    r"""Loss discrepancy control of Xiao et al. (2025).

    With the losses :math:`L_t(0)` of the first batch of an epoch,
    :math:`\ell_t = \log (L_t / L_t(0))` and learned
    :math:`\sigma_t = \mathrm{sigmoid}(\max(0, v_t))`,

    .. math::

        S = T \Bigl( \frac{\sum_t \sigma_t \ell_t}{\sum_t \sigma_t}
        + \lambda \sum_{t<T} |\sigma_t \ell_t - \sigma_{t+1} \ell_{t+1}| \Bigr).

    The first term is the lower problem of a bilevel problem, and the second one its
    upper problem as a penalty. The sum of the :math:`\sigma_t` in the denominator is
    held constant where v learns.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    penalty : float, default=0.05
        The factor :math:`\lambda`.
    lr : float, default=1e-3
        Learning rate of the Adam that trains v.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    FAMO : Learned weights of the logarithms of the losses.
    IMTLL : Learned scales of the losses.

    Notes
    -----
    This is the rule of the authors' released code for QM9, in which v is a vector. The
    paper also has a router, a small network that reads the input. The published weights
    sum to about 1, those here to about the number of tasks. The code draws the first v
    at random; here all tasks start at its mean.

    Only neighbours are compared, so that the order of the tasks matters. With more than
    about :math:`1 / (2 \lambda)` tasks a weight can become negative.

    References
    ----------
    .. [1] P. Xiao et al., "LDC-MTL: Balancing Multi-Task Learning through Scalable Loss
       Discrepancy Control", 2025, arXiv:2502.08585.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import LDCMTL
    >>> weighting = LDCMTL()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([1.0, 4.0]))
    tensor([1.0000, 0.2500])
    """

    first_losses: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalty": [NOT_NEGATIVE],
        "lr": [POSITIVE],
    }

    def __init__(
        self, *, penalty: float = 0.05, lr: float = 1e-3, **options: Any
    ) -> None:
        super().__init__(**options)
        self.penalty = penalty
        self.lr = lr

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the logits and the first losses of an epoch, NaN at first.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.logits = nn.Parameter(torch.full((n_tasks,), _FIRST_LOGIT))
        first = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("first_losses", first)

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar, and keep those of a first batch."""
        rows = ... if tasks is None else tasks
        first = self.first_losses[rows].to(losses)
        # Of each task, because it may be absent from the first batch of an epoch.
        first = torch.where(first.isfinite(), first, losses.detach())
        self.first_losses[rows] = first.to(self.first_losses)
        logs = ((losses + _EPS) / (first + _EPS)).log()
        sigma = torch.sigmoid(present(self.logits, tasks).clamp(min=0.0)).to(losses)
        weighted = sigma * logs
        gaps = (weighted[:-1] - weighted[1:]).abs().sum()
        return len(losses) * (
            weighted.sum() / sigma.sum().detach() + self.penalty * gaps
        )

    def end_epoch(self, mean_losses: Tensor) -> None:
        """Forget the first losses; the mean losses are not used."""
        self.first_losses.fill_(torch.nan)
