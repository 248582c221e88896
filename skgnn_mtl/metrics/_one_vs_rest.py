"""Tasks of more than two classes as one column per class, for scores of columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ._tables import as_cells, column_names, made_up_names


class Columns(NamedTuple):
    """Labels and scores whose columns are tasks, or classes of tasks.

    Attributes
    ----------
    true, scores : object
        Tables of equal shape: those of the user, or labels 0 and 1, NaN where missing,
        and scores of the class of each column.
    owners : ndarray of int of shape (c,) or None
        Task of each column; None if each task has one.
    names : list of str
        Names of the tasks, if there are owners.
    """

    true: Any
    scores: Any
    owners: np.ndarray | None = None
    names: Sequence[str] = ()

    @property
    def several(self) -> np.ndarray | bool:
        """Tell which columns (c,) are of tasks with a column for each class."""
        if self.owners is None:
            return False
        several: np.ndarray = np.bincount(self.owners)[self.owners] > 1
        return several

    def by_task(
        self,
        values: np.ndarray,
        combine: Callable[..., Any],
    ) -> np.ndarray:
        """Combine the values of columns (c,) to those of tasks (t,); NaN if all are."""
        if self.owners is None:
            return values
        parts = [values[self.owners == t] for t in range(len(self.names))]
        return np.array(
            [np.nan if np.isnan(part).all() else combine(part) for part in parts]
        )


def one_vs_rest(
    y_true: Any, y_score: Any, labels: Any = None, classes: Any = None
) -> Columns:
    """Give each class of a task with more than two classes a column of its own.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (n, t)
        Labels, NaN or None where missing.
    y_score : array-like, or list of array-like
        A table of the shape of `y_true`, which is returned as it is, or what
        ``predict_proba`` returns: one array (n, k) per task, in a list for a
        two-dimensional `y_true`.
    labels : array-like or list of array-like, default=None
        Labels of the columns of each array; None stands for the sorted labels of the
        task.
    classes : list of list, default=None
        Classes of each task that get columns; None stands for all that occur. The score
        of a class without a column is 0.

    Returns
    -------
    columns : Columns
        A task of two classes has one column, for the second.

    Raises
    ------
    ValueError
        If arrays and labels do not fit.
    """
    cells = as_cells(y_true, "y_true")
    tables = _tables(cells, y_score)
    if tables is None:
        return Columns(y_true, y_score)
    cells = cells.reshape(len(cells), -1).astype(object)
    found = column_names(y_true)
    n_tasks = cells.shape[1]
    names = found if len(found) == n_tasks else made_up_names(n_tasks)
    if len(tables) != n_tasks:
        raise ValueError(
            f"y_score has arrays of {len(tables)} task(s), but y_true has {n_tasks}."
        )
    known = _labels_of(labels, cells, tables, names)
    true: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    owners: list[int] = []
    titles: list[str] = []
    for t, name in enumerate(names):
        column, missing = cells[:, t], pd.isna(cells[:, t])
        every = _sorted(known[t], column[~missing]) if classes is None else classes[t]
        # The second of two, because the columns of both say the same.
        shown = every[1:] if len(every) == 2 else every
        scores += class_columns(tables[t], known[t], shown)
        for label in shown:
            true.append(np.where(missing, np.nan, [value == label for value in column]))
            owners.append(t)
            titles.append(f"{name} = {label!r}")
    return Columns(
        pd.DataFrame(np.column_stack(true), columns=titles),
        pd.DataFrame(np.column_stack(scores), columns=titles),
        np.array(owners),
        names,
    )


def class_columns(
    table: np.ndarray, known: Sequence[Any], wanted: Sequence[Any]
) -> list[np.ndarray]:
    """Take the probabilities of some classes of a task.

    Parameters
    ----------
    table : ndarray of shape (n, k)
        Probabilities of the classes that a model knows, NaN for an invalid row.
    known : sequence of length k
        These classes.
    wanted : sequence of length c
        Classes to take.

    Returns
    -------
    columns : list of ndarray of shape (n,)
        0 for a class that the model does not know, but NaN for an invalid row.
    """
    # Times zero, because an invalid row must stay NaN.
    return [
        table[:, known.index(label)] if label in known else 0.0 * table[:, 0]
        for label in wanted
    ]


def _tables(cells: np.ndarray, y_score: Any) -> list[np.ndarray] | None:
    """Read one array (n, k) per task; None if the scores are a table of tasks."""
    if isinstance(y_score, (list, tuple)) and all(np.ndim(p) == 2 for p in y_score):
        return [np.asarray(part, dtype=np.float64) for part in y_score]
    if cells.ndim == 1 and np.ndim(y_score) == 2 and np.shape(y_score)[1] > 1:
        return [np.asarray(y_score, dtype=np.float64)]
    return None


def _labels_of(
    labels: Any, cells: np.ndarray, tables: list[np.ndarray], names: Sequence[str]
) -> list[list[Any]]:
    """List the labels of the columns of each task."""
    if labels is None:
        known = [_sorted([], column[~pd.isna(column)]) for column in cells.T]
    else:
        # A list for several tasks and an array for one, as ``classes_``.
        parts = labels if isinstance(labels, list) else [labels]
        parts = parts if np.ndim(parts[0]) else [labels]
        known = [np.asarray(part).tolist() for part in parts]
    for own, table, name in zip(known, tables, names, strict=True):
        if table.shape != (len(cells), len(own)):
            raise ValueError(
                f"y_score of task {name!r} must have the shape ({len(cells)}, "
                f"{len(own)}), one column for each of the labels {own[:5]}, but has "
                f"{table.shape}. Pass labels=, such as classes_ of the classifier."
            )
    return known


def _sorted(known: list[Any], values: Any) -> list[Any]:
    """Sort the distinct labels of both."""
    # A dict, because 1, 1.0 and True are one key, as they are one class.
    distinct = list(dict.fromkeys([*known, *values]))
    labels: list[Any] = np.unique(np.array(distinct)).tolist() if distinct else []
    return labels
