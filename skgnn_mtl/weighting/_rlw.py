"""Random weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ._base import LossWeighting


class RLW(LossWeighting):
    r"""Random loss weighting of Lin et al. (2022).

    .. math:: w = T\,\mathrm{softmax}(\xi), \qquad \xi \sim N(0, I),

    drawn anew at each step. A method that does not beat this one
    has not learned anything about the tasks.

    Parameters
    ----------
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

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

    def __init__(self, *, rescale="none") -> None:
        super().__init__()
        self.rescale = rescale

    def forward(self, losses: Tensor, generator: torch.Generator | None = None):
        """Combine losses of shape (t,) to a scalar."""
        draws = torch.randn(len(losses), generator=generator, dtype=torch.float64)
        weights = len(losses) * torch.softmax(draws, dim=0)
        return (weights.to(losses) * losses).sum()
