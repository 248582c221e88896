"""What is odd about the labels of a target, and labels of one molecule together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ._cells import Cells
from ._report import Report

# Fewer labels than this, or than this share of the rows, are nearly none.
_FEW, _SMALL_SHARE = 10, 0.01
_DECADES = 4


def note_odd_columns(labels: Mapping[str, Cells], report: Report) -> None:
    """Note bounds, constant and nearly empty columns, and wide scales.

    Parameters
    ----------
    labels : dict of str to Cells
        Columns of labels.
    report : Report
        Takes them.
    """
    for name, cells in labels.items():
        rows = np.flatnonzero(cells.signs)
        shown = [bound_text(cells.values[r], cells.signs[r]) for r in rows]
        report.add_rows(rows, name, "censored", shown)
        known, n = cells.known, len(cells.values)
        n_labels = int(known.sum())
        if n_labels < max(_FEW, _SMALL_SHARE * n):
            report.add(name, "nearly empty", f"{n_labels} labels in {n} rows")
        if n_labels > 1 and len(pd.unique(cells.values[known])) == 1:
            report.add(name, "constant", f"all labels are {cells.values[known][0]}")
        if cells.numeric:
            _note_scale(name, cells.values[cells.exact], report)


def _note_scale(name: str, values: np.ndarray, report: Report) -> None:
    positive = values[values > 0]
    if not len(positive):
        return
    low, high = positive.min(), positive.max()
    if high < low * 10**_DECADES:
        return
    advice = "consider target_transform='log10'"
    if len(positive) < len(values):
        n_others = len(values) - len(positive)
        advice = f"a logarithm would help, but {n_others} labels are not positive"
    report.add(name, "wide scale", f"from {low:g} to {high:g}; {advice}")


def bound_text(value: float, sign: int) -> str:
    """Write a bound as the estimators read it, such as ">100".

    Parameters
    ----------
    value : float
        Its number.
    sign : int
        1 for a lower bound, -1 for an upper one.

    Returns
    -------
    text : str
        The bound.
    """
    return (">" if sign > 0 else "<") + repr(float(value)).removesuffix(".0")


def note_duplicates(
    groups: np.ndarray, column: str, labels: Mapping[str, Cells], report: Report
) -> None:
    """Note rows of one molecule, and labels of it that differ.

    Parameters
    ----------
    groups : ndarray of int of shape (n,)
        Number of the molecule of each row, -1 where there is none.
    column : str
        Column of the molecules.
    labels : dict of str to Cells
        Columns of labels.
    report : Report
        Takes them.
    """
    first = first_rows(groups)
    rows = np.flatnonzero((groups >= 0) & (first != np.arange(len(groups))))
    shown = [f"the molecule of row {first[row]}" for row in rows]
    report.add_rows(rows, column, "duplicate", shown)
    for name, cells in labels.items():
        _note_contradictions(groups, name, cells, report)


def starts(groups: np.ndarray) -> np.ndarray:
    """Find the first row of each molecule.

    Parameters
    ----------
    groups : ndarray of int of shape (n,)
        Number of the molecule of each row, from 0; -1 where there is none.

    Returns
    -------
    starts : ndarray of int of shape (n_molecules,)
        Positions.
    """
    found = np.zeros(groups.max(initial=-1) + 1, dtype=np.intp)
    # Backwards, because the last entry that is written stays.
    rows = np.flatnonzero(groups >= 0)[::-1]
    found[groups[rows]] = rows
    return found


def first_rows(groups: np.ndarray) -> np.ndarray:
    """Find the first row of each row's molecule.

    Parameters
    ----------
    groups : ndarray of int of shape (n,)
        Number of the molecule of each row; a row with -1 is its own.

    Returns
    -------
    first : ndarray of int of shape (n,)
        Positions.
    """
    first = np.arange(len(groups))
    named = groups >= 0
    first[named] = starts(groups)[groups[named]]
    return first


def _note_contradictions(
    groups: np.ndarray, name: str, cells: Cells, report: Report
) -> None:
    table = _exact_labels(groups, cells)
    if not cells.numeric:
        table["label"] = pd.factorize(table["label"])[0]
    by = table.groupby("group")["label"].agg(["min", "max", "count"])
    odd = by[by["max"] > by["min"]]
    rows = starts(groups)[odd.index.to_numpy(dtype=np.intp)]
    shown = [
        f"{n} labels from {low:g} to {high:g}" if cells.numeric else f"{n} labels"
        for low, high, n in odd.itertuples(index=False)
    ]
    report.add_rows(rows, name, "contradiction", shown)


def _exact_labels(groups: np.ndarray, cells: Cells) -> pd.DataFrame:
    used = cells.exact & (groups >= 0)
    return pd.DataFrame({"group": groups[used], "label": cells.values[used]})


def merged(groups: np.ndarray, cells: Cells, how: str) -> Cells:
    """Give the first row of each molecule the labels of all its rows.

    Exact labels are averaged. Without an exact one the tightest bound stays, if all
    bounds point to one side. Classes, and numbers 0 and 1, stay where they agree.

    Parameters
    ----------
    groups : ndarray of int of shape (n,)
        Number of the molecule of each row, -1 where there is none.
    cells : Cells
        Labels.
    how : {"mean", "median"}
        The average.

    Returns
    -------
    cells : Cells
        Of the same length; later rows of a molecule do not count any more.
    """
    values, signs = cells.values.copy(), cells.signs.copy()
    start = starts(groups)
    counts = np.bincount(groups[groups >= 0], minlength=1)
    several = (groups >= 0) & (counts[groups] > 1)
    values[several], signs[several] = (np.nan if cells.numeric else None), 0
    exact = _exact_labels(np.where(several, groups, -1), cells)
    averages = exact.groupby("group")["label"].agg(_average(cells, how))
    values[start[averages.index.to_numpy(dtype=np.intp)]] = averages.to_numpy()
    bounds = several & cells.known & (cells.signs != 0)
    table = pd.DataFrame({"group": groups, "value": cells.values, "sign": cells.signs})
    for group, part in table[bounds].groupby("group"):
        if group not in averages.index and part["sign"].nunique() == 1:
            sign = part["sign"].iloc[0]
            tightest = part["value"].max() if sign > 0 else part["value"].min()
            values[start[group]], signs[start[group]] = tightest, sign
    return Cells(values, signs)


def _average(cells: Cells, how: str) -> object:
    distinct = set(pd.unique(cells.values[cells.exact]).tolist())
    if cells.numeric and not distinct <= {0.0, 1.0}:
        return how
    gap = np.nan if cells.numeric else None
    # The mean of two classes is no class.
    return lambda part: part.iloc[0] if part.nunique() == 1 else gap
