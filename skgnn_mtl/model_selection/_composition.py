"""Groups of crystals: composition, chemical system, space group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np

from skgnn_mtl.featurizers._cif_reader import read_crystal, space_group_number
from skgnn_mtl.featurizers._crystal import Crystal
from skgnn_mtl.featurizers._strings import as_strings
from skgnn_mtl.graphs import GraphArray

from ._base import KFoldSplitter, check_option, fold_of_row, group_numbers

_KINDS = ("formula", "chemical_system", "space_group")
# 0.333 counts as one third, because files round occupancies to about three digits.
_MOST_PARTS = 200


def composition_groups(
    X: Any,
    *,
    by: str = "formula",
    symprec: float = 0.01,
    on_error: str = "raise",
) -> np.ndarray:
    """Assign each crystal the number of its formula, chemical system or space group.

    Polymorphs and near duplicates share a composition, and crystals of one chemical
    system are similar. After a random split, a network can therefore remember training
    rows instead of predicting. Pass the numbers as ``groups`` to a group splitter, or
    to ``fit(X, y, groups=...)`` for the inner validation.

    Parameters
    ----------
    X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
        Inputs of :class:`~skgnn_mtl.CifToGraph`, or graphs that it made.
    by : {"formula", "chemical_system", "space_group"}, default="formula"
        "formula" is the reduced formula: Fe4O6 and Fe2O3 are equal, and partial
        occupancies count as simple fractions. "chemical_system" is the set of elements.
        "space_group" is computed from the atoms, not read from the file.
    symprec : float, default=0.01
        Largest distance of atoms from the positions of a space group, in Å.
    on_error : {"raise", "nan"}, default="raise"
        Whether missing rows, unreadable rows and invalid graphs raise, or get the
        number -1.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        Group of each row, numbered from 0 in the order of first appearance; -1 for
        unreadable rows.

    Raises
    ------
    ValueError
        If a row cannot be read and ``on_error="raise"``, if graphs do not contain their
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
    """Split crystals into K folds of about equal size that do not share compositions.

    The groups are assigned from the largest to the smallest, each to the smallest fold
    so far. A group larger than ``n / n_splits`` makes one larger fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    by : {"formula", "chemical_system", "space_group"}, default="chemical_system"
        Kind of the groups, see :func:`composition_groups`.
    shuffle : bool, default=False
        Whether groups of equal size are assigned in random order instead of by first
        appearance.
    random_state : int, RandomState instance or None, default=None
        Seed of the order, with ``shuffle=True`` only.
    symprec : float, default=0.01
        Tolerance of the space group, in Å.
    on_error : {"raise", "nan"}, default="raise"
        Whether unreadable rows raise, or are assigned to folds one by one.

    Raises
    ------
    ValueError
        In ``split``, if a row cannot be read and ``on_error="raise"``, if there are
        fewer groups than folds, or if an option is wrong.

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
        n_splits: int = 5,
        *,
        by: str = "chemical_system",
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
        symprec: float = 0.01,
        on_error: str = "raise",
    ) -> None:
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


def _keys_of_rows(
    rows: list[Any], by: str, symprec: float, on_error: str
) -> list[Hashable | None]:
    keys: list[Hashable | None] = []
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


def _key_of_row(row: Any, by: str, symprec: float) -> Hashable:
    if by == "space_group":
        return space_group_number(
            read_crystal(row, disorder="raise", block=None), symprec
        )
    return _key(_amounts(read_crystal(row, disorder="mix", block=None)), by)


def _amounts(crystal: Crystal) -> dict[int, float]:
    """Sum the occupancies of each element in a cell."""
    amounts: dict[int, float] = {}
    for site in crystal.species or [{int(z): 1.0} for z in crystal.numbers]:
        for z, part in site.items():
            amounts[z] = amounts.get(z, 0.0) + part
    return amounts


def _key(amounts: Mapping[int, float], by: str) -> Hashable:
    if by == "chemical_system":
        return tuple(sorted(amounts))
    parts = _whole(amounts)
    divisor = gcd(*parts.values()) or 1
    return tuple(sorted((z, part // divisor) for z, part in parts.items()))


def _whole(amounts: Mapping[int, float]) -> dict[int, int]:
    """Turn amounts into integers with the same ratios."""
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


def _keys_of_graphs(X: GraphArray, by: str) -> list[Hashable | None]:
    names = [name for name, _ in X.schema.node_columns]
    if by == "space_group" or "element" not in names:
        raise ValueError(
            f"Graphs of schema {X.schema.name!r} do not contain their {by}; pass the "
            "inputs from which they were made."
        )
    codes = X.node_codes[:, names.index("element")].tolist()
    ends = np.cumsum(X.n_nodes).tolist()
    keys: list[Hashable | None] = []
    for start, end, valid in zip([0, *ends], ends, X.valid, strict=False):
        part = codes[start:end]
        amounts = {z: float(part.count(z)) for z in set(part)}
        keys.append(_key(amounts, by) if valid else None)
    return keys
