"""What a task weighting is: a map that knows no model, no optimizer and no epoch.

There are three families, by what the map sees of the t tasks with a label in a batch:
their losses (t,), the Gramian (t, t) of their gradients, or the Jacobian (t, p) whose
rows are the gradients. A loss is the mean over the labelled graphs of a batch, of
standardised targets.

A weight of 1 for every task is the *sum* of the losses, so that adding a task does not
dilute the others.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._component import Component

from ._held_out import HeldOut
from ._solvers import SolverReport

# Shorter gradients, relative to the longest, are those of tasks that are solved.
_VANISHED = 1e-12
# Squared relative error of gradients in float32, whatever the Gramian's precision.
_ROUNDING = 1e-11
_CHOICES = {
    "rescale": ("none", "mean1"),
    "gradients": ("parameters", "representation"),
    "pool": ("labels", "tasks"),
}


class TaskWeighting(Component, ABC):
    """A map from what is known about the tasks to the direction of a training step.

    Attributes
    ----------
    rescale : {"none", "mean1"}
        "mean1" divides the weights by their mean, which keeps the length of the step
        apart from the choice between tasks.
    lr, weight_decay : float
        Of the Adam that trains the method's own parameters, if it has any.
    held_out : HeldOut or None
        Training rows that the method wants to be kept out, to judge it.
    pool : {"labels", "tasks"} or None
        How the losses of the target tasks are averaged: ``forward`` is handed the
        ``anchor`` then, and a Gramian has one row for all targets.
    compares_norms : bool
        Whether the method compares the lengths of auxiliary gradients with that of the
        target's, which depends on the units of an unscaled target.

    Notes
    -----
    ``forward`` may name further keywords, and is handed what it names:

    * ``losses`` (t,), detached;
    * ``tasks`` (t,), the positions of the present tasks, None if all are present;
    * ``generator``, the source of randomness of the fit;
    * ``anchor`` (t,), the weights that pool the target tasks, as ``pool`` says;
    * ``lookback`` (t,), the inner products of the target's gradient with the gradients
      of the last look, where there was one;
    * ``diagonals``, a function without arguments that draws an unbiased sample (t, p)
      of the diagonals of the present tasks' Gauss-Newton matrices at the batch, for one
      backward pass a task.

    Methods with a state keep it in buffers and parameters; two hooks are optional:
    ``after_step(losses_before, losses_after, tasks)``, which costs one more forward
    pass, and ``end_epoch(mean_losses)``, where a task without a label has NaN.
    """

    rescale: str = "none"
    lr: float = 1e-3
    weight_decay: float = 0.0
    held_out: HeldOut | None = None
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

    def check_settings(self) -> None:
        """Refuse values that the settings common to many methods cannot have.

        Raises
        ------
        ValueError
            If one of rescale, gradients, update_every, n_splits is wrong.
        """
        for name, named in _CHOICES.items():
            choices: tuple = named
            if name == "pool" and not self._needs_pool():
                choices = (None, *named)
            if getattr(self, name, choices[0]) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {self!r}.")
        for name in ("update_every", "n_splits"):
            value = getattr(self, name, 1)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {self!r}.")
        if getattr(self, "n_splits", 1) > 1 and self.gradients == "parameters":
            raise ValueError(
                "A batch is split for gradients='representation' only; set n_splits=1: "
                f"{self!r}."
            )

    def _needs_pool(self) -> bool:
        return isinstance(self, GramianWeighting) and wants(self, "anchor")

    def _rescaled(self, weights: Tensor) -> Tensor:
        if self.rescale != "mean1":
            return weights
        # Of weights with a negative mean, too, only the length may change.
        mean = weights.mean().abs()
        return weights / torch.where(mean > 0, mean, 1.0)


class LossWeighting(TaskWeighting):
    r"""A map from losses (t,) to a scalar :math:`S(L_1, ..., L_t)`.

    The weights are its derivatives :math:`w_t = \partial S / \partial L_t`, so a step
    costs one backward pass.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ScaleInvariant
    >>> weighting = ScaleInvariant(eps=0.0)
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([0.5, 0.25]))
    tensor([2., 4.])
    """

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

    def task_weights(self, losses: Tensor, tasks=None, **known) -> Tensor:
        """Weights of the tasks at these losses.

        Gradients with respect to the method's own parameters are added to them.

        Parameters
        ----------
        losses : Tensor of shape (t,)
            Losses of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Which tasks these are; all of them if not given.
        **known : dict
            Further keywords that ``forward`` may name.

        Returns
        -------
        weights : Tensor of shape (t,)
            Detached weights.
        """
        leaf = losses.detach().requires_grad_()
        total = self.forward(leaf, **named(self, tasks=tasks, **known))
        check_shape(self, total, leaf, ())
        total.backward()
        weights = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return self._rescaled(weights)


class GramianWeighting(TaskWeighting):
    r"""A map from the Gramian (t, t) of the tasks' gradients to weights (t,).

    The step goes along :math:`J^\top w`, where the rows of J are the gradients of the
    losses and :math:`G = J J^\top`. Heads receive the gradients of their own losses,
    unweighted: a weight would only be another learning rate.

    Attributes
    ----------
    gradients : {"parameters", "representation"}
        With respect to what: all shared parameters (exact), or the vectors in front of
        the heads (one backward pass, an approximation).
    update_every : int
        Steps between two looks at the gradients; the weights are kept in between.
    weighted_heads : bool
        Whether the heads' gradients are weighted, too.
    n_splits : int
        Parts of the batch; if more than one, the map sees one Gramian of each,
        (n_splits, t, t).
    report : SolverReport
        What the last solution was worth.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import MGDA
    >>> MGDA().task_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.6000, 0.4000])
    """

    gradients: str = "parameters"
    update_every: int = 1
    weighted_heads: bool = False
    n_splits: int = 1
    report: SolverReport = SolverReport()

    @abstractmethod
    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks.

        Parameters
        ----------
        gramian : Tensor of shape (t, t)
            Inner products of the gradients of the present tasks, none of them zero.

        Returns
        -------
        weights : Tensor of shape (t,)
            Weights in the dtype of the Gramian.
        """

    def task_weights(self, gramian: Tensor, tasks=None, **known) -> Tensor:
        """Weights of all present tasks; those whose gradient vanished get 0.

        Parameters
        ----------
        gramian : Tensor of shape (t, t) or (n_splits, t, t)
            Inner products of the gradients of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Which tasks these are; all of them if not given.
        **known : dict
            Further keywords that ``forward`` may name.

        Returns
        -------
        weights : Tensor of shape (t,)
            Detached weights, on the CPU; all 1 if every gradient is zero.
        """
        G = gramian.detach().cpu()
        self.report = SolverReport()
        squares = G.diagonal(dim1=-2, dim2=-1).reshape(-1, G.shape[-1]).amax(dim=0)
        alive = squares > _VANISHED**2 * squares.max()
        if not alive.any():
            return torch.ones_like(squares)
        known = named(self, tasks=tasks, **known)
        if self._needs_pool() and known.get("anchor") is None:
            known["anchor"] = torch.eye(len(alive), dtype=G.dtype)[0]
        if not alive.all():
            G = G[..., alive, :][..., alive]
            if "tasks" in known and tasks is None:
                known["tasks"] = torch.arange(len(alive))
            known = {
                name: value[alive] if isinstance(value, Tensor) else value
                for name, value in known.items()
            }
        weights = torch.zeros_like(squares)
        found = self.forward(G, **known)
        check_shape(self, found, G, G.shape[-1:])
        weights[alive] = self._rescaled(found.detach()).to(weights)
        check_finite(self, weights)
        return weights


class JacobianAggregation(TaskWeighting):
    """A map from the Jacobian (t, p) of the tasks' losses to a direction (p,).

    For rules that look at single coordinates. Heads receive the gradients of their own
    losses. The weights in ``history_`` are those whose combination of the gradients
    comes closest to the direction.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GradDrop
    >>> GradDrop().direction(torch.tensor([[1.0, 2.0], [1.0, 2.0]]))
    tensor([2., 4.])
    """

    @abstractmethod
    def forward(self, jacobian: Tensor) -> Tensor:
        """Combine the gradients.

        Parameters
        ----------
        jacobian : Tensor of shape (t, p)
            Gradients of the present tasks' losses, one a row.

        Returns
        -------
        direction : Tensor of shape (p,)
            What takes the place of the gradient.
        """

    def direction(self, jacobian: Tensor, **known) -> Tensor:
        """Combine the gradients, given what ``forward`` names of the keywords.

        Parameters
        ----------
        jacobian : Tensor of shape (t, p)
            Gradients of the present tasks' losses, one a row.
        **known : dict
            Keywords that ``forward`` may name.

        Returns
        -------
        direction : Tensor of shape (p,)
            What takes the place of the gradient.
        """
        found = self.forward(jacobian, **named(self, **known))
        check_shape(self, found, jacobian, jacobian.shape[1:])
        check_finite(self, found)
        return found


def check_shape(weighting: TaskWeighting, found, given: Tensor, shape: tuple) -> None:
    """Refuse what ``forward`` gave for a tensor if it has the wrong shape."""
    seen = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if seen != tuple(shape):
        raise ValueError(
            f"task_weighting={weighting!r} has to map {tuple(given.shape)} to a tensor "
            f"of shape {tuple(shape)}, but gave {seen}."
        )


def check_finite(weighting: TaskWeighting, found: Tensor) -> None:
    """Refuse what ``forward`` gave if it is not finite."""
    if not bool(torch.isfinite(found).all()):
        raise FloatingPointError(f"task_weighting={weighting!r} gave {found}.")


@lru_cache
def _keywords(forward: Callable) -> frozenset[str]:
    return frozenset(list(inspect.signature(forward).parameters)[2:])


def wants(weighting: TaskWeighting, name: str) -> bool:
    """Whether a weighting's ``forward`` names a keyword."""
    return name in _keywords(type(weighting).forward)


def named(weighting: TaskWeighting, **known) -> dict:
    """Choose the keywords that a weighting's ``forward`` names."""
    wanted = _keywords(type(weighting).forward)
    return {name: value for name, value in known.items() if name in wanted}


def present(values: Tensor, tasks: Tensor | None) -> Tensor:
    """Entries of a per-task vector that belong to the present tasks."""
    return values if tasks is None else values[tasks]


def pooled(anchor: Tensor | None, losses: Tensor) -> Tensor:
    """Factors (t,) that pool the losses of the targets, 1 for auxiliary tasks."""
    if anchor is None:
        return torch.ones_like(losses)
    return torch.where(anchor > 0, anchor, 1.0).to(losses)


def positions(n_tasks: int, tasks: Tensor | None) -> Tensor:
    """Positions of the present tasks, also where all are present."""
    return torch.arange(n_tasks) if tasks is None else tasks.cpu()


def as_matrix(gramian: Tensor) -> np.ndarray:
    """Bring a Gramian to the solvers: NumPy, float64."""
    return gramian.detach().cpu().double().numpy()


def as_weights(values: np.ndarray, gramian: Tensor) -> Tensor:
    """Bring a solution back to the dtype and device of its Gramian."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(gramian)


def rank_tolerance(gramian: Tensor) -> float:
    """Relative size of eigenvalues that are rounding errors of gradients or Gramian."""
    return max(_ROUNDING, gramian.shape[-1] * torch.finfo(gramian.dtype).eps)
