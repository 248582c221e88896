"""Bemis-Murcko scaffolds of molecules as integer groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgnn_mtl.featurizers import SmilesToGraph
from skgnn_mtl.featurizers._molecules import map_molecules
from skgnn_mtl.featurizers._strings import as_strings
from skgnn_mtl.graphs import GraphArray

from ._base import check_option, group_numbers

N_NAMED = 10


def scaffold_groups(
    X,
    *,
    generic=False,
    chirality=False,
    acyclic="own",
    on_error="raise",
) -> np.ndarray:
    """Give each molecule the number of its Bemis-Murcko scaffold.

    The scaffold [1]_ is what is left of a molecule when side chains are cut off: its
    rings, the chains between them, and atoms bound to these by a double bond. Rows with
    the same number have the same scaffold; pass the numbers as ``groups`` to a group
    splitter, or to ``fit(X, y, groups=...)`` for the inner validation.

    Parameters
    ----------
    X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
        SMILES or RDKit molecules, or graphs that were made from them.
    generic : bool, default=False
        Compare bare frameworks: any atom, single bonds, no atoms outside rings and
        chains between rings. Benzene, cyclohexane, pyridine and piperidone are then one
        group.
    chirality : bool, default=False
        Tell stereoisomers of a scaffold apart and, as the published splits do, isotopes
        of its atoms.
    acyclic : {"own", "one"}, default="own"
        Molecules without ring have no scaffold. Either each distinct one (by canonical
        SMILES) is a group of its own, or all of them are one group, as in the published
        splits (:class:`ScaffoldSplit`); that group may be half of a set of small
        molecules.
    on_error : {"raise", "nan"}, default="raise"
        What to do with rows that are missing or unreadable, and with invalid graphs:
        raise, or give them the number -1.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        Group of each row, numbered from 0 in the order of first appearance; -1 for
        unreadable rows.

    Raises
    ------
    ValueError
        If a row cannot be read and ``on_error="raise"``, if graphs have no identifiers
        or are no molecules, or if an option is unknown.

    See Also
    --------
    ScaffoldKFold : Cross-validation over these groups.

    Notes
    -----
    Rings in any component of a salt or mixture belong to the scaffold.

    References
    ----------
    .. [1] G. W. Bemis, M. A. Murcko, "The properties of known drugs. 1. Molecular
       frameworks", J. Med. Chem. 39 (1996).

    Examples
    --------
    Toluene and phenol; pyridine; ethanol, written in two ways, and propanol:

    >>> from skgnn_mtl.model_selection import scaffold_groups
    >>> X = ["Cc1ccccc1", "Oc1ccccc1", "c1ccncc1", "CCO", "OCC", "CCCO"]
    >>> scaffold_groups(X)
    array([0, 0, 1, 2, 2, 3])
    >>> scaffold_groups(X, generic=True, acyclic="one")
    array([0, 0, 0, 1, 1, 1])
    """
    check_option("acyclic", acyclic, ("own", "one"))
    check_option("on_error", on_error, ("raise", "nan"))
    rows = _rows(X)
    keys = _keys(rows, generic, chirality, acyclic == "one")
    if on_error == "raise":
        _refuse_unreadable(rows, keys)
    return group_numbers(keys)


def _rows(X: Any) -> list:
    """Strings and molecules; None where a row is missing."""
    if not isinstance(X, GraphArray):
        return as_strings(X)
    if not X.schema.paired_edges:
        raise ValueError(
            f"Scaffolds are those of molecules, but these are {X.schema.name!r} graphs."
        )
    rows = [identifier or None for identifier in X.ids]
    nameless = X.valid & np.array([row is None for row in rows], dtype=bool)
    if nameless.any():
        raise ValueError(
            f"Scaffolds are read from SMILES, but {nameless.sum()} of {len(X)} graphs "
            f"have no identifier, the first is X[{np.argmax(nameless)}]; make the "
            "GraphArray with SmilesToGraph, or pass the SMILES."
        )
    return rows


def _keys(
    rows: list, generic: bool, chirality: bool, one_group: bool
) -> list[str | None]:
    """One string a group; None where a row cannot be read."""
    try:
        from rdkit import Chem
        from rdkit.Chem import rdMolHash
        from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol
    except ImportError as error:
        raise ImportError("scaffold_groups needs rdkit: pip install rdkit.") from error

    def smiles(molecule) -> str:
        return Chem.MolToSmiles(molecule, isomericSmiles=chirality)

    def framework(scaffold):
        anonymous = rdMolHash.HashFunction.AnonymousGraph
        bare = Chem.MolFromSmiles(rdMolHash.MolHash(scaffold, anonymous))
        # Atoms that hung on the scaffold by a double bond are side chains now.
        return GetScaffoldForMol(bare)

    def key(molecule) -> str:
        scaffold = GetScaffoldForMol(molecule)
        if scaffold.GetNumAtoms() == 0:
            # The blank keeps a molecule apart from a scaffold of the same SMILES.
            return "" if one_group else f"acyclic {smiles(molecule)}"
        return smiles(framework(scaffold) if generic else scaffold)

    return map_molecules(rows, key)


def _refuse_unreadable(rows: list, keys: list[str | None]) -> None:
    unreadable = [i for i, key in enumerate(keys) if key is None]
    if not unreadable:
        return
    first, others = unreadable[0], unreadable[1 : 1 + N_NAMED]
    complaint = f"X[{first}] is missing."
    if rows[first] is not None:
        complaint = SmilesToGraph().complaint(first, rows[first])
    if others:
        complaint += (
            f" {len(unreadable) - 1} more row(s) are missing or unreadable, "
            f"beginning with {others}."
        )
    raise ValueError(f'{complaint} Drop such rows or use on_error="nan".')
