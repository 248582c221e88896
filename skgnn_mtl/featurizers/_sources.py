"""Rows from where they lie: files, iterators and columns, in constant memory."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from skgnn_mtl.graphs import GraphArray

from ._strings import as_strings, is_lazy

# Rows of a file that are read at once.
_BLOCK = 4096
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_TEXT = (".txt", ".smi", ".smiles")
_PARQUET = (".parquet", ".pq")
_KNOWN = ", ".join((*_SEPARATORS, *_TEXT, *_PARQUET))


def stream_of_rows(X: Any, column: str | None, *, paths: bool) -> Iterator[Any]:
    """Read rows one after the other.

    Parameters
    ----------
    X : path, iterable, or column of strings
        A file; rows; chunks of rows; or what ``transform`` takes.
    column : str or None
        Column of a table; None if it has only one.
    paths : bool
        Whether paths are rows, too.

    Returns
    -------
    rows : iterator
        None for a missing one.

    Raises
    ------
    TypeError
        If ``X`` does not have rows.
    ValueError
        If a file or a table does not have the column.
    """
    # Not a generator itself, because a wrong X must be refused here.
    return _rows_of(_chunks(X, column), paths)


def _rows_of(chunks: Iterable[Any], paths: bool) -> Iterator[Any]:
    position = 0
    for chunk in chunks:
        rows = as_strings(chunk, paths=paths, first=position)
        position += len(rows)
        yield from rows


def in_chunks(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Group rows into lists of a size; the last one may be shorter.

    Parameters
    ----------
    rows : iterator
        Rows.
    size : int
        Length of a list.

    Yields
    ------
    chunk : list
        With at least one row.
    """
    while chunk := list(islice(rows, size)):
        yield chunk


class RowDigest:
    """A checksum of rows, to compare those of a process that was stopped.

    It knows strings and paths by their value, other objects by their type.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, rows: Iterable[Any]) -> None:
        """Add the next rows.

        Parameters
        ----------
        rows : iterable
            None for a missing one.
        """
        for row in rows:
            is_named = isinstance(row, (str, PathLike))
            text = fspath(row) if is_named else ""
            kind = "str" if is_named else type(row).__name__
            content = text.encode(errors="surrogatepass")
            # With the length, because rows must not run into each other.
            self._hash.update(f"{kind} {len(content)} ".encode() + content)

    def hexdigest(self) -> str:
        """Give the checksum of all rows so far."""
        return self._hash.hexdigest()


def _chunks(X: Any, column: str | None) -> Iterable[Any]:
    if isinstance(X, (str, PathLike)):
        return _chunks_of_file(Path(X), column)
    if is_lazy(X):
        # The column first, because no other one needs to be computed.
        return partitions_of(_column_of(X, column))
    if is_chunk(X):
        return [_column_of(X, column)]
    is_one = isinstance(X, (bytes, Mapping, GraphArray))
    if is_one or not hasattr(type(X), "__iter__"):
        raise TypeError(
            "X must be a column of strings, an iterator of rows or of chunks, or the "
            f"path of a file, but is {type(X).__name__}."
        )
    return (_column_of(x, column) if is_chunk(x) else _alone(x, column) for x in X)


def is_chunk(X: Any) -> bool:
    """Tell a list or a column of rows from a row.

    Parameters
    ----------
    X : object
        Any input.

    Returns
    -------
    is_chunk : bool
        False for a string, a path, a molecule, a crystal and an iterator.
    """
    # Not by its length, because crystals have one, too.
    methods = ("columns", "to_list", "to_pylist")
    return isinstance(X, (list, tuple, np.ndarray)) or any(
        hasattr(type(X), method) for method in methods
    )


def partitions_of(X: Any) -> Iterator[Any]:
    """Compute a collection of dask partition by partition.

    Parameters
    ----------
    X : Series, DataFrame, Array or Bag of dask
        Rows.

    Yields
    ------
    chunk : pandas object, array or list
        Rows of one partition, in order.
    """
    parts = X.to_delayed()
    # An array of dask gives an array, which has a second axis for columns.
    for part in getattr(parts, "flat", parts):
        yield part.compute()


def _alone(row: Any, column: str | None) -> list[Any]:
    _refuse_column(column, "X gives rows")
    return [row]


def _refuse_column(column: str | None, found: str) -> None:
    if column is not None:
        raise ValueError(f"column={column!r} names a column of tables, but {found}.")


def _column_of(X: Any, column: str | None) -> Any:
    if column is None:
        return X
    if not hasattr(type(X), "columns"):
        _refuse_column(column, f"X is or gives {type(X).__name__}")
    names = getattr(X, "column_names", X.columns)  # pyarrow's columns are the data
    return X[_chosen(list(names), column, "The table")]


def _chosen(names: list[Any], column: str | None, where: str) -> Any:
    """Check that a table has the column; without a name it must be the only one."""
    listed = ", ".join(map(repr, names[:10])) + ", ..." * (len(names) > 10)
    if column is None and len(names) != 1:
        raise ValueError(f"{where} has columns {listed}; name one by column=.")
    if column is not None and column not in names:
        raise ValueError(f"{where} has columns {listed}, but not {column!r}.")
    return names[0] if column is None else column


def _chunks_of_file(path: Path, column: str | None) -> Iterable[Any]:
    """Read a file by blocks; its name says how."""
    is_packed = path.suffix.lower() == ".gz"
    kind = (path.with_suffix("") if is_packed else path).suffix.lower()
    if kind in _SEPARATORS:
        return _chunks_of_table(path, _SEPARATORS[kind], column)
    if kind in _TEXT:
        _refuse_column(column, f"{path} is text with a row per line")
        return in_chunks(_lines(path, is_packed), _BLOCK)
    if kind in _PARQUET and not is_packed:
        return _chunks_of_parquet(path, column)
    raise ValueError(
        f"X = {str(path)!r} is read as the path of a file of rows, whose name must end "
        f"with {_KNOWN} (or .gz after all but the last two). Wrap a single row in a "
        "list."
    )


def _lines(path: Path, is_packed: bool) -> Iterator[str]:
    # Bytes that are no text stay, as halves of surrogate pairs: such a row is refused.
    how: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape"}
    with (gzip.open if is_packed else open)(path, "rt", **how) as file:
        for line in file:
            yield line.rstrip("\n")


def _chunks_of_table(path: Path, separator: str, column: str | None) -> Iterator[Any]:
    import pandas as pd

    how: dict[str, Any] = {"sep": separator, "encoding_errors": "surrogateescape"}
    names = list(pd.read_csv(path, nrows=0, **how).columns)
    name = _chosen(names, column, str(path))
    # Only empty cells are missing, because "NA" may be meant as a row.
    how |= {"dtype": str, "keep_default_na": False, "na_values": [""]}
    with pd.read_csv(path, usecols=[name], chunksize=_BLOCK, **how) as reader:
        yield from (table[name] for table in reader)


def _chunks_of_parquet(path: Path, column: str | None) -> Iterator[Any]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install pyarrow.") from error
    with ParquetFile(path) as file:
        name = _chosen(file.schema_arrow.names, column, str(path))
        for batch in file.iter_batches(batch_size=_BLOCK, columns=[name]):
            yield batch.column(0).to_pylist()
