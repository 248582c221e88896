"""Work with the members of an ensemble: tables of their outputs, and the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from skgnn_mtl._listed import listed
from skgnn_mtl._pipelines import last_step
from skgnn_mtl._warn import warn
from skgnn_mtl.metrics._one_vs_rest import class_columns


def numbers_of(member: Any, X: Any, n_tasks: int, name: str) -> np.ndarray:
    """Predict numbers as a table (n, t).

    Parameters
    ----------
    member : estimator
        A fitted regressor.
    X : array-like of shape (n,)
        Inputs.
    n_tasks : int
        Wanted number of columns.
    name : str
        Name of the member, for errors.

    Returns
    -------
    table : ndarray of float64 of shape (n, t)
        Predictions, NaN for an invalid row.
    """
    return in_columns(member.predict(X), n_tasks, name)


def probabilities_of(
    member: Any, X: Any, classes: Sequence[np.ndarray], name: str
) -> np.ndarray:
    """Predict the probabilities of all classes but the first as a table (n, c).

    Parameters
    ----------
    member : estimator
        A fitted classifier with ``predict_proba``.
    X : array-like of shape (n,)
        Inputs.
    classes : list of ndarray
        Classes of each task, sorted. Of a single one the probability is that of it.
    name : str
        Name of the member, for errors.

    Returns
    -------
    table : ndarray of float64 of shape (n, c)
        Probabilities in the columns of :mod:`skgnn_mtl.estimators._class_columns`, NaN
        for an invalid row. 0 for a class that the rows of the member did not have.
    """
    # A list for several tasks and an array for one, as in scikit-learn.
    found, known = member.predict_proba(X), member.classes_
    found = found if isinstance(found, list) else [found]
    known = known if isinstance(known, list) else [known]
    if len(found) != len(classes):
        raise ValueError(
            f"{name}: predict_proba gives {len(found)} tasks, but y has {len(classes)}."
        )
    columns: list[np.ndarray] = []
    for table, own, wanted in zip(found, known, classes, strict=True):
        labels = np.asarray(own).tolist()
        shown = np.asarray(wanted).tolist()
        # The only one, because a single class has a column, too.
        columns += class_columns(table, labels, shown[1:] or shown)
    return np.column_stack(columns).astype(np.float64)


def in_columns(found: Any, n_tasks: int, name: str) -> np.ndarray:
    """Read an output of a member as a table (n, t).

    Parameters
    ----------
    found : array-like of shape (n,) or (n, t)
        The output.
    n_tasks : int
        Wanted number of columns.
    name : str
        Name of the member, for errors.

    Returns
    -------
    table : ndarray of float64 of shape (n, t)
        The output; NaN in the place of infinite numbers.

    Raises
    ------
    ValueError
        If it has another number of columns.

    Warns
    -----
    UserWarning
        If numbers are infinite.
    """
    table = np.array(found, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != n_tasks:
        raise ValueError(
            f"{name}: predictions have the shape {np.shape(found)}, but y has "
            f"{n_tasks} task(s). Put an estimator of one target into PerTaskRegressor "
            "or PerTaskClassifier."
        )
    infinite = np.isinf(table)
    if infinite.any():
        rows = np.flatnonzero(infinite.any(axis=1)).tolist()
        warn(
            f"{name}: infinite predictions in {len(rows)} of {len(table)} rows count "
            f"as missing (NaN): rows {listed(rows)}. It has diverged; check its "
            "parameters and the scale of X."
        )
        table[infinite] = np.nan
    return table


def mean_of(
    tables: np.ndarray, names: Sequence[str], weights: np.ndarray | None = None
) -> np.ndarray:
    """Average the predictions of members.

    Parameters
    ----------
    tables : ndarray of shape (m, n, t)
        Predictions of the members.
    names : sequence of str of length m
        Their names, for the warning.
    weights : ndarray of shape (m, t), optional
        Weights of the members for each task, which sum to 1; None for equal ones.

    Returns
    -------
    mean : ndarray of shape (n, t)
        NaN where a member of positive weight predicts NaN.

    Warns
    -----
    UserWarning
        If a member predicts NaN where another one does not.
    """
    counted = np.ones_like(tables[:, :1]) if weights is None else weights[:, None, :]
    missing, known = np.isnan(tables), ~np.isnan(tables) & (counted > 0)
    # A row that no member predicts is an invalid input and not worth a warning.
    alone = (missing & (counted > 0) & known.any(axis=0)).any(axis=2)
    if alone.any():
        blamed = [name for name, rows in zip(names, alone, strict=True) if rows.any()]
        rows = np.flatnonzero(alone.any(axis=0))
        warn(
            f"{listed(blamed)}: NaN in {len(rows)} of {tables.shape[1]} rows, in which "
            f"other members predict numbers: rows {listed(rows.tolist())}. The mean is "
            "NaN there."
        )
    if weights is None:
        mean: np.ndarray = tables.mean(axis=0)
        return mean
    # A member of weight 0 must not count, but 0 * NaN is NaN.
    total: np.ndarray = np.where(counted > 0, counted * tables, 0.0).sum(axis=0)
    return total


def mean_squares(squares: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Average squared errors of each task over its labelled rows.

    Parameters
    ----------
    squares : ndarray of shape (..., n, t)
        Squared errors, NaN where a label or a prediction is missing.
    sample_weight : ndarray of shape (n, 1)
        Weights of the rows.

    Returns
    -------
    errors : ndarray of shape (..., t)
        Mean squared errors; NaN without a labelled row that is predicted.
    """
    weights = np.where(np.isnan(squares), 0.0, sample_weight)
    total = weights.sum(axis=-2)
    # 0 / 0 is NaN, as documented.
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.nansum(weights * squares, axis=-2) / total
    return mean


def require_kind(estimator: Any, *, classifier: bool, name: str) -> None:
    """Refuse a class, another kind, or a classifier without probabilities.

    Parameters
    ----------
    estimator : object
        What the user passed.
    classifier : bool
        Whether a classifier is wanted.
    name : str
        Name for the message.

    Raises
    ------
    TypeError
        Saying what was found.
    """
    # A class has fit, too, and would fail later with another message.
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(f"{name} must be an estimator with fit, but is {estimator!r}.")
    if is_classifier(estimator) != classifier:
        wanted = "classifier" if classifier else "regressor"
        raise TypeError(
            f"{name} must be a {wanted}, but is {type(estimator).__name__}."
        )
    last = last_step(estimator)
    # Or its class, because some have the method with other parameters, or once fitted.
    if classifier and not any(hasattr(p, "predict_proba") for p in (last, type(last))):
        raise TypeError(
            f"{name} must have predict_proba, which {type(last).__name__} does not "
            "have. Put it into sklearn.calibration.CalibratedClassifierCV."
        )
