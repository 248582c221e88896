"""Neighbours of atoms in a crystal: periodic neighbour lists, cut at whole shells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Distances (Å) closer than this are one distance; crystals are given to fewer digits.
TIE = 1e-3
# No two atoms of a real structure are this near (Å).
OVERLAP = 0.5
# What a search may list; a cell that needs more is not a crystal.
BUDGET = 10_000_000
# Cells whose images outnumber this are reduced before the search.
_MANY_IMAGES = 2_000


@dataclass(frozen=True)
class Neighbors:
    """Directed edges from neighbour to centre, sorted by centre, then distance.

    Parameters
    ----------
    source, target : ndarray of int of shape (n_edges,)
        The neighbour, and the atom whose neighbour it is.
    distance : ndarray of float64 of shape (n_edges,)
        In Å.
    """

    source: np.ndarray
    target: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """All pairs within a radius, in both directions.

    Parameters
    ----------
    center, other : ndarray of int of shape (n_pairs,)
        Two atoms; one and the same where it is near its own image.
    cell : ndarray of float64 of shape (n_pairs, 3)
        Lattice vectors from the other atom to the image that is near.
    distance : ndarray of float64 of shape (n_pairs,)
        In Å.
    """

    center: np.ndarray
    other: np.ndarray
    cell: np.ndarray
    distance: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Pairs:
        parts = (self.center, self.other, self.cell, self.distance)
        return Pairs(*(part[rows] for part in parts))


def find_neighbors(
    lattice: np.ndarray,
    positions: np.ndarray,
    numbers: np.ndarray,
    *,
    periodic: tuple[bool, ...],
    cutoff: float,
    max_neighbors: int | None,
    ties: str,
    symmetrize: bool,
) -> Neighbors:
    """List the nearest neighbours of each atom of a crystal.

    Parameters
    ----------
    lattice : ndarray of float64 of shape (3, 3)
        Rows are the lattice vectors, in Å.
    positions : ndarray of float64 of shape (n_atoms, 3)
        Cartesian coordinates, in Å.
    numbers : ndarray of int of shape (n_atoms,)
        Atomic numbers; they only order ties.
    periodic : tuple of three bool
        Directions in which the lattice repeats.
    cutoff : float
        Largest distance, in Å.
    max_neighbors : int or None
        Neighbours of an atom; None keeps all within the cutoff.
    ties : {"shell", "cut"}
        Whether the last shell is kept whole, or cut at ``max_neighbors``.
    symmetrize : bool
        Whether the reverse of each edge is an edge.

    Returns
    -------
    neighbors : Neighbors
        An atom without a neighbour within the cutoff has no edge.

    Raises
    ------
    ValueError
        If atoms overlap, or if the search would need too much time or memory.
    """
    lattice = _shorten(lattice, periodic, cutoff)
    radius = cutoff
    if max_neighbors is not None and all(periodic):
        # A sphere with 2.5 times the atoms wanted; most of a wide search is thrown away
        density = len(positions) / abs(np.linalg.det(lattice))
        radius = (3 * 2.5 * max_neighbors / (4 * math.pi * density)) ** (1 / 3)
    while True:
        radius = min(radius, cutoff)
        _check_work(lattice, positions, periodic, radius)
        pairs = _search(lattice, positions, periodic, radius + TIE)
        _check_overlap(pairs)
        if radius == cutoff or _enough(pairs, len(positions), max_neighbors, radius):
            break
        radius *= 1.5
    chosen = _choose(pairs, positions, lattice, numbers, max_neighbors, ties)
    if symmetrize:
        chosen = _with_reverses(chosen)
    return Neighbors(chosen.other, chosen.center, chosen.distance)


def _shorten(
    lattice: np.ndarray, periodic: tuple[bool, ...], cutoff: float
) -> np.ndarray:
    """Describe the same lattice by short vectors if the given ones are too flat."""
    if not all(periodic) or _n_images(lattice, periodic, cutoff) <= _MANY_IMAGES:
        return lattice
    from pymatgen.core import Lattice

    return np.ascontiguousarray(Lattice(lattice).get_lll_reduced_lattice().matrix)


def _n_images(lattice: np.ndarray, periodic: tuple[bool, ...], radius: float) -> float:
    # Python's numbers, because an array of three is slower than a loop.
    inverse = np.linalg.inv(lattice).tolist()
    inverse_heights = (math.hypot(*column) for column in zip(*inverse, strict=True))
    return math.prod(
        2 * math.ceil(min(radius * inverse_height, BUDGET)) + 1
        for inverse_height, repeats in zip(inverse_heights, periodic, strict=True)
        if repeats
    )


def near_pairs(
    lattice: np.ndarray,
    positions: np.ndarray,
    periodic: tuple[bool, ...],
    radius: float,
) -> Pairs:
    """List all pairs of atoms, and of atoms and images, within a radius.

    Parameters
    ----------
    lattice, positions, periodic
        As in ``find_neighbors``.
    radius : float
        In Å.

    Returns
    -------
    pairs : Pairs
        No atom is its own neighbour, but its image in another cell may be.

    Raises
    ------
    ValueError
        If the search would need too much time or memory.
    """
    _check_work(lattice, positions, periodic, radius)
    return _search(lattice, positions, periodic, radius)


def _check_work(
    lattice: np.ndarray,
    positions: np.ndarray,
    periodic: tuple[bool, ...],
    radius: float,
) -> None:
    """Refuse a search that would list too many images, pairs or boxes of space."""
    # pymatgen searches no smaller sphere, whatever it keeps.
    radius = max(radius, 1.0)
    n_atoms, volume = len(positions), abs(np.linalg.det(lattice))
    n_images = n_atoms * _n_images(lattice, periodic, radius)
    n_pairs = n_atoms**2 * 4 / 3 * math.pi * radius**3 / volume * all(periodic)
    # Atoms are sorted into boxes of the size of the radius, each with 27 neighbours.
    n_boxes = 27 * np.prod(np.ptp(positions, axis=0) / radius + 3)
    if max(n_images, n_pairs, n_boxes) > BUDGET:
        raise ValueError(
            f"the cell is so thin, dense or wide (volume {volume:.3g} Å^3, {n_atoms} "
            f"atoms) that a search within {radius:.3g} Å would list more than "
            f"{BUDGET:.0e} pairs or boxes of space"
        )


def _search(
    lattice: np.ndarray,
    positions: np.ndarray,
    periodic: tuple[bool, ...],
    radius: float,
) -> Pairs:
    from pymatgen.optimization.neighbors import find_points_in_spheres

    center, other, cell, distance = find_points_in_spheres(
        positions,
        positions,
        r=radius,
        pbc=np.array(periodic, dtype=np.int64),
        lattice=lattice,
        tol=1e-8,
    )
    # An atom is not its own neighbour, but its image in another cell is.
    itself = (center == other) & (distance < 1e-8) & ~cell.any(axis=1)
    return Pairs(center, other, cell, distance)[~itself]


def _check_overlap(pairs: Pairs) -> None:
    if pairs.distance.size and pairs.distance.min() < OVERLAP:
        k = int(pairs.distance.argmin())
        raise ValueError(
            f"overlapping sites: sites {pairs.center[k]} and {pairs.other[k]} are "
            f"{pairs.distance[k]:.3f} Å apart"
        )


def _enough(pairs: Pairs, n_atoms: int, wanted: int | None, radius: float) -> bool:
    """Tell whether all neighbours, and their ties, lie well within the radius."""
    inside = pairs.center[pairs.distance <= radius - 2 * TIE]
    counts = np.bincount(inside, minlength=n_atoms)
    return wanted is None or bool((counts >= wanted).all())


def _choose(
    pairs: Pairs,
    positions: np.ndarray,
    lattice: np.ndarray,
    numbers: np.ndarray,
    k: int | None,
    ties: str,
) -> Pairs:
    """Sort by centre and distance, and keep the nearest k or their whole shell."""
    if ties == "cut":
        # The order must not depend on that of the atoms, nor on rounding.
        shift = positions[pairs.other] - positions[pairs.center]
        shift = np.round(shift + pairs.cell @ lattice, 3)
        distance = np.round(pairs.distance, 3)
        keys = (*shift.T[::-1], numbers[pairs.other], distance, pairs.center)
    else:
        keys = (pairs.distance, pairs.center)
    pairs = pairs[np.lexsort(keys)]
    if k is None:
        return pairs
    counts = np.bincount(pairs.center, minlength=len(positions))
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(pairs.center)) - starts[pairs.center]
    if ties == "cut":
        return pairs[rank < k]
    last = np.full(len(positions), np.inf)
    full = counts >= k
    last[full] = pairs.distance[starts[full] + k - 1]
    return pairs[pairs.distance <= last[pairs.center] + TIE]


def _with_reverses(pairs: Pairs) -> Pairs:
    """Add the reverse of each pair that lacks it."""
    both = np.column_stack(
        [
            np.concatenate([pairs.center, pairs.other]),
            np.concatenate([pairs.other, pairs.center]),
            np.concatenate([pairs.cell, -pairs.cell]),
        ]
    ).astype(np.int64)
    _, first = np.unique(both, axis=0, return_index=True)
    distance = np.concatenate([pairs.distance, pairs.distance])[first]
    center, other, cell = both[first, 0], both[first, 1], both[first, 2:]
    order = np.lexsort((distance, center))
    return Pairs(center, other, cell, distance)[order]
