"""Splits of molecules whose parts do not share scaffolds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import BaseShuffleSplit
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_consistent_length

from ._base import (
    UNREADABLE,
    KFoldSplitter,
    check_n_splits,
    check_option,
    fold_of_row,
    warn_of_groups,
)
from ._scaffold import scaffold_groups


class ScaffoldKFold(KFoldSplitter):
    """Split molecules into K folds of about equal size that do not share scaffolds.

    The scaffolds are those of Bemis and Murcko [1]_. The groups are assigned from the
    largest to the smallest, each to the smallest fold so far. A group larger than
    ``n / n_splits`` makes one larger fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether groups of equal size are assigned in random order instead of by first
        appearance.
    random_state : int, RandomState instance or None, default=None
        Seed of the order, with ``shuffle=True`` only.
    generic, chirality, acyclic, on_error : bool, bool, str, str
        See :func:`scaffold_groups`. With ``on_error="nan"``, unreadable rows are
        assigned to folds one by one.

    Raises
    ------
    ValueError
        In ``split``, if a row cannot be read and ``on_error="raise"``, if there are
        fewer scaffolds than folds, or if an option is wrong.

    See Also
    --------
    ScaffoldSplit : The published deterministic split into train, validation and test.
    LabelPresenceKFold : Balances the labels of sparse tasks.

    References
    ----------
    .. [1] G. W. Bemis, M. A. Murcko, "The properties of known drugs. 1. Molecular
       frameworks", J. Med. Chem. 39 (1996).

    Examples
    --------
    >>> from skgnn_mtl.model_selection import ScaffoldKFold
    >>> X = ["Cc1ccccc1", "c1ccncc1", "Oc1ccccc1", "CCO"]
    >>> for train, test in ScaffoldKFold(n_splits=2).split(X):
    ...     print(train, test)
    [1 3] [0 2]
    [0 2] [1 3]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
        generic: bool = False,
        chirality: bool = False,
        acyclic: str = "own",
        on_error: str = "raise",
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.generic = generic
        self.chirality = chirality
        self.acyclic = acyclic
        self.on_error = on_error

    def _fold_of_row(
        self, X: Any, y: Any, ordered: Callable[[int], np.ndarray]
    ) -> np.ndarray:
        codes = _scaffold_codes(self, X)
        return fold_of_row(codes, self.n_splits, ordered, "scaffold(s)")


class ScaffoldSplit(BaseShuffleSplit):  # type: ignore[misc]
    """Split molecules by scaffold as benchmarks do, into train, validation and test.

    Molecules, X of shape (n_samples,), are grouped by Bemis-Murcko scaffold. The groups
    are sorted by size and then by first row, both descending. Each group joins the
    first part :math:`k` for which parts 0 to :math:`k` together stay within their share
    of the readable rows. The training part has the frequent scaffolds and the last part
    has the rare ones, as in MoleculeNet [1]_ and the pre-training benchmarks [2]_.

    Parameters
    ----------
    fractions : sequence of float, default=(0.8, 0.1, 0.1)
        Share of each of two or more parts; their sum is 1.
    order : {"size", "random"}, default="size"
        "size" is the deterministic rule above. "random" permutes the groups. Each group
        then joins the first part after the training part in which it fits, else the
        training part.
    n_splits : int, default=1
        Number of splits; more than one with ``order="random"`` only.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations, with ``order="random"`` only.
    generic, chirality, acyclic, on_error : bool, bool, str, str
        See :func:`scaffold_groups`; the defaults are those of the published splits.
        With ``on_error="nan"``, unreadable rows are left out.

    Raises
    ------
    ValueError
        In ``split`` and ``parts``, if a part is empty, if an option is wrong, or if a
        row cannot be read.

    See Also
    --------
    scaffold_train_test_split : The same split, applied to arrays.
    ScaffoldKFold : Cross-validation, where each row is tested once.

    Notes
    -----
    As ``cv=`` it tests on the last part and trains on all others. For a fixed inner
    validation set pass a ``PredefinedSplit`` made from :meth:`parts`.

    References
    ----------
    .. [1] Z. Wu et al., "MoleculeNet: a benchmark for molecular machine learning",
       Chem. Sci. 9 (2018).
    .. [2] W. Hu et al., "Strategies for pre-training graph neural networks", ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.model_selection import ScaffoldSplit
    >>> X = ["c1ccncc1", "c1ccoc1", "Cc1ccccc1", "Oc1ccccc1", "CCO"]
    >>> train, valid, test = ScaffoldSplit(fractions=(0.6, 0.2, 0.2)).parts(X)
    >>> train, valid, test
    (array([2, 3, 4]), array([1]), array([0]))
    """

    def __init__(
        self,
        fractions: Sequence[float] = (0.8, 0.1, 0.1),
        *,
        order: str = "size",
        n_splits: int = 1,
        random_state: int | np.random.RandomState | None = None,
        generic: bool = False,
        chirality: bool = True,
        acyclic: str = "one",
        on_error: str = "raise",
    ) -> None:
        self.fractions = fractions
        self.order = order
        self.n_splits = n_splits
        self.random_state = random_state
        self.generic = generic
        self.chirality = chirality
        self.acyclic = acyclic
        self.on_error = on_error

    def parts(self, X: Any) -> tuple[np.ndarray, ...]:
        """Split the rows once.

        Parameters
        ----------
        X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
            SMILES or RDKit molecules, or graphs that were made from them.

        Returns
        -------
        parts : tuple of ndarray of int
            Row numbers of each part, in the order in which the groups joined it, and
            ascending within a group.

        Raises
        ------
        ValueError
            If a part is empty, if an option is wrong, or if a row cannot be read.
        """
        return next(self._iter_parts(X))

    def _iter_indices(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        warn_of_groups(self, groups)
        for parts in self._iter_parts(X):
            yield np.sort(np.concatenate(parts[:-1])), np.sort(parts[-1])

    def _iter_parts(self, X: Any) -> Iterator[tuple[np.ndarray, ...]]:
        fractions = _check_fractions(self.fractions)
        self._check_order()
        codes = _scaffold_codes(self, X)
        groups = _members(codes)
        generator = check_random_state(self.random_state)
        for _ in range(self.n_splits):
            if self.order == "size":
                groups = sorted(groups, key=lambda g: (len(g), g[0]), reverse=True)
                part_of_group = _fill_in_turn([len(g) for g in groups], fractions)
            else:
                groups = [groups[i] for i in generator.permutation(len(groups))]
                part_of_group = _fill_small_parts([len(g) for g in groups], fractions)
            yield self._joined(groups, part_of_group, len(fractions))

    def _joined(
        self, groups: list[np.ndarray], part_of_group: list[int], n_parts: int
    ) -> tuple[np.ndarray, ...]:
        parts = []
        for part in range(n_parts):
            members = [
                g for g, p in zip(groups, part_of_group, strict=True) if p == part
            ]
            if not members:
                cures = ["other fractions"]
                cures += ["acyclic='own'"] * (self.acyclic != "own")
                cures += ["order='random'"] * (self.order != "random")
                raise ValueError(
                    f"Part {part} of {n_parts} is empty: {sum(map(len, groups))} rows "
                    f"in {len(groups)} scaffold group(s), the largest of "
                    f"{max(map(len, groups))} rows, do not fit the fractions. Choose "
                    f"{' or '.join(cures)}."
                )
            parts.append(np.concatenate(members))
        return tuple(parts)

    def _check_order(self) -> None:
        check_n_splits(self.n_splits, minimum=1)
        check_option("order", self.order, ("size", "random"))
        if self.order == "size" and (
            self.n_splits > 1 or self.random_state is not None
        ):
            raise ValueError(
                f"n_splits={self.n_splits} and random_state={self.random_state!r} need "
                "order='random', because the order by size gives one split only."
            )


def scaffold_train_test_split(
    X: Any,
    *arrays: Any,
    test_size: float = 0.1,
    valid_size: float | None = None,
    order: str = "size",
    random_state: int | np.random.RandomState | None = None,
) -> list[Any]:
    """Split molecules and further arrays into parts that do not share scaffolds.

    Parameters
    ----------
    X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
        SMILES or RDKit molecules, or graphs that were made from them.
    *arrays : sequence of indexables of length n
        Further data of the rows: labels, weights, ...
    test_size : float, default=0.1
        Share of the test part.
    valid_size : float, default=None
        Share of a validation part. None means no validation part.
    order : {"size", "random"}, default="size"
        "size" is the deterministic rule of the benchmarks; "random" takes groups in
        random order. See :class:`ScaffoldSplit`.
    random_state : int, RandomState instance or None, default=None
        Seed, with ``order="random"`` only.

    Returns
    -------
    splitting : list
        ``X_train, X_test`` and then the train and test part of each array, as
        scikit-learn's ``train_test_split`` returns them; with `valid_size`,
        ``X_train, X_valid, X_test`` and so on.

    Raises
    ------
    ValueError
        If lengths differ, if a part is empty, if an option is wrong, or if a row cannot
        be read.

    See Also
    --------
    ScaffoldSplit : The same split as row numbers, with all options, and as ``cv=``.

    Examples
    --------
    >>> from skgnn_mtl.model_selection import scaffold_train_test_split
    >>> X = ["c1ccncc1", "c1ccoc1", "Cc1ccccc1", "Oc1ccccc1", "CCO"]
    >>> X_train, X_test, y_train, y_test = scaffold_train_test_split(
    ...     X, [0.0, 1.0, 2.0, 3.0, 4.0], test_size=0.2)
    >>> X_test, y_test
    (['c1ccncc1'], [0.0])
    """
    check_consistent_length(X, *arrays)
    sizes = (test_size,) if valid_size is None else (valid_size, test_size)
    for size in sizes:
        if isinstance(size, Integral) or not 0 < size < 1:
            raise ValueError(
                "test_size and valid_size must be fractions between 0 and 1, but "
                f"{size!r} was given."
            )
    split = ScaffoldSplit(
        (1 - sum(sizes), *sizes), order=order, random_state=random_state
    )
    parts = split.parts(X)
    return list(
        chain.from_iterable(
            [_safe_indexing(_sliceable(array), part) for part in parts]
            for array in (X, *arrays)
        )
    )


def _sliceable(array: Any) -> Any:
    return list(array) if isinstance(array, tuple) else array


def _scaffold_codes(splitter: Any, X: Any) -> np.ndarray:
    return scaffold_groups(
        X,
        generic=splitter.generic,
        chirality=splitter.chirality,
        acyclic=splitter.acyclic,
        on_error=splitter.on_error,
    )


def _members(codes: np.ndarray) -> list[np.ndarray]:
    """List the ascending rows of each group, by number, without unreadable rows."""
    rows = np.argsort(codes, kind="stable")[np.sum(codes == UNREADABLE) :]
    if len(rows) == 0:
        raise ValueError("X must have a row that can be read as SMILES, but has none.")
    return np.split(rows, np.flatnonzero(np.diff(codes[rows])) + 1)


def _fill_in_turn(sizes: Sequence[int], fractions: np.ndarray) -> list[int]:
    """Put each group into the first part k for which parts 0..k stay in their share."""
    limits = _limits(np.cumsum(fractions), sum(sizes))
    filled, parts = np.zeros(len(limits), dtype=int), []
    for size in sizes:
        part = int(np.argmax(np.cumsum(filled) + size <= limits))
        filled[part] += size
        parts.append(part)
    return parts


def _fill_small_parts(sizes: Sequence[int], fractions: np.ndarray) -> list[int]:
    """Put each group into the first part after part 0 in which it fits, else part 0."""
    room, parts = _limits(fractions[1:], sum(sizes)), []
    for size in sizes:
        fits = size <= room
        part = 1 + int(np.argmax(fits)) if fits.any() else 0
        if part:
            room[part - 1] -= size
        parts.append(part)
    return parts


def _limits(shares: np.ndarray, n: int) -> np.ndarray:
    """Count the rows within each share of n."""
    # A margin, because sums are rounded: 0.7 + 0.2 is a little less than 0.9.
    limits: np.ndarray = np.floor(shares * n + 1e-6).astype(int)
    return limits


def _check_fractions(fractions: Any) -> np.ndarray:
    shares = np.asarray(fractions, dtype=np.float64)
    if (
        shares.ndim != 1
        or len(shares) < 2
        or not (shares > 0).all()
        or not math.isclose(shares.sum(), 1, abs_tol=1e-9)
    ):
        raise ValueError(
            "fractions must be two or more positive numbers with the sum 1, but are "
            f"{fractions!r}."
        )
    return shares
