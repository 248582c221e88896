"""The abstract splitter, and functions that the splitters share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from heapq import heapify, heapreplace
from typing import Any

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from skgnn_mtl._warn import warn

# Number of the group of a row that cannot be read.
UNREADABLE = -1


class KFoldSplitter(BaseCrossValidator):  # type: ignore[misc]
    """Split rows into K folds; each row is tested once.

    A subclass has the parameters ``n_splits``, ``shuffle`` and ``random_state`` and
    implements :meth:`_fold_of_row`.
    """

    n_splits: int
    shuffle: bool
    random_state: Any

    @abstractmethod
    def _fold_of_row(
        self, X: Any, y: Any, ordered: Callable[[int], np.ndarray]
    ) -> np.ndarray:
        """Return the fold of each row, shape (n,).

        ``ordered(m)`` returns the numbers 0..m-1, shuffled if ``shuffle`` is set.
        """

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored.

        Returns
        -------
        n_splits : int
            Number of folds.
        """
        return self.n_splits

    def _iter_test_indices(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[np.ndarray]:
        check_n_splits(self.n_splits, minimum=2)
        warn_of_groups(self, groups)
        fold_of_row = self._fold_of_row(X, y, self._ordered())
        for fold in range(self.n_splits):
            yield np.flatnonzero(fold_of_row == fold)

    def _ordered(self) -> Callable[[int], np.ndarray]:
        if self.shuffle:
            generator: np.random.RandomState = check_random_state(self.random_state)
            return generator.permutation
        if self.random_state is not None:
            raise ValueError(
                f"random_state={self.random_state!r} has no effect without "
                "shuffle=True; remove it or shuffle."
            )
        return np.arange


def check_option(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Check that an option is one of some words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, but is {value!r}.")


def check_n_splits(n_splits: Any, minimum: int) -> None:
    """Check that the number of splits is an integer of at least ``minimum``."""
    if not isinstance(n_splits, (int, np.integer)) or n_splits < minimum:
        raise ValueError(
            f"n_splits must be an integer of at least {minimum}, but is {n_splits!r}."
        )


def warn_of_groups(splitter: Any, groups: Any) -> None:
    """Warn that a splitter ignores groups."""
    if groups is not None:
        warn(
            f"The groups parameter is ignored by {type(splitter).__name__}.",
        )


def group_numbers(keys: Sequence[Hashable | None]) -> np.ndarray:
    """Assign numbers to keys by first appearance; None becomes UNREADABLE."""
    number: dict[Hashable, int] = {}
    return np.array(
        [
            UNREADABLE if key is None else number.setdefault(key, len(number))
            for key in keys
        ],
        dtype=np.intp,
    )


def fold_of_row(
    groups: np.ndarray,
    n_splits: int,
    ordered: Callable[[int], np.ndarray],
    kind: str,
) -> np.ndarray:
    """Assign groups to folds of about equal size, the largest group first.

    Each group joins the smallest fold so far. An unreadable row is a group of its own.
    ``kind`` names the groups in a message.
    """
    groups = groups.copy()
    unreadable = groups == UNREADABLE
    groups[unreadable] = groups.max(initial=-1) + 1 + np.arange(unreadable.sum())
    sizes = np.bincount(groups)
    if len(sizes) < n_splits:
        raise ValueError(
            f"n_splits={n_splits} is too large: the {len(groups)} rows have only "
            f"{len(sizes)} different {kind}."
        )
    order = ordered(len(sizes))
    fold_of_group = np.empty(len(sizes), dtype=np.intp)
    folds = [(0, fold) for fold in range(n_splits)]
    heapify(folds)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        n_rows, fold = folds[0]
        fold_of_group[group] = fold
        heapreplace(folds, (n_rows + int(sizes[group]), fold))
    folds_of_rows: np.ndarray = fold_of_group[groups]
    return folds_of_rows
