"""Tasks that share the weight of their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ._base import LossWeighting, present
from ._constraints import POSITIVE, check_count

_EPS = 1e-8


class GO4Align(LossWeighting):
    r"""Group optimization for multi-task alignment of Shen et al. (2024).

    Shares p of the tasks, equal at first, shrink where the losses are large, and the
    indicators :math:`\gamma` undo the scales of the losses,

    .. math::

        p_t \propto p_t\, e^{-\eta L_t}, \qquad
        \gamma_t = p_t \frac{\sum_s L_s}{L_t}.

    The tasks are divided into K groups by the k-means of :math:`\gamma`, and the weight
    of a task is the mean :math:`\gamma` of its group.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    n_groups : int, default=2
        Number K of groups; with at least as many groups as tasks each task has its own
        weight.
    step_size : float, default=1e-4
        The step size :math:`\eta`.
    **options : object
        ``rescale`` of :class:`LossWeighting`.

    Raises
    ------
    ValueError
        In ``build``, if ``n_groups`` is not an integer of at least 1.

    See Also
    --------
    DWA : Weights by the falls of the losses, without groups.
    FAMO : Learned weights of the logarithms of the losses.

    Notes
    -----
    This is the rule of the authors' released code. K-means starts at random there and
    is exact here, because values on a line have their best groups side by side. The
    shares of absent tasks do not change, and those of the present tasks keep their
    mean logarithm. The number of groups has no default in the released code.

    References
    ----------
    .. [1] J. Shen et al., "GO4Align: Group Optimization for Multi-Task Alignment",
       NeurIPS 2024, arXiv:2404.06486.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GO4Align
    >>> weighting = GO4Align(step_size=0.0)
    >>> weighting.build(n_tasks=3)
    >>> weighting.task_weights(torch.tensor([1.0, 1.0, 4.0]))
    tensor([2.0000, 2.0000, 0.5000])
    """

    log_shares: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "step_size": [POSITIVE],
    }

    def __init__(
        self, *, n_groups: int = 2, step_size: float = 1e-4, **options: Any
    ) -> None:
        super().__init__(**options)
        self.n_groups = n_groups
        self.step_size = step_size

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the logarithms of the shares.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        check_count(self, "n_groups")
        zeros = torch.zeros(n_tasks, dtype=torch.float64)
        self.register_buffer("log_shares", zeros)

    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine losses of shape (t,) to a scalar, and update the shares."""
        values = losses.detach().double()
        logs = present(self.log_shares, tasks)
        # Centred, so that shares of tasks that are often absent stay comparable.
        logs = logs - self.step_size * (values - values.mean())
        self.log_shares[... if tasks is None else tasks] = logs
        values = values + _EPS
        indicators = torch.softmax(logs, dim=0) * values.sum() / values
        groups = exact_k_means(indicators.cpu().numpy(), int(self.n_groups))
        weights = torch.from_numpy(groups).to(losses)
        return (weights * losses).sum()


def exact_k_means(values: np.ndarray, n_groups: int) -> np.ndarray:
    """Replace numbers by the means of their groups, with the least sum of squares.

    Parameters
    ----------
    values : ndarray of shape (t,)
        Numbers.
    n_groups : int
        Number of groups.

    Returns
    -------
    means : ndarray of shape (t,)
        Mean of each number's group.
    """
    order = np.argsort(values, kind="stable")
    x, t = values[order], len(values)
    # Divided by the largest, so that squares do not overflow.
    scale = abs(x).max() or 1.0
    x = x / scale
    costs = _spreads(x)
    # best[j] is the least cost of the first j numbers in the groups so far.
    best, ends = np.r_[0.0, costs[0]], []
    for _ in range(min(n_groups, t) - 1):
        candidates = np.full((t + 1, t + 1), np.inf)
        for j in range(1, t + 1):
            candidates[j, :j] = best[:j] + costs[:j, j - 1]
        ends.append(candidates.argmin(axis=1))
        best = candidates.min(axis=1)
    means, end = np.empty(t), t
    for starts in [*reversed(ends), np.zeros(t + 1, dtype=int)]:
        start = int(starts[end])
        means[start:end] = x[start:end].mean() if end > start else 0.0
        end = start
    found = np.empty(t)
    found[order] = means * scale
    return found


def _spreads(x: np.ndarray) -> np.ndarray:
    """Sum the squared distances of x[i], ..., x[j] from their mean, (t, t)."""
    costs, means = np.zeros((len(x), len(x))), x.copy()
    # One number after the other for all beginnings at once, in the way of Welford,
    # because differences of large sums would lose the small ones.
    for j in range(1, len(x)):
        gaps = x[j] - means[:j]
        means[:j] += gaps / np.arange(j + 1, 1, -1)
        costs[:j, j] = costs[:j, j - 1] + gaps * (x[j] - means[:j])
    return costs
