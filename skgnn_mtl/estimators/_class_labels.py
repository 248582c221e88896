"""Labels of classes: reading, coding, weighing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets

from skgnn_mtl._warn import warn
from skgnn_mtl.metrics._tables import as_cells

from ._inputs import read_cells, task_names

# Labels up to which each may be of another class without a warning.
_FEW = 20


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
            f"Task {names[0]!r} must have class labels, but has dates or "
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
        The labels of each task, sorted.

    Raises
    ------
    ValueError
        If a task has no label, or labels that are no classes.

    Warns
    -----
    UserWarning
        If most labels of a task differ.
    """
    classes = []
    for column, name in zip(table.T, names, strict=True):
        labels = [v for v in column[usable] if v is not None]
        if not len(labels):
            raise ValueError(
                f"Task {name!r} has no label in the training rows; drop it or choose "
                "another split."
            )
        classes.append(_sorted_classes(labels, name))
        # As scikit-learn, because numbers are taken for classes if they are whole.
        if len(labels) > _FEW and 2 * len(classes[-1]) > len(labels):
            warn(
                f"Task {name!r} has {len(classes[-1])} classes for {len(labels)} "
                "labels. If its labels are numbers and not classes, use a regressor."
            )
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
        The labels of each task, sorted.

    Raises
    ------
    ValueError
        If it is not a list of labels per task, or labels are no classes.
    """
    if len(classes) != len(names) or any(np.ndim(part) != 1 for part in classes):
        raise ValueError(
            f"classes must be a list of the labels of each of {len(names)} tasks, one "
            f"list per task, got {classes!r}."
        )
    cells = [as_cells(part, "classes").astype(object) for part in classes]
    return [
        _sorted_classes(labels[~pd.isna(labels)].tolist(), name)
        for labels, name in zip(cells, names, strict=True)
    ]


def _sorted_classes(labels: list[Any], name: str) -> np.ndarray:
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
        with warnings.catch_warnings():
            # Of many classes, because it does not name the task.
            warnings.simplefilter("ignore", UserWarning)
            # scikit-learn's check, because it tells continuous numbers from classes.
            check_classification_targets(table)
    except ValueError as error:
        # By their text, because labels such as lists cannot be keys themselves.
        shown = ", ".join(list(dict.fromkeys(map(repr, labels)))[:5])
        raise ValueError(
            f"Task {name!r} must have class labels, but has [{shown}]. {error}"
        ) from error
    return np.unique(table)


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
        0, 1, ..., NaN where a label is missing.

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
            f"{classes.tolist()}. Name all classes in the first call."
        )
    return np.array([positions.get(v, np.nan) for v in column], dtype=np.float64)


def class_weights(given: Any, classes: np.ndarray, mass: np.ndarray) -> list[float]:
    """Weigh the classes of a task.

    Parameters
    ----------
    given : None, "balanced" or dict
        Entry of the parameter ``class_weight``.
    classes : ndarray
        The classes.
    mass : ndarray of shape (k,)
        Summed weights of the labels of each, 0 behind the last class.

    Returns
    -------
    weights : list of float of length k
        Factors of the losses, 1 behind the last class.

    Raises
    ------
    ValueError
        If it is something else, or the dict names another class or gives weights that
        are not finite numbers of at least 0.
    """
    if given is None:
        return [1.0] * len(mass)
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
    return weights + [1.0] * (len(mass) - len(weights))
