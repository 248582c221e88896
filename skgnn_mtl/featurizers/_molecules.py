"""Molecules to columns: through RDKit's binary form, or atom by atom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ._binary import ATOM_ACCESSORS, BOND_ACCESSORS, MoleculeTable, unpack
from ._complaints import RowError
from ._rows import UnusableError, map_molecules, rdkit
from ._stereo import CIP, label, read_labels
from ._syntax import HEAVIEST

# One molecule for each thing that the binary form can say.
_PROBES = (
    "[13CH3][C@H](F)/C=C/C(=O)[O-].[Na+]",
    "C[C@@](Cl)(Br)C#C/C=C\\c1ccc2[nH]ccc2c1",
    "[CH2]C1CC2CC1C2[N+](=O)[O-]",
    "F[P-](F)(F)(F)(F)F.C[S+](C)C",
    "[Cu+2]<-[NH3].[235U]",
)

# What is asked of an atom or a bond; and the lists for atoms and for bonds.
Getter = str | Callable[[Any], Any]
Getters = tuple[list[Getter], list[Getter]]
# Positions, what was read, the molecules (or None) for what is read later, and what
# describes them.
Part = tuple[np.ndarray, MoleculeTable, list[Any], list[Any]]


class _GetterError(Exception):
    """A user's function that raises, with the molecule and where in it."""

    def __init__(self, molecule: int, getter: Callable[[Any], Any], part: str) -> None:
        super().__init__(molecule, getter, part)
        self.molecule, self.getter, self.part = molecule, getter, part


def read_tables(
    rows: list[Any],
    atom_columns: Sequence[Any],
    bond_columns: Sequence[Any],
    describe: Callable[[Any], Any] | None = None,
) -> Iterator[tuple[np.ndarray, MoleculeTable, list[Any]]]:
    """Read rows, in a few parts.

    Parameters
    ----------
    rows : list
        Strings, molecules and anything else; what cannot be read is left out.
    atom_columns, bond_columns : sequence of AtomColumn, of BondColumn
        What is asked for; a getter may be ``CIP``, too.
    describe : callable, optional
        What else is asked of each molecule; it must not raise.

    Yields
    ------
    positions : ndarray of int
        Rows of this part.
    table : MoleculeTable
        Sizes, bonds, and at least the values of the getters.
    described : list
        What ``describe`` gives for each molecule; None without it.

    Raises
    ------
    RowError
        If a function of the user's raises.
    """
    columns = (atom_columns, bond_columns)
    getters = _getters(columns)
    waiting = [np.arange(len(rows))]
    while waiting:
        chosen = waiting.pop()
        parts = _read_molecules([rows[i] for i in chosen], getters, describe)
        for part, table, molecules, described in parts:
            at = chosen[part]
            try:
                table, failed = _complete(table, molecules, getters)
            except _GetterError as error:
                raise _blame(error, columns, int(at[error.molecule])) from (
                    error.__cause__
                )
            if not failed.any():
                yield at, table, described
            elif not failed.all():
                # Values of some are of no use; the others are read again.
                waiting.append(at[~failed])


def _getters(columns: Sequence[Sequence[Any]]) -> Getters:
    """List what is asked of atoms and of bonds, each once."""
    atoms, bonds = ([column.getter for column in kind] for kind in columns)
    if CIP in atoms or CIP in bonds:
        # Only what has a tag may have a label.
        atoms, bonds = [*atoms, "GetChiralTag"], [*bonds, "GetStereo"]
    return list(dict.fromkeys(atoms)), list(dict.fromkeys(bonds))


def _blame(error: _GetterError, columns: Sequence[Sequence[Any]], row: int) -> RowError:
    name = next(c.name for kind in columns for c in kind if c.getter == error.getter)
    cause = error.__cause__
    return RowError(
        row,
        f"Column {name!r} cannot be read from {error.part}",
        f"{type(cause).__name__}: {cause}",
    )


def check_molecule(
    molecule: Any, atom_columns: Sequence[Any], bond_columns: Sequence[Any]
) -> None:
    """Read one molecule in the plainest way, to find out what is wrong with it.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule.
    atom_columns, bond_columns : sequence of AtomColumn, of BondColumn
        What is asked for.

    Raises
    ------
    UnusableError
        If it has atoms that no column can describe.
    """
    for k, atom in enumerate(molecule.GetAtoms()):
        if _is_query(atom):
            raise UnusableError(f"atom {k} is a query, which stands for many elements")
        if atom.GetAtomicNum() > HEAVIEST:
            raise UnusableError(
                f"atom {k} has the atomic number {atom.GetAtomicNum()}, beyond "
                f"{HEAVIEST}"
            )
    for getters, parts in zip(
        _getters((atom_columns, bond_columns)),
        (molecule.GetAtoms, molecule.GetBonds),
        strict=True,
    ):
        if CIP in getters:
            label(molecule)
        for getter in getters:
            if isinstance(getter, str) and getter != CIP:
                for part in parts():
                    getattr(part, getter)()


def _read_molecules(
    rows: list[Any], getters: Getters, describe: Callable[[Any], Any] | None
) -> Iterator[Part]:
    """Read molecules, and what the binary form says of all of them at once."""
    if not _binary_form_is_known():
        described = map_molecules(rows, describe) if describe else [None] * len(rows)
        yield from _read_by_accessors(rows, np.arange(len(rows)), described)
        return
    in_table = (
        set(getters[0]) <= ATOM_ACCESSORS | {"GetMass"}
        and set(getters[1]) <= BOND_ACCESSORS
    )
    entries = map_molecules(rows, _digest(describe, keep_molecule=not in_table))
    at = np.array([i for i, entry in enumerate(entries) if entry], dtype=np.intp)
    table = unpack([entries[i][0] for i in at])
    if not table.understood.all():
        others = at[~table.understood]
        described = [entries[i][2] for i in others]
        yield from _read_by_accessors(rows, others, described)
        at = at[table.understood]
        table = unpack([entries[i][0] for i in at])
    if len(at):
        molecules, described = ([entries[i][k] for i in at] for k in (1, 2))
        yield at, table, molecules, described


def _read_by_accessors(
    rows: list[Any], at: np.ndarray, described: list[Any]
) -> Iterator[Part]:
    molecules = map_molecules([rows[i] for i in at], _unless_query)
    found = [
        (i, molecule, numbers)
        for i, molecule, numbers in zip(at, molecules, described, strict=True)
        if molecule is not None
    ]
    if found:
        readable, molecules, described = map(list, zip(*found, strict=True))
        yield np.array(readable), _sizes_and_ends(molecules), molecules, described


def _unless_query(molecule: Any) -> Any:
    return None if any(map(_is_query, molecule.GetAtoms())) else molecule


def _is_query(atom: Any) -> bool:
    # A pattern that every atom matches is ``*``.
    return bool(atom.HasQuery()) and atom.DescribeQuery().strip() != "AtomNull"


def _complete(
    table: MoleculeTable, molecules: list[Any], getters: Getters
) -> tuple[MoleculeTable, np.ndarray]:
    """Add what the binary form does not say; tell which molecules RDKit fails on."""
    atoms: dict[Any, Any] = dict(table.atoms)
    bonds: dict[Any, Any] = dict(table.bonds)
    failed = np.zeros(len(table.n_atoms), dtype=bool)
    if "GetMass" in getters[0] and "GetIsotope" in atoms:
        atoms["GetMass"] = _masses(table)
    rows = (atoms, getters[0], read_atoms), (bonds, getters[1], read_bonds)
    for values, asked, read in rows:
        missing = [g for g in asked if g not in values and g != CIP]
        found, bad = read(molecules, missing)
        failed[bad] = True
        values.update(zip(missing, found, strict=True))
    if "GetAtomicNum" in atoms and not failed.any():
        heavy = np.asarray(atoms["GetAtomicNum"]) > HEAVIEST
        failed[np.repeat(np.arange(len(failed)), table.n_atoms)[heavy]] = True
    if any(CIP in asked for asked in getters) and not failed.any():
        tags = [
            np.array([int(tag) for tag in values[name]], dtype=int)
            for values, name in ((atoms, "GetChiralTag"), (bonds, "GetStereo"))
        ]
        sizes = np.stack([table.n_atoms, table.n_bonds])
        (atoms[CIP], bonds[CIP]), bad = read_labels(molecules, sizes, tags)
        failed[bad] = True
    return replace(table, atoms=atoms, bonds=bonds), failed


def _digest(
    describe: Callable[[Any], Any] | None = None, *, keep_molecule: bool
) -> Callable[[Any], tuple[bytes, Any, Any]]:
    flags = int(rdkit().PropertyPickleOptions.NoConformers)
    return lambda mol: (
        mol.ToBinary(flags),
        mol if keep_molecule else None,
        describe(mol) if describe else None,
    )


def _sizes_and_ends(molecules: list[Any]) -> MoleculeTable:
    """Make a table without columns, which are then read atom by atom."""
    ends, _ = read_bonds(molecules, ["GetBeginAtomIdx", "GetEndAtomIdx"])
    return MoleculeTable(
        np.ones(len(molecules), dtype=bool),
        np.array([mol.GetNumAtoms() for mol in molecules], dtype=np.int64),
        np.array([mol.GetNumBonds() for mol in molecules], dtype=np.int64),
        np.array(ends, dtype=np.int32),
        {},
        {},
    )


def read_atoms(
    molecules: list[Any], getters: Sequence[Getter]
) -> tuple[list[list[Any]], list[int]]:
    """Read atoms one by one.

    Parameters
    ----------
    molecules : list of Mol
        The molecules.
    getters : sequence of (str or callable)
        Names of methods of ``Atom``, or functions of an atom.

    Returns
    -------
    values : list of list
        For each getter, its values over the atoms of all molecules.
    failed : list of int
        Molecules on which RDKit fails; if there are some, values mean nothing.
    """
    # By index, which takes half the time of iterating over GetAtoms().
    return _read(molecules, getters, "Atom", "GetAtomWithIdx", "GetNumAtoms")


def read_bonds(
    molecules: list[Any], getters: Sequence[Getter]
) -> tuple[list[list[Any]], list[int]]:
    """Read bonds one by one.

    Parameters
    ----------
    molecules : list of Mol
        The molecules.
    getters : sequence of (str or callable)
        Names of methods of ``Bond``, or functions of a bond.

    Returns
    -------
    values : list of list
        For each getter, its values over the bonds of all molecules.
    failed : list of int
        Molecules on which RDKit fails; if there are some, values mean nothing.
    """
    return _read(molecules, getters, "Bond", "GetBondWithIdx", "GetNumBonds")


def _read(
    molecules: list[Any], getters: Sequence[Getter], kind: str, one: str, count: str
) -> tuple[list[list[Any]], list[int]]:
    values: list[list[Any]] = [[] for _ in getters]
    failed: list[int] = []
    if not getters:
        return values, failed
    owner = getattr(rdkit(), kind)
    calls = [getattr(owner, g) if isinstance(g, str) else g for g in getters]
    # Molecule by molecule, or a chunk's objects would keep the garbage collector busy.
    for k, mol in enumerate(molecules):
        parts = list(map(getattr(mol, one), range(getattr(mol, count)())))
        try:
            for column, call in zip(values, calls, strict=True):
                column.extend(map(call, parts))
        except Exception:
            _refuse_function(k, parts, getters, kind.lower())
            failed.append(k)
    return values, failed


def _refuse_function(
    molecule: int, parts: list[Any], getters: Sequence[Getter], kind: str
) -> None:
    """Raise if it was a function of the user's that failed, and not RDKit."""
    for getter in getters:
        if isinstance(getter, str):
            continue
        for k, part in enumerate(parts):
            try:
                getter(part)
            except Exception as error:
                raise _GetterError(molecule, getter, f"{kind} {k}") from error


@cache
def _binary_form_is_known() -> bool:
    """Compare the binary form with the accessors, once per process.

    The layout is RDKit's own affair: should a release change it, this answers False
    and every column is read through the accessors, more slowly.
    """
    entries = map_molecules(list(_PROBES), _digest(keep_molecule=True))
    if None in entries:
        return False
    molecules = [mol for _, mol, _ in entries]
    table = unpack([binary for binary, *_ in entries])
    truth = _sizes_and_ends(molecules)
    if not table.understood.all() or not np.array_equal(table.ends, truth.ends):
        return False
    for columns, read in (
        (table.atoms, read_atoms),
        (table.bonds, read_bonds),
    ):
        expected, _ = read(molecules, list(columns))
        if [column.tolist() for column in columns.values()] != expected:
            return False
    return True


def _masses(table: MoleculeTable) -> np.ndarray:
    """List the masses of atoms in u; of the isotope where one is given."""
    keys = table.atoms["GetIsotope"] * 256 + table.atoms["GetAtomicNum"]
    kinds, kind_of_atom = np.unique(keys, return_inverse=True)
    masses = []
    for kind in kinds.tolist():
        atom = rdkit().Atom(min(kind % 256, HEAVIEST))  # heavier ones are refused
        atom.SetIsotope(kind // 256)
        masses.append(atom.GetMass())
    return np.array(masses)[kind_of_atom]
