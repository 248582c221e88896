"""Rows to RDKit's molecules and back; what RDKit raises is the fault of one row."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from ._syntax import is_suspect, why_misread, why_not_smiles

# RDKit writes SMILES recursively: a chain of 20,000 atoms overflows a stack of 8 MB,
# which ends the process. Scaffolds need memory of the square of this number.
_LONGEST = 5000
# What RDKit notes on a molecule while it writes it.
_NOTES = ("_smilesAtomOutputOrder", "_smilesBondOutputOrder")
_SHOWN_LETTERS = 160


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


class UnusableError(ValueError):
    """Why a row cannot be used, in a clause."""


def map_molecules(rows: Sequence[Any], digest: Callable[[Any], Any]) -> list[Any]:
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
        None for rows that cannot be read, or that the digest raises for.
    """
    chem, values = rdkit(), []
    # Before the parser, whose code and data would push these out of the cache.
    suspects = [isinstance(row, str) and is_suspect(row) for row in rows]
    with chem.rdBase.BlockLogs():
        for row, suspect in zip(rows, suspects, strict=True):
            try:
                misread = suspect and why_misread(row)
                molecule = None if misread else _read(row, chem)
                values.append(None if molecule is None else digest(molecule))
            except Exception:  # C++ may raise anything, anywhere
                values.append(None)
    return values


def _read(row: Any, chem: ModuleType) -> Any:
    if isinstance(row, str):
        molecule = chem.MolFromSmiles(row)
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


def why_unreadable(row: Any, use: Callable[[Any], Any]) -> str:
    """Say why a row was left out.

    Parameters
    ----------
    row : object
        The row; not None.
    use : callable
        What is done with molecules, which raises if it fails.

    Returns
    -------
    reason : str
        A clause.
    """
    chem = rdkit()
    with chem.rdBase.BlockLogs():
        try:
            use(_molecule(row, chem))
        except UnusableError as error:
            return str(error)
        except Exception as error:
            return _in_short(error)
    return "RDKit cannot read it"


def _molecule(row: Any, chem: ModuleType) -> Any:
    if isinstance(row, str):
        return _molecule_of_smiles(row, chem)
    if not isinstance(row, chem.Mol):
        raise UnusableError("it is neither a string nor an RDKit molecule")
    if row.GetNumAtoms() == 0:
        raise UnusableError("it has no atoms")
    if not _is_sanitized(row):
        raise UnusableError("it is not sanitized; call Chem.SanitizeMol on it")
    return row


def _molecule_of_smiles(smiles: str, chem: ModuleType) -> Any:
    reason = why_misread(smiles)
    if reason:
        raise UnusableError(reason)
    molecule = chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        raise UnusableError(why_not_smiles(smiles))
    if molecule.GetNumAtoms() == 0:
        raise UnusableError("it has no atoms")
    problems = chem.DetectChemistryProblems(molecule)
    if problems:
        message = " ".join(problems[0].Message().split())
        raise UnusableError(message[0].lower() + message[1:])
    molecule = chem.MolFromSmiles(smiles)
    if molecule is None:
        raise UnusableError("RDKit cannot sanitize it")
    return molecule


def _in_short(error: Exception) -> str:
    """Put into a clause what C++ says in many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("Violation"):
        lines = lines[1:]
    text = lines[0][:_SHOWN_LETTERS] if lines else type(error).__name__
    return f"RDKit fails: {text}"


# -- strings --------------------------------------------------------------------------


def canonical_smiles(molecule: Any) -> str:
    """Write a molecule as a string, and leave the molecule as it is.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule.

    Returns
    -------
    smiles : str
        Its canonical SMILES; '' if RDKit cannot write it.
    """
    with rdkit().rdBase.BlockLogs():
        try:
            return write_smiles(molecule)
        except Exception:  # some hand-made stereo marks break its canonical order
            return ""


def refuse_long(molecule: Any) -> None:
    """Refuse a molecule that RDKit could end the process with.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule.

    Raises
    ------
    UnusableError
        If it has more than 5000 atoms.
    """
    if molecule.GetNumAtoms() > _LONGEST:
        raise UnusableError(
            f"it has {molecule.GetNumAtoms()} atoms, but RDKit is safe for {_LONGEST} "
            "only"
        )


def write_smiles(molecule: Any, **options: Any) -> str:
    """Write a molecule as a string, and leave the molecule as it is.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule.
    **options : object
        Options of ``Chem.MolToSmiles``.

    Returns
    -------
    smiles : str
        Its SMILES.

    Raises
    ------
    UnusableError
        If it has so many atoms that RDKit could overflow the stack.
    """
    refuse_long(molecule)
    has_notes = molecule.HasProp(_NOTES[0])
    smiles: str = rdkit().MolToSmiles(molecule, **options)
    if not has_notes:
        for note in _NOTES:
            molecule.ClearProp(note)
    return smiles


# -- pickles --------------------------------------------------------------------------


@cache
def keep_properties_in_pickles() -> None:
    """Let pickles of molecules, in this process, hold all that the molecules hold.

    RDKit's own leave out properties of atoms and bonds, and round coordinates. Another
    process would then read other values than this one, and a cache, which compares
    pickles, would take one molecule for another. RDKit alone reads the new ones, too.
    Its own default stays as it is, because that also governs ``ToBinary``.
    """
    chem = rdkit()
    for kind in (chem.Mol, chem.RWMol):
        copyreg.pickle(kind, _with_properties)


def _with_properties(molecule: Any) -> tuple[Any, ...]:
    options = rdkit().PropertyPickleOptions
    flags = int(options.AllProps) | int(options.CoordsAsDouble)
    kind, _, *state = molecule.__reduce__()
    return (kind, (molecule.ToBinary(flags),), *state)


def portable(rows: list[Any]) -> list[Any]:
    """Make rows that another process reads as this one does.

    Parameters
    ----------
    rows : list
        Strings, molecules and anything else.

    Returns
    -------
    rows : list
        The same; molecules of subclasses, which may have pickles of their own, as
        plain ones.
    """
    if all(isinstance(row, str) or row is None for row in rows):
        return rows
    keep_properties_in_pickles()
    chem = rdkit()
    return [chem.Mol(row) if isinstance(row, chem.Mol) else row for row in rows]
