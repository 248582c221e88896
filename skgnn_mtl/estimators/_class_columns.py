"""How the classes of tasks become columns of one table, for networks and ensembles.

A task of K classes has K - 1 columns, those of all classes but the first. They hold
logits, with 0 for the first class, or probabilities, of which the first class has the
rest. Two classes so have one column, as does a single class. The columns of a task
stand together, in the order of the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, softmax

Classes = Sequence[np.ndarray]


def n_columns(classes: Classes) -> list[int]:
    """Count the columns of each task."""
    return [max(len(labels) - 1, 1) for labels in classes]


def owners(classes: Classes) -> np.ndarray:
    """Find the task of each column."""
    return np.repeat(np.arange(len(classes)), n_columns(classes))


def by_task(table: np.ndarray, classes: Classes) -> list[np.ndarray]:
    """Cut a table (..., c) into those of the tasks."""
    return np.split(table, np.cumsum(n_columns(classes))[:-1], axis=-1)


def from_outputs(outputs: np.ndarray, classes: Classes) -> np.ndarray:
    """Order the outputs of a network by task, as logits relative to the first class.

    Parameters
    ----------
    outputs : ndarray of shape (n, k t)
        Of a network that was trained by :class:`~skgnn_mtl.training.SoftmaxLoss`, or by
        the logistic loss: of all tasks one after another, first for the first class of
        several or the second of two.
    classes : sequence of ndarray of length t
        Classes of each task.

    Returns
    -------
    table : ndarray of shape (n, c)
        Logits.
    """
    parts = []
    for t, count in enumerate(n_columns(classes)):
        own = outputs[:, t :: len(classes)]
        # The others are padding.
        parts.append(own[:, :1] if count == 1 else own[:, 1 : count + 1] - own[:, :1])
    return np.hstack(parts)


def to_probabilities(logits: np.ndarray, classes: Classes) -> np.ndarray:
    """Turn logits (n, c) into probabilities."""
    return np.hstack([_probabilities(part) for part in by_task(logits, classes)])


def _probabilities(part: np.ndarray) -> np.ndarray:
    """Turn the logits (n, k) of a task into probabilities."""
    # Without the first class, because of two it is one exponential.
    if part.shape[1] == 1:
        return expit(part)  # type: ignore[no-any-return]
    return softmax(_after_zero(part), axis=1)[:, 1:]  # type: ignore[no-any-return]


def class_logits(table: np.ndarray, classes: Classes) -> list[np.ndarray]:
    """Lay out the logits (n, n_classes) of all classes of each task.

    Parameters
    ----------
    table : ndarray of shape (n, c)
        Logits, NaN for an invalid row.
    classes : sequence of ndarray of length t
        Classes of each task.

    Returns
    -------
    logits : list of ndarray of shape (n, n_classes)
        That of the first class is 0.
    """
    pairs = zip(by_task(table, classes), classes, strict=True)
    return [_after_zero(part)[:, : len(labels)] for part, labels in pairs]


def _after_zero(part: np.ndarray) -> np.ndarray:
    # An invalid row stays NaN, also with a single class.
    zero = np.where(np.isnan(part[:, :1]), np.nan, 0.0)
    return np.hstack([zero, part])


def class_probabilities(table: np.ndarray, classes: Classes) -> list[np.ndarray]:
    """Lay out the probabilities of the classes of each task.

    Parameters
    ----------
    table : ndarray of shape (n, c)
        Probabilities of all classes but the first, NaN for an invalid row.
    classes : sequence of ndarray of length t
        Classes of each task.

    Returns
    -------
    probabilities : list of ndarray of shape (n, n_classes)
        One array per task. A single class has the probability 1.
    """
    return [
        # Not below 0, because a sum of several may be above 1 by rounding.
        np.hstack([np.maximum(1.0 - part.sum(axis=1, keepdims=True), 0.0), part])
        if len(labels) > 1
        # An invalid row stays NaN, also with a single class.
        else np.where(np.isnan(part), np.nan, 1.0)
        for part, labels in zip(by_task(table, classes), classes, strict=True)
    ]


def class_errors(
    codes: np.ndarray, table: np.ndarray, classes: Classes
) -> list[np.ndarray]:
    """Subtract 1 for the true class from the probabilities of each task.

    Parameters
    ----------
    codes : ndarray of shape (n, t)
        Positions of the true classes, NaN where missing.
    table : ndarray of shape (..., n, c)
        Probabilities of all classes but the first, NaN for an invalid row.
    classes : sequence of ndarray of length t
        Classes of each task.

    Returns
    -------
    errors : list of ndarray of shape (..., n, k)
        One array per task, whose squares sum over classes to the Brier score. One
        column for two classes, whose errors are opposite; else one for each class.
    """
    parts = zip(codes.T, by_task(table, classes), strict=True)
    return [_errors(column[:, None], part) for column, part in parts]


def _errors(codes: np.ndarray, part: np.ndarray) -> np.ndarray:
    true = np.where(np.isnan(codes), np.nan, codes == np.arange(1, part.shape[-1] + 1))
    errors: np.ndarray = part - true
    if part.shape[-1] == 1:
        return errors
    # Because probabilities, and truths, sum to 1.
    first = -errors.sum(axis=-1, keepdims=True)
    return np.concatenate([first, errors], axis=-1)


def likeliest_labels(scores: Sequence[np.ndarray], classes: Classes) -> np.ndarray:
    """Write the most probable label of each task.

    Parameters
    ----------
    scores : sequence of ndarray of shape (n, n_classes)
        Logits or probabilities of each task, NaN for an invalid row.
    classes : sequence of ndarray of length t
        Classes of each task.

    Returns
    -------
    labels : ndarray of shape (n, t)
        In a dtype that holds NaN, if a label is missing or some tasks have text.
    """
    columns = [
        # The first of equal ones; NaN is replaced below.
        labels[table.argmax(axis=1)]
        for table, labels in zip(scores, classes, strict=True)
    ]
    missing = [np.isnan(table).any(axis=1) for table in scores]
    # Copies as objects, because one array of text and numbers would be text.
    if np.any(missing) or len({column.dtype.kind in "US" for column in columns}) > 1:
        columns = [
            _with_gaps(column, gap)
            for column, gap in zip(columns, missing, strict=True)
        ]
    return np.column_stack(columns)


def _with_gaps(column: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """Copy labels (n,) in a dtype that can hold NaN, and write it where bool (n,)."""
    # Another dtype, because integers and text cannot hold NaN.
    result = column.astype(object if column.dtype.kind in "USO" else np.float64)
    result[invalid] = np.nan
    return result
