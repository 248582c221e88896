"""Labels of two classes: reading, coding, weighing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets

from skgnn_mtl.metrics._tables import as_cells

from ._inputs import read_cells, task_names


def read_class_labels(X: Any, y: Any) -> tuple[np.ndarray, list[str]]:
    """Read y as a table of class labels of any kind.

    Parameters
    ----------
    X : sized
        Must be as long as y.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, NaN, None, ``pandas.NA`` or masked where missing.

    Returns
    -------
    labels : ndarray of object, of the shape of y
        Labels, None where missing.
    task_names : list of str
        Column names, or ``task_0``, ``task_1``, ...

    Raises
    ------
    ValueError
        If y has infinite entries or lists, other dimensions or another length.
    """
    labels = read_cells(X, y)
    # scikit-learn's checks of estimators look for these words.
    if labels.dtype.kind == "c":
        raise ValueError("Complex data not supported: y.")
    # The size of one row, because y may have one dimension.
    names = task_names(y, labels[:1].size)
    # Refused, because as objects dates may become integers, which look like classes.
    if labels.dtype.kind in "mM":
        raise ValueError(
            f"Task {names[0]!r} must have labels of two classes, but has dates or "
            f"times ({labels.dtype}). Turn them into text."
        )
    # Objects and None, because only these mark a gap beside labels of any kind.
    table = labels.astype(object)
    table[np.asarray(pd.isna(table))] = None
    for row, entry in enumerate(table.reshape(len(table), -1)):
        for task, label in enumerate(entry):
            # Refused, because a list has no place among sorted classes.
            if np.iterable(label) and not isinstance(label, str | bytes):
                raise ValueError(
                    f"Labels of a classifier must be single values, but task "
                    f"{names[task]!r} has {label!r} ({type(label).__name__}) in row "
                    f"{row}. Use one column per task."
                )
            # The type first, because np.isinf refuses text.
            if isinstance(label, float) and np.isinf(label):
                raise ValueError(
                    f"Input y contains infinity: task {names[task]!r}, row {row}. Use "
                    "NaN for a missing label."
                )
    return table, names


def find_classes(
    table: np.ndarray, names: Sequence[str], usable: np.ndarray
) -> list[np.ndarray]:
    """Find the classes of each task.

    Parameters
    ----------
    table : ndarray of object of shape (n, t)
        Labels, None where missing.
    names : sequence of str
        Names of the tasks.
    usable : ndarray of bool of shape (n,)
        Rows that count.

    Returns
    -------
    classes : list of ndarray
        One or two labels per task, sorted.

    Raises
    ------
    ValueError
        If a task has no label, or more than two.
    """
    classes = []
    for column, name in zip(table.T, names, strict=True):
        labels = [v for v in column[usable] if v is not None]
        if not len(labels):
            raise ValueError(
                f"Task {name!r} has no label in the training rows; drop it or choose "
                "another split."
            )
        classes.append(_one_or_two(labels, name))
    return classes


def read_classes(classes: Any, names: Sequence[str]) -> list[np.ndarray]:
    """Read the classes that a user names.

    Parameters
    ----------
    classes : list of array-like
        Labels of each task.
    names : sequence of str
        Names of the tasks.

    Returns
    -------
    classes : list of ndarray
        One or two labels per task, sorted.

    Raises
    ------
    ValueError
        If it is not a list of labels per task, or one names more than two.
    """
    if len(classes) != len(names) or any(np.ndim(part) != 1 for part in classes):
        raise ValueError(
            f"classes must be a list of the labels of each of {len(names)} tasks, one "
            f"list per task, got {classes!r}."
        )
    cells = [as_cells(part, "classes").astype(object) for part in classes]
    return [
        _one_or_two(labels[~pd.isna(labels)].tolist(), name)
        for labels, name in zip(cells, names, strict=True)
    ]


def _one_or_two(labels: list[Any], name: str) -> np.ndarray:
    """Sort the distinct labels of a task."""
    # Before np.array, because it turns numbers beside text into text.
    kinds = {str if isinstance(label, str) else type(label) for label in labels}
    if str in kinds and len(kinds) > 1:
        number = next(label for label in labels if not isinstance(label, str))
        text = next(label for label in labels if isinstance(label, str))
        raise ValueError(
            f"Task {name!r} has text and other labels, such as {text!r} and "
            f"{number!r}. Write all labels of a task in one way."
        )
    try:
        table = np.array(labels)
        # scikit-learn's check, because it tells continuous numbers from classes.
        check_classification_targets(table)
    except ValueError as error:
        # By their text, because labels such as lists cannot be keys themselves.
        shown = ", ".join(list(dict.fromkeys(map(repr, labels)))[:5])
        raise ValueError(
            f"Task {name!r} must have labels of two classes, but has [{shown}]. {error}"
        ) from error
    found = np.unique(table)
    # scikit-learn's checks of binary classifiers look for these words.
    if len(found) > 2:
        raise ValueError(
            "Only binary classification is supported. The type of the target is "
            f"multiclass: task {name!r} has the classes {found[:5].tolist()}."
        )
    return found


def encode_labels(
    column: np.ndarray, classes: np.ndarray, name: str, *, strict: bool
) -> np.ndarray:
    """Replace the labels of a task by their positions among the classes.

    Parameters
    ----------
    column : ndarray of object of shape (n,)
        Labels, None where missing.
    classes : ndarray
        The classes.
    name : str
        The task, for the message.
    strict : bool
        Whether another label is an error; else it is a missing one.

    Returns
    -------
    positions : ndarray of float of shape (n,)
        0 or 1, NaN where a label is missing.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    # A dict, because True, 1 and 1.0 are one key, as they are one class.
    positions: dict[Any, float] = {label: k for k, label in enumerate(classes.tolist())}
    unknown = [v for v in column if v is not None and v not in positions]
    if unknown and strict:
        raise ValueError(
            f"Task {name!r} has the label {unknown[0]!r}, but its classes are "
            f"{classes.tolist()}."
        )
    return np.array([positions.get(v, np.nan) for v in column], dtype=np.float64)


def class_weights(given: Any, classes: np.ndarray, mass: np.ndarray) -> list[float]:
    """Weigh both classes of a task.

    Parameters
    ----------
    given : None, "balanced" or dict
        Entry of the parameter ``class_weight``.
    classes : ndarray
        The classes.
    mass : ndarray of shape (2,)
        Summed weights of the labels of each.

    Returns
    -------
    weights : list of two floats
        Factors of the losses.

    Raises
    ------
    ValueError
        If it is something else, or the dict names another class or gives weights that
        are not finite numbers of at least 0.
    """
    if given is None:
        return [1.0, 1.0]
    if given == "balanced":
        # As in scikit-learn, but over the classes that have labels, because a division
        # by a mass of 0 has no value.
        total, present = mass.sum(), (mass > 0).sum()
        return [float(total / (present * m)) if m > 0 else 1.0 for m in mass]
    if not isinstance(given, dict):
        raise ValueError(
            f"class_weight of a task must be None, 'balanced' or a dict, got {given!r}."
        )
    unknown = [label for label in given if label not in classes.tolist()]
    if unknown:
        raise ValueError(
            f"class_weight names the class {unknown[0]!r}, but the classes are "
            f"{classes.tolist()}."
        )
    weights = [float(given.get(label, 1.0)) for label in classes.tolist()]
    if not (np.isfinite(weights).all() and min(weights) >= 0 < max(weights)):
        raise ValueError(
            "class_weight must hold finite weights >= 0, one of them > 0, got "
            f"{given!r}."
        )
    # Two also for a single class, because the table of factors has two columns.
    return [*weights, 1.0][:2]


def class_probabilities(
    second: np.ndarray, classes: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Lay out the probabilities of the classes of each task.

    Parameters
    ----------
    second : ndarray of shape (n, t)
        Probabilities of the second class, NaN for an invalid row.
    classes : sequence of ndarray of length t
        One or two labels per task.

    Returns
    -------
    probabilities : list of ndarray of shape (n, n_classes)
        One array per task. A single class has the probability 1.
    """
    return [
        np.column_stack([1.0 - p, p])
        if len(labels) == 2
        # An invalid row stays NaN, also with a single class.
        else np.where(np.isnan(p), np.nan, 1.0)[:, None]
        for p, labels in zip(second.T, classes, strict=True)
    ]


def likelier_labels(
    second: np.ndarray, missing: np.ndarray, classes: Sequence[np.ndarray]
) -> np.ndarray:
    """Write the more probable label of each task.

    Parameters
    ----------
    second, missing : ndarray of bool of shape (n, t)
        Where the second class is the more probable one, and where there is none.
    classes : sequence of ndarray of length t
        One or two labels per task.

    Returns
    -------
    labels : ndarray of shape (n, t)
        In a dtype that holds NaN, if a label is missing or some tasks have text.
    """
    columns = [
        # With one class only, that class is the prediction for all rows.
        labels[(above & (len(labels) == 2)).astype(int)]
        for above, labels in zip(second.T, classes, strict=True)
    ]
    # Copies as objects, because one array of text and numbers would be text.
    if missing.any() or len({column.dtype.kind in "US" for column in columns}) > 1:
        columns = [
            with_gaps(column, gap)
            for column, gap in zip(columns, missing.T, strict=True)
        ]
    return np.column_stack(columns)


def with_gaps(column: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """Write NaN for some labels.

    Parameters
    ----------
    column : ndarray of shape (n,)
        Labels.
    invalid : ndarray of bool of shape (n,)
        Where.

    Returns
    -------
    column : ndarray of float or object of shape (n,)
        A copy in a dtype that can hold NaN.
    """
    # Another dtype, because integers and text cannot hold NaN.
    result = column.astype(object if column.dtype.kind in "USO" else np.float64)
    result[invalid] = np.nan
    return result
