"""Bemis-Murcko scaffolds of molecules as integer groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skgnn_mtl._listed import N_NAMED
from skgnn_mtl.featurizers._complaints import unreadable
from skgnn_mtl.featurizers._parts import (
    flat,
    n_parts,
    place_of,
    regrouped,
)
from skgnn_mtl.featurizers._rows import (
    map_molecules,
    refuse_long,
    why_unreadable,
    write_smiles,
)
from skgnn_mtl.featurizers._strings import as_rows
from skgnn_mtl.graphs import GraphArray

from ._base import check_option, group_numbers


def scaffold_groups(
    X: Any,
    *,
    generic: bool = False,
    chirality: bool = False,
    acyclic: str = "own",
    on_error: str = "raise",
) -> np.ndarray:
    """Assign each molecule the number of its Bemis-Murcko scaffold.

    The scaffold [1]_ is a molecule without its side chains: its rings, the chains
    between them, and atoms with a double bond to these. Rows with the same number have
    the same scaffold. Pass the numbers as ``groups`` to a group splitter, or to
    ``fit(X, y, groups=...)`` for the inner validation.

    Parameters
    ----------
    X : list, tuple, array, Series, table or GraphArray of shape (n,) or (n, k)
        SMILES or RDKit molecules, or graphs that were made from them. Rows of several
        molecules are one group if their scaffolds are equal, in any order; pass one
        column to keep its molecules together. Graphs of several count as mixtures.
    generic : bool, default=False
        Whether to compare frameworks: all atoms equal, all bonds single, only rings and
        the chains between them. Benzene, cyclohexane, pyridine and piperidone are then
        one group.
    chirality : bool, default=False
        Whether stereoisomers of a scaffold and, as in the published splits, isotopes of
        its atoms are different groups.
    acyclic : {"own", "one"}, default="own"
        Molecules without rings do not have a scaffold. "own" makes a group of each
        distinct molecule (by canonical SMILES). "one" makes one group of all, as in the
        published splits (:class:`ScaffoldSplit`); that group may be half of a set of
        small molecules.
    on_error : {"raise", "nan"}, default="raise"
        Whether missing rows, unreadable rows and invalid graphs raise, or get the
        number -1.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        Group of each row, numbered from 0 in the order of first appearance; -1 for
        unreadable rows.

    Raises
    ------
    ValueError
        If a row cannot be read and ``on_error="raise"``, if graphs do not have
        identifiers or are not molecules, or if an option is unknown.
    ImportError
        If RDKit is not installed.

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
    rows = identified_rows(X, "Scaffolds")
    key = _key_of(generic, chirality, acyclic == "one")
    return numbers_of_groups(rows, key, on_error)


def numbers_of_groups(
    rows: list[Any], key: Callable[[Any], str], on_error: str
) -> np.ndarray:
    """Assign numbers to rows by the keys of their molecules.

    Parameters
    ----------
    rows : list of length n
        Strings and molecules, or tuples of these; None where missing.
    key : callable
        Gives molecules of one group the same string.
    on_error : {"raise", "nan"}
        What happens to rows without a key.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        By first appearance; -1 for unreadable rows.

    Raises
    ------
    ValueError
        If a row cannot be read and ``on_error="raise"``.
    """
    keys, k = map_molecules(flat(rows), key), n_parts(rows)
    if on_error == "raise":
        refuse_unreadable(rows, keys, key)
    if k == 1:
        return group_numbers(keys)
    # Sorted, because a row and its reverse must not lie in two folds.
    pairs = [None if None in p else tuple(sorted(p)) for p in regrouped(keys, k)]
    return group_numbers(pairs)


def identified_rows(X: Any, what: str) -> list[Any]:
    """Read strings and molecules; of graphs, the SMILES that they were made from.

    Parameters
    ----------
    X : list, tuple, array, Series, table or GraphArray of shape (n,) or (n, k)
        Molecules.
    what : str
        What is made of them, for messages.

    Returns
    -------
    rows : list of length n
        None where a row is missing; tuples of several molecules.

    Raises
    ------
    ValueError
        If graphs are not molecules, or do not have identifiers.
    """
    if not isinstance(X, GraphArray):
        return as_rows(X)
    if not X.schema.paired_edges:
        raise ValueError(
            f"{what} need graphs of molecules, but these graphs have the schema "
            f"{X.schema.name!r}."
        )
    rows = [identifier or None for identifier in X.ids]
    nameless = X.valid & np.array([row is None for row in rows], dtype=bool)
    if nameless.any():
        raise ValueError(
            f"{what} need the SMILES of the graphs, but {nameless.sum()} of "
            f"{len(X)} graphs have no identifier; the first is "
            f"X[{np.argmax(nameless)}]. Make the GraphArray with SmilesToGraph, or "
            "pass the SMILES."
        )
    return rows


def _key_of(generic: bool, chirality: bool, one_group: bool) -> Callable[[Any], str]:
    """Make the function that gives molecules of one group one string."""
    try:
        from rdkit import Chem
        from rdkit.Chem import rdMolHash
        from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol
    except ImportError as error:
        raise ImportError("scaffold_groups needs rdkit: pip install rdkit.") from error

    def smiles(molecule: Chem.Mol) -> str:
        return write_smiles(molecule, isomericSmiles=chirality)

    def framework(scaffold: Chem.Mol) -> Chem.Mol:
        anonymous = rdMolHash.HashFunction.AnonymousGraph
        bare = Chem.MolFromSmiles(rdMolHash.MolHash(scaffold, anonymous))
        # Again, because atoms with a former double bond are side chains now.
        reduced: Chem.Mol = GetScaffoldForMol(bare)
        return reduced

    def key(molecule: Chem.Mol) -> str:
        refuse_long(molecule)
        scaffold = GetScaffoldForMol(molecule)
        if scaffold.GetNumAtoms() == 0:
            # With a blank, because a scaffold may have the same SMILES.
            return "" if one_group else f"acyclic {smiles(molecule)}"
        return smiles(framework(scaffold) if generic else scaffold)

    return key


def refuse_unreadable(
    rows: list[Any], keys: list[str | None], key: Callable[[Any], str]
) -> None:
    """Raise if a row has no key, with the first reason and the next positions.

    Parameters
    ----------
    rows : list of length n
        Strings and molecules, or tuples of these.
    keys : list of length n * k
        What was made of them; None where they cannot be read.
    key : callable
        Made it.

    Raises
    ------
    ValueError
        If a key is None.
    """
    missing, k = [i for i, found in enumerate(keys) if found is None], n_parts(rows)
    if not missing:
        return
    first, place = flat(rows)[missing[0]], place_of(missing[0], k)
    complaint = f"X[{place}] is missing."
    if first is not None:
        complaint = unreadable(place, first, "SMILES", why_unreadable(first, key))
    bad = list(dict.fromkeys(i // k for i in missing))
    others = bad[1 : 1 + N_NAMED]
    if others:
        complaint += (
            f" {len(bad) - 1} more row(s) are missing or unreadable; the first "
            f"are {others}."
        )
    raise ValueError(f'{complaint} Drop such rows or use on_error="nan".')
