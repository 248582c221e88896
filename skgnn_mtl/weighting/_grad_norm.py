"""Gradient norms that follow the speed of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ._base import GramianWeighting, positions
from ._capabilities import EpochAware
from ._constraints import FINITE, POSITIVE


class GradNorm(GramianWeighting, EpochAware):
    r"""Gradient normalisation of Chen et al. (2018).

    Logits s are learned, :math:`w = T\,\mathrm{softmax}(s)`, to minimise

    .. math::

        \sum_t |w_t d_t - c_t|, \qquad
        c_t = \Bigl(\frac1T \sum_s w_s d_s\Bigr) \rho_t^{\,\alpha},

    with the norms :math:`d_t` of the gradients, the constants :math:`c_t`, and the
    inverse training rates :math:`\rho_t`, which are :math:`L_t / L_t(0)` divided by
    their mean. :math:`L(0)` is the mean loss of the first epoch, in which all weights
    are 1.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    alpha : float, default=1.5
        How strongly slow tasks gain weight; 0 makes all weighted norms equal.
    lr : float, default=0.025
        Learning rate of the Adam that trains s.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    See Also
    --------
    DWA : Weights by the rate at which losses fall.
    NTKMTLSR : Weights from the neural tangent kernel.

    Notes
    -----
    The published weights are learned themselves and divided by their mean after each
    step; the softmax does the same to their logarithms. The gradient of the objective
    is divided by the mean norm :math:`\sum_t d_t / T`, unlike in the paper: s then
    learns alike in all units of the losses, even where the gradient itself would be
    below the constant of Adam.

    References
    ----------
    .. [1] Z. Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing
       in Deep Multitask Networks", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GradNorm
    >>> weighting = GradNorm()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.eye(2))
    tensor([1., 1.])
    """

    first_losses: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [FINITE],
        "lr": [POSITIVE],
    }

    def __init__(
        self, *, alpha: float = 1.5, lr: float = 0.025, **options: Any
    ) -> None:
        super().__init__(**options)
        self.alpha = alpha
        self.lr = lr

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the logits and the first losses, NaN at first.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.logits = nn.Parameter(torch.zeros(n_tasks))
        self.register_buffer("first_losses", torch.full((n_tasks,), torch.nan))

    def forward(
        self,
        gramian: Tensor,
        losses: Tensor | None = None,
        tasks: Tensor | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t), and set the gradient of the logits."""
        rows = positions(len(self.logits), tasks)
        logits = self.logits.detach().cpu().double()
        w = len(rows) * torch.softmax(logits[rows], dim=0)
        first = self.first_losses.cpu().double()[rows]
        if losses is not None and bool(first.isfinite().any()):
            d = gramian.diagonal().double().sqrt()
            rates = losses.cpu().double() / first.clamp(min=1e-8)
            rates = rates.nan_to_num(nan=1.0)
            target = (w * d).mean() * (rates / rates.mean().clamp(min=1e-8)) ** (
                self.alpha
            )
            q = d * torch.sign(w * d - target)
            grad = torch.zeros_like(logits)
            grad[rows] = w * (q - (w @ q) / len(rows))
            # The constant of Adam is then small beside it, whatever the losses' units.
            self.logits.grad = (grad / d.mean()).to(self.logits)
        return w.to(gramian)

    def end_epoch(self, mean_losses: Tensor) -> None:
        """Store the first mean loss of each task; NaN where unlabelled."""
        measured = self.first_losses.isfinite()
        fresh = mean_losses.to(self.first_losses)
        self.first_losses.copy_(torch.where(measured, self.first_losses, fresh))
