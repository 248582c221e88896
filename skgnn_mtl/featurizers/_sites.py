"""From listed sites to the places of one unit cell, and the policies for disorder.

Sites are multiplied by the operations of the space group. Images of one atom that lie
on each other are one atom; parts of atoms that lie too close to be there at once share
one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._crystal import Composition, UnreadableCrystal
from ._neighbors import OVERLAP, near_pairs
from ._species import SHARE_TOLERANCE, UNKNOWN

# Occupancies from here are full; they are given to three digits or so.
FULL = 1 - 1e-3
# Images of one part nearer than this (Å) are one, as in 0.333 for 1/3.
COINCIDENT = 0.1
# An atom that is there more often than not excludes its image to this distance (Å).
NEARLY_SPECIAL = 0.3
# Halves of one element nearer than this (Å) are one atom that is split.
SPLIT = 1.0
# What stays of a place: its occupancies and its position.
Filled = tuple[Composition, np.ndarray]
# How far an occupancy may exceed its range beyond its standard uncertainty.
_RANGE_TOLERANCE = 0.01
_HALF = 0.5 + SHARE_TOLERANCE


@dataclass(frozen=True)
class Sites:
    """Sites as their source lists them.

    Parameters
    ----------
    labels : list of str
        Names for messages.
    kinds : list of dict of int to float
        Atomic number -> share, which add up to 1; empty for a vacancy.
    occupancies : ndarray of float64 of shape (n_sites,)
        From 0 to 1.
    groups : list of tuple of str or None
        Assembly and group of disorder of each site, "." where it belongs to none.
    """

    labels: Sequence[str]
    kinds: Sequence[Composition]
    occupancies: np.ndarray
    groups: Sequence[tuple[str, str]] | None = None

    @property
    def partial(self) -> np.ndarray:
        """Whether a site is not filled by one element, shape (n_sites,)."""
        shares = np.array([max(kind.values(), default=0.0) for kind in self.kinds])
        partial: np.ndarray = shares * self.occupancies < FULL
        return partial


@dataclass(frozen=True)
class Images:
    """The sites of a unit cell, disorder included.

    Parameters
    ----------
    site : ndarray of int of shape (n_images,)
        Row of the listed site.
    positions : ndarray of float64 of shape (n_images, 3)
        Cartesian coordinates, in Å.
    """

    site: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class Places:
    """Occupied places of a unit cell.

    Parameters
    ----------
    positions : ndarray of float64 of shape (n_places, 3)
        Cartesian coordinates, in Å.
    numbers : ndarray of int of shape (n_places,)
        Atomic number of the most abundant element.
    species : list of dict of int to float or None
        Occupancies; None where all places are full, or filled by their majority.
    """

    positions: np.ndarray
    numbers: np.ndarray
    species: list[Composition] | None = None


def clip_occupancy(occupancy: float, error: float = 0.0, *, site: str) -> float:
    """Clip an occupancy that exceeds its range by rounding.

    Parameters
    ----------
    occupancy : float
        The number as it is given.
    error : float, default=0.0
        Its standard uncertainty.
    site : str
        Label for the message.

    Returns
    -------
    occupancy : float
        From 0 to 1.

    Raises
    ------
    UnreadableCrystal
        If it is NaN or lies outside by more than its uncertainty and 0.01.
    """
    margin = error + _RANGE_TOLERANCE
    if not -margin <= occupancy <= 1 + margin:
        raise UnreadableCrystal(
            f"site {site} has the occupancy {occupancy:g}, outside the range 0 to 1"
        )
    return min(max(occupancy, 0.0), 1.0)


def multiply(
    fractions: np.ndarray,
    occupancies: np.ndarray,
    operations: tuple[np.ndarray, np.ndarray],
    lattice: np.ndarray,
) -> Images:
    """Apply the operations of a space group.

    Parameters
    ----------
    fractions : ndarray of float64 of shape (n_sites, 3)
        Finite fractional coordinates of the listed sites.
    occupancies : ndarray of float64 of shape (n_sites,)
        From 0 to 1.
    operations : tuple of two ndarray of float64
        Rotations of shape (n_operations, 3, 3) and translations of shape
        (n_operations, 3), which act on fractional coordinates.
    lattice : ndarray of float64 of shape (3, 3)
        Rows are the lattice vectors, in Å.

    Returns
    -------
    images : Images
        In the order of the sites, then of the operations. Images of one site that lie
        on each other are one, at their mean: to 0.3 Å if the atom is there more often
        than not, since both cannot be there; else to 0.1 Å.
    """
    n_sites, n_operations = len(fractions), len(operations[0])
    if n_operations == 1:
        # A group of one operation has the identity.
        return Images(np.arange(n_sites), fractions @ lattice)
    points = _apply(operations, fractions)
    shifts = points - points[:, :1]
    # In cells higher than two reaches this is the shortest of equivalent vectors.
    shifts -= np.rint(shifts)
    reach = np.where(occupancies > _HALF, NEARLY_SPECIAL, COINCIDENT)
    near = np.linalg.norm(shifts @ lattice, axis=2) <= reach[:, None]
    counts = near.sum(axis=1)
    kept = np.ones(near.shape, dtype=bool)
    special = np.flatnonzero(counts > 1)
    if special.size:
        shifts = (shifts[special] * near[special, :, None]).sum(axis=1)
        means = points[special, 0] + shifts / counts[special, None]
        orbits = _apply(operations, means)
        first = _first_of_equal(orbits)
        # Else the images lie in a chain: they stay, and overlap.
        closed = first.sum(axis=1) * counts[special] == n_operations
        points[special[closed]], kept[special[closed]] = orbits[closed], first[closed]
    points = points[kept]
    site = np.repeat(np.arange(n_sites), kept.sum(axis=1))
    return Images(site, (points - np.floor(points)) @ lattice)


def _apply(
    operations: tuple[np.ndarray, np.ndarray], fractions: np.ndarray
) -> np.ndarray:
    """Compute images of shape (n_sites, n_operations, 3)."""
    rotations, translations = operations
    images: np.ndarray = np.einsum("kij,nj->nki", rotations, fractions) + translations
    return images


def _first_of_equal(points: np.ndarray) -> np.ndarray:
    """Mark the first of equal points modulo 1, shape (n_sites, n_operations)."""
    wrapped = points - np.floor(points + 1e-7)
    # Points that differ have other sums, because the factors are incommensurable.
    sums = wrapped @ np.sqrt([1.0, 2.0, 3.0])
    order = np.argsort(sums, axis=1)
    steps = np.diff(np.take_along_axis(sums, order, axis=1), axis=1, prepend=-np.inf)
    starts = np.flatnonzero(steps > 1e-9)
    columns = np.minimum.reduceat(order.ravel(), starts)
    first = np.zeros(sums.shape, dtype=bool)
    first[starts // sums.shape[1], columns] = True
    return first


def amounts(sites: Sites, images: Images) -> dict[int, float]:
    """Count the atoms of the cell.

    Parameters
    ----------
    sites : Sites
        As they are listed.
    images : Images
        Of these sites.

    Returns
    -------
    amounts : dict of int to float
        Atomic number -> number of atoms.
    """
    counts = np.bincount(images.site, minlength=len(sites.labels)) * sites.occupancies
    found: dict[int, float] = {}
    for kind, count in zip(sites.kinds, counts.tolist(), strict=True):
        for z, share in kind.items():
            found[z] = found.get(z, 0.0) + share * count
    return found


def settle(
    sites: Sites,
    images: Images,
    lattice: np.ndarray,
    *,
    periodic: tuple[bool, ...],
    disorder: str,
) -> Places:
    """Apply the policy for disorder.

    Parameters
    ----------
    sites : Sites
        As they are listed.
    images : Images
        Of these sites.
    lattice : ndarray of float64 of shape (3, 3)
        Rows are the lattice vectors, in Å.
    periodic : tuple of three bool
        Directions in which the lattice repeats.
    disorder : {"raise", "majority", "mix"}
        Parts of atoms nearer than 0.5 Å share one place. With "majority" its most
        abundant element stays, at the position of the largest part, unless the place
        is more often empty; of two halves of one element nearer than 1 Å the first
        stays. With "mix" a place has the mean position.

    Returns
    -------
    places : Places
        In the order of the images.

    Raises
    ------
    UnreadableCrystal
        If occupancies of a place add up to more than 1, with the first site of partial
        occupancy and ``disorder="raise"``, or if "majority" is not defined.
    """
    distinct = {id(kind): kind for kind in sites.kinds}
    if all(max(kind.values(), default=0.0) >= FULL for kind in distinct.values()) and (
        sites.occupancies.min(initial=1.0) >= FULL
    ):
        elements = {key: _dominant(kind) for key, kind in distinct.items()}
        numbers = np.array([elements[id(kind)] for kind in sites.kinds], dtype=np.int64)
        return Places(images.positions, numbers[images.site])
    occupancies, partial = sites.occupancies, sites.partial
    if disorder == "majority" and sites.groups:
        occupancies = _majority_of_groups(sites, partial)
    members = _members(images, occupancies, partial, lattice, periodic)
    fill = _mean if disorder == "mix" else _majority
    parts = [
        _parts(rows, sites, images, occupancies, lattice, periodic) for rows in members
    ]
    if disorder == "raise":
        _check_order(parts, sites, images)
    filled = [place for part in parts if (place := fill(part))]
    if disorder == "majority":
        filled = _without_second_halves(filled, lattice, periodic)
    species = [composition for composition, _ in filled]
    numbers = np.array([_dominant(s) for s in species], dtype=np.int64)
    positions = np.array([position for _, position in filled]).reshape(-1, 3)
    mixed = disorder == "mix" and any(max(s.values()) < FULL for s in species)
    return Places(positions, numbers, species if mixed else None)


def _dominant(composition: Composition) -> int:
    if len(composition) == 1:
        return next(iter(composition))
    return max(composition, key=lambda z: (composition[z], -z))


# -- disorder ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """What a place holds at one position."""

    image: int
    kind: Composition
    occupancy: float
    position: np.ndarray


def _majority_of_groups(sites: Sites, partial: np.ndarray) -> np.ndarray:
    """Compute occupancies after a choice among the groups of each assembly."""
    occupancies = sites.occupancies.copy()
    assemblies: dict[str, dict[str, list[int]]] = {}
    for k, (assembly, group) in enumerate(sites.groups or ()):
        if partial[k] and group not in UNKNOWN:
            assemblies.setdefault(assembly, {}).setdefault(group, []).append(k)
            if group[0] == "-" and occupancies[k] <= _HALF:
                raise UnreadableCrystal(
                    f"site {sites.labels[k]} of the disorder group {group} has its "
                    "other half by symmetry, and no majority"
                )
    for groups in assemblies.values():
        rows = list(groups.values())
        shares = [occupancies[members].mean() for members in rows]
        spread = max(np.ptp(occupancies[members]) for members in rows)
        if len(rows) > 1 and spread < SHARE_TOLERANCE >= sum(shares) - 1:
            chosen = int(np.argmax(shares))
            for k, members in enumerate(rows):
                stays = k == chosen and shares[k] >= 1 - sum(shares)
                occupancies[members] = float(stays)
            continue
        # Assemblies of several molecules have no common share: only halves need a rule
        for members in rows[1:]:
            halves = np.abs(occupancies[members] - 0.5) <= SHARE_TOLERANCE
            occupancies[np.array(members)[halves]] = 0.0
    return occupancies


def _members(
    images: Images,
    occupancies: np.ndarray,
    partial: np.ndarray,
    lattice: np.ndarray,
    periodic: tuple[bool, ...],
) -> list[np.ndarray]:
    """List the images of each place: alone, or with the parts that lie too near."""
    there = np.flatnonzero(occupancies[images.site] > 0)
    positions, is_partial = images.positions[there], partial[images.site[there]]
    pairs = near_pairs(lattice, positions, periodic, OVERLAP)
    # Two whole atoms that overlap are refused by the search of neighbours.
    together = is_partial[pairs.center] | is_partial[pairs.other]
    pairs = pairs[together & (pairs.center != pairs.other)]
    place = np.arange(len(there))
    while len(pairs.center):
        before = place.copy()
        np.minimum.at(place, pairs.center, place[pairs.other])
        if (place == before).all():
            break
    order = np.argsort(place, kind="stable")
    ends = np.flatnonzero(np.diff(place[order])) + 1
    return np.split(there[order], ends)


def _parts(
    rows: np.ndarray,
    sites: Sites,
    images: Images,
    occupancies: np.ndarray,
    lattice: np.ndarray,
    periodic: tuple[bool, ...],
) -> list[_Part]:
    positions = images.positions[rows]
    if len(rows) > 1:
        positions = positions[0] + _shortest(
            positions - positions[0], lattice, np.array(periodic)
        )
    listed = images.site[rows].tolist()
    total = occupancies[listed].sum()
    if total > 1 + SHARE_TOLERANCE + 1e-9:
        apart = np.linalg.norm(positions - positions[0], axis=1).max()
        names = ", ".join(dict.fromkeys(sites.labels[k] for k in listed))
        raise UnreadableCrystal(
            f"{len(rows)} overlapping sites ({names}), at most {apart:.3f} Å from the "
            f"first, have occupancies that add up to {total:.4g}, more than 1"
        )
    scale = max(float(total), 1.0)
    return [
        _Part(int(row), sites.kinds[k], float(occupancies[k]) / scale, position)
        for row, k, position in zip(rows, listed, positions, strict=True)
    ]


def _shortest(
    shifts: np.ndarray, lattice: np.ndarray, periodic: np.ndarray
) -> np.ndarray:
    """Find the shortest of the equivalent vectors, shape (n, 3)."""
    fractions = shifts @ np.linalg.inv(lattice)
    fractions -= np.rint(fractions) * periodic
    # Rounding alone is not enough in skewed cells.
    around = np.stack(np.meshgrid(*[(0, -1, 1)] * 3), axis=-1).reshape(-1, 3)
    candidates = (fractions[:, None] + around * periodic) @ lattice
    nearest = np.linalg.norm(candidates, axis=2).argmin(axis=1)
    shortest: np.ndarray = candidates[np.arange(len(shifts)), nearest]
    return shortest


def _composition(parts: list[_Part]) -> dict[int, float]:
    composition: dict[int, float] = {}
    for part in parts:
        for z, share in part.kind.items():
            composition[z] = composition.get(z, 0.0) + share * part.occupancy
    return composition


def _check_order(parts: list[list[_Part]], sites: Sites, images: Images) -> None:
    """Refuse places that are not filled by one element, at one position."""
    disordered = []
    for place in parts:
        apart = [np.linalg.norm(p.position - place[0].position) for p in place[1:]]
        share = max(_composition(place).values(), default=0.0)
        if share < FULL or max(apart, default=0.0) > COINCIDENT:
            disordered += place
    if disordered:
        first = min(disordered, key=lambda part: part.image)
        label = sites.labels[images.site[first.image]]
        share = max(first.kind.values(), default=0.0) * first.occupancy
        raise UnreadableCrystal(
            f"{len(disordered)} of {len(images.site)} sites have partial occupancy, "
            f'the first is {label} with {share:g}; disorder="majority" or "mix" would '
            "read it"
        )


def _mean(parts: list[_Part]) -> Filled | None:
    composition = _composition(parts)
    filled = [part for part in parts if part.kind]
    if not filled:
        return None
    weights = [part.occupancy for part in filled]
    position = np.average([part.position for part in filled], axis=0, weights=weights)
    return composition, position


def _majority(parts: list[_Part]) -> Filled | None:
    composition = _composition(parts)
    if not composition:
        return None
    z = _dominant(composition)
    # An empty place is one of the possibilities, too.
    if composition[z] < 1 - sum(composition.values()) - 1e-9:
        return None
    largest = max(parts, key=lambda part: part.kind.get(z, 0.0) * part.occupancy)
    return {z: composition[z]}, largest.position


def _without_second_halves(
    filled: list[Filled], lattice: np.ndarray, periodic: tuple[bool, ...]
) -> list[Filled]:
    """Keep one of two halves of an atom, since both would be a majority."""
    halves = [
        k
        for k, (composition, _) in enumerate(filled)
        if abs(max(composition.values()) - 0.5) <= SHARE_TOLERANCE
    ]
    if len(halves) < 2:
        return filled
    positions = np.array([filled[k][1] for k in halves])
    pairs = near_pairs(lattice, positions, periodic, SPLIT)
    left_out: set[int] = set()
    for first, second in sorted(zip(pairs.center, pairs.other, strict=True)):
        k, other = halves[first], halves[second]
        if (
            k < other
            and k not in left_out
            and filled[k][0].keys() == filled[other][0].keys()
        ):
            left_out.add(other)
    return [place for k, place in enumerate(filled) if k not in left_out]
