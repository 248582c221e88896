"""Random weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import LossWeighting


class RLW(LossWeighting):
    r"""Random loss weighting of Lin et al. (2022).

    .. math:: w = T\,\mathrm{softmax}(\xi), \qquad \xi \sim N(0, I),

    drawn anew at each step. It is a baseline: a method must do better to show that it
    learns something about the tasks.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    Equal : All tasks with weight 1, the baseline.

    References
    ----------
    .. [1] B. Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test
       for Multi-Task Learning", TMLR 2022.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import RLW
    >>> weights = RLW().task_weights(torch.ones(3), generator=torch.Generator())
    >>> round(weights.sum().item(), 5)
    3.0
    """

    def forward(
        self, losses: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        # On the CPU in float64, so that every device draws the same weights.
        draws = torch.randn(len(losses), generator=generator, dtype=torch.float64)
        weights = len(losses) * torch.softmax(draws, dim=0)
        return (weights.to(losses) * losses).sum()
