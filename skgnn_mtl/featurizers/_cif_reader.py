"""From CIF text, files and other packages' objects to the atoms of one unit cell.

gemmi reads first. pymatgen reads what gemmi refuses, and whatever has sites of partial
occupancy, since it merges the atoms that share a site.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_FULL = 1 - 1e-3
_UNKNOWN = ("", "?", ".")
_FRACTIONS = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
_HYDROGEN_ISOTOPE = re.compile(r"\b[DT](?![A-Za-z])")
# How databases mark the first and the second origin of a space group.
_ORIGINS = {"S": ":1", "Z": ":2"}

Species = Mapping[int, float]


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
    species: list[Species] | None = None
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
            "CifToGraph needs gemmi and pymatgen: "
            'pip install "skgnn_mtl[crystals]" or pip install gemmi pymatgen.'
        ) from error
    return gemmi


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
        Sites in the order of the source. ``species`` is set with ``disorder="mix"``.

    Raises
    ------
    UnreadableCrystal
        With the reason.
    """
    if isinstance(row, (str, PathLike)):
        crystal = _from_text(*_text_of(row), disorder, block)
    elif hasattr(row, "frac_coords") and hasattr(row, "lattice"):
        crystal = _from_structure(row, row.composition.reduced_formula, disorder)
    elif hasattr(row, "get_atomic_numbers") and hasattr(row, "get_pbc"):
        crystal = _from_atoms(row, disorder)
    else:
        raise UnreadableCrystal(
            "CIF text, the name of a file, a pymatgen Structure or ASE Atoms was wanted"
        )
    if not len(crystal.numbers):
        raise UnreadableCrystal("there are no sites")
    if not np.isfinite(crystal.positions).all():
        raise UnreadableCrystal("coordinates are missing or infinite")
    volume = abs(np.linalg.det(crystal.lattice))
    if not np.isfinite(volume) or volume < 1e-3:
        raise UnreadableCrystal(f"the unit cell is missing or flat ({volume:.3g} Å^3)")
    return crystal


def _text_of(row: str | PathLike[str]) -> tuple[str, str]:
    """Text of a CIF, and the path it came from ('' for text)."""
    if isinstance(row, str) and ("\n" in row or "\r" in row):
        return row, ""
    try:
        return Path(row).read_text(encoding="utf-8", errors="replace"), fspath(row)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableCrystal(
            f"it has no line break and is thus read as the name of a file: {reason}"
        ) from error


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


# -- gemmi ---------------------------------------------------------------------------


def _from_text(text: str, path: str, disorder: str, wanted: str | None) -> Crystal:
    try:
        document = gemmi().cif.read_string(text)
    except (RuntimeError, ValueError) as error:
        return _second_opinion(text, path, disorder, wanted, str(error))
    block = _choose_block(document, wanted)
    structure = _small_structure(block)
    name = path or block.name
    _set_symmetry(structure, block)
    sites = structure.get_all_unit_cell_sites()
    if disorder == "raise" or all(site.occ >= _FULL for site in sites):
        return _from_sites(structure, sites, name)
    return _from_pymatgen_text(_text_for_pymatgen(structure, block), name, disorder)


def _choose_block(document: Any, wanted: str | None) -> Any:
    if wanted is not None:
        for block in document:
            if block.name == wanted:
                return block
        names = [block.name for block in document]
        raise UnreadableCrystal(f"it has no data block {wanted!r}, but {names}")
    with_sites = [b for b in document if b.find_loop("_atom_site_fract_x")]
    if len(with_sites) > 1:
        names = [block.name for block in with_sites]
        raise UnreadableCrystal(f"{len(names)} data blocks have sites: {names}")
    if not with_sites:
        raise UnreadableCrystal("no data block has sites (_atom_site_fract_x)")
    return with_sites[0]


def _small_structure(block: Any) -> Any:
    missing = [tag for tag in _FRACTIONS if not block.find_loop(tag)]
    if missing:
        raise UnreadableCrystal(f"the sites have no {' and no '.join(missing)}")
    try:
        structure = gemmi().make_small_structure_from_block(block)
    except RuntimeError as error:
        raise UnreadableCrystal(str(error).rstrip(".")) from error
    if not structure.cell.is_crystal():
        raise UnreadableCrystal("the unit cell is missing")
    return structure


def _set_symmetry(structure: Any, block: Any) -> None:
    """Take the listed operations, else the Hall symbol, the name or the number.

    A bare name or number means the first origin, and the axes that the cell has.
    """
    try:
        for operation in structure.symops:
            gemmi().Op(operation)
    except RuntimeError as error:
        raise UnreadableCrystal(f"a symmetry operation is unreadable: {error}") from (
            error
        )
    structure.determine_and_set_spacegroup("S.H")
    if structure.symops or structure.spacegroup is not None:
        return
    name, hall = structure.spacegroup_hm, structure.spacegroup_hall
    name = named = hall if name in _UNKNOWN else name
    if name in _UNKNOWN:
        number = _space_group_number(block) or 1
        standard = gemmi().find_spacegroup_by_number(number)
        name, named = standard.hm if standard else "", f"number {number}"
    elif name[-1] in _ORIGINS:
        name = name[:-1] + _ORIGINS[name[-1]]
    cell = structure.cell
    group = gemmi().find_spacegroup_by_name(name, cell.alpha, cell.gamma)
    if group is None:
        raise UnreadableCrystal(
            f"the space group {named!r} is unknown, and no operations are listed"
        )
    structure.spacegroup = group
    structure.setup_cell_images()


def _space_group_number(block: Any) -> int | None:
    for tag in ("_space_group_IT_number", "_symmetry_Int_Tables_number"):
        value = gemmi().cif.as_string(block.find_value(tag) or "?")
        if value.isdigit():
            return int(value)
    return None


def _from_sites(structure: Any, sites: Any, name: str) -> Crystal:
    numbers = np.array([site.element.atomic_number for site in sites], dtype=np.int64)
    for k in np.flatnonzero(numbers == 0):
        _check_isotope(sites[int(k)])
        numbers[k] = 1
    fractions = np.array([site.fract.tolist() for site in sites]).reshape(-1, 3)
    partial = [site for site in sites if site.occ < _FULL]
    if partial:
        raise UnreadableCrystal(
            f"{len(partial)} of {len(sites)} sites have partial occupancy, the first "
            f'is {partial[0].label} with {partial[0].occ:g}; disorder="majority" or '
            '"mix" would read it'
        )
    lattice = np.array(structure.cell.orth.mat.tolist()).T.copy()
    return Crystal(name, lattice, fractions @ lattice, numbers)


def _check_isotope(site: Any) -> None:
    # Hydrogen's third isotope is no element of gemmi's.
    symbol = site.type_symbol or site.label
    if not _HYDROGEN_ISOTOPE.match(symbol):
        raise UnreadableCrystal(f"site {site.label} has the unknown species {symbol!r}")


# -- pymatgen and ASE ----------------------------------------------------------------


def _text_for_pymatgen(structure: Any, block: Any) -> str:
    """Write the block with the operations in use, and hydrogen for its isotopes.

    pymatgen has other rules for the name of a space group, and takes H and D on one
    site for too many atoms.
    """
    if not structure.symops:
        loop = block.init_loop("_symmetry_equiv_pos_", ["as_xyz"])
        for operation in structure.spacegroup.operations():
            loop.add_row([f"'{operation.triplet()}'"])
    for tag in ("_atom_site_type_symbol", "_atom_site_label"):
        column = block.find_loop(tag)
        for k, symbol in enumerate(column):
            column[k] = _HYDROGEN_ISOTOPE.sub("H", symbol)
        if column:
            break
    return block.as_string()


def _second_opinion(
    text: str, path: str, disorder: str, wanted: str | None, reason: str
) -> Crystal:
    """Ask pymatgen about a text that is no CIF for gemmi."""
    if wanted is not None or text.count("data_") != 1:
        raise UnreadableCrystal(reason)
    try:
        return _from_pymatgen_text(text, path, disorder)
    except UnreadableCrystal as error:
        raise UnreadableCrystal(f"{reason}; pymatgen: {error}") from error


def _from_pymatgen_text(text: str, name: str, disorder: str) -> Crystal:
    from pymatgen.io.cif import CifParser

    try:
        with warnings.catch_warnings():
            # It warns of each coordinate that it snaps to a simple fraction.
            warnings.simplefilter("ignore")
            parser = CifParser.from_str(text)
            (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    # It fails on odd files in many ways: assertions, keys, numbers.
    except Exception as error:
        raise UnreadableCrystal(str(error) or type(error).__name__) from error
    formula = structure.composition.reduced_formula
    return _from_structure(structure, name or formula, disorder)


def _from_structure(structure: Any, name: str, disorder: str) -> Crystal:
    species = [_species(site.species) for site in structure]
    lattice = np.array(structure.lattice.matrix, dtype=np.float64)
    periodic = tuple(map(bool, structure.lattice.pbc))
    positions = np.asarray(structure.frac_coords, dtype=np.float64) @ lattice
    return _resolve(name, lattice, positions, species, periodic, disorder)


def _species(composition: Any) -> dict[int, float]:
    """Atomic numbers and occupancies of a site; ions and isotopes are elements."""
    occupancies: dict[int, float] = {}
    for kind, amount in composition.items():
        number = getattr(kind, "Z", 0)
        if type(kind).__name__ == "DummySpecies" or not 0 < number < 119:
            raise UnreadableCrystal(f"a site has the unknown species {kind.symbol!r}")
        occupancies[number] = occupancies.get(number, 0.0) + float(amount)
    return occupancies


def _from_atoms(atoms: Any, disorder: str) -> Crystal:
    numbers = np.asarray(atoms.get_atomic_numbers(), dtype=np.int64)
    if (numbers == 0).any():
        k = int(np.argmin(numbers))
        raise UnreadableCrystal(f"site {k} has the unknown species 'X'")
    species = _occupancies(atoms) or [{int(number): 1.0} for number in numbers]
    lattice = np.array(atoms.cell.array, dtype=np.float64)
    positions = np.array(atoms.get_positions(), dtype=np.float64)
    periodic = tuple(map(bool, atoms.get_pbc()))
    name = atoms.get_chemical_formula()
    return _resolve(name, lattice, positions, species, periodic, disorder)


def _occupancies(atoms: Any) -> list[Species]:
    """Read what ASE's CIF reader noted of the sites; nothing for other Atoms."""
    noted, kinds = atoms.info.get("occupancy"), atoms.arrays.get("spacegroup_kinds")
    if not noted or kinds is None:
        return []
    by_kind = {
        str(kind): {
            gemmi().Element(symbol).atomic_number: float(part)
            for symbol, part in site.items()
        }
        for kind, site in noted.items()
    }
    return [by_kind[str(kind)] for kind in kinds]


def _resolve(name, lattice, positions, species, periodic, disorder: str) -> Crystal:
    """Apply the policy for sites of partial occupancy."""
    partial = [k for k, site in enumerate(species) if max(site.values()) < _FULL]
    if partial and disorder == "raise":
        raise UnreadableCrystal(
            f"{len(partial)} of {len(species)} sites have partial occupancy, the first "
            f'is site {partial[0]}; disorder="majority" or "mix" would read it'
        )
    if partial and disorder == "majority":
        # An empty site is one of the possibilities, too.
        kept = [max(s.values()) >= 1 - sum(s.values()) for s in species]
        species = [site for site, stays in zip(species, kept, strict=True) if stays]
        positions = positions[np.array(kept)]
    numbers = [max(site, key=lambda z: (site[z], -z)) for site in species]
    return Crystal(
        name,
        lattice,
        np.ascontiguousarray(positions),
        np.array(numbers, dtype=np.int64),
        species if partial and disorder == "mix" else None,
        periodic,
    )
