"""Rows from where they lie: files, iterators and columns, in constant memory."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from skgnn_mtl._listed import listed
from skgnn_mtl.graphs import GraphArray

from ._parts import n_parts
from ._strings import as_rows, as_strings, is_lazy

# Rows of a file that are read at once.
_BLOCK = 4096
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_TEXT = (".txt", ".smi", ".smiles")
_PARQUET = (".parquet", ".pq")
_KNOWN = ", ".join((*_SEPARATORS, *_TEXT, *_PARQUET))


# What a table is read by: a column, several of molecules, or the only one.
Column = str | Sequence[str] | None


def stream_of_rows(
    X: Any, column: Column, *, paths: bool, several: bool = False
) -> Iterator[Any]:
    """Read rows one after the other.

    Parameters
    ----------
    X : path, iterable, or column of strings
        A file; rows; chunks of rows; or what ``transform`` takes.
    column : str, list of str or None
        Columns of a table; None if it has only one.
    paths : bool
        Whether paths are rows, too.
    several : bool, default=False
        Whether rows may have several columns.

    Returns
    -------
    rows : iterator
        None for a missing one; tuples of several columns.

    Raises
    ------
    TypeError
        If ``X`` does not have rows.
    ValueError
        If a file or a table does not have the column.
    """
    # Not a generator itself, because a wrong X must be refused here.
    return _rows_of(_chunks(X, column), paths, several)


def _rows_of(chunks: Iterable[Any], paths: bool, several: bool) -> Iterator[Any]:
    position, width = 0, None
    for chunk in chunks:
        read = as_rows if several else as_strings
        rows = read(chunk, paths=paths, first=position)
        width = n_parts(rows) if width is None else width
        if rows and n_parts(rows) != width:
            raise ValueError(
                f"Rows of X must have one length, but X[{position}] has "
                f"{n_parts(rows)} entries, and those before have {width}."
            )
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
        # Parts of a row come one after another.
        for row in chain.from_iterable(r if type(r) is tuple else [r] for r in rows):
            is_named = isinstance(row, (str, PathLike))
            text = fspath(row) if is_named else ""
            kind = "str" if is_named else type(row).__name__
            content = text.encode(errors="surrogatepass")
            # With the length, because rows must not run into each other.
            self._hash.update(f"{kind} {len(content)} ".encode() + content)

    def hexdigest(self) -> str:
        """Give the checksum of all rows so far."""
        return self._hash.hexdigest()


def _chunks(X: Any, column: Column) -> Iterable[Any]:
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


def _alone(row: Any, column: Column) -> list[Any]:
    _refuse_column(column, "X gives rows")
    return [row]


def _refuse_column(column: Column, found: str) -> None:
    if column is not None:
        raise ValueError(f"column={column!r} names a column of tables, but {found}.")


def _column_of(X: Any, column: Column) -> Any:
    if column is None:
        return X
    if not hasattr(type(X), "columns"):
        _refuse_column(column, f"X is or gives {type(X).__name__}")
    is_arrow = hasattr(X, "column_names")  # whose columns are the data
    names = X.column_names if is_arrow else X.columns
    chosen = _chosen(list(names), column, "The table")
    return X.select(chosen) if is_arrow and isinstance(chosen, list) else X[chosen]


def _chosen(names: list[Any], column: Column, where: str) -> Any:
    """Check that a table has the columns; without a name it must be the only one."""
    if isinstance(column, (list, tuple)):
        return [_chosen(names, name, where) for name in column]
    if column is None and len(names) != 1:
        raise ValueError(f"{where} has columns {listed(names)}; name one by column=.")
    if column is not None and column not in names:
        raise ValueError(f"{where} has columns {listed(names)}, but not {column!r}.")
    return names[0] if column is None else column


def _chunks_of_file(path: Path, column: Column) -> Iterable[Any]:
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


def _chunks_of_table(path: Path, separator: str, column: Column) -> Iterator[Any]:
    import pandas as pd

    how: dict[str, Any] = {"sep": separator, "encoding_errors": "surrogateescape"}
    names = list(pd.read_csv(path, nrows=0, **how).columns)
    name = _chosen(names, column, str(path))
    # Only empty cells are missing, because "NA" may be meant as a row.
    how |= {"dtype": str, "keep_default_na": False, "na_values": [""]}
    read = name if isinstance(name, list) else [name]
    with pd.read_csv(path, usecols=read, chunksize=_BLOCK, **how) as reader:
        yield from (table[name] for table in reader)


def _chunks_of_parquet(path: Path, column: Column) -> Iterator[Any]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install pyarrow.") from error
    with ParquetFile(path) as file:
        name = _chosen(file.schema_arrow.names, column, str(path))
        several = isinstance(name, list)
        read = name if several else [name]
        for batch in file.iter_batches(batch_size=_BLOCK, columns=read):
            yield batch if several else batch.column(0).to_pylist()
