"""Whole batches of graphs with their labels, for a training loop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ._array import GraphArray
from ._batch import GraphBatch


def fill_gaps(targets, weights) -> np.ndarray:
    """Put a label of its task in place of each missing one.

    Losses are computed for all entries and weighed then: none may be undefined at what
    stands in a gap, since 0 * NaN is NaN.

    Parameters
    ----------
    targets, weights : ndarray of shape (n_graphs, n_tasks)
        Labels, and the weight of each, 0 where it is missing.

    Returns
    -------
    filled : ndarray of shape (n_graphs, n_tasks)
        1 in the gaps of a task without any label.
    """
    known = weights > 0
    if not len(known):
        return targets
    first = np.take_along_axis(targets, known.argmax(axis=0)[None], axis=0)
    return np.where(known, targets, np.where(known.any(axis=0), first, 1.0))


class GraphDataset(torch.utils.data.Dataset):
    """Graphs, their labels and the weights of the labels.

    Parameters
    ----------
    graphs : GraphArray of shape (n_graphs,)
        The inputs.
    targets : ndarray of shape (n_graphs, n_tasks)
        Labels; what stands in place of a missing one does not matter.
    weights : ndarray of shape (n_graphs, n_tasks)
        Weight of each label, 0 where it is missing.
    columns : sequence of ndarray of shape (n_graphs, n_columns), default=()
        What else a training step wants to know about each graph.
    sampling : ndarray of shape (n_graphs,), optional
        How often each graph is drawn, with replacement, in relation to the others; in
        their absence an epoch meets each graph once.
    """

    def __init__(
        self, graphs: GraphArray, targets, weights, columns=(), sampling=None
    ) -> None:
        dtype = graphs.schema.dtype
        self.graphs = graphs
        self.targets = fill_gaps(targets, weights).astype(dtype)
        self.weights = np.asarray(weights, dtype=dtype)
        self.columns = [np.asarray(values, dtype=dtype) for values in columns]
        self.sampling = None if sampling is None else torch.from_numpy(sampling)

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, i: int):
        return self.__getitems__([i])

    def __getitems__(self, rows) -> tuple[GraphBatch, tuple[Tensor, ...]]:
        """Gather a batch: its graphs, then targets, weights and columns."""
        tables = (self.targets, self.weights, *self.columns)
        labels = tuple(torch.from_numpy(table[rows]) for table in tables)
        return self.graphs.batch(rows), labels


class GraphLoader:
    """Iterate over a :class:`GraphDataset` batch by batch.

    Parameters
    ----------
    dataset : GraphDataset
        What to iterate over, drawn by its ``sampling`` if there is one.
    batch_size : int
        Graphs in a batch. A last batch of a single graph joins the one before, since
        batch normalisation cannot train on one row.
    shuffle : bool, default=False
        Draw a new order for each pass.
    generator : torch.Generator, optional
        Source of the orders.
    """

    def __init__(self, dataset, batch_size, *, shuffle=False, generator=None) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.generator = shuffle, generator

    def _bounds(self) -> list[int]:
        n = len(self.dataset)
        bounds = [*range(0, n, self.batch_size), n]
        if n > self.batch_size and bounds[-1] - bounds[-2] == 1:
            del bounds[-2]
        return bounds

    def __len__(self) -> int:
        return len(self._bounds()) - 1

    def _draw(self, n: int) -> Tensor:
        shares = self.dataset.sampling
        if shares is None:
            return torch.randperm(n, generator=self.generator)
        # Systematic: n points at equal distances along the rows' shares, so that no
        # epoch has far fewer rows of a kind than it should.
        order = torch.randperm(n, generator=self.generator)
        order = order[shares[order].argsort(stable=True)]
        ends = shares[order].double().cumsum(0)
        points = torch.arange(n) + torch.rand((), generator=self.generator)
        rows = order[torch.searchsorted(ends, points * ends[-1] / n).clamp(max=n - 1)]
        return rows[torch.randperm(n, generator=self.generator)]

    def __iter__(self) -> Iterator[tuple[GraphBatch, tuple[Tensor, ...]]]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = self._draw(n).numpy()
        bounds = self._bounds()
        for start, stop in pairwise(bounds):
            yield self.dataset.__getitems__(order[start:stop])
