"""Crystals in groups: composition, chemical system, space group."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np

from skgnn_mtl.featurizers._cif_reader import (
    Crystal,
    read_crystal,
    space_group_number,
)
from skgnn_mtl.featurizers._strings import as_strings
from skgnn_mtl.graphs import GraphArray

from ._base import KFoldSplitter, check_option, fold_of_row, group_numbers

_KINDS = ("formula", "chemical_system", "space_group")
# A share of 0.333 is a third, whatever the cell: occupancies have three digits or so.
_MOST_PARTS = 200


def composition_groups(
    X, *, by="formula", symprec=0.01, on_error="raise"
) -> np.ndarray:
    """Give each crystal the number of its composition, chemical system or space group.

    Polymorphs and near duplicates share a composition, and chemistry is much the same
    within a chemical system: a random split lets a network remember instead of predict.
    Pass the numbers as ``groups`` to a group splitter, or to ``fit(X, y, groups=...)``
    for the inner validation.

    Parameters
    ----------
    X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
        What :class:`~skgnn_mtl.CifToGraph` reads, or graphs that it made.
    by : {"formula", "chemical_system", "space_group"}, default="formula"
        The reduced formula (Fe4O6 and Fe2O3 are one; partial occupancies count as the
        simple fractions that they stand for), the set of elements (all iron oxides are
        one), or the space group that the atoms have, whatever the file says.
    symprec : float, default=0.01
        How far atoms may lie from the positions of a space group, in Å.
    on_error : {"raise", "nan"}, default="raise"
        What to do with rows that are missing or unreadable, and with invalid graphs:
        raise, or give them the number -1.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        Group of each row, numbered from 0 in the order of first appearance; -1 for
        unreadable rows.

    Raises
    ------
    ValueError
        If a row cannot be read and ``on_error="raise"``, if graphs do not tell their
        elements or their space group, or if an option is unknown.

    See Also
    --------
    CompositionKFold : Cross-validation over these groups.

    Examples
    --------
    >>> from skgnn_mtl.datasets import load_elasticity
    >>> from skgnn_mtl.model_selection import composition_groups
    >>> elasticity = load_elasticity()
    >>> elasticity.extra["formula"][:5].tolist()
    ['ReSi', 'ScAlCu2', 'CaPt5', 'Co2Si', 'Sb2O3']
    >>> composition_groups(elasticity.data[:5])
    array([0, 1, 2, 3, 4])
    >>> composition_groups(elasticity.data[[0, 3, 0]], by="space_group")
    array([0, 1, 0])
    """
    check_option("by", by, _KINDS)
    check_option("on_error", on_error, ("raise", "nan"))
    keys = (
        _keys_of_graphs(X, by)
        if isinstance(X, GraphArray)
        else _keys_of_rows(as_strings(X, paths=True), by, symprec, on_error)
    )
    if on_error == "raise" and None in keys:
        raise ValueError(
            f"X[{keys.index(None)}] is missing or invalid. Drop such rows or use "
            'on_error="nan".'
        )
    return group_numbers(keys)


class CompositionKFold(KFoldSplitter):
    """K folds of about equal size; no composition lies in two of them.

    The groups are dealt out from the largest to the smallest, each to the fold that is
    the smallest so far. A group larger than ``n / n_splits`` makes one larger fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    by : {"formula", "chemical_system", "space_group"}, default="chemical_system"
        What must not lie in two folds, see :func:`composition_groups`.
    shuffle : bool, default=False
        Deal out groups of equal size in random order instead of by first appearance.
    random_state : int, RandomState instance or None, default=None
        Seed of the order, with ``shuffle=True`` only.
    symprec : float, default=0.01
        Tolerance of the space group, in Å.
    on_error : {"raise", "nan"}, default="raise"
        Unreadable rows raise, or are spread over the folds one by one.

    See Also
    --------
    composition_groups : The groups themselves.

    Examples
    --------
    >>> from skgnn_mtl.datasets import load_elasticity
    >>> from skgnn_mtl.model_selection import CompositionKFold
    >>> X, y = load_elasticity(return_X_y=True)
    >>> [len(test) for _, test in CompositionKFold(n_splits=3).split(X)]
    [200, 200, 200]
    """

    def __init__(
        self,
        n_splits=5,
        *,
        by="chemical_system",
        shuffle=False,
        random_state=None,
        symprec=0.01,
        on_error="raise",
    ):
        self.n_splits = n_splits
        self.by = by
        self.shuffle = shuffle
        self.random_state = random_state
        self.symprec = symprec
        self.on_error = on_error

    def _fold_of_row(
        self, X: Any, y: Any, ordered: Callable[[int], np.ndarray]
    ) -> np.ndarray:
        codes = composition_groups(
            X, by=self.by, symprec=self.symprec, on_error=self.on_error
        )
        return fold_of_row(codes, self.n_splits, ordered, f"group(s) by {self.by!r}")


def _keys_of_rows(rows: list, by: str, symprec: float, on_error: str) -> list:
    keys = []
    for i, row in enumerate(rows):
        try:
            keys.append(None if row is None else _key_of_row(row, by, symprec))
        except ValueError as error:
            if on_error == "raise":
                raise ValueError(
                    f"Could not read X[{i}] as crystal: {error}. Drop such rows or use "
                    'on_error="nan".'
                ) from error
            keys.append(None)
    return keys


def _key_of_row(row: Any, by: str, symprec: float) -> Any:
    if by == "space_group":
        return space_group_number(
            read_crystal(row, disorder="raise", block=None), symprec
        )
    return _key(_amounts(read_crystal(row, disorder="mix", block=None)), by)


def _amounts(crystal: Crystal) -> dict[int, float]:
    """How much of each element a cell has."""
    amounts: dict[int, float] = {}
    for site in crystal.species or [{int(z): 1.0} for z in crystal.numbers]:
        for z, part in site.items():
            amounts[z] = amounts.get(z, 0.0) + part
    return amounts


def _key(amounts: dict[int, float], by: str) -> tuple:
    if by == "chemical_system":
        return tuple(sorted(amounts))
    parts = _whole(amounts)
    divisor = gcd(*parts.values()) or 1
    return tuple(sorted((z, part // divisor) for z, part in parts.items()))


def _whole(amounts: dict[int, float]) -> dict[int, int]:
    """Amounts in whole numbers; in the same ratios, if some are fractions."""
    rounded = {z: round(part) for z, part in amounts.items()}
    if all(abs(part - rounded[z]) < 1e-6 for z, part in amounts.items()):
        return rounded
    total = sum(amounts.values())
    shares = {
        z: Fraction(part / total).limit_denominator(_MOST_PARTS)
        for z, part in amounts.items()
    }
    unit = lcm(*(share.denominator for share in shares.values()))
    return {z: int(share * unit) for z, share in shares.items()}


def _keys_of_graphs(X: GraphArray, by: str) -> list:
    names = [name for name, _ in X.schema.node_columns]
    if by == "space_group" or "element" not in names:
        raise ValueError(
            f"The graphs of schema {X.schema.name!r} do not tell their {by}; pass what "
            "they were made from."
        )
    codes = X.node_codes[:, names.index("element")].tolist()
    ends = np.cumsum(X.n_nodes).tolist()
    keys: list[tuple | None] = []
    for start, end, valid in zip([0, *ends], ends, X.valid, strict=False):
        part = codes[start:end]
        amounts = {z: float(part.count(z)) for z in set(part)}
        keys.append(_key(amounts, by) if valid else None)
    return keys
