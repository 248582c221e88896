"""From a table of one's own to X and y."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ._cells import Cells, read_cells
from ._columns import as_table, by_column, find_molecules, find_smiles, find_targets
from ._file import read_file
from ._labels import (
    bound_text,
    first_rows,
    merged,
    note_duplicates,
    note_odd_columns,
)
from ._molecules import Molecules, of_rows, read_molecules, readable_texts
from ._report import Report
from ._units import unit_of_header

_CHOICES = {
    "duplicates": ("keep", "mean", "median"),
    "salts": ("keep", "largest"),
    "unreadable": ("keep", "drop"),
    "censored": ("bound", "drop"),
}


def read_table(
    source: Any,
    *,
    smiles: str | Sequence[str] | None = None,
    targets: str | Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    duplicates: str = "keep",
    salts: str = "keep",
    unreadable: str = "keep",
    censored: str = "bound",
    decimal: str | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    n_jobs: int | None = None,
) -> tuple[pd.Series | pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read molecules and labels from a table, and report what is odd in it.

    All faults are reported at once. They are repaired only where a parameter names the
    repair. Cells that are not numbers become missing labels, each with a row in the
    report.

    Parameters
    ----------
    source : path or DataFrame
        A CSV file (also packed by gzip, bzip2 or xz), a parquet file, or a table of
        pandas, polars or pyarrow.
    smiles : str or list of str, default=None
        Column of the SMILES; None finds it by its content. Several columns, such as
        ``["solute", "solvent"]``, are the molecules of a row.
    targets : str or list of str, default=None
        Columns of the labels. None stands for all columns of numbers whose names or
        values do not only count rows. A named column of few distinct texts is read as
        classes.
    units : dict of str to str, default=None
        Target -> its wanted unit, such as ``{"IC50": "nM"}``. Numbers are converted
        from the unit in the header, such as "IC50 (uM)", or in the cell, such as
        "0.5 uM".
    duplicates : {"keep", "mean", "median"}, default="keep"
        "mean" and "median" make one row of all rows of a molecule, at the place of the
        first. Exact labels are averaged; without one, the tightest bound stays. Classes
        and columns of 0 and 1 keep labels that agree, and lose others.
    salts : {"keep", "largest"}, default="keep"
        "largest" replaces salts and mixtures by the component with the most heavy
        atoms, with the charge that it has there.
    unreadable : {"keep", "drop"}, default="keep"
        "drop" leaves out rows without a molecule that RDKit can read. Kept rows need
        ``SmilesToGraph(on_error="nan")``.
    censored : {"bound", "drop"}, default="bound"
        What labels such as ">100" are: text that ``censored="bound"`` of
        :class:`~skgnn_mtl.MultiTaskGNNRegressor` learns from, or missing.
    decimal : {".", ","}, default=None
        Mark of decimals; None decides per column, and reports columns that leave a
        doubt.
    separator : str, default=None
        Separator of a CSV file; None finds comma, semicolon, tab or "|".
    encoding : str, default=None
        Encoding of a CSV file; None tries UTF-8 and UTF-16, then cp1252.
    n_jobs : int, default=None
        Number of processes that read molecules; None stands for 1, -1 for all.

    Returns
    -------
    X : Series of str of shape (n_molecules,)
        SMILES, missing where the cell is; a DataFrame of several columns. Its index has
        the positions of the rows in the table, from 0, in their order.
    y : DataFrame of shape (n_molecules, n_targets)
        Labels, NaN where missing, with the index of `X`. Columns with bounds have the
        dtype object. ``y.attrs["units"]`` has the known units.
    report : DataFrame
        One row per finding, with the columns

        * ``row``: position in the table; missing if it is about a column or the table
        * ``column``: name of the column
        * ``what``: kind of the finding, one of "missing molecule", "unreadable", "other
          notation", "salt", "duplicate", "contradiction"; "censored", "not a number",
          "date", "comma", "decimal comma", "unit in a cell", "infinite"; "unit",
          "constant", "nearly empty", "wide scale", "left out", "name of two columns";
          "blank row", "other separator", "encoding"
        * ``value``: what was found, and what to do

    Raises
    ------
    ValueError
        If there is no column of SMILES or of labels, or more than one of SMILES; if
        lines of the file have more cells than its header; if a unit cannot be
        converted.
    TypeError
        If `source` is not a table.
    ImportError
        If a parquet file is read without pyarrow.

    See Also
    --------
    skgnn_mtl.model_selection.molecule_groups : Groups that keep rows of one molecule in
        one fold.
    skgnn_mtl.metrics.read_censored : Numbers and signs of bounds.

    Notes
    -----
    Two rows have the same molecule if their canonical SMILES are equal, with
    stereochemistry, charges and isotopes. Tautomers differ.

    Examples
    --------
    >>> import pandas as pd
    >>> from skgnn_mtl.datasets import read_table
    >>> table = pd.DataFrame({
    ...     "Structure": ["CCO", "OCC", "CCN.Cl", "C1CC", None],
    ...     "IC50 (uM)": ["1,250.5", "0.4", ">100", "n.d.", "7"],
    ... })
    >>> X, y, report = read_table(
    ...     table, units={"IC50": "nM"}, duplicates="mean", salts="largest",
    ...     unreadable="drop",
    ... )
    >>> X.to_dict()
    {0: 'CCO', 2: 'CCN'}
    >>> y["IC50 (nM)"].to_dict()
    {0: 625450.0, 2: '>100000'}
    >>> report["what"].tolist()
    ['nearly empty', 'unit', 'contradiction', 'duplicate', 'salt', 'censored', \
'unreadable', 'not a number', 'missing molecule']
    """
    _check_choices(
        duplicates=duplicates, salts=salts, unreadable=unreadable, censored=censored
    )
    if decimal not in (None, ".", ","):
        raise ValueError(f"decimal must be '.' or ',', but is {decimal!r}.")
    report = Report()
    if isinstance(source, (str, os.PathLike)):
        source, separator = read_file(
            source, report, separator=separator, encoding=encoding
        )
    table = _with_rows(as_table(source, report))
    columns = find_molecules(table, smiles, readable_texts)
    names = find_targets(table, targets, columns, report)
    blank = np.flatnonzero(table.isna().all(axis=1).to_numpy())
    report.add_rows(blank, "", "blank row", [""] * len(blank))
    molecules = of_rows(
        [read_molecules(table[c], report, salts=salts, n_jobs=n_jobs) for c in columns]
    )
    wanted = by_column(units, names)
    labels = {
        name: read_cells(
            table[name],
            report,
            decimal=decimal,
            # Files with semicolons come from where a comma is the decimal mark.
            unclear="decimal" if separator == ";" else "comma",
            unit=wanted.get(name, ""),
            unit_of_header=unit_of_header(name)[1],
            classes=targets is not None,
        )
        for name in names
    }
    note_odd_columns(labels, report)
    note_duplicates(molecules.groups, ", ".join(columns), labels, report)
    labels, kept = _repaired(molecules, labels, duplicates, unreadable)
    index = np.flatnonzero(kept)
    cells = zip(columns, molecules.texts.T, strict=True)
    parts = [pd.Series(texts[kept], index, name=name) for name, texts in cells]
    X = parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)
    y = pd.DataFrame(
        {name: _column_of(cells, censored)[kept] for name, cells in labels.items()},
        index=index,
    )
    return X, _with_units(y, wanted, report), report.frame()


def _check_choices(**choices: str) -> None:
    for option, choice in choices.items():
        if choice not in _CHOICES[option]:
            raise ValueError(
                f"{option} must be one of {_CHOICES[option]}, but is {choice!r}."
            )


def _with_rows(table: pd.DataFrame) -> pd.DataFrame:
    if not len(table):
        raise ValueError(
            "The table has no row below its header: columns "
            f"{[str(name) for name in table.columns]}."
        )
    return table


def _repaired(
    molecules: Molecules, labels: dict[str, Cells], duplicates: str, unreadable: str
) -> tuple[dict[str, Cells], np.ndarray]:
    """Merge and leave out rows where this was asked for; mark the rows that stay."""
    groups = molecules.groups
    kept = np.ones(len(groups), dtype=bool)
    if duplicates != "keep":
        labels = {name: merged(groups, c, duplicates) for name, c in labels.items()}
        kept = first_rows(groups) == np.arange(len(groups))
    if unreadable == "drop":
        kept &= molecules.readable
    return labels, kept


def _column_of(cells: Cells, censored: str) -> np.ndarray:
    """Make a column of y: bounds are text among numbers, or missing."""
    bounds = np.flatnonzero(cells.signs)
    if not len(bounds):
        return cells.values
    if censored == "drop":
        return np.where(cells.signs == 0, cells.values, np.nan)
    column = cells.values.astype(object)
    for row in bounds:
        column[row] = bound_text(cells.values[row], cells.signs[row])
    return column


def _with_units(
    y: pd.DataFrame, wanted: dict[str, str], report: Report
) -> pd.DataFrame:
    """Note units, and write those that were converted into the names of columns."""
    names, units = {}, {}
    for name in y.columns:
        given, unit = unit_of_header(name)[1], wanted.get(name, "")
        if given:
            converted = f"converted to {unit}" if unit and unit != given else "kept"
            report.add(name, "unit", f"{given} in the header, {converted}")
        if given and unit:
            at = name.rindex(given)
            names[name] = name[:at] + unit + name[at + len(given) :]
        if unit or given:
            units[names.get(name, name)] = unit or given
    y = y.rename(columns=names)
    y.attrs["units"] = units
    return y


def read_smiles_column(
    source: Any,
    *,
    smiles: str | None = None,
    salts: str = "keep",
    separator: str | None = None,
    encoding: str | None = None,
) -> pd.Series:
    """Read the molecules of a table, for predictions.

    Parameters
    ----------
    source : path or DataFrame
        As :func:`read_table` takes it.
    smiles, salts, separator, encoding : str or None
        Parameters of :func:`read_table`.

    Returns
    -------
    X : Series of shape (n_rows,)
        All cells of the column, missing where they are.
    """
    report = Report()
    if isinstance(source, (str, os.PathLike)):
        source, _ = read_file(source, report, separator=separator, encoding=encoding)
    table = as_table(source, report)
    column = table[find_smiles(table, smiles, readable_texts)]
    molecules = read_molecules(column, report, salts=salts, n_jobs=None)
    return pd.Series(molecules.texts, name=column.name)
