"""Alignment of the principal components of the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights, rank_tolerance

_SCALES: dict[str, Any] = {"min": np.min, "median": np.median, "mean": np.mean}


class AlignedMTL(GramianWeighting):
    r"""Independent component alignment of Senushkin et al. (2023).

    The gradients are replaced by the nearest system that is orthogonal with equal
    lengths, and added: with :math:`G = V \Lambda V^\top`,

    .. math:: w = \sqrt\sigma\; V \Lambda^{-1/2} V^\top 1,

    over the eigenvalues above the rounding error, and one of them as
    :math:`\sigma`.

    Parameters
    ----------
    scale : {"min", "median", "mean"}, default="min"
        Which of the kept eigenvalues sets the length.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Raises
    ------
    ValueError
        In use, if ``scale`` is something else.

    References
    ----------
    .. [1] D. Senushkin et al., "Independent Component Alignment for Multi-Task
       Learning", CVPR 2023.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import AlignedMTL
    >>> AlignedMTL()(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.0000, 0.5000])
    """

    def __init__(
        self,
        *,
        scale="min",
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
        self.scale = scale
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        if self.scale not in _SCALES:
            raise ValueError(f"scale must be one of {sorted(_SCALES)}, got {self!r}.")
        values, V = np.linalg.eigh(as_matrix(gramian))
        kept = values > rank_tolerance(gramian) * values[-1]
        values, V = values[kept], V[:, kept]
        sigma = _SCALES[self.scale](values)
        return as_weights(V @ (np.sqrt(sigma / values) * V.sum(axis=0)), gramian)
