"""Base classes of task weightings: maps without a model, an optimizer or an epoch.

There are three families, which differ in the input of the map. Of the t tasks with a
label in a batch it is the losses (t,), the Gramian (t, t) of their gradients, or their
Jacobian (t, p). A loss is the mean over the labelled graphs of a batch, of standardised
targets.

A weight of 1 for every task is the *sum* of the losses, so that adding a task does not
dilute the others.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._component import Component

from ._constraints import check_choice, check_count
from ._momentum import AdaptiveMomentum, check_momentum
from ._solvers import SolverReport, combination_vanishes

# Shorter gradients, relative to the longest, are those of tasks that are solved.
_VANISHED = 1e-12
# Squared relative error of gradients in float32, which a Gramian in float64 keeps.
_ROUNDING = 1e-11


class TaskWeighting(Component, ABC):
    """A map from the losses or gradients of the tasks to the direction of a step.

    Attributes
    ----------
    rescale : {"none", "mean1"}
        "mean1" divides the weights by their mean, which keeps the length of the step
        apart from the choice between tasks.
    lr, weight_decay : float
        Learning rate and decay of the Adam that trains the method's own parameters.
    pool : {"labels", "tasks"} or None
        How the losses of the target tasks are averaged. If it is given, ``forward``
        receives the ``anchor``, and a Gramian has one row for all targets.
    compares_norms : bool
        Whether the method compares the lengths of auxiliary gradients with that of the
        target's gradient. The latter depends on the units of an unscaled target.

    Notes
    -----
    ``forward`` may name further keyword arguments, and receives those that it names:

    * ``losses`` (t,), detached;
    * ``tasks`` (t,), the positions of the present tasks, None if all are present;
    * ``generator``, the source of randomness of the fit;
    * ``anchor`` (t,), the weights that pool the target tasks, as ``pool`` says;
    * ``lookback`` (t,), the inner products of the target's gradient with the gradients
      of the previous evaluation, None without one;
    * ``cross`` (t, t), the inner products of the gradients of the first half of the
      batch with those of the second half, which costs one more backward pass per task.
      It needs a Gramian of ``gradients="parameters"`` without a ``pool``;
    * ``diagonals``, a function without arguments that draws an unbiased sample (t, p)
      of the diagonals of the present tasks' Gauss-Newton matrices at the batch, for one
      backward pass per task.

    Methods with a state keep it in buffers and parameters. A method states its further
    needs by its base classes: :class:`EpochAware`, :class:`LookBack`,
    :class:`TargetAware` and :class:`HeldOutWeighting`.

    The options of a family are parameters of every method in it. A method with
    parameters of its own passes them on as ``**options``.
    """

    rescale: str = "none"
    lr: float = 1e-3
    weight_decay: float = 0.0
    pool: str | None = None
    compares_norms: bool = False

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Make the state.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Their names, for methods whose parameters name tasks.
        """

    def check_options(self) -> None:
        """Check the options of the family.

        Raises
        ------
        ValueError
            If an option has a value that it cannot have.
        """
        self.check_parameters()
        check_choice(self, "rescale", ("none", "mean1"))
        wanted = ("labels", "tasks")
        check_choice(self, "pool", wanted if self._needs_pool() else (None, *wanted))
        # With a default, because only Gramian weightings have this option. At the
        # representation two halves of a batch have nothing in common.
        whole = getattr(self, "gradients", None) == "parameters"
        if wants(self, "cross") and not (whole and self.pool is None):
            raise ValueError(
                "The products of two halves of a batch, cross, are those of a "
                "GramianWeighting with gradients='parameters' and pool=None, got "
                f"{self!r}."
            )

    @property
    def rule(self) -> TaskWeighting:
        """The weighting that makes the steps: itself, unless it leads another one."""
        return self

    @property
    def needs_auxiliary_tasks(self) -> bool:
        """Whether the method does nothing special without auxiliary tasks."""
        return False

    def _needs_pool(self) -> bool:
        return False

    def _rescaled(self, weights: Tensor) -> Tensor:
        if self.rescale != "mean1":
            return weights
        # The modulus, because a negative mean must not reverse the direction.
        mean = weights.mean().abs()
        return weights / torch.where(mean > 0, mean, 1.0)


class LossWeighting(TaskWeighting):
    r"""A map from losses (t,) to a scalar :math:`S(L_1, ..., L_t)`.

    The weights are its derivatives :math:`w_t = \partial S / \partial L_t`, so a step
    costs one backward pass.

    Parameters
    ----------
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Raises
    ------
    ValueError
        At the start of a fit, if ``rescale`` is another value. In use, if ``forward``
        does not return a scalar.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ScaleInvariant
    >>> weighting = ScaleInvariant(eps=0.0)
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([0.5, 0.25]))
    tensor([2., 4.])
    """

    def __init__(self, *, rescale: str = "none") -> None:
        super().__init__()
        self.rescale = rescale

    @abstractmethod
    def forward(self, losses: Tensor) -> Tensor:
        """Combine the losses.

        Parameters
        ----------
        losses : Tensor of shape (t,)
            Losses of the present tasks.

        Returns
        -------
        total : Tensor of shape ()
            The scalar to descend on.
        """

    def task_weights(
        self, losses: Tensor, tasks: Tensor | None = None, **context: Any
    ) -> Tensor:
        """Compute the weights of the tasks at these losses.

        The gradients of the method's own parameters accumulate in their ``grad``.

        Parameters
        ----------
        losses : Tensor of shape (t,)
            Losses of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Positions of these tasks; None if all are present.
        **context : object
            Further keyword arguments that ``forward`` may name.

        Returns
        -------
        weights : Tensor of shape (t,)
            Detached weights.
        """
        leaf = losses.detach().requires_grad_()
        total = self.forward(leaf, **named(self, tasks=tasks, **context))
        check_shape(self, total, leaf, ())
        total.backward()
        # No gradient means that S does not depend on the losses.
        weights = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return self._rescaled(weights)


class Decision(NamedTuple):
    """Weights of the tasks, and the quality of the solution.

    Parameters
    ----------
    weights : Tensor of shape (t,)
        Weights of the tasks.
    report : SolverReport
        Quality of the solution.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import Decision, SolverReport
    >>> Decision(torch.ones(2), SolverReport(residual=0.0)).weights
    tensor([1., 1.])
    """

    weights: Tensor
    report: SolverReport


class GramianWeighting(TaskWeighting):
    r"""A map from the Gramian (t, t) of the tasks' gradients to weights (t,).

    The step goes along :math:`J^\top w`, where the rows of J are the gradients of the
    losses and :math:`G = J J^\top`. Heads receive the gradients of their own losses,
    unweighted: a weight would only be another learning rate.

    Parameters
    ----------
    gradients : {"parameters", "representation"}, default="parameters"
        Gradients with respect to all shared parameters (exact), or to the vectors in
        front of the heads (one backward pass, an approximation).
    update_every : int, default=1
        Steps between two evaluations of the gradients; the weights are kept in between.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.
    adaptive_momentum : bool or pair of floats, default=False
        Smallest and largest momentum of the optimizer, which then follows the cosine of
        the direction with the running mean of earlier ones: what the weighting decides
        counts more where it is new. True stands for (0.5, 0.9).

    Attributes
    ----------
    weighted_heads : bool
        Whether the heads' gradients are weighted, too.
    n_splits : int
        Parts of the batch; if more than one, the map receives one Gramian per part,
        (n_splits, t, t).

    Raises
    ------
    ValueError
        At the start of a fit, if an option has another value. In use, if the weights
        do not have the shape (t,).
    FloatingPointError
        In use, if a weight is not finite.

    References
    ----------
    .. [1] P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization",
       2024, arXiv:2406.16232. Maps of Jacobians and Gramians in this form.
    .. [2] Z. Zhou et al., "Delve into the Applicability of Advanced Optimizers for
       Multi-Task Learning", 2026, arXiv:2604.08939. The idea of
       ``adaptive_momentum``; the formula of this package is its own.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import MGDA
    >>> MGDA().task_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.6000, 0.4000])
    """

    weighted_heads: bool = False
    n_splits: int = 1

    def __init__(
        self,
        *,
        gradients: str = "parameters",
        update_every: int = 1,
        rescale: str = "none",
        adaptive_momentum: AdaptiveMomentum = False,
    ) -> None:
        super().__init__()
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale
        self.adaptive_momentum = adaptive_momentum

    @abstractmethod
    def forward(self, gramian: Tensor) -> Tensor | tuple[Tensor, SolverReport]:
        """Weigh the tasks.

        Parameters
        ----------
        gramian : Tensor of shape (t, t)
            Inner products of the gradients of the present tasks, none of them zero.

        Returns
        -------
        weights : Tensor of shape (t,)
            Weights in the dtype of the Gramian.
        report : SolverReport, optional
            Quality of the solution; it appears in ``history_``.
        """

    def check_options(self) -> None:
        """Check the options of the family.

        Raises
        ------
        ValueError
            If an option has a value that it cannot have.
        """
        super().check_options()
        check_choice(self, "gradients", ("parameters", "representation"))
        check_count(self, "update_every")
        check_count(self, "n_splits")
        check_momentum(self)
        if self.n_splits > 1 and self.gradients == "parameters":
            raise ValueError(
                "A batch is split for gradients='representation' only; set n_splits=1: "
                f"{self!r}."
            )

    @property
    def needs_auxiliary_tasks(self) -> bool:
        """Whether the method does nothing special without auxiliary tasks."""
        return self.pool is not None

    def _needs_pool(self) -> bool:
        return wants(self, "anchor")

    def task_weights(
        self, gramian: Tensor, tasks: Tensor | None = None, **context: Any
    ) -> Tensor:
        """Compute the weights of all present tasks, as :meth:`decide` does.

        Parameters
        ----------
        gramian : Tensor of shape (t, t) or (n_splits, t, t)
            Inner products of the gradients of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Positions of these tasks; None if all are present.
        **context : object
            Further keyword arguments that ``forward`` may name.

        Returns
        -------
        weights : Tensor of shape (t,)
            Detached weights, on the CPU.
        """
        return self.decide(gramian, tasks, **context).weights

    def decide(
        self, gramian: Tensor, tasks: Tensor | None = None, **context: Any
    ) -> Decision:
        """Weigh all present tasks; those whose gradient vanished get 0.

        Parameters
        ----------
        gramian : Tensor of shape (t, t) or (n_splits, t, t)
            Inner products of the gradients of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Positions of these tasks; None if all are present.
        **context : object
            Further keyword arguments that ``forward`` may name.

        Returns
        -------
        decision : Decision
            Detached weights (t,), on the CPU, all 1 if every gradient is zero; and the
            report, to which is added whether a convex combination of the gradients
            vanishes, except for methods with target tasks, which are not to improve all
            tasks.
        """
        G = gramian.detach().cpu()
        # Row norms over all parts: a task is kept if it has a gradient in one of them.
        squares = G.diagonal(dim1=-2, dim2=-1).reshape(-1, G.shape[-1]).amax(dim=0)
        alive = squares > _VANISHED**2 * squares.max()
        # Any weights give the same step if every gradient is zero.
        if not alive.any():
            return Decision(torch.ones_like(squares), SolverReport())
        context = named(self, tasks=tasks, **context)
        if self._needs_pool() and context.get("anchor") is None:
            context["anchor"] = torch.eye(len(alive), dtype=G.dtype)[0]
        if not alive.all():
            G = G[..., alive, :][..., alive]
            # Without the vanished tasks, positions are no longer the row numbers.
            if "tasks" in context and tasks is None:
                context["tasks"] = torch.arange(len(alive))
            context = {name: _among(value, alive) for name, value in context.items()}
        weights = torch.zeros_like(squares)
        found = self.forward(G, **context)
        values, report = found if isinstance(found, tuple) else (found, SolverReport())
        check_shape(self, values, G, G.shape[-1:])
        if not report.stationary and not self._needs_pool():
            total = as_matrix(G if G.ndim == 2 else G.sum(dim=0))
            tolerance = rank_tolerance(G) ** 0.5
            vanishes = combination_vanishes(total, as_matrix(values), tolerance)
            report = replace(report, stationary=vanishes)
        weights[alive] = self._rescaled(values.detach()).to(weights)
        check_finite(self, weights)
        return Decision(weights, report)


def _among(value: Any, alive: Tensor) -> Any:
    """Select the entries of tasks in a vector (t,) or a matrix (t, t)."""
    if not isinstance(value, Tensor):
        return value
    return value[alive][:, alive] if value.ndim == 2 else value[alive]


class JacobianAggregation(TaskWeighting):
    """A map from the Jacobian (t, p) of the tasks' losses to a direction (p,).

    For rules that act on single coordinates. Heads receive the gradients of their own
    losses. The weights in ``history_`` are those whose combination of the gradients
    comes closest to the direction.

    Parameters
    ----------
    adaptive_momentum : bool or pair of floats, default=False
        As in :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        At the start of a fit, if ``adaptive_momentum`` is another value. In use, if the
        direction does not have the shape (p,).
    FloatingPointError
        In use, if the direction is not finite.

    References
    ----------
    .. [1] P. Quinton, V. Rey, "Jacobian Descent for Multi-Objective Optimization",
       2024, arXiv:2406.16232. Maps of Jacobians and Gramians in this form.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GradDrop
    >>> GradDrop().direction(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    tensor([2., 4.])
    """

    def __init__(self, *, adaptive_momentum: AdaptiveMomentum = False) -> None:
        super().__init__()
        self.adaptive_momentum = adaptive_momentum

    def check_options(self) -> None:
        """Check the options of the family.

        Raises
        ------
        ValueError
            If an option has a value that it cannot have.
        """
        super().check_options()
        check_momentum(self)

    @abstractmethod
    def forward(self, jacobian: Tensor) -> Tensor:
        """Combine the gradients.

        Parameters
        ----------
        jacobian : Tensor of shape (t, p)
            Gradients of the present tasks' losses, one per row.

        Returns
        -------
        direction : Tensor of shape (p,)
            Replaces the gradient.
        """

    def direction(self, jacobian: Tensor, **context: Any) -> Tensor:
        """Combine the gradients, with the keyword arguments that ``forward`` names.

        Parameters
        ----------
        jacobian : Tensor of shape (t, p)
            Gradients of the present tasks' losses, one per row.
        **context : object
            Keyword arguments that ``forward`` may name.

        Returns
        -------
        direction : Tensor of shape (p,)
            Replaces the gradient.
        """
        found = self.forward(jacobian, **named(self, **context))
        check_shape(self, found, jacobian, jacobian.shape[1:])
        check_finite(self, found)
        return found


def check_shape(
    weighting: TaskWeighting, found: Any, given: Tensor, shape: tuple[int, ...]
) -> None:
    """Raise ValueError if what ``forward`` returned has the wrong shape."""
    actual = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if actual != tuple(shape):
        raise ValueError(
            f"task_weighting={weighting!r} must map {tuple(given.shape)} to a tensor "
            f"of shape {tuple(shape)}, but returned {actual}."
        )


def check_finite(weighting: TaskWeighting, found: Tensor) -> None:
    """Raise FloatingPointError if what ``forward`` returned is not finite."""
    if not bool(torch.isfinite(found).all()):
        raise FloatingPointError(f"task_weighting={weighting!r} returned {found}.")


@lru_cache
def _keyword_names(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(list(inspect.signature(forward).parameters)[2:])


def wants(weighting: TaskWeighting, name: str) -> bool:
    """Tell whether a weighting's ``forward`` names a keyword argument."""
    return name in _keyword_names(type(weighting).forward)


def named(weighting: TaskWeighting, **context: Any) -> dict[str, Any]:
    """Choose the keyword arguments that a weighting's ``forward`` names."""
    wanted = _keyword_names(type(weighting).forward)
    return {name: value for name, value in context.items() if name in wanted}


def present(values: Tensor, tasks: Tensor | None) -> Tensor:
    """Select the entries of a per-task vector that belong to the present tasks."""
    return values if tasks is None else values[tasks]


def pooled(anchor: Tensor | None, losses: Tensor) -> Tensor:
    """Compute the factors (t,) that pool the targets, 1 for auxiliary tasks."""
    if anchor is None:
        return torch.ones_like(losses)
    return torch.where(anchor > 0, anchor, 1.0).to(losses)


def positions(n_tasks: int, tasks: Tensor | None) -> Tensor:
    """List the positions of the present tasks, also where all are present."""
    return torch.arange(n_tasks) if tasks is None else tasks.cpu()


def as_matrix(gramian: Tensor) -> np.ndarray:
    """Convert a Gramian to NumPy, in float64, for the solvers."""
    return gramian.detach().cpu().double().numpy()


def as_weights(values: np.ndarray, gramian: Tensor) -> Tensor:
    """Convert a solution to the dtype and device of its Gramian."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(gramian)


def rank_tolerance(gramian: Tensor) -> float:
    """Bound the relative size of eigenvalues that are only rounding errors."""
    return max(_ROUNDING, gramian.shape[-1] * torch.finfo(gramian.dtype).eps)
