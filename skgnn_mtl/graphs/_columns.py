"""Columns of a GraphArray: converted, checked, packed and read-only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


def read_only(values: np.ndarray) -> np.ndarray:
    """View an array without the right to write to it."""
    view = values.view()
    view.flags.writeable = False
    return view


def as_integers(values: ArrayLike, name: str) -> np.ndarray:
    """Read an array of integers; any other type is an error."""
    values = np.asarray(values)
    # Empty lists pass, because NumPy reads them as floats.
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got {values.dtype}.")
    return values


def _converted(values: ArrayLike, dtype: DTypeLike) -> np.ndarray:
    """Convert; copy a writeable array, because its owner may change it later."""
    values = np.asarray(values)
    return values.astype(dtype, copy=values.flags.writeable)


def as_pointer(counts: ArrayLike) -> np.ndarray:
    """Turn the rows per graph (n,) into the first row of each and the end, (n + 1,)."""
    counts = np.asarray(counts, dtype=np.int64)
    if counts.ndim != 1 or (counts < 0).any():
        raise ValueError("n_nodes and n_edges must be one-dimensional and >= 0.")
    pointer = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=pointer[1:])
    return pointer


def pack_strings(
    strings: Sequence[str] | None, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Write n strings as a pointer (n + 1,) and one row of bytes."""
    if strings is None:
        return np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    if len(strings) != n:
        raise ValueError(f"There are {n} graphs, but {len(strings)} ids were given.")
    encoded = [string.encode() for string in strings]
    pointer = as_pointer(np.fromiter(map(len, encoded), dtype=np.int64, count=n))
    return pointer, np.frombuffer(b"".join(encoded), dtype=np.uint8)


def unpack_strings(pointer: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Read the strings that :func:`pack_strings` wrote, as objects (n,)."""
    raw, strings = packed.tobytes(), np.empty(len(pointer) - 1, dtype=object)
    bounds = pointer.tolist()
    strings[:] = [raw[a:b].decode() for a, b in pairwise(bounds)]
    return read_only(strings)


def as_codes(
    values: ArrayLike | None,
    columns: Sequence[tuple[str, int]],
    n_rows: int,
    level: str,
) -> np.ndarray:
    """Check categorical columns (n_rows, len(columns)); keep the smallest integers."""
    sizes = np.array([size for _, size in columns], dtype=np.int64)
    dtype = np.min_scalar_type(int(sizes.max(initial=1)) - 1)
    if values is None:
        values = np.empty((n_rows, 0 if n_rows else len(columns)), dtype=dtype)
    values = as_integers(values, f"{level}_codes")
    if values.shape != (n_rows, len(columns)):
        raise ValueError(
            f"{level}_codes must have shape ({n_rows}, {len(columns)}), "
            f"but have shape {values.shape}."
        )
    if not values.size:
        return values.astype(dtype)
    # One pass over the table, because the extremes per column take five times as long.
    last = np.minimum(sizes - 1, np.iinfo(values.dtype).max).astype(values.dtype)
    outside = (values < 0) | (values > last)
    if outside.any():
        j = int(np.flatnonzero(outside.any(axis=0))[0])
        raise ValueError(
            f"Column {columns[j][0]!r} of {level}_codes must lie in 0..{sizes[j] - 1}, "
            f"but runs from {values[:, j].min()} to {values[:, j].max()}."
        )
    return _converted(values, dtype)


def as_features(
    values: ArrayLike | None, names: Sequence[str], n_rows: int, dtype: str, column: str
) -> np.ndarray:
    """Check that continuous columns (n_rows, len(names)) are finite."""
    if values is None:
        values = np.empty((n_rows, 0 if n_rows else len(names)))
    values = _converted(values, dtype)
    if values.shape != (n_rows, len(names)):
        raise ValueError(
            f"{column} must have shape ({n_rows}, {len(names)}), "
            f"but have shape {values.shape}."
        )
    finite = np.isfinite(values)
    if not finite.all():
        row, j = np.argwhere(~finite)[0]
        raise ValueError(
            f"Column {names[j]!r} of {column} must be finite, but holds "
            f"{values[row, j]}."
        )
    return values


def as_edge_index(
    edge_index: ArrayLike | None, pointers: dict[str, np.ndarray]
) -> np.ndarray:
    """Check sources and targets (2, n_edges), numbered within their graphs."""
    n_graphs, n_edges = len(pointers["node"]) - 1, int(pointers["edge"][-1])
    if len(pointers["edge"]) != n_graphs + 1:
        raise ValueError("n_nodes and n_edges must have the same length.")
    if edge_index is None:
        edge_index = np.empty((2, 0))
    edge_index = as_integers(edge_index, "edge_index")
    if edge_index.shape != (2, n_edges):
        raise ValueError(
            f"edge_index must have shape (2, {n_edges}), "
            f"but has shape {edge_index.shape}."
        )
    limits = np.repeat(np.diff(pointers["node"]), np.diff(pointers["edge"]))
    if ((edge_index < 0) | (edge_index >= limits)).any():
        raise ValueError("edge_index names a node that its graph does not have.")
    return _converted(edge_index, np.int32)


def as_valid(valid: ArrayLike | None, n_nodes: np.ndarray) -> np.ndarray:
    """Check which graphs are readable, bool (n_graphs,); the others have no node."""
    valid = _converted(np.ones(len(n_nodes)) if valid is None else valid, bool)
    if valid.shape != n_nodes.shape:
        raise ValueError(
            f"valid must have shape {n_nodes.shape}, but has shape {valid.shape}."
        )
    if n_nodes[~valid].any():
        row = int(np.flatnonzero(~valid & (n_nodes > 0))[0])
        raise ValueError(
            f"An invalid graph must not have nodes, but graph {row} has {n_nodes[row]}."
        )
    return valid
