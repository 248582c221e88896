"""Weights from the distance of each task to its optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import JacobianAggregation, positions
from ._capabilities import EpochAware
from ._constraints import POSITIVE, check_count

_EPS = 1e-7


class ExcessMTL(JacobianAggregation, EpochAware):
    r"""Robust multi-task learning with excess risks of He et al. (2024).

    The excess risk of a task, its loss above the best possible one, is estimated by a
    Taylor series with the diagonal of AdaGrad in place of the Hessian,

    .. math::

        h_t = \Bigl(\sum_{k} g_{t,k}^2\Bigr)^{1/2}, \qquad
        e_t = \sum_j g_{tj}^2 / h_{tj}, \qquad
        \alpha_t \propto \alpha_t\, e^{\eta\, e_t / e_t(0)},

    with the sum over all steps k so far, and the mean :math:`e_t(0)` of a warm-up in
    which all weights are 1. The direction is :math:`T \sum_t \alpha_t g_t`. A task with
    noisy labels has a large loss, but no large excess risk.

    It maps a Jacobian (t, p) to a direction (p,).

    Parameters
    ----------
    step_size : float, default=1.0
        Step size :math:`\eta` of the weights.
    warmup_epochs : int, default=3
        Epochs of the warm-up.
    **options : object
        ``adaptive_momentum`` of :class:`JacobianAggregation`.

    Raises
    ------
    ValueError
        At the start of a fit, if ``warmup_epochs`` is not an integer of at least 1.

    See Also
    --------
    DWA : Weights by the falls of the losses.
    GradNorm : Learned weights that even out the gradients.

    Notes
    -----
    The warm-up is that of the paper's appendix; the released code takes the first step
    in its place. The published weights sum to 1, those here to the number T of tasks.
    The weights of absent tasks do not change. The sums of squares need memory for
    n_tasks times the number of shared parameters. With ``step_size=1`` the weights soon
    belong to one task; lower it in long fits.

    References
    ----------
    .. [1] Y. He, S. Zhou, G. Zhang, H. Yun, Y. Xu, B. Zeng, T. Chilimbi, H. Zhao,
       "Robust Multi-Task Learning with Excess Risks", ICML 2024, arXiv:2402.02009.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ExcessMTL
    >>> weighting = ExcessMTL(warmup_epochs=1)
    >>> weighting.build(n_tasks=2)
    >>> weighting(torch.tensor([[1.0, 0.0], [0.0, 8.0]]))
    tensor([1., 8.])
    """

    squares: Tensor
    log_weights: Tensor
    first: Tensor
    counts: Tensor
    epochs: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "step_size": [POSITIVE],
    }

    def __init__(
        self, *, step_size: float = 1.0, warmup_epochs: int = 3, **options: Any
    ) -> None:
        super().__init__(**options)
        self.step_size = step_size
        self.warmup_epochs = warmup_epochs

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the sums of squares; their length is that of the first gradient.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        zeros = torch.zeros(n_tasks, dtype=torch.float64)
        self.register_buffer("squares", torch.zeros(n_tasks, 0))
        self.register_buffer("log_weights", zeros)
        # Sums over the warm-up, and the steps in which each task was present.
        self.register_buffer("first", zeros.clone())
        self.register_buffer("counts", zeros.clone())
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def check_options(self) -> None:
        """Check the options of the family, and ``warmup_epochs``.

        Raises
        ------
        ValueError
            If an option has a value that it cannot have.
        """
        super().check_options()
        check_count(self, "warmup_epochs")

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        # Because only a stored state has the number of parameters, not a built part.
        stored = state_dict.get(prefix + "squares")
        if stored is not None and stored.shape[0] == self.squares.shape[0]:
            self.squares = torch.empty_like(stored, device=self.squares.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, jacobian: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine gradients (t, p) to a direction (p,), and update the weights."""
        if self.squares.shape[1] == 0:
            self.squares = jacobian.new_zeros(len(self.squares), jacobian.shape[1])
        rows = positions(len(self.squares), tasks)
        risks = self._excess_risks(jacobian, rows)
        where = rows.to(self.first.device)
        logs = self.log_weights[where]
        if int(self.epochs) < self.warmup_epochs:
            self.first[where] += risks
            self.counts[where] += 1.0
        else:
            growth = self.step_size * risks / (self._baseline(where) + _EPS)
            # Centred, so that weights of tasks that are often absent stay comparable.
            logs = logs + growth - growth.mean()
            self.log_weights[where] = logs
        weights = len(rows) * torch.softmax(logs, dim=0)
        direction: Tensor = weights.to(jacobian) @ jacobian
        return direction

    def _excess_risks(self, jacobian: Tensor, rows: Tensor) -> Tensor:
        """Estimate the excess risks (t,), and add to the sums of squares."""
        risks = []
        for row, gradient in zip(rows.tolist(), jacobian, strict=True):
            # Row by row, because the sums are as large as all gradients together.
            square = gradient.square()
            self.squares[row].add_(square)
            risks.append((square / (self.squares[row] + _EPS).sqrt()).double().sum())
        return torch.stack(risks).to(self.first.device)

    def _baseline(self, where: Tensor) -> Tensor:
        """Average the risks of the warm-up (t,); of all tasks for a new one."""
        first, counts = self.first, self.counts
        means = first / counts.clamp(min=1.0)
        common = first.sum() / counts.sum().clamp(min=1.0)
        return torch.where(counts > 0, means, common)[where]

    def end_epoch(self, mean_losses: Tensor) -> None:
        """Count the epochs; the mean losses are not used."""
        self.epochs += 1
