"""A smooth Tchebycheff scalarisation of log losses."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from skgnn_mtl._component import Numbers

from ._base import LossWeighting, present
from ._capabilities import EpochAware
from ._constraints import POSITIVE

_EPS = 1e-8


class STCH(LossWeighting, EpochAware):
    r"""Smooth Tchebycheff scalarisation of Lin et al. (2024).

    In the warm-up and the epoch after it, S is the sum of log losses. The mean losses
    of that epoch become the nadir :math:`\nu`. Then

    .. math::

        S = T \mu \log \sum_t \exp\bigl(\log(L_t / \nu_t) / \mu\bigr), \qquad
        w_t = T\,\mathrm{softmax}(\log(L / \nu) / \mu)_t / L_t.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    mu : float, default=1.0
        Smoothness. At 1 the weights are proportional to :math:`1 / \nu_t` and constant.
        The smaller mu is, the more the worst ratio counts.
    warmup_epochs : int, default=4
        Epochs before the one that sets the nadir.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    ScaleInvariant : Sum of the logarithms of the losses.
    MGDA : The shortest convex combination of the gradients.

    References
    ----------
    .. [1] X. Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective
       Optimization", ICML 2024.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import STCH
    >>> weighting = STCH(warmup_epochs=0)
    >>> weighting.build(n_tasks=2)
    >>> weighting.end_epoch(torch.tensor([1.0, 4.0]))
    >>> weighting.task_weights(torch.tensor([1.0, 4.0]))
    tensor([1.0000, 0.2500])
    """

    nadir: Tensor
    epochs: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "mu": [POSITIVE],
        "warmup_epochs": [Numbers(Integral, 0, None, closed="left")],
    }

    def __init__(
        self, *, mu: float = 1.0, warmup_epochs: int = 4, **options: Any
    ) -> None:
        super().__init__(**options)
        self.mu = mu
        self.warmup_epochs = warmup_epochs

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the nadir and the counter of epochs.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.register_buffer("nadir", torch.ones(n_tasks))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        logs = (losses + _EPS).log()
        if self.epochs <= self.warmup_epochs:
            return logs.sum()
        ratios = logs - (present(self.nadir, tasks).to(losses) + _EPS).log()
        return len(losses) * self.mu * (ratios / self.mu).logsumexp(dim=0)

    def end_epoch(self, mean_losses: Tensor) -> None:
        """Count epochs; the one after the warm-up sets the nadir."""
        if self.epochs == self.warmup_epochs:
            # A task without a label in that epoch keeps the nadir 1.
            means = mean_losses.to(self.nadir)
            self.nadir.copy_(torch.where(means.isfinite(), means, self.nadir))
        self.epochs += 1
