"""Dual balancing of losses and gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import JacobianAggregation, positions
from ._constraints import MEMORY, NOT_NEGATIVE


class DBMTL(JacobianAggregation):
    r"""Dual-balancing multi-task learning of Lin et al. (2023).

    The direction is the sum of running means Y of the gradients of the *log* losses,
    each scaled to the largest norm among them. At step k

    .. math::

        h_t = g_t / (L_t + 10^{-8}), \qquad
        Y_t \leftarrow h_t + \frac{\beta}{k^{\gamma}} (Y_t - h_t), \qquad
        \sum_t \frac{\max_s \|Y_s\|}{\|Y_t\|}\, Y_t.

    It maps a Jacobian (t, p) to a direction (p,).

    Parameters
    ----------
    beta : float, default=0.9
        Memory of the running means.
    beta_decay : float, default=0.0
        The exponent :math:`\gamma` of its decay.
    **options : object
        ``adaptive_momentum`` of :class:`JacobianAggregation`.

    See Also
    --------
    GradDrop : Drops coordinates by their sign.
    ScaleInvariant : Sum of the logarithms of the losses.

    Notes
    -----
    A task that is absent from a batch keeps its running mean, which still counts. The
    running means need memory for n_tasks times the number of shared parameters. They
    lag behind by 1 / (1 - beta) steps, in addition to the momentum of Adam. Lower
    ``beta`` in short fits.

    References
    ----------
    .. [1] B. Lin et al., "Dual-Balancing for Multi-Task Learning", 2023,
       arXiv:2308.12029.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import DBMTL
    >>> weighting = DBMTL(beta=0.0)
    >>> weighting.build(n_tasks=2)
    >>> gradients = torch.tensor([[1.0, 0.0], [0.0, 8.0]])
    >>> weighting(gradients, losses=torch.tensor([1.0, 2.0]))
    tensor([4., 4.])
    """

    means: Tensor
    steps: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "beta": [MEMORY],
        "beta_decay": [NOT_NEGATIVE],
    }

    def __init__(
        self, *, beta: float = 0.9, beta_decay: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.beta = beta
        self.beta_decay = beta_decay

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the running means; their length is that of the first gradient.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.register_buffer("means", torch.zeros(n_tasks, 0))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any
    ) -> None:
        # Because only a stored state has the number of parameters, not a built part.
        stored = state_dict.get(prefix + "means")
        if stored is not None and stored.shape[0] == self.means.shape[0]:
            self.means = torch.empty_like(stored, device=self.means.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(
        self,
        jacobian: Tensor,
        losses: Tensor | None = None,
        tasks: Tensor | None = None,
    ) -> Tensor:
        """Combine gradients (t, p) to a direction (p,)."""
        if self.means.shape[1] == 0:
            self.means = jacobian.new_zeros(len(self.means), jacobian.shape[1])
        self.steps += 1
        rows = positions(len(self.means), tasks)
        if losses is None:
            losses = jacobian.new_ones(len(jacobian))
        memory = self.beta / float(self.steps) ** self.beta_decay
        shares = (1.0 - memory) / (losses.cpu().double() + 1e-8)
        for row, gradient, share in zip(
            rows.tolist(), jacobian, shares.tolist(), strict=True
        ):
            # In place: the buffers are as large as all gradients together.
            self.means[row].mul_(memory).add_(gradient, alpha=share)
        norms = self.means.norm(dim=1)
        factors = norms.max() / torch.where(norms > 0, norms, torch.inf)
        direction: Tensor = factors @ self.means
        return direction
