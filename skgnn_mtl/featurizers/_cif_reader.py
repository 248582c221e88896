"""From CIF text, files and other packages' objects to the atoms of one unit cell.

All sources go the same way: the species of the listed sites, their images, the policy
for disorder.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from ._cell import complete_lattice, read_cell, tags_of
from ._cif_text import choose_block, listed_sites, parse
from ._containers import text_of
from ._crystal import Composition, Crystal, UnreadableCrystal
from ._sites import Images, Sites, amounts, clip_occupancy, multiply, settle
from ._species import read_type
from ._symmetry import check_all_atoms_are_listed, find_group

_ALL_DIRECTIONS = (True, True, True)


def read_crystal(row: Any, *, disorder: str, block: str | None) -> Crystal:
    """Read a row of X.

    Parameters
    ----------
    row : str, path-like, pymatgen Structure or ASE Atoms
        A string with a line break is CIF text, any other the name of a file.
    disorder : {"raise", "majority", "mix"}
        Policy for sites of partial occupancy.
    block : str or None
        Data block to read; None takes the only one that has sites.

    Returns
    -------
    crystal : Crystal
        Sites in the order of the source. ``species`` is set with ``disorder="mix"``
        where a site is not full.

    Raises
    ------
    UnreadableCrystal
        With the reason.
    """
    try:
        return _read(row, disorder, block)
    except (UnreadableCrystal, ImportError, MemoryError):
        raise
    # Whatever the libraries behind it raise concerns this row alone.
    except Exception as error:
        raise UnreadableCrystal(f"{type(error).__name__}: {error}") from error


def _read(row: Any, disorder: str, block: str | None) -> Crystal:
    if isinstance(row, (str, PathLike)):
        return _from_text(*text_of(row), disorder, block)
    if hasattr(row, "sites") and hasattr(row, "lattice"):
        return _from_structure(row, disorder)
    if hasattr(row, "get_atomic_numbers") and hasattr(row, "get_pbc"):
        return _from_atoms(row, disorder)
    raise UnreadableCrystal(
        "CIF text, the name of a file, a pymatgen Structure or ASE Atoms was wanted"
        + _advice(row)
    )


def _advice(row: Any) -> str:
    """Say what else a crystal-like object is, and its cure."""
    parts = "which pandas and NumPy take for a sequence: pass a list,"
    if hasattr(row, "position") and hasattr(row, "symbol"):
        return f"; this is one atom of ASE Atoms, {parts} [atoms]"
    if hasattr(row, "specie") and hasattr(row, "species"):
        return f"; this is one site of a pymatgen Structure, {parts} [structure]"
    if hasattr(row, "cart_coords"):
        return (
            "; a pymatgen Molecule has no lattice: pass molecule.to_ase_atoms(), or "
            "molecule.get_boxed_structure(a, b, c)"
        )
    return ""


def space_group_number(crystal: Crystal, symprec: float) -> int:
    """Find the number of the space group, whatever the file says about it.

    Parameters
    ----------
    crystal : Crystal
        Without partial occupancies.
    symprec : float
        How far atoms may lie from the symmetric positions, in Å.

    Returns
    -------
    number : int
        1 to 230.

    Raises
    ------
    UnreadableCrystal
        If no symmetry is found, for instance because atoms overlap.
    """
    import spglib

    fractions = crystal.positions @ np.linalg.inv(crystal.lattice)
    cell: Any = (crystal.lattice, fractions, crystal.numbers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    # Its error class is of recent releases.
    except Exception as error:
        raise UnreadableCrystal(f"no space group was found: {error}") from error
    if dataset is None:
        raise UnreadableCrystal("no space group was found")
    return int(dataset.number)


# -- text ----------------------------------------------------------------------------


def _from_text(text: str, path: str, disorder: str, wanted: str | None) -> Crystal:
    block = choose_block(parse(text), wanted)
    sites, fractions, species = listed_sites(block, disorder)
    tags = tags_of(block)
    cell = read_cell(tags)
    group = find_group(tags, cell)
    if group.is_doubtful:
        check_all_atoms_are_listed(block)
    lattice = np.array(cell.orth.mat.tolist()).T.copy()
    _check_volume(cell.volume)
    images = multiply(fractions, sites.occupancies, group.matrices, lattice)
    if species.guessed:
        species.check_guesses(amounts(sites, images))
    name = path or block.name
    return _crystal(name, sites, images, lattice, _ALL_DIRECTIONS, disorder)


# -- pymatgen and ASE ----------------------------------------------------------------


def _from_structure(structure: Any, disorder: str) -> Crystal:
    listed = [_composition_of_site(k, site) for k, site in enumerate(structure)]
    periodic = tuple(map(bool, structure.lattice.pbc))
    lattice = complete_lattice(structure.lattice.matrix, periodic)
    positions = np.array(structure.cart_coords, dtype=np.float64)
    name = structure.composition.reduced_formula
    return _from_object(name, listed, positions, lattice, periodic, disorder)


def _composition_of_site(k: int, site: Any) -> dict[int, float]:
    """List atomic numbers and occupancies of a site; ions and isotopes are elements."""
    occupancies: dict[int, float] = {}
    for species, amount in site.species.items():
        number = getattr(species, "Z", 0)
        if type(species).__name__ == "DummySpecies" or not 0 < number < 119:
            kind = _kind_of_symbol(k, species.symbol)
        else:
            kind = {number: 1.0}
        for z, share in kind.items():
            occupancies[z] = occupancies.get(z, 0.0) + share * float(amount)
    return occupancies


def _kind_of_symbol(k: int, symbol: str) -> Composition:
    try:
        return read_type(symbol)
    except ValueError as error:
        raise UnreadableCrystal(f"site {k} has {error}") from None


def _from_atoms(atoms: Any, disorder: str) -> Crystal:
    numbers = np.asarray(atoms.get_atomic_numbers(), dtype=np.int64)
    listed = _occupancies(atoms)
    if listed is None:
        if (numbers == 0).any():
            k = int(np.argmin(numbers))
            raise UnreadableCrystal(f"site {k} has the unknown species 'X'")
        pure = {z: {z: 1.0} for z in set(numbers.tolist())}
        listed = [pure[z] for z in numbers.tolist()]
    periodic = tuple(map(bool, atoms.get_pbc()))
    lattice = complete_lattice(atoms.cell.array, periodic)
    positions = np.array(atoms.get_positions(), dtype=np.float64)
    name = atoms.get_chemical_formula()
    return _from_object(name, listed, positions, lattice, periodic, disorder)


def _occupancies(atoms: Any) -> list[Composition] | None:
    """Read what ASE's CIF reader noted of the sites; None for other Atoms."""
    noted, kinds = atoms.info.get("occupancy"), atoms.arrays.get("spacegroup_kinds")
    if not noted or kinds is None:
        return None
    by_kind: dict[str, dict[int, float]] = {}
    for kind, site in noted.items():
        found = by_kind.setdefault(str(kind), {})
        for symbol, part in site.items():
            for z, share in _kind_of_symbol(kind, symbol).items():
                found[z] = found.get(z, 0.0) + share * float(part)
    return [by_kind[str(kind)] for kind in kinds]


# -- all sources ---------------------------------------------------------------------


def _from_object(
    name: str,
    listed: Sequence[Composition],
    positions: np.ndarray,
    lattice: np.ndarray,
    periodic: tuple[bool, ...],
    disorder: str,
) -> Crystal:
    """Use all sites of an object, where no operation is left to apply."""
    totals = [sum(site.values()) for site in listed]
    for k, site in enumerate(listed):
        for part in (*site.values(), totals[k]):
            clip_occupancy(part, site=str(k))
    shares = {
        id(site): {z: part / total for z, part in site.items()} if total else {}
        for site, total in zip(listed, totals, strict=True)
    }
    sites = Sites(
        [f"site {k}" for k in range(len(listed))],
        [shares[id(site)] for site in listed],
        np.minimum(totals, 1.0),
    )
    images = Images(np.arange(len(listed)), positions)
    _check_volume(abs(np.linalg.det(lattice)))
    return _crystal(name, sites, images, lattice, periodic, disorder)


def _crystal(
    name: str,
    sites: Sites,
    images: Images,
    lattice: np.ndarray,
    periodic: tuple[bool, ...],
    disorder: str,
) -> Crystal:
    if not math.isfinite(images.positions.sum()):
        raise UnreadableCrystal("coordinates are missing or infinite")
    places = settle(sites, images, lattice, periodic=periodic, disorder=disorder)
    if not len(places.numbers):
        raise UnreadableCrystal("there are no sites")
    return Crystal(
        name, lattice, places.positions, places.numbers, places.species, periodic
    )


def _check_volume(volume: float) -> None:
    if not 1e-3 <= volume < np.inf:
        raise UnreadableCrystal(f"the unit cell is missing or flat ({volume:.3g} Å^3)")
