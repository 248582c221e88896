"""The shortest convex combination of the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ._base import Decision, GramianWeighting, as_matrix, as_weights
from ._constraints import check_choice
from ._solvers import SolverReport, min_norm_point, norms_and_cosines, unit_columns


class MGDA(GramianWeighting):
    r"""Multiple-gradient descent: Désidéri (2012), Sener and Koltun (2018).

    .. math:: w = T \arg\min_{v \ge 0,\ 1^\top v = 1} v^\top G\, v.

    No task's loss rises along the direction. Tasks with small gradients gain.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    normalization : {"none", "l2", "loss", "loss+"}, default="none"
        Divisor of the gradients before the shortest combination is computed: 1, their
        norms, the losses, or the products of both.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``normalization`` has another value.

    See Also
    --------
    CAGrad : The direction that helps the worst task, near the mean.
    UPGrad : Projects each gradient on the cone without conflict.

    Notes
    -----
    The problem is solved exactly by non-negative least squares, also where the
    gradients are linearly dependent. There is no Frank-Wolfe iteration. The weights of
    normalised gradients apply to the plain gradients, as in the published code.

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
    >>> MGDA().task_weights(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([1.5000, 0.5000])
    """

    def __init__(self, *, normalization: str = "none", **options: Any) -> None:
        super().__init__(**options)
        self.normalization = normalization

    def forward(self, gramian: Tensor, losses: Tensor | None = None) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        d, C = norms_and_cosines(G)
        d = d / self._divisors(d, losses)
        w, gap = min_norm_point(unit_columns(C), d)
        report = SolverReport(gap, converged=gap <= 1e-6)
        return Decision(as_weights(len(G) * w, gramian), report)

    def _divisors(self, d: np.ndarray, losses: Tensor | None) -> np.ndarray:
        ones: np.ndarray = np.ones_like(d)
        means = ones if losses is None else as_matrix(losses).clip(1e-8)
        divisors: dict[str, np.ndarray] = {
            "none": ones,
            "l2": d,
            "loss": means,
            "loss+": means * d,
        }
        check_choice(self, "normalization", tuple(divisors))
        return divisors[self.normalization]
