"""Calibration rows that are training rows, where it can be noticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skgnn_mtl._listed import listed
from skgnn_mtl._pipelines import last_step
from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.model_selection._folds import Folds


def require_apart(folds: Folds) -> None:
    """Refuse folds of which a row is on both sides.

    Parameters
    ----------
    folds : list of (train, test)
        Positions of the rows.

    Raises
    ------
    ValueError
        Naming rows.
    """
    for k, (train, test) in enumerate(folds):
        both = np.intersect1d(train, test).tolist()
        if both:
            raise ValueError(
                f"Fold {k} of cv calibrates on training rows: {listed(both)}. Their "
                "errors are too small; leave them out on one side."
            )


def warn_of_repeats(X: Any, folds: Folds) -> None:
    """Warn of calibration rows that equal a training row.

    Parameters
    ----------
    X : array-like of shape (n,)
        Inputs; graphs are compared by their identifiers.
    folds : list of (train, test)
        Positions of the rows.
    """
    keys = row_keys(X)
    if keys is None:
        return
    # Sorted, because the table of NumPy 2.0 overflows with keys of 64 bits.
    repeated = [
        test[np.isin(keys[test], keys[train], kind="sort")] for train, test in folds
    ]
    rows = np.sort(np.concatenate(repeated)).tolist()
    if rows:
        warn(
            f"{len(rows)} of {sum(len(test) for _, test in folds)} calibration rows "
            f"equal a training row: rows {listed(rows)}. If new rows do not, intervals "
            "and sets are too small. Give fit groups that hold equal rows together."
        )


def row_keys(X: Any) -> np.ndarray | None:
    """Make keys that are equal for equal rows.

    Parameters
    ----------
    X : array-like of shape (n,)
        Inputs.

    Returns
    -------
    keys : ndarray of shape (n,) or None
        None for rows that cannot be compared, such as graphs without identifiers.
    """
    if isinstance(X, GraphArray):
        return X.ids if (X.ids != "").all() else None
    try:
        frame = pd.DataFrame(X)
        keys: np.ndarray = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    except (TypeError, ValueError):
        return None
    return keys


def warn_of_exact(errors: np.ndarray, scale: np.ndarray, names: Sequence[str]) -> None:
    """Warn of a fitted estimator that reproduces most of the calibration labels.

    Parameters
    ----------
    errors : ndarray of shape (n, t)
        Errors of the calibration labels, NaN where missing.
    scale : ndarray of shape (t,)
        Sizes of the labels.
    names : sequence of str of length t
        Names of the tasks.
    """
    exact = (np.abs(errors) <= 1e-9 * scale).sum(axis=0)
    known = (~np.isnan(errors)).sum(axis=0)
    for name, count, total in zip(names, exact, known, strict=True):
        # Most and not all, because the rows may overlap in part.
        if 2 * count > total:
            warn(
                f"The estimator reproduces {count} of {total} calibration labels of "
                f"task {name!r} exactly. If it was fitted on these rows, intervals and "
                "sets are too small: calibrate on other rows."
            )


def warn_of_training_labels(
    estimator: Any, labels: np.ndarray, names: Sequence[str]
) -> None:
    """Warn if the calibration labels have the means of the training labels.

    Parameters
    ----------
    estimator : estimator
        Fitted; its ``target_mean_`` is compared, if it has one, with the mean of the
        labels as it has transformed them.
    labels : ndarray of shape (n, t)
        Calibration labels, NaN where missing.
    names : sequence of str of length t
        Names of the tasks.
    """
    network = last_step(estimator)
    known = getattr(network, "target_mean_", None)
    if known is None or np.shape(known) != (labels.shape[1],):
        return
    transforms = getattr(getattr(network, "targets_", None), "transforms", None)
    try:
        learned = labels if transforms is None else transforms.transform(labels)
    except ValueError:  # out of its domain, so that they did not train it
        return
    equal = np.isclose(np.nanmean(learned, axis=0), known, rtol=1e-9, atol=0)
    blamed = [name for name, same in zip(names, equal, strict=True) if same]
    if blamed:
        warn(
            f"The calibration labels of {listed(blamed)} have the mean of the training "
            "labels of the estimator. If it was fitted on these rows, intervals and "
            "sets are too small: calibrate on other rows."
        )
