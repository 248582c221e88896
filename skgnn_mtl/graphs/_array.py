"""Packed, immutable arrays of graphs.

A data set of graphs is a handful of flat NumPy columns and, for each *level* (nodes,
edges, characters of the identifiers), one pointer array: graph ``i`` owns the rows
``ptr[i]:ptr[i + 1]`` of every column of that level. Edges are numbered within their
graph, so slicing never renumbers anything, and a selection of graphs is one
fancy-index gather per column.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from ._columns import (
    as_codes,
    as_edge_index,
    as_features,
    as_integers,
    as_pointer,
    as_valid,
    pack_strings,
    read_only,
    unpack_strings,
)
from ._display import html_of, text_of
from ._features import as_graph_features, read_features
from ._schema import GraphSchema
from ._selection import LEVELS, RAGGED_LEVELS, are_equal, gather_index, join, take

if TYPE_CHECKING:
    import pandas as pd
    from torch_geometric.data import Data

    from ._batch import GraphBatch


class GraphArray:
    """A one-dimensional, immutable array of graphs that scikit-learn can index.

    Parameters
    ----------
    schema : GraphSchema
        Meaning of the columns.
    n_nodes, n_edges : array-like of int of shape (n_graphs,)
        Nodes and directed edges of each graph.
    node_codes : array-like of shape (sum(n_nodes), len(schema.node_columns)), optional
        Categorical node columns.
    edge_index : array-like of int of shape (2, sum(n_edges)), optional
        Source (row 0) and target (row 1) of each edge, numbered within its graph.
    edge_codes : array-like of shape (sum(n_edges), len(schema.edge_columns)), optional
        Categorical edge columns.
    node_features, edge_features : array-like, optional
        Continuous columns; rows as above. All values must be finite.
    graph_features : array-like of shape (n_graphs, n_features), optional
        Numbers beside each graph, also an invalid one; NaN where one is missing.
    ids : sequence of str, optional
        Identifier of each graph, usually its SMILES.
    valid : array-like of bool of shape (n_graphs,), optional
        False where the input was unreadable. Such a graph must not have nodes.

    Attributes
    ----------
    shape : tuple of int
        ``(n_graphs,)``.

    Raises
    ------
    ValueError
        If a column does not have the shape or the codes of the schema, if a value is
        infinite or, beside nodes and edges, NaN, or if an edge names a node that its
        graph does not have.

    See Also
    --------
    skgnn_mtl.SmilesToGraph : Makes such an array from SMILES.
    skgnn_mtl.CifToGraph : Makes such an array from crystals.

    Notes
    -----
    Writeable arrays are copied; read-only arrays, such as mapped files, are not.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.graphs import GraphArray, GraphSchema
    >>> schema = GraphSchema("toy", node_columns=(("element", 3),))
    >>> X = GraphArray(schema, n_nodes=[2, 1], n_edges=[2, 0],
    ...                node_codes=[[0], [1], [2]], edge_index=[[0, 1], [1, 0]])
    >>> X
    GraphArray(2 graphs, 3 nodes, 2 edges, 'toy')
    >>> X[[1]].n_nodes
    array([1])
    """

    def __init__(
        self,
        schema: GraphSchema,
        *,
        n_nodes: ArrayLike,
        n_edges: ArrayLike,
        node_codes: ArrayLike | None = None,
        edge_index: ArrayLike | None = None,
        edge_codes: ArrayLike | None = None,
        node_features: ArrayLike | None = None,
        edge_features: ArrayLike | None = None,
        graph_features: ArrayLike | None = None,
        ids: Sequence[str] | None = None,
        valid: ArrayLike | None = None,
    ) -> None:
        pointers = {
            "node": as_pointer(as_integers(n_nodes, "n_nodes")),
            "edge": as_pointer(as_integers(n_edges, "n_edges")),
        }
        n_graphs, total_nodes = len(pointers["node"]) - 1, int(pointers["node"][-1])
        total_edges = int(pointers["edge"][-1])
        pointers["id"], id_bytes = pack_strings(ids, n_graphs)
        columns = {
            "node_codes": as_codes(
                node_codes, schema.node_columns, total_nodes, "node"
            ),
            "edge_codes": as_codes(
                edge_codes, schema.edge_columns, total_edges, "edge"
            ),
            "edge_index": as_edge_index(edge_index, pointers),
            "id_bytes": id_bytes,
            "valid": as_valid(valid, np.diff(pointers["node"])),
            "graph_features": as_graph_features(
                graph_features, schema.graph_features, n_graphs, schema.dtype
            ),
        }
        for name, values, n_rows in (
            ("node_features", node_features, total_nodes),
            ("edge_features", edge_features, total_edges),
        ):
            columns[name] = as_features(
                values, getattr(schema, name), n_rows, schema.dtype, name
            )
        self._assign(schema, pointers, columns)

    @classmethod
    def from_features(cls, values: ArrayLike) -> GraphArray:
        """Read each row of a numeric table as a graph of one node without edges.

        Parameters
        ----------
        values : array-like of shape (n_graphs, n_features)
            The features of the nodes, kept in float64.

        Returns
        -------
        graphs : GraphArray
            ``n_graphs`` one-node graphs.

        Raises
        ------
        ValueError
            If the table does not have two axes, or has a value that is not finite.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2:
            raise ValueError(
                "values must have shape (n_graphs, n_features), but have shape "
                f"{values.shape}."
            )
        names = tuple(f"x{j}" for j in range(values.shape[1]))
        schema = GraphSchema("numeric", node_features=names, dtype="float64")
        ones, zeros = np.ones(len(values), int), np.zeros(len(values), int)
        return cls(schema, n_nodes=ones, n_edges=zeros, node_features=values)

    @classmethod
    def _from_parts(
        cls,
        schema: GraphSchema,
        pointers: dict[str, np.ndarray],
        columns: dict[str, np.ndarray],
        index: pd.Index | None = None,
    ) -> GraphArray:
        array = cls.__new__(cls)
        array._assign(schema, pointers, columns, index)
        return array

    def _assign(
        self,
        schema: GraphSchema,
        pointers: dict[str, np.ndarray],
        columns: dict[str, np.ndarray],
        index: pd.Index | None = None,
    ) -> None:
        self._schema = schema
        self._pointers = {k: read_only(v) for k, v in pointers.items()}
        self._columns = {k: read_only(v) for k, v in columns.items()}
        self._index = index

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Assigned anew, because pickle restores writeable arrays.
        self._assign(
            state["_schema"],
            state["_pointers"],
            state["_columns"],
            state.get("_index"),
        )

    def __getstate__(self) -> dict[str, Any]:
        names = ("_schema", "_pointers", "_columns", "_index")
        return {name: getattr(self, name) for name in names}

    # -- what it is ---------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._columns["valid"])

    @property
    def shape(self) -> tuple[int]:
        """Shape of the array, ``(n_graphs,)``."""
        return (len(self),)

    @property
    def schema(self) -> GraphSchema:
        """Meaning of the columns."""
        return self._schema

    @property
    def valid(self) -> np.ndarray:
        """Boolean array of shape (n_graphs,): False where the input was unreadable."""
        return self._columns["valid"]

    @property
    def n_nodes(self) -> np.ndarray:
        """Nodes of each graph, shape (n_graphs,)."""
        return np.diff(self._pointers["node"])

    @property
    def n_edges(self) -> np.ndarray:
        """Directed edges of each graph, shape (n_graphs,)."""
        return np.diff(self._pointers["edge"])

    @property
    def node_codes(self) -> np.ndarray:
        """Categorical node columns, shape (sum(n_nodes), n_columns)."""
        return self._columns["node_codes"]

    @property
    def node_features(self) -> np.ndarray:
        """Continuous node columns, shape (sum(n_nodes), n_features)."""
        return self._columns["node_features"]

    @property
    def edge_index(self) -> np.ndarray:
        """Source and target of the edges within their graph, (2, sum(n_edges))."""
        return self._columns["edge_index"]

    @property
    def edge_codes(self) -> np.ndarray:
        """Categorical edge columns, shape (sum(n_edges), n_columns)."""
        return self._columns["edge_codes"]

    @property
    def edge_features(self) -> np.ndarray:
        """Continuous edge columns, shape (sum(n_edges), n_features)."""
        return self._columns["edge_features"]

    @property
    def graph_features(self) -> np.ndarray:
        """Numbers beside the graphs, shape (n_graphs, n_features); NaN if missing."""
        return self._columns["graph_features"]

    @cached_property
    def ids(self) -> np.ndarray:
        """Identifiers, object array of str of shape (n_graphs,); '' where missing."""
        return unpack_strings(self._pointers["id"], self._columns["id_bytes"])

    @property
    def index(self) -> pd.Index | None:
        """Row labels of the pandas object that the graphs come from, or None.

        A frame that is made from the graphs has them. They follow a selection of rows;
        files and ``==`` ignore them.
        """
        return self._index

    @property
    def nbytes(self) -> int:
        """Bytes of all columns and pointers."""
        parts = (*self._columns.values(), *self._pointers.values())
        return sum(part.nbytes for part in parts)

    def __sizeof__(self) -> int:
        # Asked by dask and ray, which send small objects along with each task.
        return object.__sizeof__(self) + self.nbytes

    def __repr__(self) -> str:
        return text_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GraphArray):
            return NotImplemented
        if self.schema != other.schema or len(self) != len(other):
            return False
        return are_equal(self._pointers, other._pointers) and are_equal(
            self._columns, other._columns
        )

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise TypeError(
            "A GraphArray cannot become a NumPy array because its graphs differ in "
            "size. Pass it to a graph estimator, or embed it first "
            "(estimator.embed(X))."
        )

    # -- selection ----------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            # Because scikit-learn indexes rows as X[rows, ...].
            key = tuple(part for part in key if part is not Ellipsis)
            if len(key) != 1:
                raise IndexError(
                    f"A GraphArray has one dimension, but {len(key)} indices were "
                    "given."
                )
            key = key[0]
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            return self._graph(int(key))
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self))
            return self._range(start, max(start, stop))
        return self._take(self._rows(key))

    def __iter__(self) -> Iterator[Data]:
        return (self._graph(i) for i in range(len(self)))

    def _range(self, start: int, stop: int) -> GraphArray:
        pointers, columns = {}, {}
        for level in RAGGED_LEVELS:
            pointer = self._pointers[level][start : stop + 1]
            pointers[level] = pointer - pointer[0]
        for name, column in self._columns.items():
            a, b = self._bounds(LEVELS[name], start, stop)
            columns[name] = column[..., a:b] if name == "edge_index" else column[a:b]
        index = None if self._index is None else self._index[start:stop]
        return self._from_parts(self.schema, pointers, columns, index)

    def _bounds(self, level: str, start: int, stop: int) -> tuple[int, int]:
        if level == "graph":
            return start, stop
        return int(self._pointers[level][start]), int(self._pointers[level][stop])

    def _rows(self, key: Any) -> np.ndarray:
        """Turn an index (a list, a mask, a slice) into positions."""
        rows: np.ndarray = self._positions[key]
        if rows.ndim != 1:
            raise IndexError(f"Rows must be one-dimensional, got {rows.ndim} axes.")
        return rows

    @cached_property
    def _positions(self) -> np.ndarray:
        return np.arange(len(self))

    def _take(self, rows: np.ndarray) -> GraphArray:
        pointers, index = gather_index(self._pointers, rows)
        columns = {
            name: take(name, column, index) for name, column in self._columns.items()
        }
        labels = None if self._index is None else self._index[rows]
        return self._from_parts(self.schema, pointers, columns, labels)

    def batch(self, rows: Sequence[int] | Sequence[bool] | np.ndarray) -> GraphBatch:
        """Gather graphs into one disjoint union, as torch tensors on the CPU.

        Parameters
        ----------
        rows : array-like of int or bool
            Positions of the graphs, or a mask, as for ``X[rows]``.

        Returns
        -------
        batch : GraphBatch
            Nodes numbered through the whole batch.
        """
        from ._batch import GraphBatch

        rows = self._rows(np.asarray(rows) if len(rows) else [])
        pointers, index = gather_index(self._pointers, rows, ("node", "edge"))
        columns = {
            name: take(name, column, index)
            for name, column in self._columns.items()
            if LEVELS[name] != "id" and name != "valid"
        }
        offsets = np.repeat(pointers["node"][:-1], np.diff(pointers["edge"]))
        columns["edge_index"] = columns["edge_index"] + offsets
        columns["graph_of_node"] = np.repeat(
            np.arange(len(rows)), np.diff(pointers["node"])
        )
        return GraphBatch.from_numpy(self.schema, len(rows), columns)

    def _graph(self, i: int) -> Data:
        """Return graph ``i`` as a PyG ``Data``."""
        from ._data import as_data

        if not -len(self) <= i < len(self):
            raise IndexError(
                f"Index {i} is out of range: the array has {len(self)} graphs."
            )
        return as_data(self._range(i % len(self), i % len(self) + 1))

    def without_ids(self) -> GraphArray:
        """Drop the identifiers, to save memory.

        Returns
        -------
        graphs : GraphArray
            The same graphs with empty identifiers.
        """
        pointer, id_bytes = pack_strings(None, len(self))
        return self._from_parts(
            self.schema,
            {**self._pointers, "id": pointer},
            {**self._columns, "id_bytes": id_bytes},
            self._index,
        )

    def with_index(self, index: pd.Index | None) -> GraphArray:
        """Label the rows.

        Parameters
        ----------
        index : pandas Index of length n_graphs, or None
            The labels.

        Returns
        -------
        graphs : GraphArray
            The same graphs with these labels.

        Raises
        ------
        ValueError
            If the lengths differ.
        """
        if index is not None and len(index) != len(self):
            raise ValueError(
                f"index has {len(index)} labels, but there are {len(self)} graphs."
            )
        return self._from_parts(self.schema, self._pointers, self._columns, index)

    def with_features(
        self, values: Any, names: Sequence[str] | None = None
    ) -> GraphArray:
        """Put numbers beside the graphs, such as a temperature or descriptors.

        Features that the graphs have already stay in front of the new ones.

        Parameters
        ----------
        values : array-like of shape (n_graphs, n_features) or (n_graphs,)
            The numbers, NaN where one is missing; invalid graphs have some, too. The
            rows of a frame belong to the graphs by position, whatever its index.
        names : sequence of str of length n_features, optional
            Different names. By default those of the columns of a frame, or the name
            of a Series.

        Returns
        -------
        graphs : GraphArray
            The same graphs; ``schema.graph_features`` ends with the names.

        Raises
        ------
        ValueError
            If a name is given twice or is there already, if the shape does not fit, or
            if a number is infinite or beyond the range of ``schema.dtype``.
        TypeError
            If a value is not a number, or a name not a string.

        Examples
        --------
        >>> from skgnn_mtl import SmilesToGraph
        >>> X = SmilesToGraph().transform(["CCO", "O"])
        >>> X = X.with_features([[300.0], [350.0]], ["temperature"])
        >>> X[[1]].graph_features
        array([[350.]], dtype=float32)
        """
        cells, names = read_features(values, names)
        present = self.schema.graph_features
        repeated = [name for name in names if name in present]
        if repeated:
            raise ValueError(f"The graphs have a feature {repeated[0]!r} already.")
        new = as_graph_features(cells, names, len(self), self.schema.dtype)
        return self._from_parts(
            replace(self.schema, graph_features=(*present, *names)),
            self._pointers,
            {
                **self._columns,
                "graph_features": np.concatenate([self.graph_features, new], axis=1),
            },
            self._index,
        )

    # -- putting together ---------------------------------------------------------

    @classmethod
    def concatenate(cls, arrays: Sequence[GraphArray]) -> GraphArray:
        """Join arrays of one schema, in order.

        Parameters
        ----------
        arrays : sequence of GraphArray
            At least one.

        Returns
        -------
        joined : GraphArray
            All graphs, with row labels if all arrays have some.

        Raises
        ------
        ValueError
            If the sequence is empty, or if two schemas differ.
        """
        arrays = list(arrays)
        if not arrays:
            raise ValueError("concatenate needs at least one GraphArray, got none.")
        schema = arrays[0].schema
        for k, array in enumerate(arrays):
            if array.schema != schema:
                raise ValueError(
                    f"Cannot concatenate arrays 0 and {k}: their schemas differ in "
                    f"{schema.difference(array.schema)}."
                )
        pointers, columns = join([(a._pointers, a._columns) for a in arrays])
        index = arrays[0].index
        for array in arrays[1:]:
            if index is not None:
                index = None if array.index is None else index.append(array.index)
        return cls._from_parts(schema, pointers, columns, index)

    # -- files --------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one array file per column and a JSON header into a folder.

        Parameters
        ----------
        path : str or path-like
            Folder to create; an existing folder must be empty.

        Raises
        ------
        FileExistsError
            If the folder is not empty.
        """
        from ._io import save_columns

        save_columns(path, self.schema, self._pointers, self._columns)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        mmap_mode: Literal["r"] | None = None,
        verify: bool = True,
    ) -> GraphArray:
        """Read the folder that :meth:`save` wrote, without executing code from it.

        Parameters
        ----------
        path : str or path-like
            The folder.
        mmap_mode : {None, "r"}, default=None
            "r" maps the columns instead of reading them into memory.
        verify : bool, default=True
            Compare all files with their checksums, which reads them; False trusts them.

        Returns
        -------
        graphs : GraphArray
            Equal to the saved array.

        Raises
        ------
        ValueError
            If the folder does not hold a complete GraphArray, or is damaged.
        """
        from ._io import load_columns

        return cls._from_parts(*load_columns(path, mmap_mode=mmap_mode, verify=verify))
