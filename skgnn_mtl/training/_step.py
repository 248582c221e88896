"""From a batch to the gradients of one step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphBatch, Labels
from skgnn_mtl.optimizers import SharpnessAware
from skgnn_mtl.weighting import (
    CurvatureWeighting,
    EpochAware,
    GramianWeighting,
    HeldOutWeighting,
    JacobianAggregation,
    LookBack,
    TargetAware,
    TaskWeighting,
    momentum_bounds,
    wants,
)

from ._adam import TaskAdam
from ._ascent import Ascent
from ._curvature import CurvatureDescent, check_convex, gauss_newton_diagonals
from ._descent import Descent, LossDescent
from ._distributed import ALONE, World, gathered
from ._held_out import HeldOutLoop, HeldOutRows
from ._jacobian import auxiliary_pass, pooling, task_pass
from ._likelihood import GaussianNLL
from ._look_back import SecondPass
from ._loss import Loss, task_losses
from ._model import MultiTaskModel
from ._monitor import GradientMonitor
from ._protocol import Step, StepRecord
from ._surgery import GradientSurgery


class TrainingStep(Step):
    """Losses of a batch, their weighting, and the gradients that follow.

    The classes of a weighting state its needs. Its family decides how gradients are
    computed (:class:`Descent`). The losses have the shape (n_entries,) and are in units
    of the elementwise loss of standardised targets. Its capabilities ``LookBack``,
    ``EpochAware``, ``TargetAware`` and ``HeldOutWeighting`` decide what else it
    receives.

    Parameters
    ----------
    weighting : TaskWeighting
        Built for the entries of the fit. A separate Adam without a schedule trains its
        own parameters.
    loss : callable
        Elementwise loss.
    n_entries : int
        Number of entries: tasks, followed by auxiliary tasks.
    generator : torch.Generator, optional
        Randomness of the weighting.
    targets : sequence of int, optional
        Positions of the target tasks; all if not given.
    draws : torch.Generator, optional
        Randomness of the auxiliary tasks; needed if there are any.
    chunk : int, optional
        Tasks that gradient methods differentiate at a time; one on the CPU, all on an
        accelerator unless its memory is too small.
    world : World, optional
        Processes that have the other graphs of each batch.

    Raises
    ------
    ValueError
        If the weighting needs second derivatives of a loss that does not have them.
    """

    def __init__(
        self,
        weighting: TaskWeighting,
        loss: Loss,
        n_entries: int,
        *,
        generator: torch.Generator | None = None,
        targets: Sequence[int] | None = None,
        draws: torch.Generator | None = None,
        chunk: int | None = None,
        world: World = ALONE,
    ) -> None:
        self.world = world
        # Any, because its capabilities are found out at run time.
        self.weighting: Any = weighting
        self.loss, self.n_entries = loss, n_entries
        self.generator, self.targets, self.draws = generator, targets, draws
        self._targets = list(range(n_entries) if targets is None else targets)
        if weighting.needs_auxiliary_tasks and len(self._targets) == n_entries > 1:
            warn(
                f"task_weighting={weighting!r} separates targets from auxiliary "
                "tasks, but there are no auxiliary tasks: all tasks are pooled as "
                "targets. Set auxiliary_tasks, or (for a regressor or classifier) "
                "target_tasks."
            )
        if isinstance(weighting, TargetAware):
            self.weighting.set_targets(self._targets)  # type: ignore[operator]
        self.monitor = GradientMonitor()
        self._descent = self._make_descent(chunk)
        rule = weighting.rule if n_entries > 1 else None
        self.momentum = momentum_bounds(rule)
        # With a single entry all methods follow the plain gradient.
        looks_back = isinstance(weighting, LookBack) and n_entries > 1
        self._second_pass = SecondPass(loss, draws, world) if looks_back else None
        self._held_out: HeldOutLoop | None = None
        self._ascent: Ascent | None = None
        self._adam = TaskAdam(
            weighting.parameters(), n_entries, weighting.lr, weighting.weight_decay
        )

    def _make_descent(self, chunk: int | None) -> Descent:
        rule, n_entries, world = self.weighting.rule, self.n_entries, self.world
        if isinstance(rule, (GramianWeighting, JacobianAggregation)):
            # Checked here, so that a fit fails before its first step.
            if wants(rule, "diagonals"):
                check_convex(self.loss, rule, cure="Use another loss.")
            if n_entries > 1:
                return GradientSurgery(rule, n_entries, self.monitor, chunk, world)
        elif isinstance(rule, CurvatureWeighting) and n_entries > 1:
            return CurvatureDescent(rule, self.loss, self.generator, world)
        return LossDescent(rule, n_entries, world)

    def sharpen(self, method: SharpnessAware) -> None:
        """Take the gradients, and the losses of the weighting, at moved weights."""
        self.world.require_alone(f"optimizer={method!r}")
        self._ascent = Ascent(method, self.loss, self.draws, self.generator)

    def losses(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels
    ) -> tuple[Tensor, Tensor]:
        """Compute the losses of the tasks of y, or else of the auxiliary tasks.

        The draws of auxiliary tasks are the same in every call, so that all epochs use
        the same masks.

        Parameters
        ----------
        model : MultiTaskModel
            The network.
        graphs : GraphBatch
            On the model's device.
        labels : Labels
            Labels of the batch.

        Returns
        -------
        losses, mass : Tensor of shape (n_tasks,) or (n_auxiliary,)
            Losses, and the summed label weights that they are means over.
        """
        if not labels.n_tasks:
            # A new generator has the same seed in every call.
            return auxiliary_pass(model, graphs, labels, torch.Generator())
        labels, outputs = labels.to(graphs.device), model.evaluate(graphs)
        losses, mass = task_losses(
            outputs, labels.targets, labels.weights, self.loss, self.world
        )
        return self.world.sum(losses), mass

    def backward(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels
    ) -> StepRecord:
        """Set the gradients of all parameters for the optimizer.

        Parameters
        ----------
        model : MultiTaskModel
            The network.
        graphs : GraphBatch
            The batch, on the model's device.
        labels : Labels
            Targets and weights (n_graphs, n_tasks), on the CPU.

        Returns
        -------
        record : StepRecord
            Losses and weights.
        """
        if self._second_pass is not None:
            self._second_pass.begin(graphs.device)
        if self._ascent is not None:
            self._ascent.begin(graphs.device)
        result = task_pass(model, graphs, labels, self.loss, self.draws, self.world)
        losses, mass = result.losses, result.mass
        # Converted, because the tensor of an empty list is not boolean.
        measured = torch.tensor([x is not None for x in result.auxiliary]).bool()
        present = torch.cat([self.world.any(labels.present), measured])
        tasks = present.nonzero()[:, 0]
        if not len(tasks):  # without gradients the optimizer does nothing
            return StepRecord(losses, mass, torch.zeros_like(losses), present)
        if self._ascent is not None:
            result = self._ascent.moved(model, graphs, labels, result, tasks)
        context = self._context(result.losses, mass, tasks)
        # A function, so that only methods that call it pay for the curvature.
        context["diagonals"] = partial(self._diagonals, model, graphs, labels, tasks)
        weights = self._descent.backward(model, graphs, labels, result, tasks, context)
        # After the descent, which sets the gradients of its parameters.
        self._adam.step(context["tasks"])
        return StepRecord(
            losses, mass, self._spread(weights.to(losses), tasks), present
        )

    def _diagonals(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels, tasks: Tensor
    ) -> Tensor:
        """Sample the diagonals (t, p) of Gauss-Newton matrices at the whole batch."""
        # By each process alone, because signs and dropout are those of all graphs.
        batch = gathered(self.world, graphs, labels)
        return gauss_newton_diagonals(model, *batch, self.loss, tasks, self.generator)

    def _context(self, losses: Tensor, mass: Tensor, tasks: Tensor) -> dict[str, Any]:
        """Collect the keyword arguments of a weighting, for the present tasks."""
        tasks = tasks.to(losses.device)
        all_present = len(tasks) == self.n_entries
        pool = self.weighting.pool
        return {
            # None, so that methods do not index in the usual case.
            "tasks": None if all_present else tasks,
            # Detached, because a weighting must not differentiate the network.
            "losses": losses.detach() if all_present else losses.detach()[tasks],
            "generator": self.generator,
            "anchor": None
            if pool is None
            else pooling(mass, tasks, self.targets, pool),
            # Until the descent has one.
            "lookback": None,
        }

    def _spread(self, weights: Tensor, tasks: Tensor) -> Tensor:
        """Spread the weights to all entries, 0 for absent ones."""
        if len(tasks) == self.n_entries:
            return weights
        spread = weights.new_zeros(self.n_entries)
        return spread.index_copy(0, tasks.to(weights.device), weights)

    # -- after the optimizer's step -----------------------------------------------

    def hold_out(self, rows: HeldOutRows) -> None:
        """Let the weighting learn from held-out rows from now on.

        Parameters
        ----------
        rows : HeldOutRows
            The held-out rows, and the rows of the steps.

        Raises
        ------
        TypeError
            If the weighting does not learn from held-out rows.
        """
        if not isinstance(self.weighting, HeldOutWeighting):
            raise TypeError(f"{self.weighting!r} does not learn from held-out rows.")
        self._held_out = HeldOutLoop(
            self.weighting, self.loss, self._targets, rows, self._descent
        )

    @property
    def follows_up(self) -> bool:  # type: ignore[override]
        """Whether :meth:`after_step` does anything."""
        return self._second_pass is not None or self._held_out is not None

    def after_step(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        record: StepRecord,
    ) -> None:
        """Let the weighting learn from the change by the optimizer's step.

        Parameters
        ----------
        model : MultiTaskModel
            The network after the step.
        graphs, labels : GraphBatch, Labels
            The batch.
        record : StepRecord
            Result of :meth:`backward` for it.
        """
        # Without gradients the optimizer made no step.
        if not bool(record.present.any()):
            return
        if self._second_pass is not None:
            after = self._second_pass.losses(model, graphs, labels)
            tasks = record.present.nonzero()[:, 0].to(after.device)
            which = None if len(tasks) == self.n_entries else tasks
            self.weighting.after_step(record.losses[tasks], after[tasks], which)
            # Again, because the comparison sets gradients of its own.
            self._adam.step(which)
        if self._held_out is not None:
            self._held_out.advance(model)

    def end_epoch(self, mean_losses: np.ndarray) -> dict[str, Any]:
        """Pass the mean losses (n_entries,) to the weighting; summarise the epoch."""
        summary = self.monitor.end_epoch()
        if isinstance(self.loss, GaussianNLL):
            self.loss.end_epoch()
        if self._held_out is not None:
            summary |= self._held_out.end_epoch()
        # A single entry has nothing to be weighed against.
        if isinstance(self.weighting, EpochAware) and self.n_entries > 1:
            summary |= self.weighting.end_epoch(torch.from_numpy(mean_losses)) or {}
        return summary

    def end_fit(self) -> None:
        """Warn once of failures in the steps of the fit."""
        self.monitor.end_fit(repr(self.weighting))
        if self._held_out is not None:
            self._held_out.end_fit()

    # -- continuation -------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what a later training needs to continue exactly."""
        state = {"adam": self._adam.state, **self._descent.state()}
        if self._held_out is not None:
            state["held_out_age"] = self._held_out.age
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the :meth:`state` of an earlier step of the same weighting."""
        self._adam.restore(state["adam"])
        self._descent.restore(state)
        if self._held_out is not None:
            # 0 after a training that did not hold rows out.
            self._held_out.age = state.get("held_out_age", 0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epochs of the same training depend on."""
        held_out, loss = self._held_out, self.loss
        return {
            "weighting": dict(self.weighting.state_dict()),
            "adam": self._adam.state,
            "descent": self._descent.state_dict(keeps_rows=held_out is not None),
            "held_out": None if held_out is None else held_out.state_dict(),
            "monitor": self.monitor.state_dict(),
            "n_epochs": loss.n_epochs if isinstance(loss, GaussianNLL) else 0,
            # None where a step does not draw.
            "streams": [s and s.get_state() for s in (self.generator, self.draws)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the epoch in which a :meth:`state_dict` was taken."""
        # First, because a descent may read the weighting.
        self.weighting.load_state_dict(state["weighting"])
        self._adam.restore(state["adam"])
        self._descent.load_state_dict(state["descent"])
        if self._held_out is not None:
            self._held_out.load_state_dict(state["held_out"])
        self.monitor.load_state_dict(state["monitor"])
        if isinstance(self.loss, GaussianNLL):
            self.loss.n_epochs = state["n_epochs"]
        streams = (self.generator, self.draws)
        for stream, own in zip(streams, state["streams"], strict=True):
            if stream is not None:
                stream.set_state(own)
