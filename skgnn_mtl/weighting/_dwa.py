"""Weights from the speed at which losses fall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import LossWeighting, present
from ._capabilities import EpochAware
from ._constraints import POSITIVE


class DWA(LossWeighting, EpochAware):
    r"""Dynamic weight average of Liu, Johns and Davison (2019).

    .. math::

        w = T\,\mathrm{softmax}(r / \tau), \qquad
        r_t = \bar L_t(e - 1) / \bar L_t(e - 2),

    with the mean losses :math:`\bar L` of the last two epochs. Tasks whose losses fall
    slowly gain weight. In the first two epochs all weights are 1.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    temperature : float, default=2.0
        The higher, the more equal the weights.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    FAMO : Weights that let all losses fall alike, from losses alone.
    GradNorm : Weights that make gradient norms follow training rates.

    References
    ----------
    .. [1] S. Liu, E. Johns, A. Davison, "End-to-End Multi-Task Learning with
       Attention", CVPR 2019.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import DWA
    >>> weighting = DWA()
    >>> weighting.build(n_tasks=2)
    >>> weighting.end_epoch(torch.tensor([1.0, 1.0]))
    >>> weighting.end_epoch(torch.tensor([0.2, 0.9]))
    >>> weighting.task_weights(torch.tensor([0.2, 0.9]))
    tensor([0.8268, 1.1732])
    """

    epoch_means: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [POSITIVE],
    }

    def __init__(self, *, temperature: float = 2.0, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the means of two epochs, NaN at first.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.register_buffer("epoch_means", torch.full((2, n_tasks), torch.nan))

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        older, newer = (present(mean, tasks) for mean in self.epoch_means.to(losses))
        # A task without labels in two epochs counts as one whose loss is constant.
        rates = (newer / older.clamp(min=1e-8)).nan_to_num(nan=1.0, posinf=1.0)
        weights = len(losses) * torch.softmax(rates / self.temperature, dim=0)
        return (weights * losses).sum()

    def end_epoch(self, mean_losses: Tensor) -> None:
        """Store the mean losses (n_tasks,) of an epoch, NaN where unlabelled."""
        labelled = torch.isfinite(mean_losses).to(self.epoch_means.device)
        older, newer = self.epoch_means.clone()
        newest = mean_losses.to(newer)
        self.epoch_means[0] = torch.where(labelled, newer, older)
        self.epoch_means[1] = torch.where(labelled, newest, newer)
