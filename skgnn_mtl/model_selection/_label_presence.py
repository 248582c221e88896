"""Folds over which the labels of every task are spread evenly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from skgnn_mtl.metrics._tables import column_names

from ._base import KFoldSplitter


class LabelPresenceKFold(KFoldSplitter):
    r"""K folds with about equally many labels of every task, and about equal size.

    In a sparse table a random fold may miss a task altogether. Here rows are dealt out
    greedily, those with the rarest task first: row :math:`i` goes to the fold
    :math:`f` with the smallest

    .. math::
        \sum_{t \in T_i} \frac{c_{ft}}{n_t} + \frac{s_f}{n},

    where :math:`T_i` are the tasks that row :math:`i` has labels of, :math:`c_{ft}` the
    labels of task :math:`t` in fold :math:`f` so far, :math:`n_t` all labels of the
    task, :math:`s_f` the rows in the fold so far, and :math:`n` all rows.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=True
        Deal out rows with equally rare tasks in random order instead of in order.
    random_state : int, RandomState instance or None, default=None
        Seed of the order, with ``shuffle=True`` only.

    Warns
    -----
    UserWarning
        Names the tasks with fewer labels than folds: some folds have none.

    See Also
    --------
    ScaffoldKFold : Folds without common scaffolds.
    sklearn.model_selection.StratifiedKFold : Stratifies the classes of one task.

    Notes
    -----
    Rare tasks first is the idea of iterative stratification [1]_. That algorithm looks
    at one task at a time; on tables in which most labels come together, the sum over
    all tasks of a row spreads the frequent ones better.

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

    def __init__(self, n_splits=5, *, shuffle=True, random_state=None):
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def _fold_of_row(
        self, X: Any, y: Any, ordered: Callable[[int], np.ndarray]
    ) -> np.ndarray:
        present = _presence(y)
        if len(present) < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} folds were asked for, but y has only "
                f"{len(present)} row(s)."
            )
        _warn_of_scarce_tasks(present.sum(axis=0).tolist(), y, self.n_splits)
        order = ordered(len(present))
        fold_of_row = np.empty(len(present), dtype=np.intp)
        fold_of_row[order] = _spread(present[order], self.n_splits)
        return fold_of_row


def _presence(y: Any) -> np.ndarray:
    """Boolean table of shape (n, t): where y has a label."""
    if y is None:
        raise ValueError("LabelPresenceKFold spreads the labels of y, but y is None.")
    present = ~np.asarray(pd.isna(np.asarray(y)))
    if present.ndim not in (1, 2):
        raise ValueError(
            f"y must have shape (n_samples,) or (n_samples, n_tasks), but has shape "
            f"{present.shape}."
        )
    return present.reshape(len(present), -1)


def _warn_of_scarce_tasks(counts: list[int], y: Any, n_splits: int) -> None:
    names = column_names(y) or [f"task_{k}" for k in range(len(counts))]
    scarce = [
        f"{name!r}: {count}"
        for name, count in zip(names, counts, strict=True)
        if count < n_splits
    ]
    if scarce:
        warnings.warn(
            f"{len(scarce)} of {len(counts)} tasks have fewer labels than the "
            f"{n_splits} folds, so that some folds have none: {', '.join(scarce)}.",
            UserWarning,
            stacklevel=5,
        )


def _spread(present: np.ndarray, n_splits: int) -> np.ndarray:
    """Fold of each row, dealt out greedily in order of the rarest task."""
    n_rows = len(present)
    # The row itself counts as a label that is present everywhere.
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
