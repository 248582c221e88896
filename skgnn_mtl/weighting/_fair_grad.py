"""Alpha-fair allocation of progress."""

from __future__ import annotations

from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights
from ._solvers import bargain


class FairGrad(GramianWeighting):
    r"""Fair resource allocation of Ban and Ji (2024).

    The weights solve

    .. math:: (G\,w)_t = w_t^{-1/\alpha}, \qquad w > 0,

    which maximises the alpha-fair utility of the tasks' improvements.

    Parameters
    ----------
    alpha : float, default=1.0
        Towards 0 the direction is that of :class:`Equal`, 1 is :class:`NashMTL`, and
        large values look after the task that improves least.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="mean1"
        "mean1" divides the weights by their mean.

    Raises
    ------
    ValueError
        In use, if ``alpha`` is not positive.

    Notes
    -----
    Solved by a damped Newton method to a residual of 1e-8. Where a convex combination
    of the gradients vanishes there is no solution; the weights are then those of
    :class:`MGDA`, counted as stationary.

    References
    ----------
    .. [1] H. Ban, K. Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import FairGrad
    >>> FairGrad(alpha=0.5, rescale="none")(torch.tensor([[1.0, 0.0], [0.0, 8.0]]))
    tensor([1.0000, 0.5000])
    """

    def __init__(
        self,
        *,
        alpha=1.0,
        gradients="parameters",
        update_every=1,
        rescale="mean1",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, got {self!r}.")
        w, self.report = bargain(as_matrix(gramian), float(self.alpha))
        return as_weights(w, gramian)
