"""Partitions of the edges of a batch into classes of equal states, by refinement.

The state of a directed edge depends only on its *unfolding*: the tree of the columns on
all paths that lead to it. Molecules repeat substructures (methyl groups, phenyl rings,
the two halves of a symmetric molecule). A batch has therefore far fewer unfoldings of
small depth than edges, and states computed once per class and copied are the same
numbers for less work. The classes are exact, because they compare columns, not hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ._batch import GraphBatch
from ._incidence import Incidence

_LARGEST_CODE = 2**62  # within int64
# Above it, the table of arriving edges takes more time than the classes save.
_LARGEST_DEGREE = 32


@dataclass(frozen=True)
class Classes:
    """A partition of the edges of a batch.

    Parameters
    ----------
    of : Tensor of int64 of shape (n_edges,)
        Class of each edge.
    representative : Tensor of int64 of shape (n_classes,)
        One edge of each class.

    See Also
    --------
    edge_classes : Edges whose states are equal.

    Examples
    --------
    >>> from skgnn_mtl.graphs import Classes
    >>> len(Classes.singletons(3, device="cpu"))
    3
    """

    of: Tensor
    representative: Tensor

    @classmethod
    def singletons(cls, n: int, device: torch.device | str) -> Classes:
        """Put each edge into a class of its own.

        Parameters
        ----------
        n : int
            Number of edges.
        device : torch.device or str
            Where the tensors live.

        Returns
        -------
        classes : Classes
            ``n`` classes.
        """
        return cls(*(torch.arange(n, device=device),) * 2)

    def __len__(self) -> int:
        return len(self.representative)

    @cached_property
    def members(self) -> Incidence:
        """Edges and the classes they belong to."""
        return Incidence(self.of, len(self))


def edge_classes(batch: GraphBatch, depth: int) -> list[Classes]:
    """Find the edges with equal unfoldings, for each depth.

    Edges of one class at depth 1 have equal columns and leave nodes of equal columns.
    At depth k + 1, the edges that arrive at their sources, without the reverse edge,
    have equal classes at depth k, too.

    Parameters
    ----------
    batch : GraphBatch
        Graphs with paired edges.
    depth : int
        Number of refinements, at least 1.

    Returns
    -------
    classes : list of Classes
        One partition of the edges (n_edges,) per depth; each refines the one before.
        Each edge is a class of its own on an accelerator, because finding classes would
        wait for the device. So it is in a batch with a node of more than 32 arriving
        edges.

    See Also
    --------
    Classes : Rows that are equal, and one of each.

    Examples
    --------
    The bonds of benzene and toluene, in both directions, have few classes:

    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.graphs import edge_classes
    >>> batch = SmilesToGraph().transform(["c1ccccc1", "Cc1ccccc1"]).batch([0, 1])
    >>> batch.n_edges, [len(classes) for classes in edge_classes(batch, depth=3)]
    (26, [4, 5, 6])
    """
    if not _can_share(batch):
        return [Classes.singletons(batch.n_edges, batch.device)] * depth
    source = batch.edge_index[0].numpy()
    nodes = _join(_columns(batch.node_codes, batch.node_features), batch.n_nodes)
    own = _join(_columns(batch.edge_codes, batch.edge_features), batch.n_edges)
    levels = [_classes([_at(nodes, source), own], batch.n_edges)]
    before = _arriving_edges(batch)[:, source]
    reverse = np.arange(batch.n_edges) ^ 1
    before[before == reverse] = batch.n_edges
    for _ in range(depth - 1):
        columns = [_column(levels[0]), *_bags(levels[-1], before)]
        levels.append(_classes(columns, batch.n_edges))
    return levels


def _can_share(batch: GraphBatch) -> bool:
    """Whether classes are cheap to find, and one row may represent its class."""
    if batch.device.type != "cpu" or batch.n_edges == 0:
        return False
    features = (batch.node_features, batch.edge_features)
    # Because a derivative by a feature belongs to its own row, not to a representative.
    if any(values.requires_grad for values in features):
        return False
    return int(batch.target.counts.max()) <= _LARGEST_DEGREE


# Small integers, one per row, and the number of values that they may take.
_Column = tuple[np.ndarray, int]


def _columns(codes: Tensor, features: Tensor) -> list[_Column]:
    """Keep columns of codes, and number the values of continuous columns."""
    columns = [(c, int(c.max(initial=0)) + 1) for c in codes.numpy().T.astype(np.int64)]
    return columns + [_number(values) for values in features.numpy().T]


def _arriving_edges(batch: GraphBatch) -> np.ndarray:
    """List the edges that arrive at each node, shape (largest degree, n_nodes).

    The number of edges fills the empty places.
    """
    target = batch.edge_index[1].numpy()
    order = np.argsort(target, kind="stable")
    counts = np.bincount(target, minlength=batch.n_nodes)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((counts.max(initial=0), batch.n_nodes), len(order))
    table[place, target[order]] = order
    return table


def _bags(edges: Classes, table: np.ndarray) -> list[_Column]:
    """Sort the classes of the edges in each column of a table, to compare multisets."""
    classes = np.append(edges.of.numpy(), len(edges))[table]
    return [(row, len(edges) + 1) for row in np.sort(classes, axis=0)]


def _column(classes: Classes) -> _Column:
    """Read classes as a column."""
    return classes.of.numpy(), len(classes)


def _at(column: _Column, rows: np.ndarray) -> _Column:
    return column[0][rows], column[1]


def _number(values: np.ndarray) -> _Column:
    """Replace the values of a column by their ranks among the distinct values."""
    distinct, number = np.unique(values, return_inverse=True)
    return number, len(distinct)


def _join(columns: list[_Column], n_rows: int) -> _Column:
    """Write each row of some columns as one integer, equal only for equal rows."""
    code, size = np.zeros(n_rows, dtype=np.int64), 1
    for values, n in columns:
        if size * n > _LARGEST_CODE:
            (code, size), (values, n) = _number(code), _number(values)
        code, size = code * n + values, size * n
    return code, size


def _classes(columns: list[_Column], n_rows: int) -> Classes:
    code, _ = _join(columns, n_rows)
    _, representative, of = np.unique(code, return_index=True, return_inverse=True)
    return Classes(torch.from_numpy(of), torch.from_numpy(representative))
