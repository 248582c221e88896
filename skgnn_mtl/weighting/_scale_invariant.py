"""Sum of the logarithms of the losses."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._base import LossWeighting
from ._constraints import NOT_NEGATIVE


class ScaleInvariant(LossWeighting):
    r"""The sum of log losses, :math:`S = \sum_t \log(L_t + \varepsilon)`.

    The weights are :math:`w_t = 1 / (L_t + \varepsilon)`, so multiplying a task's loss
    by a constant changes nothing. It is the baseline "SI" of Navon et al. (2022).

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    eps : float, default=1e-8
        Keeps the weight of a perfectly fitted task finite.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    See Also
    --------
    GeometricMean : Product of the losses.
    STCH : Smooth maximum of the losses.

    Notes
    -----
    With few labels of a task in a batch, 1 / L is noisy and too large on average.

    References
    ----------
    .. [1] A. Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ScaleInvariant
    >>> ScaleInvariant().task_weights(torch.tensor([1.0, 4.0]))
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
        return (losses + self.eps).log().sum()
