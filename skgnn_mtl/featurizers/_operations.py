"""Symmetry operations, and the groups that they form."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ._crystal import UnreadableCrystal, gemmi

# An operation may change products of the cell's vectors by this share of their lengths:
# lengths by half a per cent, angles by a quarter of a degree.
METRIC = 0.01
# A setting that fits as well as this is not left for another one.
_GOOD_METRIC = 0.001
# Translations are multiples of 1/24. One that is written as a decimal may be this far
# from a multiple of 1/12 or 1/8; 0.66 is, 0.2 is not.
_DECIMAL = 0.007
# More operations are a list of something else.
_MANY = 2_000

_TERM = re.compile(
    r"([+-]?)(?:(\d+\.?\d*|\.\d+)(?:/(\d+\.?\d*))?)?\*?([xyz]?)(?:/(\d+))?"
)
MINUS = str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\uff0d", "-------")
FAMILIES = "triclinic monoclinic orthorhombic tetragonal hexagonal cubic".split()


@dataclass(frozen=True, eq=False)
class Group:
    """A space group in one setting.

    Parameters
    ----------
    operations : tuple of gemmi.Op
        All operations modulo translations of the lattice, the identity first.
    matrices : tuple of ndarray of float64
        Rotations of shape (n_operations, 3, 3) and translations of shape
        (n_operations, 3), for fractional coordinates.
    rotations : ndarray of int of shape (n_rotations, 3, 3)
        The different matrices.
    setting : gemmi.SpaceGroup or None
        Entry of gemmi's table with the same operations.
    is_doubtful : bool
        Whether all atoms must be listed, but the file does not name P 1.
    """

    operations: tuple[Any, ...]
    matrices: tuple[np.ndarray, np.ndarray]
    rotations: np.ndarray
    setting: Any
    is_doubtful: bool = False

    @cached_property
    def triplets(self) -> frozenset[str]:
        """The operations as text."""
        return frozenset(op.triplet() for op in self.operations)

    @property
    def n_centerings(self) -> int:
        """Number of translations, with that by zero."""
        return len(self.operations) // len(self.rotations)

    @property
    def crystal_class(self) -> dict[int, int]:
        """Number of rotations (positive) and rotoinversions of each order."""
        types: dict[int, dict[str, bool]] = {
            op.rot_type(): {} for op in self.operations
        }
        for op in self.operations:
            types[op.rot_type()][str(op.rot)] = True
        return {order: len(found) for order, found in sorted(types.items())}

    @property
    def family(self) -> int:
        """Index of the crystal family in ``FAMILIES``."""
        counts: Counter[int] = Counter()
        for order, count in self.crystal_class.items():
            counts[abs(order)] += count
        centred = -1 in self.crystal_class
        if counts[3] >= 8:
            return 5
        if counts[3] or counts[6]:
            return 4
        if counts[4]:
            return 3
        return {0: 0, 1: 1}.get(counts[2] // (1 + centred), 2)


@lru_cache(maxsize=4096)
def parse_operation(triplet: str) -> Any:
    """Read an operation such as 'x-y, x+1/2, -z'.

    Parameters
    ----------
    triplet : str
        Sums of x, y, z and a translation: a fraction or a decimal.

    Returns
    -------
    operation : gemmi.Op
        With translations from 0 to below 1, which are multiples of 1/24.

    Raises
    ------
    UnreadableCrystal
        If the text is not an operation, or its matrix or translation cannot be that
        of a crystal.
    """
    plain = triplet.translate(MINUS).lower()
    parts = "".join(plain.split()).strip("'\"").split(",")
    try:
        if len(parts) != 3:
            raise ValueError("three parts with commas between them are wanted")
        rows, shifts = zip(*map(_parse_part, parts), strict=True)
        determinant = round(np.linalg.det(np.array(rows)))
        if abs(determinant) != 1:
            raise ValueError(f"its determinant is {determinant}, not 1 or -1")
    except ValueError as error:
        raise UnreadableCrystal(
            f"the symmetry operation {triplet!r} is unreadable: {error}"
        ) from error
    operation = gemmi().Op("x,y,z")
    operation.rot = [[24 * entry for entry in row] for row in rows]
    operation.tran = list(shifts)
    return operation


@lru_cache(maxsize=4096)
def _parse_part(part: str) -> tuple[tuple[int, ...], int]:
    """Read the coefficients of x, y and z, and the translation in units of 1/24."""
    row = {"x": Fraction(0), "y": Fraction(0), "z": Fraction(0)}
    shift, is_decimal, start = Fraction(0), False, 0
    if not part:
        raise ValueError("a part is empty")
    while start < len(part):
        term = _TERM.match(part, start)
        sign, number, divisor, axis, last = term.groups() if term else ("",) * 5
        if not (number or axis) or (start and not sign):
            raise ValueError(f"{part!r} is not a sum of x, y, z and numbers")
        try:
            value = Fraction(number or 1) / Fraction(divisor or 1) / Fraction(last or 1)
        except ZeroDivisionError as error:
            raise ValueError(f"{part!r} divides by zero") from error
        value = -value if sign == "-" else value
        if axis:
            row[axis] += value
        else:
            shift += value
            is_decimal |= "." in f"{number}{divisor}"
        start = term.end() if term else len(part)
    if any(entry.denominator != 1 or abs(entry) > 24 for entry in row.values()):
        raise ValueError(f"{part!r} has a coefficient that is not a small integer")
    return tuple(map(int, row.values())), _twenty_fourths(shift, is_decimal)


def _twenty_fourths(shift: Fraction, is_decimal: bool) -> int:
    """Round a translation to units of 1/24."""
    parts = 24 * shift
    if parts.denominator == 1:
        return int(parts) % 24
    near = [round(parts) + k for k in (-1, 0, 1)]
    near = [n for n in near if n % 2 == 0 or n % 3 == 0]
    best = min(near, key=lambda n: abs(parts - n))
    if not is_decimal or abs(parts - best) > 24 * _DECIMAL:
        raise ValueError(
            f"its translation {float(shift):g} is not a multiple of 1/12 or 1/8"
        )
    return best % 24


@lru_cache(maxsize=1024)
def group_of(triplets: tuple[str, ...]) -> Group:
    """Check that operations are a group, and drop those that are repeated.

    Parameters
    ----------
    triplets : tuple of str
        Operations as :func:`parse_operation` reads them.

    Returns
    -------
    group : Group
        The group; the same object for the same triplets.

    Raises
    ------
    UnreadableCrystal
        If an operation is unreadable, if the identity or a product is not listed.
    """
    found: dict[str, Any] = {}
    for triplet in triplets:
        operation = parse_operation(triplet)
        found.setdefault(operation.triplet(), operation)
    identity = found.pop("x,y,z", None)
    if identity is None:
        raise UnreadableCrystal(
            f"the identity x,y,z is not among the {len(found)} symmetry operations"
        )
    if len(found) > _MANY:
        raise UnreadableCrystal(
            f"{len(found)} symmetry operations are more than a crystal has"
        )
    listed = (identity, *found.values())
    rotations = _check_closed(listed)
    table = gemmi()
    setting = table.find_spacegroup_by_ops(table.GroupOps(list(listed)))
    if setting is not None and len(setting.operations()) != len(listed):
        setting = None
    turns = np.array([op.rot for op in listed]) / table.Op.DEN
    shifts = np.array([op.tran for op in listed]) / table.Op.DEN
    return Group(listed, (turns, shifts), rotations, setting)


def _check_closed(listed: tuple[Any, ...]) -> np.ndarray:
    """Refuse operations that combine to one that is not listed.

    Returns
    -------
    rotations : ndarray of int of shape (n_rotations, 3, 3)
        The different matrices.
    """
    matrices = np.array([op.rot for op in listed]) // 24
    shifts = np.array([op.tran for op in listed])
    rotations, which = np.unique(matrices.reshape(-1, 9), axis=0, return_inverse=True)
    which = which.ravel()
    place = {row.tobytes(): k for k, row in enumerate(rotations)}
    rotations = rotations.reshape(-1, 3, 3)
    products = (rotations[:, None] @ rotations[None]).reshape(-1, 9)
    table = np.array([place.get(row.tobytes(), -1) for row in products])
    table = table.reshape(len(rotations), len(rotations))[np.ix_(which, which)]
    moved = matrices @ shifts.T  # (first, axis, second)
    moved = (moved + shifts[:, :, None]) % 24
    unit = np.array([1, 24, 24**2])
    codes = 24**3 * table + np.einsum("iaj,a->ij", moved, unit)
    own = 24**3 * which + shifts @ unit
    missing = (table < 0) | ~np.isin(codes, own)
    if missing.any():
        i, j = (int(k) for k in np.argwhere(missing)[0])
        product = listed[i].combine(listed[j]).wrap()
        raise UnreadableCrystal(
            f"the {len(listed)} symmetry operations are not a group: "
            f"{listed[i].triplet()} after {listed[j].triplet()} is "
            f"{product.triplet()}, which is not listed"
        )
    return rotations


def misfit(group: Group, cell: Any) -> tuple[float, Any]:
    """Find how much the operations of a group would change a cell.

    Parameters
    ----------
    group : Group
        The group.
    cell : gemmi.UnitCell
        The cell.

    Returns
    -------
    change : float
        Largest change of a product of two of its vectors, as a share of the product of
        their lengths.
    operation : gemmi.Op
        The operation that makes it.
    """
    if len(group.rotations) == 1:
        return 0.0, group.operations[0]
    vectors = np.array(cell.orth.mat.tolist())
    lengths = np.sqrt((vectors**2).sum(0))
    metric = vectors.T @ vectors
    changed = group.rotations.transpose(0, 2, 1) @ metric @ group.rotations
    change = np.abs((changed - metric) / np.outer(lengths, lengths)).max(axis=(1, 2))
    k = int(change.argmax())
    rotation = (24 * group.rotations[k]).tolist()
    return float(change[k]), next(op for op in group.operations if op.rot == rotation)


def best_fit(groups: list[Group], cell: Any) -> tuple[Group, float, Any]:
    """Choose among the settings that a name may mean by the cell.

    Parameters
    ----------
    groups : list of Group
        The likeliest first.
    cell : gemmi.UnitCell
        The cell.

    Returns
    -------
    group : Group
        The first that fits well, else the one that fits best.
    change, operation
        As of :func:`misfit`.
    """
    found = []
    for group in groups:
        found.append((group, *misfit(group, cell)))
        if found[-1][1] <= _GOOD_METRIC:
            return found[-1]
    return min(found, key=lambda choice: choice[1])
