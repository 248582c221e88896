"""From a file of any spelling to a table of text."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ._report import Report

SEPARATORS = (",", ";", "\t", "|")
_OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_PARQUET = (".parquet", ".pq")
_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"))
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
# Lines that say which separator a file has.
_N_LINES = 50
_N_NAMED = 3


def read_file(
    path: str | os.PathLike[str],
    report: Report,
    *,
    separator: str | None,
    encoding: str | None,
) -> tuple[pd.DataFrame, str]:
    """Read a table of text from a file, CSV or parquet.

    Parameters
    ----------
    path : str or path-like
        The file; CSV may be packed by gzip, bzip2 or xz.
    report : Report
        Takes what is odd.
    separator, encoding : str or None
        Of a CSV; None finds them.

    Returns
    -------
    table : DataFrame
        Cells as text, missing where empty; parquet has its own types.
    separator : str
        Of a CSV, else "".

    Raises
    ------
    ValueError
        If the file is not a table: empty, a workbook, or of lines with too many cells.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder, but the file of a table was wanted. Crystals of a "
            'folder are read by CifToGraph().transform(sorted(folder.glob("*.cif"))).'
        )
    if path.suffix.lower() in _PARQUET:
        return _read_parquet(path), ""
    text = _decoded(_bytes_of(path), path, report, encoding)
    # Blank lines at the end are not rows.
    text = text.strip("\r\n\ufeff")
    if not text.strip():
        raise ValueError(f"{path} is empty, but a table was wanted.")
    if separator is None:
        separator = _separator(text)
    _check_names(text, separator, report)
    table = _parsed(text, separator, path)
    _note_other_separators(table, separator, report)
    return table, separator


def _bytes_of(path: Path) -> bytes:
    with _OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
        content: bytes = file.read()
    if content.startswith(_WORKBOOKS):
        raise ValueError(
            f"{path} is a workbook or an archive, but text was wanted. Read a workbook "
            "with pandas.read_excel and pass the DataFrame."
        )
    return content


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ImportError("Parquet files need pyarrow: pip install pyarrow.") from error


def _decoded(content: bytes, path: Path, report: Report, encoding: str | None) -> str:
    if encoding is None:
        marks = (name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark))
        encoding = next(marks, "utf-8")
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            report.add(
                "",
                "encoding",
                f"byte {error.start} is not {encoding}; the file was read as cp1252. "
                "Pass encoding= if letters are wrong.",
            )
            # Five of its bytes mean nothing; latin-1 knows all.
            return content.decode("cp1252", errors="replace")
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise ValueError(
            f"{path} cannot be read with encoding={encoding!r}: {error}. Leave the "
            "parameter out to find the encoding."
        ) from error


def _separator(text: str) -> str:
    """Find the separator that divides the first lines most evenly."""
    lines = list(islice(io.StringIO(text), _N_LINES))

    def evenness(separator: str) -> tuple[int, int]:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=separator))
        # The header decides what is even, because lines below it may be damaged.
        n_cells = len(next(csv.reader(lines, delimiter=separator)))
        return (counts[n_cells] if n_cells > 1 else 0, n_cells)

    return max(SEPARATORS, key=evenness)


def _check_names(text: str, separator: str, report: Report) -> None:
    names = next(csv.reader(io.StringIO(text), delimiter=separator))
    for name, count in Counter(name.strip() for name in names).items():
        if count > 1 and name:
            report.add(
                name, "name of two columns", f"{count} columns; the later have numbers"
            )


def _parsed(text: str, separator: str, path: Path) -> pd.DataFrame:
    how: dict[str, Any] = {"sep": separator, "dtype": object, "index_col": False}
    # Only empty cells are missing here, because "NA" may be meant in a column of text.
    how |= {"keep_default_na": False, "na_values": [""], "skip_blank_lines": False}
    try:
        # A row per line, because blank lines must not shift the rows below them.
        table = pd.read_csv(io.StringIO(text), **how)
    except pd.errors.ParserError as error:
        raise ValueError(_too_many_cells(text, separator, path, error)) from error
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _too_many_cells(text: str, separator: str, path: Path, error: Exception) -> str:
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    n_cells = len(next(reader))
    longer = ((reader.line_num, len(row), row) for row in reader if len(row) > n_cells)
    found = list(islice(longer, _N_NAMED))
    if not found:
        return f"{path} cannot be read as a table: {error}."
    lines = "; ".join(f"line {at} has {n}: {row}" for at, n, row in found)
    return (
        f"{path} has {n_cells} columns, separated by {separator!r}, but some lines "
        f"have more cells: {lines}. Put cells that hold the separator into quotation "
        "marks."
    )


def _note_other_separators(table: pd.DataFrame, separator: str, report: Report) -> None:
    """Note lines that fill the first cell only, and hold another separator."""
    n_others = table.shape[1] - 1
    if n_others < 1:
        return
    alone = table.iloc[:, 1:].isna().all(axis=1).to_numpy()
    rows = np.flatnonzero(alone)
    first = table.iloc[rows, 0].fillna("").astype(str)
    for other in SEPARATORS:
        if other == separator:
            continue
        found = first.str.count(f"[{other}]").to_numpy() >= n_others
        report.add_rows(
            rows[found],
            str(table.columns[0]),
            "other separator",
            [f"{line!r} is separated by {other!r}" for line in first[found]],
        )
