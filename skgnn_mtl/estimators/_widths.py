"""Widths of the predictions of a network, which a fit learns at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl.curvature import (
    GramMatrix,
    LastLayerPosterior,
    fit_posterior,
    left_out_errors,
)
from skgnn_mtl.graphs import GraphArray, GraphBatch, GraphRows
from skgnn_mtl.training import log_variances

from ._network import FittedNetwork

# Labels of a task whose left-out errors are computed; the time grows with their cube.
_MOST_LABELS = 1000
# Graphs whose vectors are in memory at a time.
_CHUNK = 4096


@dataclass(frozen=True)
class _Group:
    """What the last linear map of some tasks reads, for n graphs.

    Parameters
    ----------
    weights : ndarray of shape (t, d)
        Weights of the map.
    vectors : ndarray of shape (n, d + 1)
        What it reads, and 1.
    below, slopes : ndarray of shape (n, c), (n, d)
        What the hidden layer before it reads, and the slopes behind that layer;
        without columns where there is none.
    """

    weights: np.ndarray
    vectors: np.ndarray
    below: np.ndarray
    slopes: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> _Group:
        parts = self.vectors[rows], self.below[rows], self.slopes[rows]
        return _Group(self.weights, *parts)

    @staticmethod
    def joined(parts: Sequence[_Group]) -> _Group:
        """Join the rows of parts of the same tasks."""
        names = ("vectors", "below", "slopes")
        columns = (np.concatenate([getattr(p, name) for p in parts]) for name in names)
        return _Group(parts[0].weights, *columns)

    def kernel(self, task: int) -> np.ndarray:
        """Compute inner products (n, n) of derivatives of a task's output.

        They are those in the weights of the hidden layer, which has learned most of
        what the task needs; without one, those in the last map.
        """
        if not self.slopes.shape[1]:
            vectors: np.ndarray = self.vectors @ self.vectors.T
            return vectors
        slopes = self.slopes * self.weights[task]
        # An outer product of both has the product of their inner products; 1 is that
        # of the bias.
        found: np.ndarray = (slopes @ slopes.T) * (self.below @ self.below.T + 1.0)
        return found


@dataclass(frozen=True)
class _Reading:
    """What a network says about n graphs.

    Parameters
    ----------
    means : ndarray of shape (n, t)
        Predictions of standardised targets.
    deviations : ndarray of shape (n, t)
        Standard deviations that a likelihood has learned; 1 without one.
    groups : list of _Group
        What the last maps read.
    learned : bool
        Whether there is a likelihood.
    """

    means: np.ndarray
    deviations: np.ndarray
    groups: list[_Group]
    learned: bool

    @classmethod
    def of(cls, outputs: np.ndarray, groups: list[_Group]) -> _Reading:
        """Split outputs (n, t) or (n, 2 t), which log-variances end."""
        n_tasks = sum(len(group.weights) for group in groups)
        means, raw = outputs[:, :n_tasks], outputs[:, n_tasks:]
        if not raw.shape[1]:
            return cls(means, np.ones_like(means), groups, False)
        deviations = np.exp(log_variances(torch.from_numpy(raw)).numpy() / 2)
        return cls(means, deviations, groups, True)

    def __getitem__(self, rows: np.ndarray) -> _Reading:
        groups = [group[rows] for group in self.groups]
        return replace(
            self,
            means=self.means[rows],
            deviations=self.deviations[rows],
            groups=groups,
        )

    @staticmethod
    def joined(parts: Sequence[_Reading]) -> _Reading:
        """Join the rows of parts of the same tasks."""
        means = np.concatenate([part.means for part in parts])
        deviations = np.concatenate([part.deviations for part in parts])
        groups = zip(*(part.groups for part in parts), strict=True)
        joined = list(map(_Group.joined, groups))
        return _Reading(means, deviations, joined, parts[0].learned)

    def place(self, task: int) -> tuple[_Group, int]:
        """Find the group of a task, and its row there."""
        for group in self.groups:
            if task < len(group.weights):
                return group, task
            task -= len(group.weights)
        raise IndexError(task)

    def vectors(self, task: int) -> np.ndarray:
        """Give what the map of a task reads, in units of the learned deviations."""
        vectors = self.place(task)[0].vectors
        scaled: np.ndarray = vectors / self.deviations[:, task, None]
        return scaled

    def key(self, task: int, column: int) -> tuple[int, ...]:
        """Name the Gram matrix of a task, whose weights are those of a column."""
        if self.learned:
            return (task,)
        return (id(self.place(task)[0].weights), column)


def learn_widths(
    network: FittedNetwork,
    graphs: GraphArray | GraphRows,
    targets: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    first: int = 0,
) -> dict[str, LastLayerPosterior]:
    """Learn the posterior of the last linear map of each task.

    The matrix is that of all labelled rows. Prior and noise come from the errors at
    left-out labels, of 1,000 rows at most. If the network predicts variances, vectors
    and errors are divided by its standard deviations, and the noise is a factor of its
    variances.

    Parameters
    ----------
    network : FittedNetwork
        At the end of its training; its module has ``read_heads``.
    graphs : GraphArray or GraphRows of shape (n,)
        Valid training graphs.
    targets, weights : ndarray of shape (n, t)
        Encoded labels, and their weights, 0 where a label is missing.
    names : sequence of str of length t
        Names of the tasks.
    first : int, default=0
        Position of the first of them among the outputs of the network.

    Returns
    -------
    widths : dict of str to LastLayerPosterior
        By name; without tasks that have no labels, or vectors that are not finite.
    """
    rows = np.flatnonzero((weights > 0).any(axis=1))
    # Their loss is a mean, so that the scale of weights must not matter here either.
    # A task without labels keeps its zeros.
    total = np.where((weights > 0).any(axis=0), weights.sum(axis=0), 1.0)
    weights = weights * ((weights > 0).sum(axis=0) / total)
    samples = _samples(weights)
    union = np.unique(np.concatenate(samples))
    # Tasks with the same rows and weights, and the same vectors, share one matrix.
    columns = _equal_columns(weights)
    owners: dict[Any, list[int]] = {}
    grams: dict[Any, Any] = {}
    kept = []
    for chunk in np.split(rows, range(_CHUNK, len(rows), _CHUNK)):
        reading = _read(network, graphs[chunk], hidden=True)
        owners = owners or _owners(reading, columns, first)
        for key, tasks in owners.items():
            vectors, w = reading.vectors(first + tasks[0]), weights[chunk, tasks[0]]
            grams[key] = grams.get(key, 0.0) + (vectors * w[:, None]).T @ vectors
        kept.append(reading[np.isin(chunk, union)])
    reading = _Reading.joined(kept)
    widths: dict[str, LastLayerPosterior] = {}
    for key, gram in grams.items():
        # A network that has diverged would stop the decomposition.
        if not np.isfinite(gram).all():
            continue
        matrix, found = GramMatrix.of(gram), {}
        # A table to go on with may lack a task.
        for task in (task for task in owners[key] if len(samples[task])):
            sample, w = samples[task], weights[:, task]
            part = reading[np.searchsorted(union, sample)]
            errors = _left_out(part, first + task, targets[sample, task], w[sample])
            found[names[task]] = fit_posterior(
                matrix,
                part.vectors(first + task),
                errors,
                w[sample],
                # Never less than the variances that a network has learned.
                1.0 if reading.learned else _floor(targets[:, task], w),
            )
        if found:
            widths |= _lean(found)
    return {name: widths[name] for name in names if name in widths}


def predict_with_variances(
    network: FittedNetwork,
    graphs: GraphArray,
    widths: Sequence[LastLayerPosterior] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict standardised targets, and the variances of labels around them.

    Parameters
    ----------
    network : FittedNetwork
        Its module has ``read_heads``.
    graphs : GraphArray of shape (n,)
        The graphs.
    widths : sequence of LastLayerPosterior, one per output, or None
        None takes the variances that the network has learned, as they are.

    Returns
    -------
    outputs, variances : ndarray of shape (n, t)
        NaN for an invalid graph.
    """
    reading = _read(network, graphs, hidden=False)
    variances = reading.deviations**2
    if widths is not None:
        columns = [w.variances(reading.vectors(t)) for t, w in enumerate(widths)]
        variances *= np.stack(columns, axis=1)
    return reading.means, variances


def _read(
    network: FittedNetwork, graphs: GraphArray | GraphRows, *, hidden: bool
) -> _Reading:
    """Read the network for all graphs.

    The columns around the hidden layer are read only if they are wanted.
    """
    widths: list[int] = []
    weights: list[np.ndarray] = []

    def columns(module: Any, batch: GraphBatch) -> Tensor:
        outputs, inputs = module.read_heads(batch)
        parts: list[Tensor] = [outputs]
        for group in inputs:
            nothing = group.vectors[:, :0]
            around = group.around_hidden_layer() if hidden else (nothing, nothing)
            parts += [group.vectors, *around]
        # Only known here; the same in each batch.
        widths[:] = [part.shape[1] for part in parts]
        weights[:] = [group.weights.detach().double().cpu().numpy() for group in inputs]
        return torch.cat(parts, dim=1)

    table = network.apply(graphs, columns)
    outputs, *parts = np.split(table, np.cumsum(widths)[:-1], axis=1)
    ones = np.ones((len(table), 1))
    triples = zip(weights, parts[::3], parts[1::3], parts[2::3], strict=True)
    groups = [
        _Group(w, np.hstack([vectors, ones]), below, slopes)
        for w, vectors, below, slopes in triples
    ]
    return _Reading.of(outputs, groups)


def _equal_columns(table: np.ndarray) -> list[int]:
    """Give each column the position of the first that is equal to it."""
    # By digests, because np.unique over an axis takes 1 kB per row.
    digests = [sha256(column.tobytes()).digest() for column in table.T]
    return [digests.index(digest) for digest in digests]


def _owners(
    reading: _Reading, columns: Sequence[int], first: int
) -> dict[tuple[int, ...], list[int]]:
    """List the tasks that share each Gram matrix."""
    owners: dict[tuple[int, ...], list[int]] = {}
    for task, column in enumerate(columns):
        owners.setdefault(reading.key(first + task, column), []).append(task)
    return owners


def _samples(weights: np.ndarray) -> list[np.ndarray]:
    """Choose labelled rows of each task, in order; tasks choose alike."""
    # A generator of its own, because a fit must draw the same with and without widths.
    order = np.random.default_rng(0).permutation(len(weights))
    labelled = (order[weights[order, task] > 0] for task in range(weights.shape[1]))
    return [np.sort(rows[:_MOST_LABELS]) for rows in labelled]


def _left_out(
    reading: _Reading, task: int, labels: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Estimate errors at left-out labels, in units of the learned deviations."""
    group, head = reading.place(task)
    deviations = reading.deviations[:, task]
    w = weights / deviations**2
    residuals = reading.means[:, task] - labels
    training_error = float(np.sqrt(w @ residuals**2 / w.sum()))
    errors = left_out_errors(group.kernel(head), labels, w, training_error)
    scaled: np.ndarray = errors / deviations
    return scaled


def _floor(targets: np.ndarray, weights: np.ndarray) -> float:
    """Compute the smallest noise variance that n labels may suggest."""
    labelled = weights > 0
    labels, w = targets[labelled], weights[labelled]
    # The unit of standardised labels, because equal labels do not tell a scale.
    variance = 1.0
    # Compared, because rounding would leave equal labels with a tiny variance.
    if labels.max() > labels.min():
        variance = float(w @ (labels - w @ labels / w.sum()) ** 2 / w.sum())
    return variance / len(labels) ** 2


def _lean(
    posteriors: dict[str, LastLayerPosterior],
) -> dict[str, LastLayerPosterior]:
    """Let posteriors share one small matrix, without the directions none has seen."""
    smallest = min(posterior.ridge for posterior in posteriors.values())
    matrix = next(iter(posteriors.values())).matrix.seen(smallest)
    return {name: replace(p, matrix=matrix) for name, p in posteriors.items()}
