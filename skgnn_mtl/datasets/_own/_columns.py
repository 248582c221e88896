"""Which columns are molecules, and which are targets."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from skgnn_mtl._listed import listed

from ._cells import share_of_numbers
from ._report import Report
from ._units import unit_of_header

# Rows that say whether a column holds SMILES.
_N_TRIED = 200
# So few labels may be 1, 2, 3 by chance.
_SHORT = 5
_NAMED_SMILES = re.compile(r"smi(?:les)?s?\b|smiles", re.IGNORECASE)
_NAMED_LABEL = re.compile(
    r"(?:^|[\W_])(?:ids?|idx|index|no|nr|num|number|cid|row|fold|split|unnamed)"
    r"(?:$|[\W_\d])|id$",
    re.IGNORECASE,
)


def as_table(source: Any, report: Report) -> pd.DataFrame:
    """Give a table of any library as a DataFrame of pandas with names of text.

    Parameters
    ----------
    source : DataFrame of pandas or polars, or Table of pyarrow
        The table.
    report : Report
        Takes names that two columns have.

    Returns
    -------
    table : DataFrame
        With rows numbered from 0.

    Raises
    ------
    TypeError
        If it is no table.
    """
    if isinstance(source, pd.DataFrame):
        table = source.reset_index(drop=True)
    elif hasattr(type(source), "column_names"):  # pyarrow
        table = source.to_pandas()
    elif hasattr(type(source), "columns") and hasattr(type(source), "get_column"):
        # Column by column, because to_pandas of polars needs pyarrow.
        table = pd.DataFrame(
            {name: source.get_column(name).to_list() for name in source.columns}
        )
    else:
        raise TypeError(
            "The path of a CSV or parquet file, or a DataFrame of pandas or polars was "
            f"wanted, but {type(source).__name__} was given."
        )
    table.columns = pd.Index(_distinct([str(c).strip() for c in table.columns], report))
    # Objects, because one by one they are read from other arrays of text slowly.
    text = [name for name in table if pd.api.types.is_string_dtype(table[name])]
    return table.astype(dict.fromkeys(text, object))


def _distinct(names: Sequence[str], report: Report) -> list[str]:
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        count = seen[name] = seen.get(name, 0) + 1
        if count == 2:
            report.add(name, "name of two columns", "the later columns have numbers")
        distinct.append(name if count == 1 else f"{name}.{count - 1}")
    return distinct


def find_molecules(
    table: pd.DataFrame, smiles: str | Sequence[str] | None, readable: Any
) -> list[str]:
    """Find the columns of molecules.

    Parameters
    ----------
    table : DataFrame
        The table.
    smiles : str, sequence of str or None
        Their names, if the user gave some.
    readable : callable
        What :func:`find_smiles` takes.

    Returns
    -------
    columns : list of str
        One, unless several were named.

    Raises
    ------
    ValueError
        If there is no such column, or one is named twice.
    """
    if smiles is None or isinstance(smiles, str):
        return [find_smiles(table, smiles, readable)]
    columns = [find_smiles(table, name, readable) for name in smiles]
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(
            f"smiles must name columns of molecules, each once, but is {smiles!r}."
        )
    return columns


def find_smiles(table: pd.DataFrame, smiles: str | None, readable: Any) -> str:
    """Find the column of molecules.

    Parameters
    ----------
    table : DataFrame
        The table.
    smiles : str or None
        Its name, if the user gave one.
    readable : callable
        Says of a list of texts which are molecules, and what others look like.

    Returns
    -------
    name : str
        Name of the column.

    Raises
    ------
    ValueError
        If there is no such column, or more than one.
    """
    names = [str(name) for name in table.columns]
    if smiles is not None:
        return find_column(smiles, names, "smiles")
    shares, looks = {}, {}
    for name in names:
        shares[name], looks[name] = _share_of_molecules(table[name], readable)
    found = [name for name in names if shares[name] > 0.5]
    # Of these most rows may be damaged.
    called = [name for name in names if shares[name] and _NAMED_SMILES.search(name)]
    if len(called) == 1:
        return called[0]
    if len(called or found) > 1:
        raise ValueError(
            f"Several columns hold SMILES: {', '.join(map(repr, called or found))}. "
            "Choose one by smiles=."
        )
    if found:
        return found[0]
    notes = [f"{name!r}: {look}" for name, look in looks.items() if look]
    raise ValueError(
        f"No column holds SMILES; the columns are {listed(names)}."
        + "".join(f" Column {note}." for note in notes[:3])
        + " Name a column by smiles=, or check separator= and encoding=."
    )


def _share_of_molecules(column: pd.Series, readable: Any) -> tuple[float, str]:
    if column.dtype != object:
        return 0.0, ""
    cells = [cell for cell in column.dropna() if str(cell).strip()]
    # Spread over the column, because its first rows may be alike.
    step = max(1, len(cells) // _N_TRIED)
    tried = cells[::step][:_N_TRIED]
    if not tried:
        return 0.0, ""
    distinct = list(dict.fromkeys(tried))
    molecules, looks = readable(distinct)
    # Few texts, or letters such as N and S, are classes that look like atoms.
    few = len(distinct) < len(tried) / 10 or all(len(str(c)) == 1 for c in distinct)
    if few and not _NAMED_SMILES.search(str(column.name)):
        return 0.0, ""
    return float(np.mean(molecules)), looks


def find_targets(
    table: pd.DataFrame,
    targets: str | Sequence[str] | None,
    molecules: Sequence[str],
    report: Report,
) -> list[str]:
    """Find the columns of labels.

    Parameters
    ----------
    table : DataFrame
        The table.
    targets : str, sequence of str or None
        Names; None stands for all columns of numbers that do not count or name rows.
    molecules : sequence of str
        The columns of molecules.
    report : Report
        Takes the columns that are left out.

    Returns
    -------
    names : list of str
        In the order of ``targets`` or of the table.

    Raises
    ------
    ValueError
        If a name is unknown, or no column holds numbers.
    """
    names = [str(name) for name in table.columns]
    if targets is not None:
        wanted = [targets] if isinstance(targets, str) else list(targets)
        found = [find_column(name, names, "targets") for name in wanted]
        twice = set(molecules) & set(found) or len(set(found)) != len(found)
        if not found or twice:
            raise ValueError(
                f"targets must name columns of labels, each once, but is {targets!r}; "
                f"molecules are in {listed(molecules)}."
            )
        return found
    found = []
    for name in names:
        if name in molecules:
            continue
        reason = _why_no_target(name, table[name])
        if reason:
            report.add(name, "left out", f"{reason}; name it in targets= to use it")
        else:
            found.append(name)
    if not found:
        raise ValueError(
            f"No column but {listed(molecules)} holds numbers; the columns are "
            f"{listed(names)}. Name those of labels by targets=."
        )
    return found


def _why_no_target(name: str, column: pd.Series) -> str:
    if column.isna().all():
        return "it is empty"
    if share_of_numbers(column) < 0.5:
        return "most of its cells are not numbers"
    if _NAMED_LABEL.search(name):
        return "its name is that of a number of rows"
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if len(numbers) > _SHORT and (np.diff(numbers) == 1).all():
        return "it counts rows"
    return ""


def find_column(name: Hashable, names: Sequence[str], parameter: str) -> str:
    """Find a column by its name, whose unit and capitals may be left out.

    Parameters
    ----------
    name : str
        What the user wrote.
    names : sequence of str
        Names of all columns.
    parameter : str
        Where it was written, for the message.

    Returns
    -------
    name : str
        Name of the column.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    if name in names:
        return str(name)
    wanted = str(name).strip().casefold()
    for spell in (str.casefold, lambda n: unit_of_header(n)[0].strip().casefold()):
        found = [n for n in names if spell(n) == wanted]
        if len(found) == 1:
            return found[0]
    close = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"{parameter} names {name!r}, but the columns are {listed(names)}.{hint}"
    )


def by_column(
    options: Mapping[str, str] | None, names: Sequence[str]
) -> dict[str, str]:
    """Read a dict of column -> unit whose keys are spelled as the user likes.

    Parameters
    ----------
    options : dict or None
        Column -> unit.
    names : sequence of str
        Names of the targets.

    Returns
    -------
    options : dict
        With the names of the table.

    Raises
    ------
    ValueError
        If a key names no target.
    """
    return {
        find_column(key, names, "units"): str(value)
        for key, value in (options or {}).items()
    }
