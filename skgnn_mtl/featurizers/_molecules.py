"""Rows to molecules, and molecules to columns; the only file here that knows RDKit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from ._binary import ATOM_ACCESSORS, BOND_ACCESSORS, MoleculeTable, unpack
from ._syntax import why_not_smiles

# One molecule for each thing that the binary form can say.
_PROBES = (
    "[13CH3][C@H](F)/C=C/C(=O)[O-].[Na+]",
    "C[C@@](Cl)(Br)C#C/C=C\\c1ccc2[nH]ccc2c1",
    "[CH2]C1CC2CC1C2[N+](=O)[O-]",
    "F[P-](F)(F)(F)(F)F.C[S+](C)C",
    "[Cu+2]<-[NH3].[235U]",
)


@cache
def rdkit() -> ModuleType:
    """Import RDKit's Chem, at use.

    Returns
    -------
    chem : module
        ``rdkit.Chem``.

    Raises
    ------
    ImportError
        If RDKit is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError as error:
        raise ImportError("SmilesToGraph needs rdkit: pip install rdkit.") from error
    return Chem


def canonical_smiles(molecule: Any) -> str:
    """Write a molecule as a string.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule.

    Returns
    -------
    smiles : str
        Its canonical SMILES; '' if RDKit cannot write it.
    """
    chem = rdkit()
    with chem.rdBase.BlockLogs():
        try:
            return chem.MolToSmiles(molecule)
        except RuntimeError:  # some hand-made stereo marks break its canonical order
            return ""


def why_unreadable(row: Any) -> str:
    """Say why a row gives no molecule.

    Parameters
    ----------
    row : object
        A row that :func:`read_tables` left out, other than None.

    Returns
    -------
    reason : str
        A clause.
    """
    chem = rdkit()
    if isinstance(row, str):
        with chem.rdBase.BlockLogs():
            return _why_not_molecule(row, chem)
    if not isinstance(row, chem.Mol):
        return "it is neither a string nor an RDKit molecule"
    if row.GetNumAtoms() == 0:
        return "it has no atoms"
    return "it is not sanitized; call Chem.SanitizeMol on it"


def _why_not_molecule(smiles: str, chem: ModuleType) -> str:
    try:
        molecule = chem.MolFromSmiles(smiles, sanitize=False)
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if molecule is None:
        return why_not_smiles(smiles)
    if molecule.GetNumAtoms() == 0:
        return "it has no atoms"
    problems = chem.DetectChemistryProblems(molecule)
    if not problems:
        return "RDKit cannot sanitize it"
    message = " ".join(problems[0].Message().split())
    return message[0].lower() + message[1:]


def read_tables(
    rows: list, atom_getters: set, bond_getters: set
) -> Iterator[tuple[np.ndarray, MoleculeTable, list]]:
    """Read rows, in at most two parts.

    Parameters
    ----------
    rows : list
        Strings, molecules and anything else; what cannot be read is left out.
    atom_getters, bond_getters : set of (str or callable)
        What will be asked for.

    Yields
    ------
    positions : ndarray of int
        Rows of this part.
    table : MoleculeTable
        Sizes, bonds, and the columns that could be read for all atoms at once.
    molecules : list
        The molecules, if a getter is missing in the table.
    """
    if not _binary_form_is_known():
        yield from _read_by_accessors(rows, np.arange(len(rows)))
        return
    in_table = (
        atom_getters <= ATOM_ACCESSORS | {"GetMass"} and bond_getters <= BOND_ACCESSORS
    )
    entries = map_molecules(rows, _digest(keep_molecule=not in_table))
    at = np.array([i for i, entry in enumerate(entries) if entry], dtype=np.intp)
    table = unpack([entries[i][0] for i in at])
    if not table.understood.all():
        yield from _read_by_accessors(rows, at[~table.understood])
        at = at[table.understood]
        table = unpack([entries[i][0] for i in at])
    if len(at):
        if "GetMass" in atom_getters:
            table = replace(table, atoms={**table.atoms, "GetMass": _masses(table)})
        yield at, table, [entries[i][1] for i in at]


def _read_by_accessors(rows: list, at: np.ndarray) -> Iterator[tuple]:
    molecules = map_molecules([rows[i] for i in at], lambda mol: mol)
    readable = np.array([mol is not None for mol in molecules], dtype=bool)
    if readable.any():
        molecules = [mol for mol in molecules if mol is not None]
        yield at[readable], _sizes_and_ends(molecules), molecules


def map_molecules(rows: list, digest: Callable) -> list:
    """Read rows one by one and keep what a function makes of each molecule.

    A digest that lets go of a molecule while it is still in the cache is faster than
    a list of molecules.

    Parameters
    ----------
    rows : list
        Strings, molecules and anything else.
    digest : callable
        Maps a sanitized molecule with at least one atom to a value.

    Returns
    -------
    values : list
        None for rows that cannot be read.
    """
    chem = rdkit()
    with chem.rdBase.BlockLogs():
        molecules = (_read(row, chem) for row in rows)
        return [None if mol is None else digest(mol) for mol in molecules]


def _read(row: Any, chem: ModuleType) -> Any:
    if isinstance(row, str):
        try:
            molecule = chem.MolFromSmiles(row)
        except UnicodeEncodeError:  # half of a surrogate pair
            return None
    elif isinstance(row, chem.Mol) and _is_sanitized(row):
        molecule = row
    else:
        return None
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def _is_sanitized(molecule: Any) -> bool:
    if molecule.NeedsUpdatePropertyCache():
        return False
    try:
        molecule.GetRingInfo().NumRings()
    except RuntimeError:  # RDKit's "ring info not initialized"
        return False
    return True


def _digest(*, keep_molecule: bool) -> Callable:
    flags = int(rdkit().PropertyPickleOptions.NoConformers)
    return lambda mol: (mol.ToBinary(flags), mol if keep_molecule else None)


def _sizes_and_ends(molecules: list) -> MoleculeTable:
    """Make a table without columns, which are then read atom by atom."""
    ends = read_bonds(molecules, ["GetBeginAtomIdx", "GetEndAtomIdx"])
    return MoleculeTable(
        np.ones(len(molecules), dtype=bool),
        np.array([mol.GetNumAtoms() for mol in molecules], dtype=np.int64),
        np.array([mol.GetNumBonds() for mol in molecules], dtype=np.int64),
        np.array(ends, dtype=np.int32),
        {},
        {},
    )


def read_atoms(molecules: list, getters: Sequence[str | Callable]) -> list[list]:
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
    """
    values: list[list] = [[] for _ in getters]
    if not getters:
        return values
    calls = _calls(rdkit().Atom, getters)
    # Molecule by molecule, or a chunk's objects would keep the garbage collector busy;
    # by index, which takes half the time of iterating over GetAtoms().
    for mol in molecules:
        atoms = list(map(mol.GetAtomWithIdx, range(mol.GetNumAtoms())))
        for column, call in zip(values, calls, strict=True):
            column.extend(map(call, atoms))
    return values


def read_bonds(molecules: list, getters: Sequence[str | Callable]) -> list[list]:
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
    """
    values: list[list] = [[] for _ in getters]
    if not getters:
        return values
    calls = _calls(rdkit().Bond, getters)
    for mol in molecules:
        bonds = list(map(mol.GetBondWithIdx, range(mol.GetNumBonds())))
        for column, call in zip(values, calls, strict=True):
            column.extend(map(call, bonds))
    return values


def _calls(owner: type, getters: Sequence[str | Callable]) -> list[Callable]:
    return [getattr(owner, g) if isinstance(g, str) else g for g in getters]


@cache
def _binary_form_is_known() -> bool:
    """Compare the binary form with the accessors, once a process.

    The layout is RDKit's own affair: should a release change it, this answers False
    and every column is read through the accessors, more slowly.
    """
    entries = map_molecules(list(_PROBES), _digest(keep_molecule=True))
    if None in entries:
        return False
    molecules = [mol for _, mol in entries]
    table, truth = unpack([binary for binary, _ in entries]), _sizes_and_ends(molecules)
    if not table.understood.all() or not np.array_equal(table.ends, truth.ends):
        return False
    for columns, read in (
        (table.atoms, read_atoms),
        (table.bonds, read_bonds),
    ):
        expected = read(molecules, list(columns))
        if [column.tolist() for column in columns.values()] != expected:
            return False
    return True


def _masses(table: MoleculeTable) -> np.ndarray:
    """Masses of atoms in u; of the isotope where one is given."""
    keys = table.atoms["GetIsotope"] * 256 + table.atoms["GetAtomicNum"]
    kinds, kind_of_atom = np.unique(keys, return_inverse=True)
    masses = []
    for kind in kinds.tolist():
        atom = rdkit().Atom(kind % 256)
        atom.SetIsotope(kind // 256)
        masses.append(atom.GetMass())
    return np.array(masses)[kind_of_atom]
