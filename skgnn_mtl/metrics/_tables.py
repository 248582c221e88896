"""From labels, predictions and weights of any container to checked float tables."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# Rows or tasks named in one message; the rest is counted.
N_NAMED = 10


class Scored(NamedTuple):
    """What a per-task score is computed from.

    Attributes
    ----------
    true, pred : ndarray of shape (n_rows, n_tasks)
        Labels and predictions; both 0 where there is no label.
    weight : ndarray of shape (n_rows, n_tasks)
        Weight of each label, 0 where there is none.
    names : list of str of length n_tasks
        Names of the tasks, for messages.
    """

    true: np.ndarray
    pred: np.ndarray
    weight: np.ndarray
    names: list[str]


def read_scored(y_true: Any, y_pred: Any, sample_weight: Any) -> Scored:
    """Check labels against predictions and leave out the rows without prediction."""
    names = _common_names(y_true, y_pred)
    true, pred = as_table(y_true, "y_true"), as_table(y_pred, "y_pred")
    if true.shape != pred.shape:
        raise ValueError(
            f"y_true has shape {np.shape(y_true)}, but y_pred has shape "
            f"{np.shape(y_pred)}; both need one row a sample and one column a task."
        )
    names = names or [f"task_{k}" for k in range(true.shape[1])]
    _refuse_infinity(true, names, "y_true")
    _refuse_infinity(pred, names, "y_pred")
    weight = np.where(np.isnan(true), 0.0, _row_weights(sample_weight, len(true)))
    rows = _rows_with_prediction(pred, names)
    true, pred, weight = true[rows], pred[rows], weight[rows]
    return Scored(
        np.where(weight > 0, true, 0.0), np.where(weight > 0, pred, 0.0), weight, names
    )


def as_table(values: Any, name: str) -> np.ndarray:
    """Read (n,) or (n, t) numbers as a float64 table (n, t); missing becomes NaN."""
    table = np.asarray(values)
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(
            f"{name} must have shape (n_samples,) or (n_samples, n_tasks) with at "
            f"least one row and one task, but has shape {table.shape}."
        )
    if table.dtype == object:
        table = np.where(pd.isna(table), np.nan, table)
    if table.dtype.kind not in "biufO":
        raise ValueError(f"{name} must hold numbers, but holds {table.dtype}.")
    try:
        table = table.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers: {error}.") from error
    return table.reshape(len(table), -1)


def column_names(values: Any) -> list[str]:
    """Names of the tasks of a frame or a named Series; none of arrays and lists."""
    if hasattr(values, "columns"):
        return [str(name) for name in values.columns]
    name = getattr(values, "name", None)
    return [str(name)] if isinstance(name, str) and name else []


def listed(items: Any) -> str:
    """Write the first items and the number of the others."""
    items = list(items)
    shown = ", ".join(repr(item) for item in items[:N_NAMED])
    more = len(items) - N_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _common_names(y_true: Any, y_pred: Any) -> list[str]:
    names, predicted = column_names(y_true), column_names(y_pred)
    if hasattr(y_true, "columns") and hasattr(y_pred, "columns") and names != predicted:
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


def _row_weights(sample_weight: Any, n: int) -> np.ndarray:
    """Weights of the rows as a column, (n, 1)."""
    if sample_weight is None:
        return np.ones((n, 1))
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight must have shape ({n},), but has shape {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        row = int(np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))[0])
        raise ValueError(
            "sample_weight must be finite and not negative, but "
            f"sample_weight[{row}] = {weight[row]}."
        )
    if not weight.any():
        raise ValueError("sample_weight is zero in every row; no label has a weight.")
    return weight[:, None]


def _rows_with_prediction(pred: np.ndarray, names: list[str]) -> np.ndarray:
    missing = np.isnan(pred)
    invalid = missing.all(axis=1)
    partial = missing.any(axis=1) & ~invalid
    if partial.any():
        row = int(np.flatnonzero(partial)[0])
        tasks = [names[k] for k in np.flatnonzero(missing[row])]
        raise ValueError(
            f"y_pred is NaN in {partial.sum()} row(s) for some tasks only, the first "
            f"is row {row}, task {listed(tasks)}; an invalid graph is NaN in all tasks."
        )
    if invalid.all():
        raise ValueError(f"y_pred is NaN in all of its {len(pred)} rows; no score.")
    if invalid.any():
        warnings.warn(
            f"{invalid.sum()} of {len(pred)} rows have no prediction (NaN in every "
            "task, as of an invalid graph) and are left out of the score: rows "
            f"{listed(np.flatnonzero(invalid).tolist())}.",
            UserWarning,
            stacklevel=4,
        )
    return ~invalid
