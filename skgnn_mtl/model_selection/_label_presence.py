"""Folds with about equally many labels of each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from skgnn_mtl._warn import warn
from skgnn_mtl.estimators._sides import assign_sides
from skgnn_mtl.metrics._tables import as_cells, column_names, made_up_names

from ._base import KFoldSplitter


class LabelPresenceKFold(KFoldSplitter):
    r"""Split rows into K folds with about equally many labels of each task.

    The folds have about equal size. The table y has the shape (n_samples, n_tasks), NaN
    where a label is missing. A random fold of a sparse table may be without
    labels of a task. Here rows are assigned greedily, those with the rarest task first:
    row :math:`i` joins the fold :math:`f` with the smallest

    .. math::
        \sum_{t \in T_i} \frac{c_{ft}}{n_t} + \frac{s_f}{n},

    where :math:`T_i` are the tasks of the labels of row :math:`i`, :math:`c_{ft}` is
    the number of labels of task :math:`t` in fold :math:`f` so far, :math:`n_t` the
    number of all labels of the task, :math:`s_f` the number of rows in the fold so far,
    and :math:`n` the number of all rows. Where this leaves a fold without a label of a
    task that has enough of them, as few rows as possible change their folds.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=True
        Whether rows with equally rare tasks are assigned in random order.
    random_state : int, RandomState instance or None, default=None
        Seed of the order, with ``shuffle=True`` only.

    Raises
    ------
    ValueError
        In ``split``, if y is None, or if it has fewer rows than folds.

    Warns
    -----
    UserWarning
        Names the tasks that some folds have no label of: those with fewer labels than
        folds, or whose few rows other tasks need elsewhere.

    See Also
    --------
    ScaffoldKFold : Folds that do not share scaffolds.
    sklearn.model_selection.StratifiedKFold : Stratifies the classes of one task.

    Notes
    -----
    The order, rare tasks first, is that of iterative stratification [1]_. That
    algorithm treats one task at a time. The sum over all tasks of a row balances
    frequent tasks better on tables in which most labels occur together.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the stratification of multi-label
       data", ECML PKDD 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.model_selection import LabelPresenceKFold
    >>> y = np.array([[1.0, 2], [1, 2], [1, np.nan], [1, np.nan]])
    >>> for train, test in LabelPresenceKFold(2, shuffle=False).split(y, y):
    ...     print(train, test)
    [1 3] [0 2]
    [0 2] [1 3]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _fold_of_row(
        self, X: Any, y: Any, ordered: Callable[[int], np.ndarray]
    ) -> np.ndarray:
        present = _presence(y)
        if len(present) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} is too large: y has only {len(present)} "
                "row(s)."
            )
        _warn_of_scarce_tasks(present.sum(axis=0).tolist(), y, self.n_splits)
        order = ordered(len(present))
        fold_of_row = np.empty(len(present), dtype=np.intp)
        fold_of_row[order] = _spread(present[order], self.n_splits)
        enough = present.sum(axis=0) >= self.n_splits
        mended = assign_sides(present, fold_of_row, [enough] * self.n_splits, seed=0)
        if mended is None:
            _warn_of_shared_rows(present, fold_of_row, enough, y)
            return fold_of_row
        return mended


def _presence(y: Any) -> np.ndarray:
    """Find where y has a label, bool (n, t)."""
    if y is None:
        raise ValueError("LabelPresenceKFold needs the labels y, but y is None.")
    present = ~np.asarray(pd.isna(as_cells(y, "y")))
    if present.ndim not in (1, 2):
        raise ValueError(
            f"y must have shape (n_samples,) or (n_samples, n_tasks), but has shape "
            f"{present.shape}."
        )
    return present.reshape(len(present), -1)


def _warn_of_scarce_tasks(counts: list[int], y: Any, n_splits: int) -> None:
    names = column_names(y) or made_up_names(len(counts))
    scarce = [
        f"{name!r}: {count}"
        for name, count in zip(names, counts, strict=True)
        if count < n_splits
    ]
    if scarce:
        warn(
            f"{len(scarce)} of {len(counts)} tasks have fewer labels than the "
            f"{n_splits} folds, so that some folds have none: {', '.join(scarce)}.",
        )


def _warn_of_shared_rows(
    present: np.ndarray, fold_of_row: np.ndarray, enough: np.ndarray, y: Any
) -> None:
    names = column_names(y) or made_up_names(present.shape[1])
    lacking = [
        repr(name)
        for name, labels, is_enough in zip(names, present.T, enough, strict=True)
        if is_enough and len(set(fold_of_row[labels])) <= fold_of_row.max()
    ]
    warn(
        f"No folds give every task a label in each of them, because tasks with few "
        f"labels share rows: {', '.join(lacking)} are absent from some folds. Lower "
        "n_splits."
    )


def _spread(present: np.ndarray, n_splits: int) -> np.ndarray:
    """Assign rows to folds greedily, in the order of their rarest task."""
    n_rows = len(present)
    # A further label that every row has, because folds must have equal sizes, too.
    table = np.column_stack([present, np.ones(n_rows, dtype=bool)])
    totals = table.sum(axis=0)
    share = table / np.maximum(totals, 1)
    rarity = np.where(table, totals, n_rows).min(axis=1)
    filled = np.zeros((n_splits, table.shape[1]))
    fold_of_row = np.empty(n_rows, dtype=np.intp)
    for row in np.argsort(rarity, kind="stable"):
        fold = np.argmin(filled @ share[row])
        filled[fold] += table[row]
        fold_of_row[row] = fold
    return fold_of_row
