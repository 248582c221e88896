"""Weights chosen by the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import LossWeighting, pooled, present
from ._by_task import by_task
from ._constraints import NUMBERS


class Fixed(LossWeighting):
    r"""A weighted sum, :math:`S = \sum_t a_t L_t`, with constant weights a.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    weights : array-like of shape (n_tasks,) or dict of str to float, default=None
        The weights in the order of the columns of ``y``, or by task name. They must not
        be negative or all zero. The ``task_weights_`` of a fitted estimator can be
        passed on. None is refused, because there are no weights to start from.
    pool : None, "labels" or "tasks", default=None
        Multiply the weights of the targets by their shares, which sum to 1: shares of
        the labels in the batch, or equal shares.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    Raises
    ------
    ValueError
        In ``build``, if the weights are None or do not fit the tasks.

    See Also
    --------
    Equal : All tasks with weight 1, the baseline.
    Curvature : Weights from the curvature of each loss.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Fixed
    >>> weighting = Fixed([1.0, 10.0])
    >>> weighting.build(n_tasks=2)
    >>> weighting(torch.tensor([1.0, 2.0]))
    tensor(21.)
    """

    a: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "weights": [None, dict, NUMBERS],
    }

    def __init__(
        self, weights: Any = None, *, pool: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.weights = weights
        self.pool = pool

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Check the weights against the tasks.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Their names; needed if the weights are a dict.
        """
        values = by_task(self, self.weights, n_tasks, task_names)
        self.register_buffer("a", torch.from_numpy(values))

    def forward(
        self,
        losses: Tensor,
        tasks: Tensor | None = None,
        anchor: Tensor | None = None,
    ) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        weights = present(self.a, tasks).to(losses)
        return (weights * pooled(anchor, losses) * losses).sum()
