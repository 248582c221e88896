"""Equal molecules as integer groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgnn_mtl.featurizers._rows import write_smiles

from ._base import check_option
from ._scaffold import identified_rows, numbers_of_groups


def molecule_groups(
    X: Any, *, chirality: bool = True, on_error: str = "raise"
) -> np.ndarray:
    """Assign each row the number of its molecule.

    Rows with the same number have the same canonical SMILES. Pass the numbers as
    ``groups`` to a group splitter, so that no molecule is on both sides of a split, or
    to ``fit(X, y, groups=...)`` for the inner validation.

    Parameters
    ----------
    X : list, tuple, array, Series, table or GraphArray of shape (n,) or (n, k)
        SMILES or RDKit molecules, or graphs that were made from them. Rows of several
        molecules are one group if all of them are equal, in any order.
    chirality : bool, default=True
        Whether stereoisomers and isotopes are different molecules.
    on_error : {"raise", "nan"}, default="raise"
        Whether missing rows, unreadable rows and invalid graphs raise, or get the
        number -1.

    Returns
    -------
    groups : ndarray of int of shape (n,)
        Number of each row's molecule, from 0 in the order of first appearance; -1 for
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
    scaffold_groups : Coarser groups, of molecules with equal ring systems.
    skgnn_mtl.datasets.read_table : Reports rows of one molecule whose labels differ.

    Notes
    -----
    A salt and its acid are different molecules, and so are tautomers.

    Examples
    --------
    Ethanol, written in two ways; two enantiomers:

    >>> from skgnn_mtl.model_selection import molecule_groups
    >>> X = ["CCO", "OCC", "C[C@H](N)O", "C[C@@H](N)O"]
    >>> molecule_groups(X)
    array([0, 0, 1, 2])
    >>> molecule_groups(X, chirality=False)
    array([0, 0, 1, 1])
    """
    check_option("on_error", on_error, ("raise", "nan"))
    rows = identified_rows(X, "Molecules")

    def key(molecule: Any) -> str:
        return write_smiles(molecule, isomericSmiles=chirality)

    return numbers_of_groups(rows, key, on_error)
