"""Rows of graphs that are read where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._array import GraphArray
from ._batch import GraphBatch
from ._schema import GraphSchema


class GraphRows:
    """Some rows of a GraphArray, without a copy of their graphs.

    ``graphs[rows]`` is a copy, which may not fit in memory if the graphs are those of a
    mapped file. These rows are read batch by batch.

    Parameters
    ----------
    graphs : GraphArray
        The graphs, perhaps of a mapped file.
    rows : array-like of int of shape (n,)
        Positions, also repeated ones, in any order.

    See Also
    --------
    skgnn_mtl.GraphArray : Packed, immutable array of graphs.

    Examples
    --------
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.graphs import GraphRows
    >>> X = SmilesToGraph().transform(["CCO", "C", "CC"])
    >>> rows = GraphRows(X, [2, 0])
    >>> len(rows), rows.batch([0]).n_nodes
    (2, 2)
    >>> rows.taken() == X[[2, 0]]
    True
    """

    def __init__(self, graphs: GraphArray, rows: Sequence[int] | np.ndarray) -> None:
        self.graphs, self.rows = graphs, np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def schema(self) -> GraphSchema:
        """Meaning of the columns."""
        return self.graphs.schema

    @property
    def valid(self) -> np.ndarray:
        """Boolean array of shape (n,): False where the input was unreadable."""
        return self.graphs.valid[self.rows]

    @property
    def ids(self) -> np.ndarray:
        """Identifiers of the graphs, of shape (n,)."""
        return self.graphs.ids[self.rows]

    def __getitem__(self, key: np.ndarray) -> GraphRows:
        """Choose some of the rows, by positions or a mask."""
        return GraphRows(self.graphs, self.rows[key])

    def batch(self, rows: Sequence[int] | np.ndarray) -> GraphBatch:
        """Gather graphs into one disjoint union, as torch tensors on the CPU.

        Parameters
        ----------
        rows : array-like of int
            Positions among these rows.

        Returns
        -------
        batch : GraphBatch
            Nodes numbered through the whole batch.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        return self.graphs.batch(self.rows[chosen])

    def taken(self) -> GraphArray:
        """Copy the graphs, unless these are all rows in order.

        Returns
        -------
        graphs : GraphArray of shape (n,)
            The rows.
        """
        if np.array_equal(self.rows, np.arange(len(self.graphs))):
            return self.graphs
        graphs: GraphArray = self.graphs[self.rows]
        return graphs
