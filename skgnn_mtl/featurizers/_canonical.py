"""Canonical SMILES of many rows, and their largest components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs

from ._rows import map_molecules, portable, rdkit, why_unreadable, write_smiles

# Rows per task of a worker, which are worth its start.
_CHUNK = 2000


def canonical_rows(
    rows: Sequence[Any], n_jobs: int | None = None
) -> list[tuple[str, str] | None]:
    """Write rows as canonical SMILES.

    Parameters
    ----------
    rows : sequence of length n
        SMILES and RDKit molecules; None where missing.
    n_jobs : int, default=None
        Number of processes; None stands for 1, -1 for all.

    Returns
    -------
    found : list of length n
        The canonical SMILES, and that of the component with the most heavy atoms, which
        is '' if there is only one component. None for a row that cannot be read.
    """
    rows = list(rows)
    n_chunks = math.ceil(len(rows) / _CHUNK)
    workers = min(effective_n_jobs(n_jobs), n_chunks)
    if workers <= 1:
        return map_molecules(rows, _digest)
    chunks = (rows[k * _CHUNK : (k + 1) * _CHUNK] for k in range(n_chunks))
    parts = Parallel(n_jobs=workers)(
        delayed(_map_chunk)(portable(chunk)) for chunk in chunks
    )
    return list(chain.from_iterable(parts))


def _map_chunk(rows: list[Any]) -> list[tuple[str, str] | None]:
    return map_molecules(rows, _digest)


def _digest(molecule: Any) -> tuple[str, str]:
    smiles = write_smiles(molecule)
    # A dot stands between components, nowhere else.
    return smiles, _largest(molecule) if "." in smiles else ""


def _largest(molecule: Any) -> str:
    """Write the component with the most heavy atoms; carbon, then the text, decide."""
    parts = rdkit().GetMolFrags(molecule, asMols=True)
    named = [(part, write_smiles(part)) for part in parts]

    def rank(entry: tuple[Any, str]) -> tuple[int, int, str]:
        part, smiles = entry
        carbons = sum(atom.GetAtomicNum() == 6 for atom in part.GetAtoms())
        return part.GetNumHeavyAtoms(), carbons, smiles

    return max(named, key=rank)[1]


def why_no_molecule(row: Any) -> str:
    """Say why :func:`canonical_rows` could not read a row.

    Parameters
    ----------
    row : object
        A string or a molecule; not None.

    Returns
    -------
    reason : str
        A clause.
    """
    return why_unreadable(row, _digest)
