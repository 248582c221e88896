"""Fast adaptive multi-task optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ._base import LossWeighting, present
from ._by_task import one_per_task
from ._capabilities import LookBack
from ._constraints import FINITE_NUMBERS, NOT_NEGATIVE, POSITIVE

_EPS = 1e-8


class FAMO(LossWeighting, LookBack):
    r"""Fast adaptive multi-task optimisation of Liu et al. (2023).

    .. math::

        \zeta = \mathrm{softmax}(\xi), \quad D_t = L_t - m_t + 10^{-8}, \quad
        S = T c \sum_t \zeta_t \log D_t, \quad w_t = T c\,\zeta_t / D_t,

    with :math:`c = 1 / \sum_t (\zeta_t / D_t)` held constant. After the step of the
    network the losses of the same batch are computed again, and :math:`\xi` descends on
    :math:`\zeta \circ (\delta - \zeta^\top \delta)`, where :math:`\delta_t` is the
    decrease of :math:`\log D_t`. Tasks that improved least gain weight. A step costs
    one forward pass more than a plain step.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    lr : float, default=0.025
        Learning rate of the Adam that trains :math:`\xi`.
    weight_decay : float, default=1e-3
        Its L2 decay of :math:`\xi`.
    min_losses : float or array-like of shape (n_tasks,), default=0.0
        Lower bounds :math:`m_t` of the losses.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    Raises
    ------
    ValueError
        In ``build``, if ``min_losses`` has another length than the tasks.

    See Also
    --------
    DWA : Weights by the rate at which losses fall.
    NashMTL : The bargaining solution of the tasks.

    Notes
    -----
    The published weights sum to 1, those here to the number of tasks. The second
    forward pass uses the dropout masks of the first. It does not change running
    statistics.

    References
    ----------
    .. [1] B. Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import FAMO
    >>> weighting = FAMO()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([1.0, 4.0]))
    tensor([1.6000, 0.4000])
    """

    floor: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "lr": [POSITIVE],
        "weight_decay": [NOT_NEGATIVE],
        "min_losses": [FINITE_NUMBERS],
    }

    def __init__(
        self,
        *,
        lr: float = 0.025,
        weight_decay: float = 1e-3,
        min_losses: ArrayLike = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.lr = lr
        self.weight_decay = weight_decay
        self.min_losses = min_losses

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the logits and the lower bounds of the losses.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.logits = nn.Parameter(torch.zeros(n_tasks))
        self.register_buffer("floor", one_per_task(self, "min_losses", n_tasks))

    def _excess(self, losses: Tensor, tasks: Tensor | None) -> Tensor:
        # Clamped, because a loss below its stated bound would have no logarithm.
        return (losses - present(self.floor, tasks).to(losses)).clamp(min=0.0) + _EPS

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        zeta = torch.softmax(present(self.logits.detach(), tasks).to(losses), dim=0)
        D = self._excess(losses, tasks)
        c = 1.0 / (zeta / D.detach()).sum()
        return len(losses) * c * (zeta * D.log()).sum()

    def after_step(
        self, losses_before: Tensor, losses_after: Tensor, tasks: Tensor | None = None
    ) -> None:
        """Set the gradient of the logits from losses (t,) before and after a step."""
        zeta = torch.softmax(present(self.logits.detach(), tasks), dim=0)
        before, after = (
            self._excess(losses, tasks).log().to(zeta)
            for losses in (losses_before, losses_after)
        )
        delta = before - after
        gradient = zeta * (delta - zeta @ delta)
        grad = torch.zeros_like(self.logits)
        if tasks is None:
            grad.copy_(gradient)
        else:
            grad[tasks] = gradient
        self.logits.grad = grad
