"""From a data file to a checked table and on to scikit-learn's Bunch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from ._cache import RemoteFile, fetch_file


@dataclass(frozen=True)
class Table:
    """Content of a downloadable table, by which another table is recognised.

    Parameters
    ----------
    file : RemoteFile
        Address and hash.
    smiles : str
        Column of the SMILES.
    tasks : dict of str to str
        Column of each target -> name of the task, with its unit.
    n_rows : int
        Number of molecules.
    n_labels : tuple of int, optional
        Number of labels of each task; by default each molecule has all labels.
    extra : dict of str to str
        Further numeric columns of the result, which are not tasks.
    """

    file: RemoteFile
    smiles: str
    tasks: Mapping[str, str]
    n_rows: int
    n_labels: tuple[int, ...] | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def read_csv(path: str | os.PathLike[str], smiles: str, numeric: list[str]) -> Any:
    """Read some columns; only empty fields are missing, 'NA' and 'nan' are text."""
    return pd.read_csv(
        path,
        usecols=lambda column: column == smiles or column in numeric,
        dtype={smiles: str, **dict.fromkeys(numeric, "float64")},
        keep_default_na=False,
        na_values=[""],
    )


def fetch_bunch(
    table: Table,
    descr: str,
    *,
    data_home: str | os.PathLike[str] | None,
    download_if_missing: bool,
    return_X_y: bool,
    as_frame: bool,
) -> Bunch | tuple[Any, Any]:
    """Fetch, check and pack a table, as the ``fetch_*`` functions return it."""
    path = fetch_file(
        table.file, data_home=data_home, download_if_missing=download_if_missing
    )
    frame = _read_checked(path, table)
    extra = {"extra": frame[list(table.extra.values())]} if table.extra else {}
    return to_bunch(
        frame["smiles"],
        frame[list(table.tasks.values())],
        descr,
        return_X_y=return_X_y,
        as_frame=as_frame,
        **extra,
    )


def _read_checked(path: Path, table: Table) -> pd.DataFrame:
    """Read the columns of a table, check their counts, and rename them."""
    names = {**table.tasks, **table.extra}
    try:
        frame = read_csv(path, table.smiles, list(names))
        _check_counts(frame, table)
    except ValueError as error:
        raise OSError(
            f"{path} is not the expected table: {error}. Move it away to download it "
            f"again from {table.file.url}."
        ) from error
    return frame.rename(columns={table.smiles: "smiles", **names})


def _check_counts(frame: pd.DataFrame, table: Table) -> None:
    """Check columns, rows and numbers of labels; raise ValueError if they differ."""
    wanted = [table.smiles, *table.tasks, *table.extra]
    missing = [column for column in wanted if column not in frame]
    if missing:
        raise ValueError(f"it does not have the columns {missing}")
    if len(frame) != table.n_rows:
        raise ValueError(f"{table.n_rows:,} rows expected, {len(frame):,} found")
    n_labels = table.n_labels or (table.n_rows,) * len(table.tasks)
    counts = (table.n_rows, *n_labels, *(table.n_rows for _ in table.extra))
    for column, count in zip(wanted, counts, strict=True):
        found = frame[column].count()
        if found != count:
            raise ValueError(
                f"{count:,} entries expected in column {column!r}, {found:,} found"
            )


def read_descr(name: str) -> str:
    """Read the description of a data set."""
    return (resources.files(__package__) / "descr" / f"{name}.rst").read_text("utf-8")


def to_bunch(
    smiles: pd.Series,
    target: pd.DataFrame,
    descr: str,
    *,
    return_X_y: bool,
    as_frame: bool,
    **extra: pd.DataFrame,
) -> Bunch | tuple[Any, Any]:
    """Pack a table as scikit-learn's loaders do.

    Parameters
    ----------
    smiles : Series of shape (n,)
        The molecules.
    target : DataFrame of shape (n, t)
        The labels, NaN where missing.
    descr : str
        Description.
    return_X_y : bool
        Whether to return ``(data, target)`` only.
    as_frame : bool
        Whether to return pandas objects, or arrays of dtype object and float64.
    **extra : DataFrame of shape (n, k)
        Further entries of the Bunch.

    Returns
    -------
    Bunch or tuple
        ``data``, ``target``, ``frame`` (only ``as_frame``), ``target_names``,
        ``DESCR`` and the further entries.
    """
    names = list(target.columns)
    frame = pd.concat([smiles, target], axis=1) if as_frame else None
    if not as_frame:
        smiles, target = smiles.to_numpy(dtype=object), target.to_numpy()
        extra = {name: table.to_numpy() for name, table in extra.items()}
    if return_X_y:
        return smiles, target
    content = {"data": smiles, "target": target, "target_names": names, "DESCR": descr}
    if as_frame:
        content["frame"] = frame
    return Bunch(**content, **extra)
