"""Folds of a table with gaps, which a number stands for."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, check_cv

from skgnn_mtl.metrics._tables import as_cells

from ._label_presence import LabelPresenceKFold

Folds = list[tuple[np.ndarray, np.ndarray]]


def label_presence(table: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Mark the labels of each task.

    Parameters
    ----------
    table : ndarray of shape (n, t)
        Labels, NaN where missing.
    names : sequence of str of length t
        Names of the tasks.

    Returns
    -------
    presence : DataFrame of shape (n, t)
        1 where there is a label, NaN elsewhere.
    """
    return pd.DataFrame(np.where(np.isnan(table), np.nan, 1.0), columns=list(names))


def class_presence(
    codes: np.ndarray, names: Sequence[str], classes: Sequence[np.ndarray]
) -> pd.DataFrame:
    """Mark the labels of each class of each task.

    Parameters
    ----------
    codes : ndarray of shape (n, t)
        Positions of the labels among the classes, NaN where missing.
    names : sequence of str of length t
        Names of the tasks.
    classes : sequence of ndarray
        Classes of each task.

    Returns
    -------
    presence : DataFrame of shape (n, number of all classes)
        1 where a row has the class of a column, named "task = class"; NaN elsewhere.
    """
    return pd.DataFrame(
        {
            f"{name} = {label!r}": np.where(column == code, 1.0, np.nan)
            for name, column, known in zip(names, codes.T, classes, strict=True)
            for code, label in enumerate(known.tolist())
        }
    )


def table_folds(
    cv: Any,
    X: Any,
    y: Any,
    presence: pd.DataFrame,
    groups: Any = None,
    random_state: int | None = None,
) -> Folds:
    """Split the rows of a table with gaps.

    Parameters
    ----------
    cv : int, splitter or iterable
        A number stands for shuffled folds. Rows of one group stay together; without
        groups each task has labels in each fold, as in :class:`LabelPresenceKFold`.
    X : array-like of shape (n,)
        Inputs, for the splitter.
    y : array-like of shape (n,) or (n, t)
        Labels, for the splitter.
    presence : DataFrame of shape (n, c)
        Not NaN where a row has what each column stands for: a label of a task, or one
        of its classes. The names of the columns are those of the errors.
    groups : array-like of shape (n,), optional
        Groups of the rows.
    random_state : int, optional
        Seed of the shuffle; without effect on a splitter.

    Returns
    -------
    folds : list of (train, test)
        Positions of the rows, arrays of int.

    Raises
    ------
    ValueError
        If there are fewer rows than folds, or the training rows of a fold have none of
        what a column stands for.
    """
    if isinstance(cv, Integral) and not 2 <= int(cv) <= len(presence):
        raise ValueError(
            f"cv={cv} folds need as many rows, and at least 2 folds, but X has "
            f"n_samples={len(presence)}."
        )
    if isinstance(cv, Integral) and groups is None:
        splitter = LabelPresenceKFold(int(cv), random_state=random_state)
        folds = list(splitter.split(presence, presence))
    elif isinstance(cv, Integral):
        require_groups(groups, len(presence))
        splitter = GroupKFold(int(cv), shuffle=True, random_state=random_state)
        folds = list(splitter.split(presence, groups=groups))
    else:
        folds = splitter_folds(cv, X, y, groups, len(presence))
    present = presence.notna().to_numpy()
    _require_training_labels(folds, present, list(presence.columns))
    return folds


def require_groups(groups: Any, n: int) -> None:
    """Refuse groups that do not give each row one.

    Parameters
    ----------
    groups : array-like of shape (n,) or None
        Groups of the rows.
    n : int
        Number of rows.

    Raises
    ------
    ValueError
        If there are more or fewer, or one is missing, whose row is named.
    """
    if groups is None:
        return
    cells = as_cells(groups, "groups")
    if cells.shape != (n,):
        raise ValueError(f"groups must have shape ({n},), but has shape {cells.shape}.")
    missing = np.asarray(pd.isna(cells))
    if missing.any():
        raise ValueError(
            f"groups must have a group for each row, but {missing.sum()} are missing, "
            f"the first in row {missing.argmax()}. Give such a row a group of its own."
        )


def splitter_folds(cv: Any, X: Any, y: Any, groups: Any, n_rows: int) -> Folds:
    """Ask a splitter of the user's, or read a list of folds.

    Parameters
    ----------
    cv : int, splitter or iterable
        A number stands for folds without shuffling.
    X, y, groups : object
        Arguments of the splitter.
    n_rows : int
        Number of rows.

    Returns
    -------
    folds : list of (train, test)
        Positions of the rows, arrays of int.

    Raises
    ------
    ValueError
        If there is no fold, or the splitter fails; the parameter is named.
    """
    every = np.arange(n_rows)
    try:
        pairs = list(check_cv(cv).split(X, y, groups))
        # Splits may be masks.
        folds = [(every[np.asarray(a)], every[np.asarray(b)]) for a, b in pairs]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            "cv must be an integer, a splitter or a list of pairs (train, test) that "
            f"fit X, but {cv!r} fails: {error}"
        ) from error
    if not folds:
        raise ValueError(f"cv={cv!r} gives no fold.")
    return folds


def _require_training_labels(
    folds: Folds, present: np.ndarray, names: Sequence[str]
) -> None:
    for fold, (train, _) in enumerate(folds):
        bare = np.flatnonzero(~present[train].any(axis=0) & present.any(axis=0))
        if len(bare):
            t = int(bare[0])
            raise ValueError(
                f"Task {names[t]!r} has {present[:, t].sum()} label(s), but none in "
                f"the training rows of fold {fold} of {len(folds)}. Use fewer folds or "
                "drop the task."
            )


def require_partition(folds: Folds, n_rows: int) -> None:
    """Refuse folds that do not test each row once.

    Parameters
    ----------
    folds : list of (train, test)
        Positions of the rows.
    n_rows : int
        Number of rows.

    Raises
    ------
    ValueError
        Naming the first row that is tested in no fold or in two.
    """
    times = np.bincount(np.concatenate([test for _, test in folds]), minlength=n_rows)
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"Each row must be in one test fold, but row {row} is in {times[row]}: use "
            "a splitter that partitions the rows, such as KFold."
        )
