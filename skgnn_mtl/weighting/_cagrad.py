"""Conflict-averse gradients."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

from torch import Tensor

from skgnn_mtl._component import Numbers

from ._base import Decision, GramianWeighting, as_matrix, as_weights
from ._constraints import NOT_NEGATIVE
from ._solvers import conflict_averse


class CAGrad(GramianWeighting):
    r"""Conflict-averse gradient descent of Liu et al. (2021).

    The direction, within a distance :math:`c \|g_0\|` of the mean gradient
    :math:`g_0`, along which the worst task improves most:

    .. math::

        g_0 + \frac{c\,\|g_0\|}{\|g_v\|}\, g_v, \qquad
        v = \arg\min_{v \ge 0,\ 1^\top v = 1}
        g_v^\top g_0 + c\,\|g_0\|\,\|g_v\|, \qquad g_v = J^\top v,

    divided by :math:`1 + c^2` (``shrink=1``), 1 (0) or :math:`1 + c` (2), times T.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    c : float, default=0.4
        Radius relative to :math:`\|g_0\|`. 0 is :class:`Equal`; from 1 on no task's
        loss rises.
    shrink : {0, 1, 2}, default=1
        Which divisor bounds the length of the step.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``c`` or ``shrink`` is out of range.

    See Also
    --------
    MGDA : The shortest convex combination of the gradients.
    FairGrad : Weights that are fair in the gains of the tasks.

    Notes
    -----
    Where the mean gradient, or the shortest combination, vanishes, the weights are 1
    and the step is counted as stationary.

    References
    ----------
    .. [1] B. Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning",
       NeurIPS 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import CAGrad
    >>> CAGrad(c=1.0).task_weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([1.4286, 0.5714])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "c": [NOT_NEGATIVE],
        "shrink": [Numbers(Integral, 0, 2, closed="both")],
    }

    def __init__(self, *, c: float = 0.4, shrink: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.c = c
        self.shrink = shrink

    def forward(self, gramian: Tensor) -> Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        if not self.c >= 0 or self.shrink not in (0, 1, 2):
            raise ValueError(f"c must be >= 0 and shrink 0, 1 or 2, got {self!r}.")
        G = as_matrix(gramian)
        v, ratio, report = conflict_averse(G, self.c)
        if report.stationary:
            return Decision(as_weights(len(G) * v, gramian), report)
        divisor = (1.0, 1.0 + self.c**2, 1.0 + self.c)[self.shrink]
        w = (1.0 + len(G) * ratio * v) / divisor
        return Decision(as_weights(w, gramian), report)
