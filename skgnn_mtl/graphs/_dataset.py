"""Whole batches of graphs with their labels, for a training loop."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ._array import GraphArray
from ._batch import GraphBatch


class GraphDataset(torch.utils.data.Dataset):
    """Graphs, their labels and the weights of the labels.

    Parameters
    ----------
    graphs : GraphArray of shape (n_graphs,)
        The inputs.
    targets : ndarray of shape (n_graphs, n_tasks)
        Labels; the value of an unlabelled entry is never read.
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
        # A zero in place of NaN keeps 0 * NaN out of the losses.
        self.targets = np.where(weights > 0, targets, 0.0).astype(dtype)
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
