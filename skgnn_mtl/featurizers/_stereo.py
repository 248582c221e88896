"""Labels of stereo centres that do not depend on the order of atoms.

RDKit's tags say in which sense the neighbours of an atom turn *in the order in which
they are stored*, so that another SMILES of the same molecule may have the other tag.
The labels of Cahn, Ingold and Prelog rank neighbours by what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._columns import AtomColumn, BondColumn
from ._rows import rdkit

# Stands for an accessor: RDKit has none.
CIP = "_CIPCode"
_TAGS = ("GetChiralTag", "GetStereo", "GetBondDir")
ATOM_LABELS = ("", "R", "S", "r", "s")
BOND_LABELS = ("", "any", "Z", "E", "z", "e", "P", "M", "p", "m")
_ANY = 1  # RDKit's STEREOANY, a mark that says that nothing is known
# RDKit needs below 1,000 comparisons for a protein, and about a second for these.
_MOST_COMPARISONS = 1_000_000


def with_labels(columns: Sequence[Any]) -> list[Any]:
    """Let columns of tags hold labels instead.

    Parameters
    ----------
    columns : sequence of AtomColumn or of BondColumn
        Any columns.

    Returns
    -------
    columns : list
        The same, those of chiral tags, of bond stereo and of bond directions replaced.
    """
    return [_labelled(c) if c.getter in _TAGS else c for c in columns]


def _labelled(column: AtomColumn | BondColumn) -> AtomColumn | BondColumn:
    words = ATOM_LABELS if isinstance(column, AtomColumn) else BOND_LABELS
    return type(column)(column.name, CIP, words)


def read_labels(
    molecules: Sequence[Any], n_parts: np.ndarray, tags: Sequence[np.ndarray]
) -> tuple[tuple[list[str], list[str]], list[int]]:
    """Label the stereo centres of some molecules.

    Parameters
    ----------
    molecules : sequence of Mol
        Sanitized molecules; they stay as they are.
    n_parts : ndarray of int of shape (2, n_molecules)
        Numbers of their atoms and bonds.
    tags : pair of ndarray of int
        Tags of all atoms and of all bonds: only what has one may have a label.

    Returns
    -------
    labels : pair of list of str
        Labels of all atoms and of all bonds, '' where there is none.
    failed : list of int
        Molecules that RDKit cannot label.
    """
    labels = ([""] * len(tags[0]), [""] * len(tags[1]))
    first = np.cumsum(n_parts, axis=1) - n_parts
    places: dict[int, tuple[list[int], list[int]]] = {}
    for kind, part in enumerate(tags):
        molecule_of_part = np.repeat(np.arange(len(molecules)), n_parts[kind])
        for k in np.flatnonzero(part).tolist():
            places.setdefault(int(molecule_of_part[k]), ([], []))[kind].append(k)
    failed = []
    for row, found in places.items():
        try:
            centres = label(molecules[row])
        except Exception:  # C++ may raise anything
            failed.append(row)
            continue
        for kind, get in enumerate((centres.GetAtomWithIdx, centres.GetBondWithIdx)):
            for k in found[kind]:
                part = get(k - int(first[kind, row]))
                if part.HasProp(CIP):
                    labels[kind][k] = part.GetProp(CIP)
                elif kind == 1 and tags[1][k] == _ANY:
                    labels[1][k] = "any"
    return labels, failed


def label(molecule: Any) -> Any:
    """Copy a molecule and label its stereo centres.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule.

    Returns
    -------
    copy : Mol
        Its atoms and bonds have the property ``_CIPCode`` where they are centres.
    """
    from rdkit.Chem import rdCIPLabeler

    copy = rdkit().Mol(molecule)
    rdCIPLabeler.AssignCIPLabels(copy, maxRecursiveIterations=_MOST_COMPARISONS)
    return copy
