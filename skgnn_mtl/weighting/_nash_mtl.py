"""The Nash bargaining solution."""

from __future__ import annotations

from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights
from ._solvers import bargain


class NashMTL(GramianWeighting):
    r"""Multi-task learning as a bargaining game, of Navon et al. (2022).

    The weights solve

    .. math:: G\,w = 1 / w \quad \text{elementwise}, \qquad w > 0.

    Every task improves along the direction, which does not change if a loss is scaled.

    Parameters
    ----------
    max_norm : float or None, default=None
        Largest norm of the direction.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="mean1"
        "mean1" divides the weights by their mean.

    Notes
    -----
    Solved by a damped Newton method to a residual of 1e-8. A solution has
    :math:`w^\top G w = T`, so the published direction has the constant norm
    :math:`\sqrt T`, and ``max_norm=1`` always clips: with ``rescale="none"`` that is
    the published rule, a normalised direction. Our default keeps the gradients' own
    length. Where a convex combination of the gradients vanishes there is no solution;
    the weights are then those of :class:`MGDA`, counted as stationary.

    References
    ----------
    .. [1] A. Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import NashMTL
    >>> NashMTL(rescale="none")(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.0000, 0.5000])
    """

    def __init__(
        self,
        *,
        max_norm=None,
        gradients="parameters",
        update_every=1,
        rescale="mean1",
    ) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        w, self.report = bargain(G, alpha=1.0)
        if self.max_norm is not None:
            norm = max(w @ G @ w, 0.0) ** 0.5
            w = w * min(1.0, self.max_norm / norm) if norm > 0 else w
        return as_weights(w, gramian)
