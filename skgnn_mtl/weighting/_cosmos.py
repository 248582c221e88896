"""Losses in the direction of a preference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ._base import LossWeighting, present
from ._by_task import by_task
from ._constraints import NOT_NEGATIVE, NUMBERS

_EPS = 1e-8


class COSMOS(LossWeighting):
    r"""The scalarization of COSMOS by Ruchte and Grabocka (2021).

    With preferences r that sum to 1,

    .. math::

        S = T \Bigl( r^\top L - \lambda \frac{r^\top L}{\|r\|\,\|L\|} \Bigr).

    The second term is largest where the losses are proportional to the preferences: a
    task with a large preference keeps a large loss.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    penalty : float, default=1.0
        The factor :math:`\lambda` of the cosine. The paper uses 0.01 to 8.
    preferences : array-like of shape (n_tasks,), dict or None, default=None
        Preferences by position or by name, on any scale; None for equal ones.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    Raises
    ------
    ValueError
        In ``build``, if the preferences do not fit the tasks.

    See Also
    --------
    PBI : Another scalarisation by preferences.
    STCH : A smooth maximum of the losses.

    Notes
    -----
    The paper draws the preferences anew in each step and gives them to the network as
    an input, to learn all trade-offs at once. Here they are fixed. The published S is
    not multiplied by the number T of tasks. The weight of the largest loss can become
    negative for a large ``penalty``, or where all losses are small.

    References
    ----------
    .. [1] M. Ruchte, J. Grabocka, "Scalable Pareto Front Approximation for Deep
       Multi-Objective Learning", ICDM 2021, arXiv:2103.13392.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import COSMOS
    >>> weighting = COSMOS()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([3.0, 4.0]))
    tensor([0.9547, 1.0339])
    """

    r: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalty": [NOT_NEGATIVE],
        "preferences": [None, dict, NUMBERS],
    }

    def __init__(
        self, *, penalty: float = 1.0, preferences: Any = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.penalty = penalty
        self.preferences = preferences

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Check the preferences against the tasks.

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

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        r = present(self.r, tasks).to(losses)
        # Of the present tasks; all of them may have the preference 0.
        r = r / r.sum().clamp(min=_EPS)
        along = r @ losses
        # Bounded, because losses of zero have no direction.
        lengths = r.norm().clamp(min=_EPS) * losses.norm().clamp(min=_EPS)
        total: Tensor = len(losses) * (along - self.penalty * along / lengths)
        return total
