"""Widths of the predictions of a network, which a fit learns at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from skgnn_mtl.graphs import GraphArray, GraphBatch

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


def learn_widths(
    network: FittedNetwork,
    graphs: GraphArray,
    targets: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str],
    first: int = 0,
) -> dict[str, LastLayerPosterior]:
    """Learn the posterior of the last linear map of each task.

    The matrix is that of all labelled rows. Prior and noise come from the errors at
    left-out labels, of 1,000 rows at most.

    Parameters
    ----------
    network : FittedNetwork
        At the end of its training; its module has ``read_heads``.
    graphs : GraphArray of shape (n,)
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
        By name; without tasks whose vectors are not finite.
    """
    rows = np.flatnonzero((weights > 0).any(axis=1))
    samples = _samples(weights)
    union = np.unique(np.concatenate(samples))
    # Tasks with the same rows and weights, and the same vectors, share one matrix.
    column_of = np.unique(weights, axis=1, return_inverse=True)[1].ravel().tolist()
    grams: dict[tuple[int, int], Any] = {}
    kept = []
    for chunk in np.split(rows, range(_CHUNK, len(rows), _CHUNK)):
        outputs, groups = _read(network, graphs[chunk], hidden=True)
        places = _places(groups)[first : first + len(names)]
        shared = {
            (group, column_of[task]): task for task, (group, _) in enumerate(places)
        }
        for key, task in shared.items():
            vectors, w = groups[key[0]].vectors, _relative(weights[:, task])[chunk]
            grams[key] = grams.get(key, 0.0) + (vectors * w[:, None]).T @ vectors
        chosen = np.isin(chunk, union)
        kept.append((outputs[chosen], [group[chosen] for group in groups]))
    outputs = np.concatenate([part for part, _ in kept])[:, first:]
    parts = zip(*(groups for _, groups in kept), strict=True)
    groups = [_Group.joined(part) for part in parts]
    widths: dict[str, LastLayerPosterior] = {}
    for key, gram in grams.items():
        # A network that has diverged would stop the decomposition.
        if not np.isfinite(gram).all():
            continue
        found, matrix = {}, GramMatrix.of(gram)
        for task, (group, head) in enumerate(places):
            if (group, column_of[task]) == key:
                at = np.searchsorted(union, samples[task])
                found[names[task]] = _posterior(
                    matrix,
                    groups[group][at],
                    head,
                    outputs[at, task],
                    targets[:, task],
                    weights[:, task],
                    samples[task],
                )
        widths |= _lean(found)
    return {name: widths[name] for name in names if name in widths}


def predict_with_variances(
    network: FittedNetwork, graphs: GraphArray, widths: Sequence[LastLayerPosterior]
) -> tuple[np.ndarray, np.ndarray]:
    """Predict standardised targets, and the variances of labels around them.

    Parameters
    ----------
    network : FittedNetwork
        Its module has ``read_heads``.
    graphs : GraphArray of shape (n,)
        The graphs.
    widths : sequence of LastLayerPosterior of length t
        One per output of the network.

    Returns
    -------
    outputs, variances : ndarray of shape (n, t)
        NaN for an invalid graph.
    """
    outputs, groups = _read(network, graphs, hidden=False)
    columns = [
        posterior.variances(groups[group].vectors)
        for posterior, (group, _) in zip(widths, _places(groups), strict=True)
    ]
    return outputs, np.stack(columns, axis=1)


def _read(
    network: FittedNetwork, graphs: GraphArray, *, hidden: bool
) -> tuple[np.ndarray, list[_Group]]:
    """Compute the outputs (n, t) of all graphs, and what the last maps read.

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
    return outputs, [
        _Group(w, np.hstack([vectors, ones]), below, slopes)
        for w, vectors, below, slopes in triples
    ]


def _places(groups: Sequence[_Group]) -> list[tuple[int, int]]:
    """List the group of each output, and its row there."""
    return [
        (g, head)
        for g, group in enumerate(groups)
        for head in range(len(group.weights))
    ]


def _samples(weights: np.ndarray) -> list[np.ndarray]:
    """Choose labelled rows of each task, in order; tasks choose alike."""
    # A generator of its own, because a fit must draw the same with and without widths.
    order = np.random.default_rng(0).permutation(len(weights))
    labelled = (order[weights[order, task] > 0] for task in range(weights.shape[1]))
    return [np.sort(rows[:_MOST_LABELS]) for rows in labelled]


def _relative(weights: np.ndarray) -> np.ndarray:
    """Divide the weights of a task's labels by their mean."""
    # The loss is a mean over them, so that their scale must not matter here either.
    relative: np.ndarray = weights / weights[weights > 0].mean()
    return relative


def _posterior(
    matrix: GramMatrix,
    group: _Group,
    head: int,
    outputs: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    sample: np.ndarray,
) -> LastLayerPosterior:
    """Choose prior and noise of one task from a sample of its rows."""
    labels, w = targets[sample], _relative(weights)[sample]
    residual = np.sqrt(w @ (outputs - labels) ** 2 / w.sum())
    errors = left_out_errors(group.kernel(head), labels, w, float(residual))
    floor = _floor(targets, weights)
    return fit_posterior(matrix, group.vectors, errors, w, floor)


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
