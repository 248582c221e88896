"""Rows of packed columns: which ones belong to chosen graphs, and how to join them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ._columns import as_pointer

# Level of every column; "graph" columns have one row per graph and need no pointer.
LEVELS = {
    "node_codes": "node",
    "node_features": "node",
    "edge_index": "edge",
    "edge_codes": "edge",
    "edge_features": "edge",
    "graph_features": "graph",
    "valid": "graph",
    "id_bytes": "id",
}
RAGGED_LEVELS = ("node", "edge", "id")

Arrays = dict[str, np.ndarray]


def gather_index(
    pointers: Arrays, rows: np.ndarray, levels: Iterable[str] = RAGGED_LEVELS
) -> tuple[Arrays, Arrays]:
    """Make the new pointers and list the old rows to take, for each level."""
    chosen, index = {}, {"graph": rows}
    for level in levels:
        starts = pointers[level][rows]
        counts = pointers[level][rows + 1] - starts
        chosen[level] = as_pointer(counts)
        shift = np.repeat(starts - chosen[level][:-1], counts)
        index[level] = shift + np.arange(len(shift))
    return chosen, index


def take(name: str, column: np.ndarray, index: Arrays) -> np.ndarray:
    """Take the listed rows of a column."""
    rows = index[LEVELS[name]]
    if name == "edge_index":
        # One after the other, because NumPy would first copy all edges of a slice.
        return np.stack([np.take(ends, rows) for ends in column])
    return np.take(column, rows, axis=0)


def join(arrays: Sequence[tuple[Arrays, Arrays]]) -> tuple[Arrays, Arrays]:
    """Join pointers and columns of several arrays, in order."""
    pointers = {
        level: as_pointer(np.concatenate([np.diff(p[level]) for p, _ in arrays]))
        for level in RAGGED_LEVELS
    }
    columns = {
        name: np.concatenate([c[name] for _, c in arrays], axis=_axis(name))
        for name in LEVELS
    }
    return pointers, columns


def are_equal(mine: Arrays, theirs: Arrays) -> bool:
    """Compare arrays of equal names; a missing feature of a graph equals another."""
    return all(
        np.array_equal(mine[name], theirs[name], equal_nan=name == "graph_features")
        for name in mine
    )


def _axis(name: str) -> int:
    return 1 if name == "edge_index" else 0
