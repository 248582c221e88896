"""From labels, predictions and weights of any container to checked float tables."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skgnn_mtl._listed import listed
from skgnn_mtl._warn import warn

from ._bounds import take_bounds

_SHOWN_LETTERS = 60


class Scored(NamedTuple):
    """What a per-task score is computed from.

    Attributes
    ----------
    true, pred : ndarray of shape (n_rows, n_tasks)
        Labels and predictions; both 0 where there is no label.
    weight : ndarray of shape (n_rows, n_tasks)
        Weight of each label, 0 where it is missing.
    names : list of str of length n_tasks
        Names of the tasks, for messages.
    rows : ndarray of bool of shape (n_samples,)
        Rows of the input that have a prediction.
    """

    true: np.ndarray
    pred: np.ndarray
    weight: np.ndarray
    names: list[str]
    rows: np.ndarray


def read_scored(
    y_true: Any, y_pred: Any, sample_weight: Any, name: str = "y_pred"
) -> Scored:
    """Check labels against predictions and leave out the rows without prediction.

    Bounds, such as ">100", are gaps, because they have no error.
    """
    names = _common_names(y_true, y_pred)
    true = as_table(y_true, "y_true", names, skip_bounds=True)
    pred = as_table(y_pred, name, names)
    if true.shape != pred.shape:
        raise ValueError(
            f"y_true has shape {np.shape(y_true)}, but {name} has shape "
            f"{np.shape(y_pred)}; both need one row per sample and one column per task."
        )
    names = names or made_up_names(true.shape[1])
    _refuse_infinity(true, names, "y_true")
    _refuse_infinity(pred, names, name)
    row_weights = as_row_weights(sample_weight, len(true))[:, None]
    weight = np.where(np.isnan(true), 0.0, row_weights)
    rows = _rows_with_prediction(pred, names, name)
    true, pred, weight = true[rows], pred[rows], weight[rows]
    true, pred = (np.where(weight > 0, table, 0.0) for table in (true, pred))
    return Scored(true, pred, weight, names, rows)


def as_table(
    values: Any, name: str, names: Sequence[str] = (), *, skip_bounds: bool = False
) -> np.ndarray:
    """Read (n,) or (n, t) numbers as a float64 table (n, t); missing becomes NaN."""
    cells = as_cells(values, name)
    if skip_bounds:
        cells, signs = take_bounds(cells)
        if signs.any():
            cells[signs != 0] = None
    if cells.ndim not in (1, 2) or cells.size == 0:
        raise ValueError(
            f"{name} must have shape (n_samples,) or (n_samples, n_tasks) with at "
            f"least one row and one task, but has shape {cells.shape}."
        )
    cells = cells.reshape(len(cells), -1)
    fits = len(names) == cells.shape[1]
    return as_numbers(cells, names if fits else made_up_names(cells.shape[1]), name)


def as_cells(values: Any, name: str) -> np.ndarray:
    """Read a table of any container as an array, row by row, whatever its index.

    A missing entry is NaN, None or ``pandas.NA`` there, also where a mask hides one.
    """
    if _has(values, "nnz"):
        raise TypeError(
            f"{name} must be a dense array, but is a sparse {type(values).__name__}: "
            "call toarray() on it."
        )
    if _has(values, "column_names"):  # a table of pyarrow
        values = values.to_pandas()
    if _has(values, "to_pylist"):  # a column of pyarrow
        values = values.to_pylist()
    if _has(values, "rows"):  # a table of polars, which turns dates into numbers
        numeric = all(dtype.is_numeric() for dtype in values.dtypes)
        values = values if numeric else values.rows()
    if isinstance(values, (list, tuple)):
        cells = _cells_of_list(values, name)
    else:
        cells = np.asarray(values.to_numpy() if _has(values, "to_numpy") else values)
    if cells.dtype.names:
        raise TypeError(
            f"{name} is a structured array; pass pandas.DataFrame({name}) instead."
        )
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):
        cells = cells.astype(object)
        cells[np.ma.getmaskarray(values)] = None
    return cells


def _has(values: Any, attribute: str) -> bool:
    # Columns of a frame are attributes of the object, whatever their names.
    return hasattr(type(values), attribute)


def _cells_of_list(values: list[Any] | tuple[Any, ...], name: str) -> np.ndarray:
    rows = [len(row) if isinstance(row, (list, tuple)) else -1 for row in values]
    for row, width in enumerate(rows):
        if width != rows[0]:
            raise ValueError(
                f"Rows of {name} must be equally long, but rows 0 and {row} differ: "
                f"{values[0]!r} and {values[row]!r}."
            )
    try:
        cells = np.asarray(values)
    except ValueError:  # lists of several lengths among the entries
        return np.array(values, dtype=object)
    # One string among numbers must not make strings of them.
    return np.array(values, dtype=object) if cells.dtype.kind in "SU" else cells


def as_numbers(cells: np.ndarray, names: Sequence[str], name: str) -> np.ndarray:
    """Convert a table (n, t) to float64; name the first entry that is not a number."""
    if cells.dtype.kind in "biuf":
        return cells.astype(np.float64)
    if cells.dtype.kind == "c":
        raise ValueError(
            f"{name} must hold numbers, but holds complex ones. Complex data not "
            "supported."
        )
    if cells.dtype.kind not in "mM":  # whose objects may be numbers of nanoseconds
        cells = cells.astype(object)
    missing = np.asarray(pd.isna(cells))
    numbers = np.full(cells.shape, np.nan)
    for task, task_name in enumerate(names):
        for row in np.flatnonzero(~missing[:, task]).tolist():
            entry = cells[row, task]
            try:
                numbers[row, task] = _number(entry)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(
                    f"{name} must hold numbers, but task {task_name!r} has "
                    f"{_shown(entry)} in row {row}. {_advice(entry)}Use NaN for a "
                    "missing label."
                ) from error
    return numbers


def _number(entry: Any) -> float:
    if isinstance(entry, str):
        if "_" in entry:  # Python's own notation of digits
            raise ValueError(entry)
        return float(entry)
    # To NumPy a time span is an integer.
    if isinstance(entry, np.timedelta64) or not isinstance(
        entry, (Real, Decimal, np.bool_)
    ):
        raise TypeError(entry)
    return float(entry)


def _shown(entry: Any) -> str:
    text = repr(entry)
    if len(text) > _SHOWN_LETTERS:
        text = f"{text[:_SHOWN_LETTERS]}..."
    return text if isinstance(entry, str) else f"{text} ({type(entry).__name__})"


def _advice(entry: Any) -> str:
    """Say how to mend the commonest kinds."""
    if isinstance(entry, str) and entry.strip().startswith(("<", ">", "~", "≤", "≥")):
        return "Make a number of a censored value, or leave it out. "
    if isinstance(entry, str) and entry.count(",") == 1:
        return "Write a decimal point. "
    return ""


def refuse_masked(values: Any, name: str, advice: str) -> None:
    """Refuse a masked array: what its mask hides would be read as if it was there."""
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    if mask is not None and mask.any():
        row = int(np.argwhere(mask)[0, 0])
        raise ValueError(
            f"{name} has {mask.sum()} masked entries, the first in row {row}; {advice}."
        )


def column_names(values: Any) -> list[str]:
    """Names of the tasks of a frame or a named Series; none of arrays and lists.

    Labels of any type become strings: 5 is "5", ("a", 1) is "('a', 1)".
    """
    if _has(values, "column_names"):  # pyarrow, whose columns are the data
        return list(map(name_of, values.column_names))
    if _has(values, "columns"):
        return list(map(name_of, values.columns))
    name = getattr(values, "name", None)
    is_named = _has(values, "to_numpy") and name is not None and name != ""
    return [name_of(name)] if is_named else []


def is_frame(values: Any) -> bool:
    """Tell whether a container has named columns."""
    return _has(values, "columns")


def name_of(label: Any) -> str:
    """Name of a column whose label may be of any type."""
    return label if type(label) is str else str(_plain(label))


def _plain(label: Any) -> Any:
    if isinstance(label, tuple):
        return tuple(map(_plain, label))
    if label is None or label is pd.NA or label != label:
        return None  # an index of pandas writes NaN for it
    # NumPy's scalars print their type inside a tuple.
    return label.item() if isinstance(label, np.generic) else label


def made_up_names(n_tasks: int) -> list[str]:
    """Names of tasks that have none."""
    return [f"task_{t}" for t in range(n_tasks)]


def find_task(task: Any, names: Sequence[str]) -> int | None:
    """Find a task by the label of its column or its position; None if there is none.

    An integer is a position where there are so many tasks, else a label.
    """
    named = names.index(name_of(task)) if name_of(task) in names else None
    if not isinstance(task, Integral) or isinstance(task, (bool, np.bool_)):
        return named
    n_tasks = len(names)
    if not -n_tasks <= int(task) < n_tasks:
        return named
    position = int(task) % n_tasks
    if named not in (None, position):
        raise ValueError(
            f"{task} is the position of task {names[position]!r}, but also the name "
            f"of the task at position {named}: write a name as a string, '{task}'."
        )
    return position


def _common_names(y_true: Any, y_pred: Any) -> list[str]:
    names, predicted = column_names(y_true), column_names(y_pred)
    if is_frame(y_true) and is_frame(y_pred) and names != predicted:
        raise ValueError(
            f"The columns of y_true ({listed(names)}) and of y_pred "
            f"({listed(predicted)}) differ; put them into one order."
        )
    return names or predicted


def _refuse_infinity(table: np.ndarray, names: list[str], name: str) -> None:
    infinite = np.isinf(table)
    if infinite.any():
        row, task = np.argwhere(infinite)[0].tolist()
        raise ValueError(
            f"{name} has {infinite.sum()} infinite value(s), the first in row {row} "
            f"of task {names[task]!r}; use NaN for a missing label."
        )


def as_row_weights(sample_weight: Any, n: int) -> np.ndarray:
    """Read the weights of rows, (n,); name the first that is none. None means 1."""
    if sample_weight is None:
        return np.ones(n)
    refuse_masked(sample_weight, "sample_weight", "fill them with 0 to leave rows out")
    cells = as_cells(sample_weight, "sample_weight")
    if cells.shape != (n,):
        raise ValueError(
            f"sample_weight must have shape ({n},), but has shape {cells.shape}."
        )
    if cells.dtype.kind in "biuf":
        weight = cells.astype(np.float64)
        cells = weight.astype(object)
    else:
        weight = np.array(list(map(_weight_or_nan, cells)))
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            "sample_weight must be finite and not negative, but "
            f"sample_weight[{row}] = {_shown(cells[row])}."
        )
    if not weight.any():
        raise ValueError("sample_weight is zero in every row; no label has a weight.")
    return weight


def _weight_or_nan(entry: Any) -> float:
    try:
        return _number(entry)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _rows_with_prediction(pred: np.ndarray, names: list[str], name: str) -> np.ndarray:
    missing = np.isnan(pred)
    invalid = missing.all(axis=1)
    partial = missing.any(axis=1) & ~invalid
    if partial.any():
        row = int(np.flatnonzero(partial)[0])
        tasks = [names[k] for k in np.flatnonzero(missing[row])]
        raise ValueError(
            f"{name} is NaN in {partial.sum()} row(s) for some tasks only, the first "
            f"is row {row}, task {listed(tasks)}; an invalid graph is NaN in all tasks."
        )
    if invalid.all():
        raise ValueError(f"{name} is NaN in all of its {len(pred)} rows; no score.")
    if invalid.any():
        warn(
            f"{invalid.sum()} of {len(pred)} rows have no prediction (NaN in every "
            "task, as of an invalid graph) and are left out of the score: rows "
            f"{listed(np.flatnonzero(invalid).tolist())}.",
        )
    predicted: np.ndarray = ~invalid
    return predicted
