"""Passes at weights that a sharpness-aware method moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skgnn_mtl._flat import pull_back
from skgnn_mtl.graphs import GraphBatch, Labels
from skgnn_mtl.optimizers import SharpnessAware

from ._jacobian import TaskPass, batch_losses, task_pass
from ._loss import Loss
from ._model import MultiTaskModel
from ._replay import Replay

Moves = Mapping[str, Tensor]


class _Bound(nn.Module):
    """A function of a network as a module, so that torch can move its parameters."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.model, *arguments)


def at_moved(
    function: Callable[..., Any], model: nn.Module, moves: Moves, *arguments: Any
) -> Any:
    """Call ``function(model, *arguments)`` with moved parameters.

    Derivatives with respect to the parameters of the model are those at the moved
    ones, because a move is a constant. The model itself does not change.

    Parameters
    ----------
    function : callable
        Runs the model.
    model : torch.nn.Module
        The network.
    moves : dict of str to Tensor
        What is added to the parameters, by their names.
    *arguments : object
        Further arguments of the function.

    Returns
    -------
    result : object
        What the function returns.
    """
    parameters = dict(model.named_parameters())
    moved = {f"model.{name}": parameters[name] + move for name, move in moves.items()}
    return functional_call(_Bound(model, function), moved, arguments)


class Ascent:
    """Passes of a batch at moved weights.

    Parameters
    ----------
    method : SharpnessAware
        Decides the moves.
    loss : callable
        Elementwise loss.
    draws, generator : torch.Generator or None
        Randomness of the auxiliary tasks, and of the method.
    """

    def __init__(
        self,
        method: SharpnessAware,
        loss: Loss,
        draws: torch.Generator | None,
        generator: torch.Generator | None,
    ) -> None:
        # Any, because a method with moves by task takes a second argument.
        self.method: Any = method
        self.loss, self.draws, self.generator = loss, draws, generator
        self._replay = Replay(draws)

    def begin(self, device: torch.device) -> None:
        """Store the random states before the first pass."""
        self._replay.begin(device)

    def moved(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        first: TaskPass,
        tasks: Tensor,
    ) -> TaskPass:
        """Repeat a pass at moved weights, with its random numbers.

        Parameters
        ----------
        model : MultiTaskModel
            The network.
        graphs, labels : GraphBatch, Labels
            The batch.
        first : TaskPass
            Its pass at the weights themselves.
        tasks : Tensor of int64 of shape (t,), on the CPU
            Present tasks.

        Returns
        -------
        result : TaskPass
            The pass at the moved weights, or the columns of one pass per task.
        """
        moving = _moving(model, only_shared=self.method.by_task)
        if not moving:  # because all layers before the heads are frozen
            return first
        present = torch.zeros(len(first.losses))
        present[tasks] = 1.0
        outputs, cotangents = zip(*first.seeds(present), strict=True)
        gradients = pull_back(outputs, list(moving.values()), cotangents)
        again = partial(self._again, model, graphs, labels, moving)
        if not self.method.by_task:
            result: TaskPass = again(task_pass, self.method(gradients))
            return result
        passes = {}
        for task in tasks.tolist():
            estimate = self._estimate(again, task, moving)
            passes[task] = again(task_pass, self.method(gradients, estimate))
        return joined(first, passes)

    def _again(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        moving: Mapping[str, Tensor],
        function: Callable[..., Any],
        move: Sequence[Tensor],
    ) -> Any:
        moves = dict(zip(moving, move, strict=True))
        batch = (graphs, labels, self.loss, self.draws)
        with self._replay.again(model, graphs.device):
            return at_moved(function, model, moves, *batch)

    @torch.no_grad()
    def _estimate(
        self, again: Callable[..., Any], task: int, moving: Mapping[str, Tensor]
    ) -> list[Tensor]:
        """Estimate a task's gradient from two losses."""
        # Drawn on the CPU, so that all devices move alike.
        z = [
            torch.randn(p.shape, generator=self.generator, dtype=p.dtype).to(p.device)
            for p in moving.values()
        ]
        sigma = float(self.method.sigma)
        above, below = (
            again(batch_losses, [sign * sigma * part for part in z])[task]
            for sign in (1.0, -1.0)
        )
        return [(above - below) / (2.0 * sigma) * part for part in z]


def _moving(model: MultiTaskModel, only_shared: bool) -> dict[str, Tensor]:
    """Name the trainable parameters, or those before the heads."""
    shared = set(map(id, model.shared_parameters()))
    return {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and (not only_shared or id(p) in shared)
    }


def joined(first: TaskPass, passes: Mapping[int, TaskPass]) -> TaskPass:
    """Take each task's entries from its own pass.

    Parameters
    ----------
    first : TaskPass
        Has the entries of absent tasks.
    passes : dict of int to TaskPass
        Passes by the positions of the tasks.

    Returns
    -------
    result : TaskPass
        Of all tasks.
    """
    n_tasks = first.n_tasks
    # Without its graph, because an absent task has no gradient.
    absent = replace(first, outputs=first.outputs.detach())

    def own(entry: int) -> TaskPass:
        return passes.get(entry, absent)

    outputs, slopes = first.outputs, first.slopes
    if n_tasks:  # because nothing can be stacked without a task of y
        columns = [(own(k % n_tasks), k) for k in range(outputs.shape[1])]
        outputs = torch.stack([a.outputs[:, k] for a, k in columns], dim=1)
        slopes = torch.stack([a.slopes[:, k] for a, k in columns], dim=1)
    losses = [own(k).losses[k] for k in range(len(first.losses))]
    auxiliary = [own(n_tasks + k).auxiliary[k] for k in range(len(first.auxiliary))]
    return replace(
        first,
        outputs=outputs,
        slopes=slopes,
        losses=torch.stack(losses),
        auxiliary=auxiliary,
        own=passes,
    )
