"""Numbers beside the graphs: from any table to a checked column per number."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np


def as_graph_features(
    values: Any, names: Sequence[str], n_graphs: int, dtype: str
) -> np.ndarray:
    """Check features of graphs (n_graphs, len(names)); NaN stands for a missing one."""
    if values is None:
        values = np.empty((n_graphs, 0 if n_graphs else len(names)))
    cells = np.asarray(values)
    if cells.shape != (n_graphs, len(names)):
        raise ValueError(
            f"graph_features must have shape ({n_graphs}, {len(names)}), "
            f"but have shape {cells.shape}."
        )
    numbers = _numbers(cells, names)
    with np.errstate(over="ignore"):  # refused below, with its place
        # A copy of a writeable array, because its owner may change it later.
        features = numbers.astype(dtype, copy=numbers.flags.writeable)
    infinite = np.isinf(features)
    if infinite.any():
        row, j = np.argwhere(infinite)[0].tolist()
        raise ValueError(
            f"graph_features must be finite {dtype} numbers or NaN, but row {row} of "
            f"column {names[j]!r} is {numbers[row, j]}."
        )
    return features


def read_features(
    values: Any, names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read a table of any container by position: its cells (n, k) and column names."""
    if names is None:
        names = _names_of(values)
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be a sequence of strings, but is {names!r}.")
    names = tuple(names)
    for j, name in enumerate(names):
        if name in names[:j]:
            raise ValueError(f"names must differ, but {name!r} is given twice.")
    cells = _cells(values)
    return cells[:, None] if cells.ndim == 1 else cells, names


def _names_of(values: Any) -> list[str]:
    # Columns of a frame are attributes of the object, whatever their names.
    for attribute in ("column_names", "columns"):  # of pyarrow, of pandas and polars
        if hasattr(type(values), attribute):
            return list(map(str, getattr(values, attribute)))
    name = getattr(values, "name", None)
    if hasattr(type(values), "to_numpy") and name not in (None, ""):
        return [str(name)]
    raise ValueError(
        f"names must be given, because values ({type(values).__name__}) do not have "
        "names of columns."
    )


def _cells(values: Any) -> np.ndarray:
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)


def _numbers(cells: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Convert to floats; the first cell that is not a number is named."""
    if cells.dtype.kind == "f":
        return cells
    if cells.dtype.kind in "biu":
        return cells.astype(np.float64)
    numbers = np.empty(cells.shape)
    for (row, j), cell in np.ndenumerate(cells):
        if cell is None or type(cell).__name__ == "NAType":
            numbers[row, j] = np.nan
        # To NumPy a time span is an integer.
        elif isinstance(cell, (Real, np.bool_)) and cells.dtype.kind != "m":
            numbers[row, j] = float(cell)
        else:
            raise TypeError(
                f"graph_features must be numbers, but row {row} of column "
                f"{names[j]!r} is {str(cell)!r} ({type(cell).__name__})."
            )
    return numbers
