"""Gradient methods: Jacobian, Gramian, weights, direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._flat import flat_size, in_chunks_that_fit, pull_back, unflatten
from skgnn_mtl._gram import gram
from skgnn_mtl.graphs import GraphBatch, Labels
from skgnn_mtl.weighting import GramianWeighting, JacobianAggregation, wants

from ._descent import Descent
from ._distributed import ALONE, World
from ._faults import require_finite_gramian
from ._jacobian import TaskPass, fill_jacobian, representation_gramian
from ._model import MultiTaskModel
from ._monitor import GradientMonitor


class GradientSurgery(Descent):
    """Descent along the combination of gradients that a weighting decides.

    Parameters
    ----------
    weighting : GramianWeighting or JacobianAggregation
        Built for the tasks of the fit.
    n_entries : int
        Number of entries of the fit, at least two.
    monitor : GradientMonitor
        Records every Gramian.
    chunk : int, optional
        Tasks differentiated at a time; one on the CPU, all on an accelerator unless
        its memory is too small.
    world : World, optional
        Processes that have the other graphs of each batch.
    """

    def __init__(
        self,
        weighting: GramianWeighting | JacobianAggregation,
        n_entries: int,
        monitor: GradientMonitor,
        chunk: int | None = None,
        world: World = ALONE,
    ) -> None:
        self.weighting: Any = weighting
        self.monitor, self.chunk, self.world = monitor, chunk, world
        # Kept between two evaluations: the last weights of each task, and the last
        # factor of the pooled targets, because each batch pools its own targets.
        self.age, self.weights = 0, torch.ones(n_entries, dtype=torch.float64)
        self.factor = 1.0
        self._jacobian, self._direction = torch.empty(0, 0), torch.empty(0)
        # Rows of the last evaluation and their tasks, which "lookback" compares with.
        self._compares = wants(weighting, "lookback")
        self._wants_halves = wants(weighting, "cross")
        if self._wants_halves:
            world.require_alone(f"task_weighting={weighting!r}")
        self._spare, self._last = torch.empty(0, 0), torch.empty(0, dtype=torch.int64)

    def backward(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        result: TaskPass,
        tasks: Tensor,
        context: dict[str, Any],
    ) -> Tensor:
        """Put the gradients where the optimizer finds them, as :class:`Descent` says.

        The weights (t,) are on the CPU.
        """
        shared, weighting = model.shared_parameters(), self.weighting
        # None stands for one backward pass of the weighted losses below.
        J = None
        if isinstance(weighting, JacobianAggregation):
            J = self._fill(result, tasks, shared)
            weights = self._aggregate(J, context)
        elif self.age % weighting.update_every:
            weights = self._kept(tasks, context["anchor"])
        elif weighting.gradients == "parameters" and context["anchor"] is not None:
            weights = self._weigh_around_target(result, tasks, shared, context)
            J = self._jacobian
        elif weighting.gradients == "parameters":
            J = self._fill(result, tasks, shared)
            G = gram(J)
            if self._wants_halves:
                context["cross"] = self._cross(G, result, labels, tasks, shared)
            weights = self._weigh(G, tasks, context)
            torch.mv(J.t(), weights.to(J), out=self._direction)
            self._last = tasks
        else:
            if weighting.n_splits == 1:  # because parts need no labels in common
                self.monitor.note_labels(labels.weights > 0, self.world)
            G = self._representation_gramians(result, labels, tasks)
            weights = self._weigh(G, tasks, context)
        self.age += 1
        spread = torch.zeros_like(self.weights)
        spread[tasks] = weights.double()
        if J is None:
            self._backward(result, shared, spread)
        else:
            _assign(shared, unflatten(self._direction, shared))
        # A head follows its own loss, where a weight would only be a learning rate.
        weighted = isinstance(weighting, GramianWeighting) and weighting.weighted_heads
        own = spread if weighted else torch.ones_like(spread)
        self._backward(result, model.head_parameters(), own)
        return weights

    def _backward(
        self, result: TaskPass, parameters: Sequence[Tensor], weights: Tensor
    ) -> None:
        """Set the gradients of the weighted losses of the whole batch."""
        if parameters:
            outputs, cotangents = zip(*result.seeds(weights), strict=True)
            found = pull_back(outputs, parameters, cotangents)
            _assign(parameters, self.world.sum_parts(found))

    def _weigh_around_target(
        self,
        result: TaskPass,
        tasks: Tensor,
        shared: Sequence[Tensor],
        context: dict[str, Any],
    ) -> Tensor:
        """Weigh with one row for all targets, which costs a single backward pass."""
        anchor = context["anchor"].double()
        is_target = anchor > 0.0
        # The first target stands for all of them.
        rows = torch.cat([tasks[is_target][:1], tasks[~is_target]])
        pool = None
        if bool(is_target.any()):
            pool = torch.zeros(result.n_tasks, dtype=torch.float64)
            pool[tasks[is_target]] = anchor[is_target]
        if self._compares:  # keep the rows of the last evaluation in the other buffer
            self._jacobian, self._spare = self._spare, self._jacobian
        J = self._fill(result, rows, shared, pool)
        # In the reduced problem the pooled row is the only target.
        first = torch.zeros(len(rows), dtype=torch.float64)
        first[: int(pool is not None)] = 1.0
        losses = context["losses"].cpu().double()
        pooled = torch.cat([(anchor @ losses)[None], losses[~is_target]])
        found = self._weigh(
            gram(J),
            None,
            context
            | {
                "tasks": rows,
                "anchor": first,
                "losses": pooled[-len(rows) :],
                "lookback": self._lookback(J, rows) if pool is not None else None,
            },
        )
        torch.mv(J.t(), found.to(J), out=self._direction)
        # Cleared without a target, because a later target has nothing to compare with.
        self._last = rows if pool is not None else rows[:0]
        weights = torch.zeros_like(anchor)
        if pool is not None:
            weights[is_target] = found[0] * anchor[is_target]
        if not is_target.all():
            weights[~is_target] = found[-int((~is_target).sum()) :]
        self._keep(weights, tasks, anchor)
        return weights

    def state(self) -> dict[str, Any]:
        """Return what a later training needs to keep the last weights."""
        return {"age": self.age, "weights": self.weights, "factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the :meth:`state` of an earlier descent."""
        self.age, self.weights = state["age"], state["weights"]
        self.factor = state["factor"]

    def state_dict(self, *, keeps_rows: bool) -> dict[str, Any]:
        """Return what the next epochs depend on, as :class:`Descent` says."""
        rows = None
        # Left out otherwise, because they are as large as the network per task.
        if (keeps_rows or self._compares) and len(self._last):
            rows = self._jacobian[: len(self._last)]
        return {**self.state(), "chunk": self.chunk, "tasks": self._last, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.restore(state)
        self.chunk, rows = state["chunk"], state["rows"]
        if rows is not None:
            self._last, self._jacobian = state["tasks"], rows
            self._direction = self._jacobian.new_empty(rows.shape[1])

    def _keep(self, weights: Tensor, tasks: Tensor, anchor: Tensor | None) -> None:
        self.weights[tasks] = weights
        if anchor is not None and bool((anchor > 0.0).any()):
            self.factor = float(weights[anchor > 0.0].sum())

    def _kept(self, tasks: Tensor, anchor: Tensor | None) -> Tensor:
        weights = self.weights[tasks]
        if anchor is None:
            return weights
        return torch.where(anchor > 0.0, self.factor * anchor, weights)

    def last_products(self, vector: Tensor) -> tuple[Tensor, Tensor] | None:
        """Multiply a vector (p,) with the gradients of the last evaluation.

        Parameters
        ----------
        vector : Tensor of shape (p,)
            In the shape of a gradient of the shared parameters.

        Returns
        -------
        tasks, products : Tensor of shape (t,), on the CPU
            The pooled target comes first where there is one. None before the first
            evaluation.
        """
        if not len(self._last):
            return None
        return self._last, (
            self._jacobian[: len(self._last)].to(vector) @ vector
        ).cpu().double()

    def _lookback(self, J: Tensor, rows: Tensor) -> Tensor | None:
        """Multiply the target's gradient with the rows of the last evaluation.

        The first row of each evaluation is the target; NaN stands for other rows that
        the last one did not have.
        """
        if not self._compares or not len(self._last):
            return None
        products = (self._spare[: len(self._last)].to(J) @ J[0]).cpu().double()
        last = dict(zip(self._last[1:].tolist(), products[1:].tolist(), strict=True))
        others = [last.get(task, float("nan")) for task in rows[1:].tolist()]
        return torch.tensor([float(products[0]), *others], dtype=torch.float64)

    def _fill(
        self,
        result: TaskPass,
        tasks: Tensor,
        shared: Sequence[Tensor],
        pool: Tensor | None = None,
    ) -> Tensor:
        """Compute the gradients (t, p) of the present tasks in a reused buffer."""
        z, size = result.outputs, flat_size(shared)
        # Reused, because it holds p numbers per task.
        if len(self._jacobian) < len(tasks) or self._jacobian.shape[1] != size:
            self._jacobian = z.new_empty(len(tasks), size)
            self._direction = z.new_empty(size)
        J = self._jacobian[: len(tasks)]
        # One at a time with several processes, because vmap cannot sum over them.
        one = z.device.type == "cpu" or not self.world.is_alone
        chunk = 1 if one and not self.chunk else self.chunk or len(tasks)

        def fill(chunk: int) -> None:
            fill_jacobian(J, result, tasks, shared, chunk, pool)

        _, fitted = in_chunks_that_fit(fill, chunk)
        if fitted < chunk:
            # Kept, so that later steps do not run out of memory again.
            self.chunk = fitted
        # Here, because angles between gradients are those of the whole batch.
        return self.world.sum_(J)

    def _cross(
        self,
        gramian: Tensor,
        result: TaskPass,
        labels: Labels,
        tasks: Tensor,
        shared: Sequence[Tensor],
    ) -> Tensor:
        """Multiply the gradients of the first half of a batch with the second half's.

        An entry that one of its halves has no labels for is that of the whole batch.
        """
        whole = self._jacobian[: len(tasks)]
        first = torch.arange(len(labels)) < len(labels) // 2
        halves = (len(tasks), whole.shape[1])
        if self._spare.shape != halves:
            self._spare = torch.empty(halves, dtype=whole.dtype, device=whole.device)
        part = result.among(first.to(result.slopes))
        chunk = self.chunk or (1 if whole.device.type == "cpu" else len(tasks))
        fill_jacobian(self._spare, part, tasks, shared, chunk)
        # The losses are means over the labels of the whole batch.
        mass = torch.stack([labels.weights[rows].sum(0) for rows in (first, ~first)])
        shares = torch.ones(2, len(result.losses), dtype=torch.float64)
        shares[:, : result.n_tasks] = mass / mass.sum(dim=0).clamp(min=1e-30)
        ours, theirs = shares[:, tasks]
        G = gramian.cpu().double()
        own = gram(self._spare).cpu().double()
        both = (self._spare @ whole.t()).cpu().double()
        # The gradient of the second half is what the first half leaves of the whole.
        split = (both - own) / (ours[:, None] * theirs).clamp(min=1e-300)
        columns = tasks < result.n_tasks
        known = (ours[:, None] > 0) & (theirs > 0) & columns[:, None] & columns
        return torch.where(known, split, G)

    def _representation_gramians(
        self, result: TaskPass, labels: Labels, tasks: Tensor
    ) -> Tensor:
        n_splits, world = self.weighting.n_splits, self.world
        if n_splits == 1:  # a sum over graphs, as each of the parts
            return world.sum(representation_gramian(result, tasks))
        first, n_graphs = world.span(len(labels))
        gramians = []
        edges = np.linspace(0, n_graphs, min(n_splits, n_graphs) + 1).astype(int)
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            # The part of the batch that belongs to this process, which may be empty.
            part = slice(max(start - first, 0), max(stop - first, 0))
            # Rescaled, because the slopes belong to means over the whole batch.
            mass = world.sum(labels.weights[part].sum(dim=0).to(result.mass))
            ratio = result.mass / torch.where(mass > 0, mass, torch.inf)
            G = world.sum(representation_gramian(result, tasks, part))
            ratio = ratio[tasks].to(G)
            gramians.append(G * ratio * ratio[:, None])
        return torch.stack(gramians)

    def _weigh(
        self, G: Tensor, tasks: Tensor | None, context: dict[str, Any]
    ) -> Tensor:
        G = require_finite_gramian(G, context["tasks"])
        if context["anchor"] is not None and G.ndim == 2:
            self.monitor.note_auxiliaries(G, context["anchor"], context["tasks"])
        decision = self.weighting.decide(G, **context)
        weights: Tensor = decision.weights.double()
        if tasks is not None:
            self._keep(weights, tasks, context["anchor"])
        # The Gramians of parts add up to one record per step.
        self.monitor.note(G if G.ndim == 2 else G.sum(dim=0), decision.report)
        return weights

    def _aggregate(self, J: Tensor, context: dict[str, Any]) -> Tensor:
        """Set the direction, and return the weights that come closest to it."""
        G = require_finite_gramian(gram(J), context["tasks"])
        self._direction.copy_(self.weighting.direction(J, **context))
        self.monitor.note(G, None)
        slopes = (J @ self._direction).cpu().double()
        # The cut ignores directions below the rounding of gradients in float32.
        weights: Tensor = torch.linalg.pinv(G, rtol=1e-6, hermitian=True) @ slopes
        return weights


def _assign(parameters: Sequence[Tensor], found: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
