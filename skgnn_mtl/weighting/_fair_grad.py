"""Alpha-fair allocation of progress."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._base import Decision, GramianWeighting, as_matrix, as_weights
from ._constraints import POSITIVE
from ._solvers import bargain


class FairGrad(GramianWeighting):
    r"""Fair resource allocation of Ban and Ji (2024).

    The weights solve

    .. math:: (G\,w)_t = w_t^{-1/\alpha}, \qquad w > 0,

    which maximises the alpha-fair utility of the tasks' improvements.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    alpha : float, default=1.0
        Towards 0 the direction is that of :class:`Equal`, and 1 is :class:`NashMTL`.
        Large values favour the task that improves least.
    rescale : {"none", "mean1"}, default="mean1"
        "mean1" divides the weights by their mean.
    **options : object
        ``gradients`` and ``update_every`` of :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``alpha`` is not positive.

    See Also
    --------
    NashMTL : The bargaining solution of the tasks.
    CAGrad : The direction that helps the worst task, near the mean.

    Notes
    -----
    A damped Newton method solves the problem to a residual of 1e-8. Where a convex
    combination of the gradients vanishes there is no solution. The weights are then
    those of :class:`MGDA`, counted as stationary.

    References
    ----------
    .. [1] H. Ban, K. Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import FairGrad
    >>> weighting = FairGrad(alpha=0.5, rescale="none")
    >>> weighting.task_weights(torch.tensor([[1.0, 0.0], [0.0, 8.0]]))
    tensor([1.0000, 0.5000])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [POSITIVE],
    }

    def __init__(
        self, *, alpha: float = 1.0, rescale: str = "mean1", **options: Any
    ) -> None:
        super().__init__(rescale=rescale, **options)
        self.alpha = alpha

    def forward(self, gramian: Tensor) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self!r}.")
        w, report = bargain(as_matrix(gramian), float(self.alpha))
        return Decision(as_weights(w, gramian), report)
