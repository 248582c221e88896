"""The geometric mean of the losses."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._base import LossWeighting
from ._constraints import NOT_NEGATIVE


class GeometricMean(LossWeighting):
    r"""The geometric mean of the losses, of Chennupati et al. (2019).

    .. math::

        S = \exp\Bigl(\frac1T \sum_t \log (L_t + \varepsilon)\Bigr), \qquad
        w_t = \frac{S}{T\,(L_t + \varepsilon)}.

    The direction is that of :class:`ScaleInvariant`; its length follows the losses.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    eps : float, default=1e-8
        Keeps the weight of a perfectly fitted task finite.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    ScaleInvariant : Sum of the logarithms of the losses.

    Notes
    -----
    It is computed in logarithms, because the product of many losses leaves the range
    of floats.

    References
    ----------
    .. [1] S. Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and
       Geometric Loss Strategy for Multi-Task Learning", CVPR workshops 2019.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GeometricMean
    >>> GeometricMean().task_weights(torch.tensor([1.0, 4.0]))
    tensor([1.0000, 0.2500])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "eps": [NOT_NEGATIVE],
    }

    def __init__(self, *, eps: float = 1e-8, **options: Any) -> None:
        super().__init__(**options)
        self.eps = eps

    def forward(self, losses: Tensor) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        return (losses + self.eps).log().mean().exp()
