"""Cells of a target: numbers, bounds, classes, and what is neither."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skgnn_mtl.metrics._bounds import take_bounds

from ._report import Report
from ._units import factor, measure

# Text that means "no label", as pandas reads it.
_GAPS = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-NaN", "NULL", "null", "None"}
    | {"<NA>", "#NA", "-nan"}
)
_DECIMAL = re.compile(r"[^\d,]*\d*,\d+(?:[eE][+-]?\d+)?\D*", re.ASCII)
_GROUPED = re.compile(r"[^\d,]*[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?\D*", re.ASCII)
_SURELY_GROUPED = re.compile(r".*,\d{3}(?:,\d{3}|\.\d)", re.ASCII)
_MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}(?:[T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    rf"|\d{{1,2}}[- ]{_MONTH}(?:[- ]\d+)?|{_MONTH}[- ]\d+",
    re.ASCII | re.IGNORECASE,
)
_WITH_UNIT = re.compile(r"([<>=≤≥]*\s*[+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*(\S.*)", re.ASCII)
_LIKE_NUMBER = re.compile(r"[<>=≤≥~+\-\u2212\s]*[.,]?\d", re.ASCII)
# More distinct texts than this are not classes.
_MOST_CLASSES = 20


@dataclass
class Cells:
    """A column of labels.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Numbers, NaN where there is none; or objects, None where there is none, if they
        are classes.
    signs : ndarray of int8 of shape (n,)
        1 for a lower bound, -1 for an upper one.
    """

    values: np.ndarray
    signs: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Where there is a label."""
        return np.asarray(pd.notna(self.values))

    @property
    def exact(self) -> np.ndarray:
        """Where there is a label that is no bound."""
        return np.asarray(self.known & (self.signs == 0))

    @property
    def numeric(self) -> bool:
        """Whether labels are numbers."""
        return self.values.dtype != object


def share_of_numbers(column: pd.Series) -> float:
    """Estimate how many of the labels of a column are numbers.

    Parameters
    ----------
    column : Series
        Cells.

    Returns
    -------
    share : float
        From 0 to 1; 0 for a column without labels.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return 0.0
    text = column.dropna()
    # Some thousand, because a table may have many long columns of text.
    text = text.iloc[:: max(1, len(text) // 2000)]
    # Unclear commas count, because they are numbers in any case.
    cells = read_cells(text, Report(), unclear="decimal")
    n_labels = sum(str(cell).strip() not in _GAPS for cell in text)
    return float(cells.known.sum() / n_labels) if n_labels and cells.numeric else 0.0


def read_cells(
    column: pd.Series,
    report: Report,
    *,
    decimal: str | None = None,
    unclear: str = "comma",
    unit: str = "",
    unit_of_header: str = "",
    classes: bool = False,
) -> Cells:
    """Read the labels of a column.

    Parameters
    ----------
    column : Series of shape (n,)
        Cells of any type.
    report : Report
        Takes what is not a number.
    decimal : {".", ",", None}, default=None
        Mark of decimals; None finds it.
    unclear : {"comma", "decimal"}, default="comma"
        What commas are that could be either; a "comma" is not read.
    unit : str, default=""
        Unit to convert to; "" leaves numbers as they are.
    unit_of_header : str, default=""
        Unit of cells that have none of their own.
    classes : bool, default=False
        Whether a column of few distinct texts is read as classes.

    Returns
    -------
    cells : Cells
        Numbers, unless the column has classes.

    Raises
    ------
    ValueError
        If the unit of the header cannot be converted.
    """
    name = str(column.name)
    scale = _scale(name, unit_of_header, unit)
    values = _plain_numbers(column) * scale
    cells = Cells(values, np.zeros(len(values), dtype=np.int8))
    unread = (np.isnan(values) & ~column.isna().to_numpy()) | np.isinf(values)
    values[unread] = np.nan
    rows = np.flatnonzero(unread)
    # Each text once, because a table repeats them.
    codes, texts = pd.factorize(column.iloc[rows].astype(str).to_numpy(object))
    distinct = [str(text).strip() for text in texts]
    labelled = np.array([text not in _GAPS for text in distinct], dtype=bool)[codes]
    rows, codes = rows[labelled], codes[labelled]
    if not len(rows):
        return cells
    if classes and np.isnan(values).all() and _are_classes(distinct):
        cells.values = np.full(len(values), None, dtype=object)
        cells.values[rows] = np.array(distinct, dtype=object)[codes]
        return cells
    commas = _comma(distinct, decimal, unclear)
    if commas == "decimal":
        report.add(name, "decimal comma", "commas of its numbers were read as points")
    numbers, signs = _read_texts(distinct, commas, unit, scale)
    values[rows], cells.signs[rows] = numbers[codes], signs[codes]
    _note_lost(distinct, np.isnan(numbers), codes, rows, name, report)
    return cells


def _are_classes(texts: list[str]) -> bool:
    """Tell names of classes from damaged numbers."""
    labels = set(texts) - _GAPS
    return len(labels) <= _MOST_CLASSES and not any(map(_LIKE_NUMBER.match, labels))


def _read_texts(
    texts: list[str], commas: str, unit: str, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Read numbers and bounds; NaN for what is neither."""
    plain = [_with_points(text, commas) for text in texts]
    plain, scales = _without_units(plain, unit, scale)
    entries, signs = take_bounds(np.array(plain, dtype=object))
    read = pd.to_numeric(pd.Series(entries, dtype=object), errors="coerce")
    numbers = read.to_numpy(dtype=np.float64) * scales
    return np.where(np.isinf(numbers), np.nan, numbers), signs


def _note_lost(
    texts: list[str],
    lost: np.ndarray,
    codes: np.ndarray,
    rows: np.ndarray,
    name: str,
    report: Report,
) -> None:
    """Note the rows of texts that are no numbers, by their kinds."""
    kinds = np.array(
        [_kind(t) if bad else "" for t, bad in zip(texts, lost, strict=True)]
    )
    for what in sorted(set(kinds.tolist()) - {""}):
        found = (kinds == what)[codes]
        advice = _ADVICE.get(what, "")
        shown = [f"{texts[code]!r}{advice}" for code in codes[found]]
        report.add_rows(rows[found], name, what, shown)


_ADVICE = {
    "unit in a cell": "; name the wanted unit by units=",
    "date": "; a workbook may have turned a number into it",
    "comma": "; pass decimal=',' or decimal='.'",
}


def _plain_numbers(column: pd.Series) -> np.ndarray:
    """Read what needs no care; NaN elsewhere."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return np.full(len(column), np.nan)
    if column.dtype == object:
        # Objects such as time stamps would become integers.
        plain = [isinstance(cell, (str, float, int, np.number)) for cell in column]
        column = column.where(np.array(plain, dtype=bool))
    numbers = pd.to_numeric(column, errors="coerce")
    return np.array(numbers.to_numpy(dtype=np.float64, na_value=np.nan))


def _scale(name: str, given: str, wanted: str) -> float:
    if not wanted or not given:
        return 1.0
    scale = factor(given, wanted)
    if math.isnan(scale):
        raise ValueError(
            f"units asks for {wanted!r} in column {name!r}, whose header says "
            f"{given!r}; these cannot be converted. Convert the column, or name its "
            "own unit."
        )
    if scale != 1 and "log" in name.lower():
        raise ValueError(
            f"Column {name!r} seems to hold logarithms, so that {given!r} is not "
            f"converted to {wanted!r} by a factor. Leave it out of units."
        )
    return scale


def _comma(texts: Sequence[str], decimal: str | None, unclear: str) -> str:
    """Say what commas in a column are: "decimal", "grouped", or `unclear`."""
    with_comma = [text for text in texts if "," in text]
    if not with_comma:
        return ""
    if decimal is not None:
        return "decimal" if decimal == "," else "grouped"
    grouped = any(_SURELY_GROUPED.match(text) for text in with_comma)
    decimals = any(
        _DECIMAL.fullmatch(text) and not _GROUPED.fullmatch(text) for text in with_comma
    )
    if grouped == decimals:
        return unclear
    return "grouped" if grouped else "decimal"


def _with_points(text: str, commas: str) -> str:
    """Write a number with a point, without marks of thousands."""
    text = text.replace("\u2212", "-").replace("\u00a0", " ")
    if commas == "grouped" and _GROUPED.fullmatch(text):
        return text.replace(",", "")
    if commas == "decimal" and text.count(",") == 1:
        whole, fraction = text.split(",")
        return f"{whole.replace('.', '')}.{fraction}"
    return text


def _without_units(
    texts: Sequence[str], unit: str, scale: float
) -> tuple[list[str], np.ndarray]:
    """Take units from behind numbers; give the factor of each text."""
    plain, scales = list(texts), np.full(len(texts), scale)
    if not unit:
        return plain, scales
    for k, text in enumerate(texts):
        match = _WITH_UNIT.fullmatch(text)
        own = factor(match[2], unit) if match else math.nan
        if match and not math.isnan(own):
            plain[k], scales[k] = match[1], own
    return plain, scales


def _kind(text: str) -> str:
    """Say what a text is that is no number."""
    if _DATE.fullmatch(text):
        return "date"
    if _GROUPED.fullmatch(text) or _DECIMAL.fullmatch(text):
        return "comma"
    match = _WITH_UNIT.fullmatch(text)
    if match and measure(match[2]) is not None:
        return "unit in a cell"
    return (
        "infinite" if re.fullmatch(r"[+-]?inf(inity)?", text, re.I) else "not a number"
    )
