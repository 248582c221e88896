"""Whole batches of graphs with their labels, for a training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ._array import GraphArray
from ._batch import GraphBatch
from ._view import GraphRows


@dataclass(frozen=True)
class Labels:
    """Labels of the graphs of a batch.

    Parameters
    ----------
    targets : Tensor of shape (n_graphs, n_tasks)
        Labels, with a label of the same task in place of each missing one. Complex if
        some are bounds: the imaginary part is 1 for a lower bound, -1 for an upper one.
    weights : Tensor of shape (n_graphs, n_tasks)
        Weight of each label, 0 where it is missing.
    columns : tuple of Tensor of shape (n_graphs, n_columns)
        Further columns of a training step, such as those of auxiliary tasks.

    See Also
    --------
    GraphDataset : Whole batches of graphs with their labels.
    """

    targets: Tensor
    weights: Tensor
    columns: tuple[Tensor, ...] = ()

    @cached_property
    def present(self) -> Tensor:
        """Tasks with a label in the batch, bool (n_tasks,)."""
        return (self.weights > 0).any(dim=0)

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return self.weights.shape[1]

    def __len__(self) -> int:
        return len(self.weights)

    def to(self, *args: Any) -> Labels:
        """Move to a device, or convert to a dtype, as ``Tensor.to`` does."""
        parts = [part.to(*args) for part in (self.targets, self.weights, *self.columns)]
        return Labels(parts[0], parts[1], tuple(parts[2:]))


class BatchDataset(Protocol):
    """Rows that are gathered as whole batches with their labels."""

    @property
    def sampling(self) -> Tensor | None:
        """Relative frequency of each row in an epoch; None for once."""

    def __len__(self) -> int: ...

    def __getitems__(self, rows: Any) -> tuple[Any, Labels]:
        """Gather the graphs and the labels of some rows."""


def fill_gaps(targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Replace each missing label by a label of its task.

    The loss is computed for all entries before the weights apply. It must therefore be
    defined in the gaps, because 0 * NaN is NaN.

    Parameters
    ----------
    targets, weights : ndarray of shape (n_graphs, n_tasks)
        Labels, and the weight of each, 0 where it is missing.

    Returns
    -------
    filled : ndarray of shape (n_graphs, n_tasks)
        1 in the gaps of a task without any label.
    """
    labelled = weights > 0
    if not len(labelled):
        return targets
    first = np.take_along_axis(targets, labelled.argmax(axis=0)[None], axis=0)
    return np.where(labelled, targets, np.where(labelled.any(axis=0), first, 1.0))


def in_precision(targets: np.ndarray, dtype: str) -> np.ndarray:
    """Convert labels to "float32" or "float64", or to complex numbers of such parts."""
    # Complex tables have bounds, whose signs a real table would lose.
    kind = np.result_type(dtype, np.complex64) if np.iscomplexobj(targets) else dtype
    return targets.astype(kind)


class GraphDataset(torch.utils.data.Dataset[tuple[GraphBatch, Labels]]):
    """Hold graphs, their labels and the weights of the labels.

    Parameters
    ----------
    graphs : GraphArray or GraphRows of shape (n_graphs,)
        The inputs.
    targets : ndarray of shape (n_graphs, n_tasks)
        Labels, complex if some are bounds; the values of missing labels have no effect.
    weights : ndarray of shape (n_graphs, n_tasks)
        Weight of each label, 0 where it is missing.
    columns : sequence of ndarray of shape (n_graphs, n_columns), default=()
        Further columns that a training step needs per graph.
    sampling : ndarray of shape (n_graphs,), optional
        Relative frequency of each graph in an epoch, drawn with replacement. By default
        an epoch has each graph once.

    See Also
    --------
    GraphLoader : Batches in a random order.
    Labels : Targets and weights of a batch.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.graphs import GraphDataset
    >>> X = SmilesToGraph().transform(["CCO", "C"])
    >>> y = np.array([[1.0, np.nan], [2.0, 3.0]])
    >>> dataset = GraphDataset(X, y, ~np.isnan(y))
    >>> dataset.targets, dataset.weights
    (array([[1., 3.],
           [2., 3.]], dtype=float32), array([[1., 0.],
           [1., 1.]], dtype=float32))
    """

    def __init__(
        self,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
        columns: Sequence[ArrayLike] = (),
        sampling: np.ndarray | None = None,
    ) -> None:
        dtype = graphs.schema.dtype
        self.graphs = graphs
        self.targets = in_precision(fill_gaps(targets, weights), dtype)
        self.weights = np.asarray(weights, dtype=dtype)
        self.columns = [np.asarray(values, dtype=dtype) for values in columns]
        self.sampling = None if sampling is None else torch.from_numpy(sampling)

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, i: int) -> tuple[GraphBatch, Labels]:
        return self.__getitems__([i])

    def __getitems__(
        self, rows: Sequence[int] | np.ndarray
    ) -> tuple[GraphBatch, Labels]:
        """Gather the graphs and the labels of some rows."""
        tables = (self.targets, self.weights, *self.columns)
        parts = [torch.from_numpy(table[rows]) for table in tables]
        return self.graphs.batch(rows), Labels(parts[0], parts[1], tuple(parts[2:]))


class GraphLoader:
    """Iterate over a :class:`GraphDataset` batch by batch.

    Parameters
    ----------
    dataset : GraphDataset
        The rows, drawn by its ``sampling`` of shape (n_graphs,) if it has one.
    batch_size : int
        Graphs per batch. A last batch of a single graph joins the one before, because
        batch normalisation cannot train on one row.
    shuffle : bool, default=False
        Whether each pass draws a new order.
    generator : torch.Generator, optional
        Source of the orders.
    part : tuple of two int, default=(0, 1)
        Which of how many equal parts of each batch to gather. The other parts belong to
        other processes; a part of a small batch may be empty.

    See Also
    --------
    GraphDataset : Whole batches of graphs with their labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.graphs import GraphDataset, GraphLoader
    >>> X, y = SmilesToGraph().transform(["CCO", "C", "CC"]), np.ones((3, 1))
    >>> loader = GraphLoader(GraphDataset(X, y, y), batch_size=2)
    >>> [len(graphs) for graphs, _ in loader]
    [3]
    """

    def __init__(
        self,
        dataset: BatchDataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.generator, self.part = shuffle, generator, part

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
        # Systematic sampling, n points at equal distances along the rows' shares,
        # because independent draws may leave too few rows of a kind in an epoch.
        order = torch.randperm(n, generator=self.generator)
        order = order[shares[order].argsort(stable=True)]
        ends = shares[order].double().cumsum(0)
        points = torch.arange(n) + torch.rand((), generator=self.generator)
        rows = order[torch.searchsorted(ends, points * ends[-1] / n).clamp(max=n - 1)]
        return rows[torch.randperm(n, generator=self.generator)]

    def __iter__(self) -> Iterator[tuple[Any, Labels]]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = self._draw(n).numpy()
        k, n_parts = self.part
        for start, stop in pairwise(self._bounds()):
            rows = np.array_split(order[start:stop], n_parts)[k]
            yield self.dataset.__getitems__(rows)
