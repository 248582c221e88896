"""Equal weights."""

from __future__ import annotations

from torch import Tensor

from ._base import LossWeighting, pooled


class Equal(LossWeighting):
    r"""The sum of the losses, :math:`S = \sum_t L_t`, so every weight is 1.

    Parameters
    ----------
    pool : None, "labels" or "tasks", default=None
        Pool the targets to one loss beside the auxiliary tasks: their mean, weighted
        by labels in the batch or equally. Without it every column of ``y`` counts.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Equal
    >>> Equal()(torch.tensor([1.0, 2.0]))
    tensor(3.)
    """

    def __init__(self, *, pool=None, rescale="none") -> None:
        super().__init__()
        self.pool = pool
        self.rescale = rescale

    def forward(self, losses: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Sum losses of shape (t,) to a scalar."""
        return losses.sum() if anchor is None else pooled(anchor, losses) @ losses
