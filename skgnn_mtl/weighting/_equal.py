"""Equal weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ._base import LossWeighting, pooled


class Equal(LossWeighting):
    r"""The sum of the losses, :math:`S = \sum_t L_t`, so every weight is 1.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    pool : None, "labels" or "tasks", default=None
        Pool the targets to one loss next to the auxiliary tasks. The loss is their
        mean, weighted by labels in the batch or equally. None counts every column of
        ``y`` as a loss of its own.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    Fixed : Constant weights that are given.
    ScaleInvariant : Sum of the logarithms of the losses.

    References
    ----------
    .. [1] R. Caruana, "Multitask Learning", Machine Learning 28, 41 (1997).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Equal
    >>> Equal()(torch.tensor([1.0, 2.0]))
    tensor(3.)
    """

    def __init__(self, *, pool: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.pool = pool

    def forward(self, losses: Tensor, anchor: Tensor | None = None) -> Tensor:
        """Sum losses of shape (t,) to a scalar."""
        return losses.sum() if anchor is None else pooled(anchor, losses) @ losses
