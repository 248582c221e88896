"""Distances along a preference and from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ._base import LossWeighting, present
from ._by_task import by_task, one_per_task
from ._constraints import FINITE_NUMBERS, NOT_NEGATIVE, NUMBERS

_EPS = 1e-12


class PBI(LossWeighting):
    r"""Penalty-based boundary intersection of Zhang and Li (2007).

    With a preference r of length 1 and the ideal losses z, the losses are divided into
    a part along the preference and a part across it,

    .. math::

        d_1 = r^\top (L - z), \qquad d_2 = \|L - z - d_1 r\|, \qquad
        S = \frac{T}{\sum_t r_t} (d_1 + \theta\, d_2).

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    theta : float, default=5.0
        The penalty :math:`\theta`, the value of the paper's experiments.
    preferences : array-like of shape (n_tasks,), dict or None, default=None
        Direction in which the losses are to lie, by position or by name, on any scale;
        None for equal losses.
    ideal : float or array-like of shape (n_tasks,), default=0.0
        Lower bounds z of the losses.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    Raises
    ------
    ValueError
        In ``build``, if the preferences do not fit the tasks, or ``ideal`` has another
        length.

    See Also
    --------
    COSMOS : Another scalarisation by preferences.
    STCH : A smooth maximum of the losses.

    Notes
    -----
    The paper compares solutions of an evolutionary search by S; here it is descended
    on. The factor in front is not published: with :math:`\theta = 0` the mean weight is
    1. A loss that is small beside its preference can have a *negative* weight, with two
    tasks for :math:`\theta > 1`: it rises until the losses are balanced.

    References
    ----------
    .. [1] Q. Zhang, H. Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on
       Decomposition", IEEE Transactions on Evolutionary Computation 11, 712 (2007).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import PBI
    >>> weighting = PBI(theta=0.5)
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([3.0, 4.0]))
    tensor([0.5000, 1.5000])
    """

    r: Tensor
    z: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "theta": [NOT_NEGATIVE],
        "preferences": [None, dict, NUMBERS],
        "ideal": [FINITE_NUMBERS],
    }

    def __init__(
        self,
        *,
        theta: float = 5.0,
        preferences: Any = None,
        ideal: ArrayLike = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.theta = theta
        self.preferences = preferences
        self.ideal = ideal

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Check the preferences and the ideal losses against the tasks.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Their names; needed if the preferences are a dict.
        """
        values = np.ones(n_tasks) if self.preferences is None else self.preferences
        values = by_task(self, values, n_tasks, task_names)
        self.register_buffer("r", torch.from_numpy(values))
        self.register_buffer("z", one_per_task(self, "ideal", n_tasks))

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        r = present(self.r, tasks).to(losses)
        r = r / r.norm().clamp(min=_EPS)
        shifted = losses - present(self.z, tasks).to(losses)
        along = r @ shifted
        across = (shifted - along * r).square().sum()
        # A root has no derivative at 0, where 0 is the middle of its slopes. Shorter
        # vectors than the rounding have random directions.
        rounding = 8.0 * torch.finfo(losses.dtype).eps
        balanced = across <= rounding**2 * shifted.detach().square().sum()
        across = torch.where(balanced, torch.ones_like(across), across).sqrt()
        across = torch.where(balanced, torch.zeros_like(across), across)
        factor = len(losses) / r.sum().clamp(min=_EPS)
        total: Tensor = factor * (along + self.theta * across)
        return total
