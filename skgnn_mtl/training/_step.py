"""From a batch to the gradients of one step."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl.graphs import GraphBatch
from skgnn_mtl.weighting import (
    BLO,
    Curvature,
    Equal,
    Fixed,
    GramianWeighting,
    JacobianAggregation,
    RCGrad,
    wants,
)

from ._adam import TaskAdam
from ._bilevel import HeldOutRows, OuterLoop
from ._curvature import (
    CurvatureProbe,
    Eigenvalues,
    check_convex,
    gauss_newton_diagonals,
)
from ._jacobian import (
    auxiliary_pass,
    forward_pass,
    pooling,
    task_pass,
    with_auxiliary,
)
from ._loss import Labels, Loss, task_losses
from ._model import MultiTaskModel
from ._monitor import GradientMonitor
from ._replay import frozen_statistics, random_state, replayed
from ._surgery import GradientSurgery


@dataclass(frozen=True)
class StepRecord:
    """What happened in a step; tensors of shape (n_entries,), detached.

    Entries are the tasks, and behind them the auxiliary tasks.

    Parameters
    ----------
    losses, mass : Tensor
        Losses, and the summed label weights they are means over.
    weights : Tensor
        Weights of the tasks, 0 for absent ones.
    present : Tensor of bool, on the CPU
        Tasks with a label in the batch.
    """

    losses: Tensor
    mass: Tensor
    weights: Tensor
    present: Tensor


class TrainingStep:
    """Losses of a batch, their weighting, and the gradients that follow.

    Parameters
    ----------
    weighting : TaskWeighting
        Built for the tasks of the fit; its own parameters are trained here, by an
        Adam of their own that no schedule reaches.
    loss : callable
        Elementwise loss.
    n_tasks : int
        Number of entries: tasks, and auxiliary tasks behind them.
    generator : torch.Generator, optional
        Randomness of the weighting.
    targets : sequence of int, optional
        Positions of the target tasks; all if not given.
    draws : torch.Generator, optional
        Randomness of the auxiliary tasks; needed if there are any.
    chunk : int, optional
        Tasks differentiated at a time by gradient methods; one on the CPU, all on an
        accelerator unless its memory is too small.
    eigenvalues : callable, optional
        Finds the largest eigenvalues that some weightings ask for.
    """

    def __init__(
        self,
        weighting: Any,
        loss: Loss,
        n_tasks: int,
        *,
        generator: torch.Generator | None = None,
        targets: Sequence[int] | None = None,
        draws: torch.Generator | None = None,
        chunk: int | None = None,
        eigenvalues: Eigenvalues | None = None,
    ) -> None:
        self.weighting, self.loss, self.n_tasks = weighting, loss, n_tasks
        self.generator, self.targets, self.draws = generator, targets, draws
        aimed = range(n_tasks) if targets is None else targets
        pools = weighting.pool is not None
        if (
            pools
            and not isinstance(weighting, (Equal, Fixed))
            and len(aimed) == n_tasks > 1
        ):
            warnings.warn(
                f"task_weighting={weighting!r} tells target from auxiliary tasks, but "
                "there are none of these: all tasks are pooled as targets. Name the "
                "targets in target_tasks, or set auxiliary_tasks.",
                UserWarning,
                stacklevel=2,
            )
        self.monitor = GradientMonitor()
        self.begun = False  # from the first step on the model is changed
        # With a single task all methods are the plain gradient.
        self.looks_back = hasattr(weighting, "after_step") and n_tasks > 1
        self._surgery = self._probe = None
        self._outer: OuterLoop | None = None
        # What makes the steps, of a method that may leave that to another.
        inner = weighting.inner if isinstance(weighting, BLO) else None
        self._rule = weighting if inner is None else inner
        if isinstance(weighting, BLO):
            weighting.aim(aimed)
        if isinstance(self._rule, (GramianWeighting, JacobianAggregation)):
            if wants(self._rule, "diagonals"):
                check_convex(loss, self._rule, torch.device("cpu"))
            if n_tasks > 1:
                self._surgery = GradientSurgery(
                    self._rule, n_tasks, self.monitor, chunk
                )
        elif isinstance(weighting, Curvature) and n_tasks > 1:
            self._probe = CurvatureProbe(weighting, loss, generator, eigenvalues)
        self._adam = TaskAdam(
            weighting.parameters(), n_tasks, weighting.lr, weighting.weight_decay
        )

    def losses(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels
    ) -> tuple[Tensor, Tensor]:
        """Losses and label weights of the tasks of y, or else of the auxiliary tasks.

        Tensors of shape (n_tasks,) or (n_auxiliary,). The draws of auxiliary tasks are
        the same for every call: epochs are compared by the same masks.
        """
        if not labels[0].shape[1]:
            return auxiliary_pass(model, graphs, labels, torch.Generator())
        targets, weights = (part.to(graphs.device) for part in labels[:2])
        return task_losses(model(graphs), targets, weights, self.loss)

    def backward(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels
    ) -> StepRecord:
        """Put the gradients of a batch where the optimizer looks.

        Parameters
        ----------
        model : MultiTaskModel
            The network.
        graphs : GraphBatch
            The batch, on the model's device.
        labels : tuple of two Tensors of shape (n_graphs, n_tasks), on the CPU
            Targets, and weights of the labels, 0 where one is missing.

        Returns
        -------
        record : StepRecord
            Losses and weights.
        """
        begun, self.begun = self.begun, True
        if self.looks_back:
            self._random_state = random_state(graphs.device)
            self._draws = self.draws.get_state() if self.draws else torch.empty(0)
        if self._probe is not None:
            self._probe.see(model, graphs, labels)
        result = task_pass(model, graphs, labels, self.loss, self.draws)
        losses, mass = result.losses, result.mass
        present = torch.cat(
            [
                (labels[1] > 0).any(dim=0),
                torch.tensor([x is not None for x in result.auxiliary]).bool(),
            ]
        )
        tasks = present.nonzero()[:, 0]
        if not len(tasks):  # the optimizer finds no gradient
            self.begun = begun
            return StepRecord(losses, mass, torch.zeros_like(losses), present)
        if self._surgery is None:
            weights = self._loss_weights(losses, mass, tasks)
            tensors, cotangents = zip(*result.seeds(weights), strict=True)
            torch.autograd.backward(tensors, cotangents)
        else:
            known = self._known(losses.cpu(), mass, tasks)
            known["diagonals"] = partial(
                gauss_newton_diagonals,
                model,
                graphs,
                (labels[0], labels[1]),
                self.loss,
                tasks,
                self.generator,
            )
            found = self._surgery.apply(model, result, tasks, labels, known)
            self._adam.step(known["tasks"])
            weights = self._spread(found.to(losses), tasks)
        return StepRecord(losses, mass, weights, present)

    def _loss_weights(self, losses: Tensor, mass: Tensor, tasks: Tensor) -> Tensor:
        if self.n_tasks == 1:
            return torch.ones_like(losses)
        if self._probe is not None:
            present = self._probe.weights[tasks.to(losses.device)]
            return self._spread(present.to(losses), tasks)
        known = self._known(losses, mass, tasks)
        weights = self.weighting.task_weights(known.pop("losses"), **known)
        self._adam.step(known["tasks"])
        return self._spread(weights, tasks)

    def _known(self, losses: Tensor, mass: Tensor, tasks: Tensor) -> dict[str, Any]:
        """Everything a weighting may ask for, of the present tasks."""
        tasks = tasks.to(losses.device)
        all_present = len(tasks) == self.n_tasks
        return {
            "tasks": None if all_present else tasks,
            "losses": losses.detach() if all_present else losses.detach()[tasks],
            "generator": self.generator,
            "anchor": self._anchor(mass, tasks),
        }

    def _anchor(self, mass: Tensor, tasks: Tensor) -> Tensor | None:
        """Weights that pool the present target tasks, by labels or by tasks."""
        pool = self.weighting.pool
        return None if pool is None else pooling(mass, tasks, self.targets, pool)

    def _spread(self, weights: Tensor, tasks: Tensor) -> Tensor:
        """Weights of all tasks, 0 for absent ones."""
        if len(tasks) == self.n_tasks:
            return weights
        spread = weights.new_zeros(self.n_tasks)
        return spread.index_copy(0, tasks.to(weights.device), weights)

    # -- hooks --------------------------------------------------------------------

    def hold_out(self, rows: HeldOutRows) -> None:
        """Take rows that judge the weighting.

        Parameters
        ----------
        rows : HeldOutRows
            These rows, and those that are trained on.
        """
        targets = range(self.n_tasks) if self.targets is None else self.targets
        surgery = self._surgery

        def last_products(vector: Tensor) -> tuple[Tensor, Tensor] | None:
            return None if surgery is None else surgery.last_products(vector)

        self._outer = OuterLoop(self.weighting, self.loss, targets, rows, last_products)

    @property
    def follows_up(self) -> bool:
        """Whether :meth:`after_step` does anything."""
        return self.looks_back or self._outer is not None

    def after_step(self, model, graphs, labels, record: StepRecord) -> None:
        """Let the weighting look at what the optimizer's step did.

        Parameters
        ----------
        model : MultiTaskModel
            The network behind the step.
        graphs, labels : GraphBatch, tuple of Tensors
            The batch.
        record : StepRecord
            What :meth:`backward` gave for it.
        """
        if not bool(record.present.any()):
            return
        if self.looks_back:
            self._compare_losses(model, graphs, labels, record)
        if self._outer is not None:
            self._outer.advance(model)

    def _compare_losses(self, model, graphs, labels, record: StepRecord) -> None:
        """Show the weighting the batch's losses once more."""
        if self.draws is not None:  # the same masks again
            now = self.draws.get_state()
            self.draws.set_state(self._draws)
        with (
            replayed(self._random_state, graphs.device),
            frozen_statistics(model),
            torch.no_grad(),
        ):
            _, outputs, extra = forward_pass(model, graphs, labels, self.draws)
            targets, weights = (part.to(graphs.device) for part in labels[:2])
            losses, _ = task_losses(outputs, targets, weights, self.loss)
            after = with_auxiliary(losses, extra)
        if self.draws is not None:
            self.draws.set_state(now)
        tasks = record.present.nonzero()[:, 0].to(after.device)
        known = None if len(tasks) == self.n_tasks else tasks
        self.weighting.after_step(record.losses[tasks], after[tasks], known)
        self._adam.step(known)

    def end_epoch(self, mean_losses: np.ndarray) -> dict[str, Any]:
        """Tell the weighting the mean losses (n_tasks,); sum the epoch up."""
        if hasattr(self.weighting, "end_epoch") and self.n_tasks > 1:
            self.weighting.end_epoch(torch.from_numpy(mean_losses))
        summary = self.monitor.end_epoch()
        if self._probe is not None:
            summary["curvature"] = dict(enumerate(self.weighting.means.tolist()))
        rule = self._rule
        learns_turns = isinstance(rule, RCGrad) and (
            rule is self.weighting or not rule.projects
        )
        if learns_turns and "cosines" in summary:
            turns = rule.rotation_.tolist()
            summary["rotation"] = {k: turns[k] for k in summary["cosines"]}
        if self._outer is not None:
            summary |= self._outer.end_epoch()
        return summary

    def end_fit(self) -> None:
        """Warn of what went wrong in many steps."""
        self.monitor.end_fit(repr(self.weighting))
        if self._outer is not None:
            self._outer.end_fit()

    # -- continuation -------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Give what a later training needs to go on exactly."""
        state: dict[str, Any] = {"adam": self._adam.state}
        if self._surgery is not None:
            state |= self._surgery.state()
        if self._probe is not None:
            state["vectors"] = self._probe.vectors
        if self._outer is not None:
            state["outer_age"] = self._outer.age
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the :meth:`state` of an earlier step of the same weighting."""
        self._adam.restore(state["adam"])
        if self._surgery is not None:
            self._surgery.restore(state)
        if self._probe is not None:
            self._probe.vectors = state["vectors"]
        if self._outer is not None:
            self._outer.age = state.get("outer_age", 0)
