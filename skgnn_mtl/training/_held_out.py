"""Evaluation of held-out rows every k steps, for a weighting that learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skgnn_mtl._flat import flat_size, flatten, pull_back
from skgnn_mtl._seeds import torch_stream
from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import BatchDataset, GraphBatch, GraphDataset, Labels
from skgnn_mtl.weighting import (
    FreshBatch,
    HeldOutEvidence,
    HeldOutReport,
    HeldOutWeighting,
)

from ._ascent import at_moved
from ._descent import Descent
from ._jacobian import forward_pass, pooling, task_pass
from ._loss import Loss, task_losses
from ._model import MultiTaskModel
from ._replay import evaluating, frozen_statistics

# Because smaller batches cost more, and the result does not depend on their size.
_SMALLEST_BATCH = 64


@dataclass(frozen=True)
class HeldOutRows:
    """Rows that a weighting learns from, and rows that the steps use.

    Parameters
    ----------
    train_set, held_out : GraphDataset
        Rows for the steps, and rows for the weighting, with labels of shape
        (n_graphs, n_tasks).
    batch_size : int
        Graphs per batch.
    seed : int
        Seed of the fresh batches.
    """

    train_set: BatchDataset
    held_out: GraphDataset
    batch_size: int
    seed: int


class HeldOutLoop:
    """Evaluation of held-out rows every k steps, whose evidence a weighting receives.

    Parameters
    ----------
    weighting : HeldOutWeighting
        Built for the entries of the fit, with its targets set.
    loss : callable
        Elementwise loss.
    targets : sequence of int
        Positions of the target tasks.
    rows : HeldOutRows
        The rows.
    descent : Descent
        Stores the gradients of the last evaluation.
    """

    def __init__(
        self,
        weighting: HeldOutWeighting,
        loss: Loss,
        targets: Sequence[int],
        rows: HeldOutRows,
        descent: Descent,
    ) -> None:
        self.weighting, self.loss, self.targets = weighting, loss, list(targets)
        self.rows, self.descent = rows, descent
        # A default, because methods without targets of their own have no such rule.
        self.pool: str = getattr(weighting, "pool", None) or "labels"
        # Separate, so that the batches of the steps do not depend on the evaluations.
        self.generator = torch_stream(rows.seed, "fresh batches")
        self.age = self.n_evaluations = self.n_failures = 0
        self._advice = ""
        self._records: list[dict[str, Any]] = []

    def advance(self, model: MultiTaskModel) -> None:
        """Count a step of the training, and evaluate the rows every k steps.

        Parameters
        ----------
        model : MultiTaskModel
            The network after the step. Its gradients, its statistics and torch's
            generators do not change.
        """
        self.age += 1
        part = self.weighting.held_out
        if part is None or not part.every or self.age % part.every:
            return
        # A frozen body has no gradient to compare.
        if not model.shared_parameters():
            return
        gradient = held_out_gradient(
            model,
            self.rows.held_out,
            self.loss,
            rows=self._sample(part.n_batches),
            targets=self.targets,
            pool=self.pool,
            batch_size=max(self.rows.batch_size, _SMALLEST_BATCH),
        )
        last = self.descent.last_products(gradient)
        evidence = HeldOutEvidence(
            gradient,
            last_tasks=None if last is None else last[0],
            last_products=None if last is None else last[1],
            # A function, so that only methods that call it pay for another batch.
            draw_batch=lambda: self._draw_batch(model),
        )
        self._note(self.weighting.update(evidence) or HeldOutReport())

    def _sample(self, n_batches: int | None) -> np.ndarray:
        """Draw the held-out rows of an evaluation, or take all of them."""
        n, size = len(self.rows.held_out), (n_batches or 0) * self.rows.batch_size
        if not 0 < size < n:
            return np.arange(n)
        rows: np.ndarray = torch.randperm(n, generator=self.generator)[:size].numpy()
        return rows

    def _draw_batch(self, model: MultiTaskModel) -> FreshBatch:
        """Draw a batch of the training rows, whose losses are of the training mode."""
        shared = model.shared_parameters()
        device, n = shared[0].device, len(self.rows.train_set)
        chosen = torch.randperm(n, generator=self.generator)[: self.rows.batch_size]
        graphs, labels = self.rows.train_set.__getitems__(chosen.numpy())
        graphs = graphs.to(device)
        # One seed for dropout and auxiliary tasks, from the generator of this loop.
        seed = int(torch.randint(2**31, (), generator=self.generator))
        own = set(map(id, shared))
        names = [name for name, p in model.named_parameters() if id(p) in own]

        def evaluate(moves: Sequence[Tensor] | None) -> tuple[list[Tensor], Tensor]:
            moved = {} if moves is None else dict(zip(names, moves, strict=True))
            draws = torch.Generator().manual_seed(seed)
            # Forked, because dropout draws from the generators that the steps use.
            devices = [device] if device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices), frozen_statistics(model):
                torch.manual_seed(seed)
                batch = (graphs, labels, draws)
                found: tuple[list[Tensor], Tensor]
                found = at_moved(self._entries, model, moved, *batch)
                return found

        return FreshBatch(evaluate, shared)

    def _entries(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        draws: torch.Generator,
    ) -> tuple[list[Tensor], Tensor]:
        """List the losses of the pooled target and of the present auxiliary tasks."""
        _, outputs, extra = forward_pass(model, graphs, labels, draws)
        tasks = labels.present.nonzero()[:, 0]
        labels = labels.to(graphs.device)
        losses, mass = task_losses(outputs, labels.targets, labels.weights, self.loss)
        anchor = pooling(mass, tasks, self.targets, self.pool)
        is_target = anchor > 0
        values, places = [], []
        # The targets are one entry, because they have one weight in common.
        if bool(is_target.any()):
            values.append(anchor[is_target].to(losses) @ losses[tasks[is_target]])
            places.append(0)
        for task in tasks[~is_target].tolist():
            values.append(losses[task])
            places.append(1 + task)
        # Auxiliary tasks come after the columns of y.
        for k, value in enumerate(extra):
            if value is not None:
                values.append(value.to(losses))
                places.append(1 + len(losses) + k)
        return values, torch.tensor(places, dtype=torch.int64)

    def _note(self, report: HeldOutReport) -> None:
        self.n_evaluations += 1
        if report.records:
            self._records.append(dict(report.records))
        if not report.converged:
            self.n_failures += 1
            self._advice = report.advice

    def end_epoch(self) -> dict[str, Any]:
        """Average the records of the method by key and task."""
        records, self._records = self._records, []
        summary: dict[str, Any] = {}
        for key in dict.fromkeys(key for record in records for key in record):
            values = [record[key] for record in records if key in record]
            summary[key] = _mean(values)
        return summary

    def end_fit(self) -> None:
        """Warn, once per fit, of results that the method does not trust."""
        if self.n_failures:
            warn(
                f"{self.weighting!r} did not converge in {self.n_failures} of "
                f"{self.n_evaluations} evaluations of the held-out rows. "
                f"{self._advice}".rstrip(),
                ConvergenceWarning,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epochs depend on, between two epochs."""
        counts = [self.age, self.n_evaluations, self.n_failures]
        stream = self.generator.get_state()
        return {"counts": counts, "advice": self._advice, "stream": stream}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.age, self.n_evaluations, self.n_failures = state["counts"]
        self._advice = state["advice"]
        self.generator.set_state(state["stream"])


def _mean(values: list[Any]) -> Any:
    """Average numbers, or dicts of numbers key by key."""
    if not isinstance(values[0], dict):
        return float(np.mean(values))
    # The union, because a task may be absent from some of the evaluations.
    keys = sorted({key for value in values for key in value})
    return {key: float(np.mean([v[key] for v in values if key in v])) for key in keys}


def held_out_gradient(
    model: MultiTaskModel,
    data: GraphDataset,
    loss: Loss,
    *,
    targets: Sequence[int],
    pool: str,
    batch_size: int,
    rows: np.ndarray | None = None,
) -> Tensor:
    """Compute the gradient of the pooled target over a data set, in evaluation mode.

    Parameters
    ----------
    model : MultiTaskModel
        The network.
    data : GraphDataset
        Graphs and labels.
    loss : callable
        Elementwise loss.
    targets : sequence of int
        Positions of the target tasks.
    pool : {"labels", "tasks"}
        Weights of the targets: their labels, or equal.
    batch_size : int
        Graphs at a time; the result does not depend on it.
    rows : ndarray of int, optional
        Positions of the graphs that count; all by default.

    Returns
    -------
    gradient : Tensor of shape (p,)
        Gradient of the shared parameters.
    """
    shared = model.shared_parameters()
    device, dtype = shared[0].device, shared[0].dtype
    rows = np.arange(len(data)) if rows is None else rows
    total = torch.from_numpy(data.weights[rows]).double().sum(dim=0)
    anchor = pooling(total, torch.arange(len(total)), targets, pool)
    # Scaled, because the loss of a batch is a mean over the labels of that batch.
    scales = anchor / total.clamp(min=1e-300)
    gradient = torch.zeros(flat_size(shared), device=device, dtype=dtype)
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            graphs, labels = data.__getitems__(rows[start : start + batch_size])
            # Without the columns of auxiliary tasks, which are never targets.
            bare = Labels(labels.targets, labels.weights)
            result = task_pass(model, graphs.to(device), bare, loss)
            share = scales * result.mass.cpu().double()
            parts = pull_back([result.outputs], shared, [result.weighted(share)])
            gradient += flatten(parts, shared)
    return gradient
