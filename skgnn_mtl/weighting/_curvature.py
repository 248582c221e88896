"""Weights from the curvature of each task's loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._base import TaskWeighting, present
from ._capabilities import EpochAware
from ._constraints import (
    MEMORY,
    NOT_NEGATIVE,
    PAIR_AROUND_ONE,
    check_choice,
    check_count,
)

_STATISTICS = ("ggn_trace", "ggn_max", "hessian_max")


class CurvatureWeighting(TaskWeighting):
    """A map from the curvatures (t,) of the tasks' losses to weights (t,).

    The curvatures are those of the shared parameters at the latest batches. They are
    computed every ``update_every`` steps, and the weights are kept in between.

    Attributes
    ----------
    statistic : {"ggn_trace", "ggn_max", "hessian_max"}
        Trace of the Gauss-Newton matrix, its largest eigenvalue, or that of the
        Hessian.
    update_every : int
        Steps between two evaluations of the curvature.
    n_batches : int
        Latest batches to compute on.
    n_probes : int
        Random combinations for each batch; for "ggn_trace".
    n_steps : Tensor of int64 of shape ()
        Buffer that counts the steps, so that a continuation keeps the rhythm.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Curvature, CurvatureWeighting
    >>> isinstance(Curvature(), CurvatureWeighting)
    True
    """

    statistic: str
    update_every: int
    n_batches: int
    n_probes: int
    n_steps: Tensor

    @abstractmethod
    def forward(self, statistics: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Receive new curvatures, and weigh the tasks.

        Parameters
        ----------
        statistics : Tensor of shape (t,)
            Curvatures of some tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Positions of these tasks; None for all.

        Returns
        -------
        weights : Tensor of shape (t,)
            Their weights, in the dtype of the statistics.
        """

    @abstractmethod
    def weights(self) -> Tensor:
        """Compute the weights of all tasks (n_tasks,) from the curvatures so far."""


class Curvature(CurvatureWeighting, EpochAware):
    r"""Constant weights, renewed every k steps from the curvature of each task's loss.

    .. math::

        \bar m_t \leftarrow \rho\,\bar m_t + (1 - \rho)\, m_t, \quad
        w_t \propto \max(\bar m_t,\; f\, \mathrm{median}_s\, \bar m_s)^{-\gamma},

    where :math:`m_t` measures the curvature of the loss of task t in the shared
    parameters, :math:`\rho` is ``ema``, f ``floor`` and :math:`\gamma` ``exponent``.
    The weights are scaled to mean 1, clipped, and scaled again; they are 1 before the
    first k steps. It maps curvatures (t,) to weights (t,). Gradient descent on
    :math:`w_t L_t` alone is stable for steps below :math:`2 / (w_t \lambda_t)`, with
    the largest eigenvalue :math:`\lambda_t` of its Hessian. Weights that make the
    products equal give all tasks the same limit. For optimizers that scale their steps,
    as AdamW, that is a heuristic.

    Parameters
    ----------
    statistic : {"ggn_trace", "ggn_max", "hessian_max"}, default="ggn_trace"
        Measure of curvature. "ggn_trace" is the trace of the Gauss-Newton matrix,
        estimated by random combinations of the gradients of the outputs. "ggn_max" is
        its largest eigenvalue, and "hessian_max" that of the Hessian. Eigenvalues come
        from two Lanczos steps that begin at the eigenvectors of the previous
        evaluation. The first evaluation takes four steps that begin at the gradients.
    exponent : float, default=1.0
        Power of the curvature in the weights; 0 is ``Equal``.
    update_every : int, default=250
        Steps between two evaluations of the curvature.
    ema : float, default=0.9
        Share of the old mean in the new one; the first value is the first mean.
    floor : float, default=1e-2
        Smallest curvature that counts, in units of the median of the tasks.
    clip : tuple of two floats or None, default=(0.1, 10.0)
        Smallest and largest weight, before the last scaling.
    n_batches : int, default=2
        Latest batches to compute on.
    n_probes : int, default=1
        Random combinations for each batch; for "ggn_trace".

    Raises
    ------
    ValueError
        In ``build``, if a parameter is out of range.

    See Also
    --------
    CurvatureWeighting : Base of the methods on the curvature of losses.
    Fixed : Constant weights that are given.

    Notes
    -----
    The rule belongs to this package. The idea that curvature shows how to train several
    tasks is that of [1]_. The trace of a Hessian is not offered, because it can be zero
    or negative. The curvature of a task with a linear head contains the squared norm of
    the head. ``Fixed`` weights from these norms are therefore the baseline to compare
    with. Curvature is that of the network in evaluation mode; heads receive weighted
    gradients. An evaluation of the trace costs ``n_batches * n_probes`` gradients of
    each task. With the defaults a training of 12 tasks takes 5 to 9 % longer than with
    :class:`Equal`. Eigenvalues cost about five times as much as the trace, and need a
    larger ``update_every``.

    References
    ----------
    .. [1] A. New et al., "Curvature-informed multi-task learning for graph networks",
       arXiv 2208.01684, 2022.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Curvature
    >>> weighting = Curvature()
    >>> weighting.build(n_tasks=2)
    >>> weighting(torch.tensor([1.0, 3.0]))
    tensor([1.5000, 0.5000])
    """

    means: Tensor
    n_steps: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "exponent": [NOT_NEGATIVE],
        "ema": [MEMORY],
        "floor": [NOT_NEGATIVE],
        "clip": [None, PAIR_AROUND_ONE],
    }

    def __init__(
        self,
        *,
        statistic: str = "ggn_trace",
        exponent: float = 1.0,
        update_every: int = 250,
        ema: float = 0.9,
        floor: float = 1e-2,
        clip: tuple[float, float] | None = (0.1, 10.0),
        n_batches: int = 2,
        n_probes: int = 1,
    ) -> None:
        super().__init__()
        self.statistic = statistic
        self.exponent = exponent
        self.update_every = update_every
        self.ema = ema
        self.floor = floor
        self.clip = clip
        self.n_batches = n_batches
        self.n_probes = n_probes

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the mean curvatures, NaN before the first evaluation.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self._check()
        means = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("means", means)
        # A buffer, so that a continuation keeps the rhythm of the evaluations.
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    def _check(self) -> None:
        check_choice(self, "statistic", tuple(_STATISTICS))
        for name in ("update_every", "n_batches", "n_probes"):
            check_count(self, name)

    def forward(self, statistics: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Update the means with new curvatures, and weigh the tasks.

        Parameters
        ----------
        statistics : Tensor of shape (t,)
            Curvatures of some tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Positions of these tasks; None for all.

        Returns
        -------
        weights : Tensor of shape (t,)
            Their weights, in the dtype of the statistics.

        Raises
        ------
        FloatingPointError
            If a curvature is not finite.
        """
        if not bool(torch.isfinite(statistics).all()):
            raise FloatingPointError(
                f"{self!r} received the curvatures {statistics.tolist()}. Lower lr, "
                "or set gradient_clip=1.0."
            )
        old, new = present(self.means, tasks), statistics.to(self.means)
        mixed = torch.where(old.isnan(), new, self.ema * old + (1 - self.ema) * new)
        if tasks is None:
            self.means.copy_(mixed)
        else:
            self.means[tasks] = mixed
        return present(self.weights(), tasks).to(statistics)

    def weights(self) -> Tensor:
        """Compute the weights of all tasks (n_tasks,); 1 before a first curvature."""
        m, measured = self.means, ~self.means.isnan()
        positive = m[m > 0]
        if not len(positive):
            return torch.ones_like(m)
        unit = positive.quantile(0.5)
        # The floor also bounds curvatures that are zero or, of Hessians, negative.
        smallest = max(float(self.floor), torch.finfo(m.dtype).tiny)
        w = (m[measured] / unit).clamp(min=smallest) ** -float(self.exponent)
        w = w / w.mean()
        if self.clip is not None:
            w = w.clamp(*self.clip)
            w = w / w.mean()
        return torch.ones_like(m).masked_scatter(measured, w)

    def end_epoch(self, mean_losses: Tensor) -> dict[str, dict[int, float]]:
        """Report the mean curvature of each task, from mean losses (n_tasks,)."""
        return {"curvature": dict(enumerate(self.means.tolist()))}
