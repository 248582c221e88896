"""What reading a crystal gives: its sites, or the reason of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

# Atomic number -> share of a site; what is missing to 1 is empty.
Composition = Mapping[int, float]


@dataclass(frozen=True)
class Crystal:
    """The sites of a unit cell.

    Parameters
    ----------
    name : str
        Name of the data block, path of the file, or formula of the object.
    lattice : ndarray of float64 of shape (3, 3)
        Rows are the lattice vectors, in Å.
    positions : ndarray of float64 of shape (n_sites, 3)
        Cartesian coordinates, in Å.
    numbers : ndarray of int of shape (n_sites,)
        Atomic number of the most abundant element of each site.
    species : list of dict or None
        Atomic number -> occupancy of each site; None where all sites are full.
    periodic : tuple of three bool
        Directions in which the lattice repeats.
    """

    name: str
    lattice: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    species: list[Composition] | None = None
    periodic: tuple[bool, ...] = (True, True, True)


class UnreadableCrystal(ValueError):
    """A structure that cannot be used; the message is one clause."""


def gemmi() -> ModuleType:
    """Import gemmi, and pymatgen's search which is needed beside it."""
    try:
        import gemmi
        import pymatgen.optimization.neighbors  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "CifToGraph needs gemmi and pymatgen: pip install gemmi pymatgen."
        ) from error
    return gemmi


def structure_of(crystal: Crystal) -> Any:
    """Make a pymatgen Structure of a crystal.

    Parameters
    ----------
    crystal : Crystal
        The sites.

    Returns
    -------
    structure : pymatgen.core.Structure
        The same sites in the same order, with their occupancies.
    """
    from pymatgen.core import Element, Lattice, Structure

    sites = crystal.species or [{z: 1.0} for z in crystal.numbers.tolist()]
    a, b, c = crystal.periodic
    return Structure(
        Lattice(crystal.lattice, pbc=(a, b, c)),
        [{Element.from_Z(z): share for z, share in site.items()} for site in sites],
        crystal.positions,
        coords_are_cartesian=True,
    )
