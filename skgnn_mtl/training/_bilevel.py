r"""The target's gradient on held-out rows, for methods that it judges every k steps.

For a loss that is linear in the task weights, :math:`\sum_i w_i L_i`, the derivative
of its gradient with respect to :math:`w_i` is the task's gradient :math:`g_i`. One
backward pass through the graph of the weighted gradient gives, along a vector v, both
the product with the Hessian and all :math:`v^\top g_i`, so that no task needs a pass of
its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skgnn_mtl.graphs import GraphDataset, GraphLoader
from skgnn_mtl.weighting import BLO, see_from_target

from ._jacobian import (
    flat_size,
    forward_pass,
    gradients,
    pooling,
    task_pass,
    unflatten,
)
from ._loss import Loss, task_losses
from ._model import MultiTaskModel
from ._replay import evaluating, frozen_statistics

# Smaller batches would cost more, and the result does not depend on their size.
_SMALLEST_BATCH = 64


@dataclass(frozen=True)
class HeldOutRows:
    """Rows that judge a training, and those that it sees.

    Parameters
    ----------
    train_set, held_out : GraphDataset
        What is trained on, and what is not.
    batch_size : int
        Graphs in a batch.
    seed : int
        Seed of the fresh batches.
    """

    train_set: GraphDataset
    held_out: GraphDataset
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Entries:
    """Losses that have a weight, with their graph: pooled target and auxiliary tasks.

    Parameters
    ----------
    losses : list of Tensor of shape ()
        Losses of the k entries that a batch has; in one tensor they would share a
        graph, and each gradient would walk through all of it.
    places : Tensor of int64 of shape (k,), on the CPU
        0 for the pooled target, 1 + i for task i.
    """

    losses: list[Tensor]
    places: Tensor


@dataclass(frozen=True)
class Series:
    r"""What a truncated Neumann series says of the entries.

    Parameters
    ----------
    products : Tensor of shape (k,)
        Inner products of :math:`p = \sum_j (I - \alpha H)^j g_v` with the entries'
        gradients.
    vector : list of Tensor
        p, in the shapes of the parameters.
    ratio : float
        Length of the last term over that of the first.
    """

    products: Tensor
    vector: list[Tensor]
    ratio: float


class OuterLoop:
    """Shows a weighting what held-out rows say, every k steps.

    Parameters
    ----------
    weighting : BLO or RCGrad
        Built for the tasks of the fit, and aimed at its targets.
    loss : callable
        Elementwise loss.
    targets : sequence of int
        Positions of the target tasks.
    rows : HeldOutRows
        The rows.
    last_products : callable
        Maps a vector (p,) to the tasks of the last look at gradients, the target first,
        and the inner products with these gradients; None if there are none.
    """

    def __init__(
        self,
        weighting: Any,
        loss: Loss,
        targets: Sequence[int],
        rows: HeldOutRows,
        last_products: Callable[[Tensor], tuple[Tensor, Tensor] | None],
    ) -> None:
        self.weighting, self.loss, self.targets = weighting, loss, list(targets)
        self.rows, self.last_products = rows, last_products
        self.learns = isinstance(weighting, BLO)
        self.turns = weighting.inner if self.learns else weighting
        if getattr(self.turns, "held_out", None) is None or self.turns.projects:
            self.turns = None
        self.age = self.n_diverged = self.n_series = 0
        self.generator = torch.Generator().manual_seed(rows.seed ^ 0xB10)
        self._seen: list[Tensor] = []
        self._ratios: list[float] = []

    def advance(self, model: MultiTaskModel) -> None:
        """Count a step of the training; look at the rows if it is time.

        Parameters
        ----------
        model : MultiTaskModel
            The network behind the step. Its gradients, its statistics and torch's
            generators stay as they are.
        """
        self.age += 1
        every = self.weighting.held_out.every
        if not every or self.age % every or not model.shared_parameters():
            return
        g = held_out_gradient(
            model,
            self.rows.held_out,
            self.loss,
            targets=self.targets,
            pool=self.weighting.pool,
            batch_size=max(self.rows.batch_size, _SMALLEST_BATCH),
        )
        last = None if self.turns is None else self.last_products(g)
        if last is not None:
            self.turns.judge(last[1], last[0], float(g.norm()))
        if self.learns:
            self._renew(model, g)

    def _renew(self, model: MultiTaskModel, g: Tensor) -> None:
        """Let the weights descend."""
        device = g.device
        n = len(self.rows.train_set)
        chosen = torch.randperm(n, generator=self.generator)[: self.rows.batch_size]
        graphs, labels = self.rows.train_set.__getitems__(chosen.numpy())
        seed = int(torch.randint(2**31, (), generator=self.generator))
        draws = torch.Generator().manual_seed(seed)
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), frozen_statistics(model):
            torch.manual_seed(seed)
            entries = self._entries(model, graphs.to(device), labels, draws)
        if entries is None:
            return
        h = self._hypergradient(entries, model.shared_parameters(), g).cpu().double()
        self.weighting.learn(h, entries.places)
        seen = torch.full((len(self.weighting.w),), torch.nan, dtype=torch.float64)
        seen[entries.places] = h
        self._seen.append(seen)

    def _entries(self, model, graphs, labels, draws) -> Entries | None:
        """Losses of a batch in training mode; None if no entry is there."""
        _, outputs, extra = forward_pass(model, graphs, labels, draws)
        targets, weights = (part.to(graphs.device) for part in labels[:2])
        losses, mass = task_losses(outputs, targets, weights, self.loss)
        tasks = (labels[1] > 0).any(dim=0).nonzero()[:, 0]
        anchor = pooling(mass, tasks, self.targets, self.weighting.pool)
        aimed = anchor > 0
        values, places = [], []
        if bool(aimed.any()):
            values.append(anchor[aimed].to(losses) @ losses[tasks[aimed]])
            places.append(0)
        others = [(task, losses[task]) for task in tasks[~aimed].tolist()]
        for k, value in enumerate(extra):
            if value is not None:
                others.append((len(losses) + k, value.to(losses)))
        for task, value in others:
            values.append(value)
            places.append(1 + task)
        if not values:
            return None
        return Entries(values, torch.tensor(places))

    def _hypergradient(self, entries: Entries, shared: list, g: Tensor) -> Tensor:
        if not self.weighting.uses_hessian:
            return self._of_step(entries, shared, g)
        factors = self.weighting.factors()[entries.places.to(g.device)]
        wanted = self.weighting.normalize
        series = neumann_series(
            entries.losses,
            factors.to(g),
            shared,
            unflatten(g, shared),
            n_terms=self.weighting.n_terms,
            scale=self.weighting.scale,
            keep_graph=wanted,
        )
        if self.weighting.n_terms:
            self._ratios.append(series.ratio)
            self.n_series += 1
            self.n_diverged += series.ratio > 1.0
        if not wanted:
            return -series.products
        length = torch.cat([part.reshape(-1) for part in series.vector]).norm()
        scales = _rows(entries.losses, shared).norm(dim=1) * length
        return -series.products / scales.clamp(min=1e-30)

    def _of_step(self, entries: Entries, shared: list, g: Tensor) -> Tensor:
        """Differentiate the target along the step that the inner method makes."""
        J = _rows(entries.losses, shared)
        b = (J @ g).cpu().double()
        h = torch.zeros_like(b)
        alive = (J.square().sum(dim=1) > 0).cpu()
        if int(entries.places[0]) or not bool(alive[0]):
            return h  # the inner method makes no step without a target
        G = (J @ J.t()).cpu().double()[alive][:, alive]
        seen = see_from_target(G, None)
        if seen is not None:
            where = (entries.places[alive] - 1).clamp(min=0).numpy()
            own, along = map(torch.from_numpy, self.weighting.inner.parts(seen, where))
            h[alive] = -(own * b[alive] + along * b[0]) / 2
            if self.weighting.normalize:
                n, q = map(torch.from_numpy, (seen.norms, seen.products))
                squares = (own * n) ** 2 + 2 * own * along * q
                squares += (along * seen.target_norm) ** 2
                h[alive] /= squares.clamp(min=1e-60).sqrt() * float(g.norm()) / 2
        return h

    def end_epoch(self) -> dict[str, Any]:
        """Sum the epoch up: what was learned, and how the series behaved."""
        summary: dict[str, Any] = {}
        if self.learns:
            places = self.weighting.auxiliary.nonzero()[:, 0].tolist()
            values = self.weighting.w.tolist()
            summary["n_outer_steps"] = self.weighting.n_outer_steps_
            summary["learned_weights"] = {k: values[1 + k] for k in places}
        if self._seen:
            table = torch.stack(self._seen).numpy()
            counts = np.isfinite(table).sum(axis=0)
            means = np.nansum(table, axis=0) / np.where(counts, counts, np.nan)
            if self.weighting.inner is None:
                summary["target_hypergradient"] = float(means[0])
            summary["hypergradients"] = {k: float(means[1 + k]) for k in places}
        if self._ratios:
            summary["series_ratio"] = float(np.mean(self._ratios))
        self._seen, self._ratios = [], []
        return summary

    def end_fit(self) -> None:
        """Warn, once a fit, of a series that does not converge."""
        if self.n_diverged:
            warnings.warn(
                f"The terms of the series of {self.weighting!r} were longer at its end "
                f"than at its beginning in {self.n_diverged} of {self.n_series} outer "
                "steps (series_ratio in history_). Lower scale, or set n_terms=0 to do "
                "without the Hessian.",
                ConvergenceWarning,
                stacklevel=2,
            )


def held_out_gradient(
    model: MultiTaskModel,
    data: GraphDataset,
    loss: Loss,
    *,
    targets: Sequence[int],
    pool: str,
    batch_size: int,
) -> Tensor:
    """Gradient of the pooled target over a data set, in evaluation mode.

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
        What the targets are weighted by.
    batch_size : int
        Graphs at a time; of no influence on the result.

    Returns
    -------
    gradient : Tensor of shape (p,)
        With respect to the shared parameters.
    """
    shared = model.shared_parameters()
    device, dtype = shared[0].device, shared[0].dtype
    total = torch.from_numpy(data.weights).double().sum(dim=0)
    anchor = pooling(total, torch.arange(len(total)), targets, pool)
    # Of the loss of a batch, which is a mean over the labels of the batch.
    scales = anchor / total.clamp(min=1e-300)
    gradient = torch.zeros(flat_size(shared), device=device, dtype=dtype)
    with evaluating(model):
        for graphs, labels in GraphLoader(data, batch_size):
            result = task_pass(model, graphs.to(device), labels[:2], loss)
            share = (scales * result.mass.cpu().double()).to(result.slopes)
            seeds = [(result.outputs, result.slopes * share)]
            found = gradients(seeds, shared)
            gradient += torch.cat([part.reshape(-1) for part in found])
    return gradient


def neumann_series(
    losses: Sequence[Tensor],
    weights: Tensor,
    parameters: Sequence[Tensor],
    vector: Sequence[Tensor],
    *,
    n_terms: int,
    scale: float,
    keep_graph: bool = False,
) -> Series:
    r"""Apply a truncated series for the inverse Hessian of a weighted loss.

    Parameters
    ----------
    losses : sequence of k Tensors of shape ()
        Losses, with their graph.
    weights : Tensor of shape (k,)
        Their weights.
    parameters : sequence of Tensor
        What to differentiate by.
    vector : sequence of Tensor
        First term, in the shapes of the parameters.
    n_terms : int
        Products with the Hessian.
    scale : float
        Step :math:`\alpha`.
    keep_graph : bool
        Whether the losses are needed afterwards.

    Returns
    -------
    series : Series
        The sum of the terms, and its products with the gradients of the losses.
    """
    weights = weights.detach().requires_grad_()
    slopes = torch.autograd.grad(
        weights @ torch.stack(list(losses)),
        parameters,
        create_graph=True,
        materialize_grads=True,
    )
    # Of parameters that no loss depends on, the slopes are constant zeros.
    used = [slope.requires_grad for slope in slopes]
    reached = [slope for slope, is_used in zip(slopes, used, strict=True) if is_used]
    first = _length(vector)
    products = torch.zeros_like(weights)
    v, p = list(vector), [part.clone() for part in vector]
    for j in range(n_terms + 1):
        last = j == n_terms
        # The graph of the slopes is kept; only the part that leads to the weights is
        # walked for the last term.
        found = torch.autograd.grad(
            reached,
            [weights] if last else [weights, *parameters],
            [part for part, is_used in zip(v, used, strict=True) if is_used],
            retain_graph=keep_graph or not last,
            materialize_grads=True,
        )
        products += found[0]
        if not last:
            v = [a - scale * b for a, b in zip(v, found[1:], strict=True)]
            p = [a + b for a, b in zip(p, v, strict=True)]
    return Series(products, p, _length(v) / first if first > 0 else 0.0)


def _length(parts: Sequence[Tensor]) -> float:
    return float(torch.cat([part.reshape(-1) for part in parts]).norm())


def _rows(losses: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Gradients of the losses, one a row (k, p)."""
    rows = [gradients([(x, torch.ones_like(x))], parameters) for x in losses]
    return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])
