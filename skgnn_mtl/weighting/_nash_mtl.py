"""The Nash bargaining solution."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._base import Decision, GramianWeighting, as_matrix, as_weights
from ._constraints import POSITIVE
from ._solvers import bargain


class NashMTL(GramianWeighting):
    r"""Multi-task learning as a bargaining game, of Navon et al. (2022).

    The weights solve

    .. math:: G\,w = 1 / w \quad \text{elementwise}, \qquad w > 0.

    Every task improves along the direction, which does not change if a loss is scaled.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    max_norm : float or None, default=None
        Largest norm of the direction.
    rescale : {"none", "mean1"}, default="mean1"
        "mean1" divides the weights by their mean.
    **options : object
        ``gradients`` and ``update_every`` of :class:`GramianWeighting`.

    See Also
    --------
    FairGrad : Weights that are fair in the gains of the tasks.
    ScaleInvariant : Sum of the logarithms of the losses.

    Notes
    -----
    A damped Newton method solves the problem to a residual of 1e-8. A solution has
    :math:`w^\top G w = T`, so the published direction has the constant norm
    :math:`\sqrt T`, and ``max_norm=1`` always clips. With ``rescale="none"`` that is
    the published rule, a normalised direction. The default keeps the gradients' own
    length. Where a convex combination of the gradients vanishes there is no solution.
    The weights are then those of :class:`MGDA`, counted as stationary.

    References
    ----------
    .. [1] A. Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import NashMTL
    >>> NashMTL(rescale="none").task_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.0000, 0.5000])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_norm": [None, POSITIVE],
    }

    def __init__(
        self, *, max_norm: float | None = None, rescale: str = "mean1", **options: Any
    ) -> None:
        super().__init__(rescale=rescale, **options)
        self.max_norm = max_norm

    def forward(self, gramian: Tensor) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        w, report = bargain(G, alpha=1.0)
        if self.max_norm is not None:
            norm = max(w @ G @ w, 0.0) ** 0.5
            w = w * min(1.0, self.max_norm / norm) if norm > 0 else w
        return Decision(as_weights(w, gramian), report)
