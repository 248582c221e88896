"""Alignment of the principal components of the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights, rank_tolerance
from ._constraints import check_choice

_SCALES: dict[str, Any] = {
    "min": np.min,
    # The lower one of an even number of eigenvalues, as the authors' torch.median.
    "median": lambda values: np.sort(values)[(len(values) - 1) // 2],
    "mean": np.mean,
}


class AlignedMTL(GramianWeighting):
    r"""Independent component alignment of Senushkin et al. (2023).

    The direction is the sum of the nearest vectors to the gradients that are orthogonal
    and of equal length. With :math:`G = V \Lambda V^\top`,

    .. math:: w = \sqrt\sigma\; V \Lambda^{-1/2} V^\top 1,

    over the eigenvalues above the rounding error. The length :math:`\sigma` is one of
    these eigenvalues, or their mean.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    scale : {"min", "median", "mean"}, default="min"
        Which of the kept eigenvalues sets the length; for an even number, "median" is
        the lower of the two in the middle.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``scale`` has another value.

    See Also
    --------
    ConFIG : The direction with equal cosines to all gradients.
    IMTLG : Weights that make projections on all gradients equal.

    References
    ----------
    .. [1] D. Senushkin et al., "Independent Component Alignment for Multi-Task
       Learning", CVPR 2023.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import AlignedMTL
    >>> AlignedMTL().task_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.0000, 0.5000])
    """

    def __init__(self, *, scale: str = "min", **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        check_choice(self, "scale", tuple(_SCALES))
        values, V = np.linalg.eigh(as_matrix(gramian))
        kept = values > rank_tolerance(gramian) * values[-1]
        values, V = values[kept], V[:, kept]
        # One common length, so that no task outweighs the others.
        sigma = _SCALES[self.scale](values)
        return as_weights(V @ (np.sqrt(sigma / values) * V.sum(axis=0)), gramian)
