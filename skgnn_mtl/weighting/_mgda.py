"""The shortest convex combination of the gradients."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights
from ._solvers import SolverReport, min_norm_point, norms_and_cosines, unit_columns


class MGDA(GramianWeighting):
    r"""Multiple-gradient descent: Désidéri (2012), Sener and Koltun (2018).

    .. math:: w = T \arg\min_{v \ge 0,\ 1^\top v = 1} v^\top G\, v.

    No task's loss rises along the direction. Tasks with small gradients gain.

    Parameters
    ----------
    normalization : {"none", "l2", "loss", "loss+"}, default="none"
        Gradients are divided by nothing, their norms, the losses, or both, before the
        shortest combination is sought.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean, which is 1 anyway.

    Raises
    ------
    ValueError
        In use, if ``normalization`` is something else.

    Notes
    -----
    Solved exactly by non-negative least squares, also where the gradients are linearly
    dependent; no Frank-Wolfe iteration. The weights of normalised gradients are applied
    to the gradients as they are, as the published code does.

    References
    ----------
    .. [1] J.-A. Désidéri, "Multiple-gradient descent algorithm (MGDA) for
       multiobjective optimization", C. R. Math. 350, 313 (2012).
    .. [2] O. Sener, V. Koltun, "Multi-Task Learning as Multi-Objective Optimization",
       NeurIPS 2018.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import MGDA
    >>> MGDA()(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([1.5000, 0.5000])
    """

    def __init__(
        self,
        *,
        normalization="none",
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
        self.normalization = normalization
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def forward(self, gramian: Tensor, losses: Tensor | None = None) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        d, C = norms_and_cosines(G)
        d = d / self._divisors(d, losses)
        w, gap = min_norm_point(unit_columns(C), d)
        self.report = SolverReport(gap, converged=gap <= 1e-6)
        return as_weights(len(G) * w, gramian)

    def _divisors(self, d: np.ndarray, losses: Tensor | None) -> np.ndarray:
        ones = np.ones_like(d)
        means = ones if losses is None else as_matrix(losses).clip(1e-8)
        divisors = {"none": ones, "l2": d, "loss": means, "loss+": means * d}
        if self.normalization not in divisors:
            raise ValueError(
                f"normalization must be one of {sorted(divisors)}, got {self!r}."
            )
        return divisors[self.normalization]
