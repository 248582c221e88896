"""Predictions of rows by members that were fitted without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from joblib import delayed
from sklearn.base import clone

from skgnn_mtl.model_selection._fitting import fit_member, take
from skgnn_mtl.model_selection._folds import Folds

from ._jobs import Jobs


def fit_and_predict(
    member: Any,
    X: Any,
    y: Any,
    fold: tuple[np.ndarray, np.ndarray],
    arguments: dict[str, Any],
    name: str,
    outputs: Callable[[Any, Any, str], np.ndarray],
) -> np.ndarray:
    """Predict the test rows of a fold by a member that is fitted on the others.

    Parameters
    ----------
    member : estimator
        Is fitted in place.
    X : array-like of shape (n,)
        All inputs.
    y : array-like of shape (n,) or (n, t)
        All labels.
    fold : tuple of two ndarrays of int
        Training and test rows.
    arguments : dict
        Further arguments of ``fit``, for all n rows.
    name : str
        Name of the member, for errors.
    outputs : callable
        Predicts by a fitted member, some rows of X and its name.

    Returns
    -------
    predictions : ndarray of shape (n_test, ...)
        What ``outputs`` gives.
    """
    train, test = fold
    fit_member(member, X, take(y, train), train, arguments, name)
    return outputs(member, take(X, test), name)


def gathered(
    parts: Sequence[np.ndarray], folds: Folds, shape: tuple[int, ...]
) -> np.ndarray:
    """Order the predictions of all members and folds as rows.

    Parameters
    ----------
    parts : sequence of ndarray
        Predictions of the test rows, all folds of one member after another.
    folds : list of (train, test)
        A partition of the rows.
    shape : tuple of int
        Shape of the predictions of all rows by one member.

    Returns
    -------
    tables : ndarray of shape (m, *shape)
        Predictions of the members.
    """
    # No entry stays empty, because the folds are a partition of the rows.
    tables = np.empty((len(parts) // len(folds), *shape))
    for k, part in enumerate(parts):
        member, fold = divmod(k, len(folds))
        tables[member, folds[fold][1]] = part
    return tables


def fit_and_hold_out(
    estimator: Any,
    X: Any,
    y: Any,
    folds: Folds,
    arguments: dict[str, Any],
    outputs: Callable[[Any, Any, str], np.ndarray],
    jobs: Jobs,
) -> tuple[Any, np.ndarray]:
    """Fit an estimator on all rows, and predict each row out of fold.

    Parameters
    ----------
    estimator : estimator
        Is cloned.
    X : array-like of shape (n,)
        Inputs.
    y : array-like of shape (n,) or (n, t)
        Labels.
    folds : list of (train, test)
        A partition of the rows.
    arguments : dict
        Further arguments of ``fit``, for all n rows.
    outputs : callable
        Predicts by a fitted member, some rows of X and its name.
    jobs : Jobs
        Runs the fits.

    Returns
    -------
    fitted : estimator
        Of all rows.
    table : ndarray of shape (n, ...)
        What ``outputs`` gives of each row.
    """
    # One list of jobs, because the fit on all rows must not wait for the folds.
    fits = [delayed(fit_member)(clone(estimator), X, y, None, arguments, "estimator")]
    name = "estimator of a fold"
    fits += [
        delayed(fit_and_predict)(clone(estimator), X, y, fold, arguments, name, outputs)
        for fold in folds
    ]
    fitted, *parts = jobs.run("estimator", fits)
    n_rows = sum(len(test) for _, test in folds)
    return fitted, gathered(parts, folds, (n_rows, *parts[0].shape[1:]))[0]
