"""What RDKit computes for each molecule: the only file here that knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from skgnn_mtl.graphs import GraphArray


def fragment_names() -> list[str]:
    """Names of RDKit's fragment counters, in its order.

    Returns
    -------
    names : list of str
        All begin with ``fr_``.
    """
    return [name for name, _ in _rdkit("Fragments").fns]


def fragment_counts(X: GraphArray, names: Sequence[str]) -> np.ndarray:
    """Count fragments in molecules.

    Parameters
    ----------
    X : GraphArray of shape (n_graphs,)
        Graphs with SMILES as identifiers.
    names : sequence of str
        Names of fragments.

    Returns
    -------
    counts : ndarray of float64 of shape (n_graphs, n_names)
        0 for an invalid graph.
    """
    functions = dict(_rdkit("Fragments").fns)
    return _table(X, [functions[name] for name in names])


def descriptors(X: GraphArray, names: Sequence[str]) -> np.ndarray:
    """Compute descriptors of molecules.

    Parameters
    ----------
    X : GraphArray of shape (n_graphs,)
        Graphs with SMILES as identifiers.
    names : sequence of str
        Names that RDKit knows.

    Returns
    -------
    values : ndarray of float64 of shape (n_graphs, n_names)
        0 for an invalid graph, NaN where a descriptor is not defined.

    Raises
    ------
    ValueError
        If RDKit knows no descriptor of a name.
    """
    functions = dict(_rdkit("Descriptors")._descList)
    unknown = [name for name in names if name not in functions]
    if unknown:
        raise ValueError(
            f"RDKit knows no descriptor {unknown[0]!r}; see rdkit.Chem.Descriptors."
        )
    return _table(X, [functions[name] for name in names])


def _rdkit(module: str) -> ModuleType:
    try:
        from rdkit import Chem
        from rdkit.Chem import Descriptors, Fragments
    except ImportError as error:
        raise ImportError(
            "Labels from molecules need rdkit: pip install rdkit."
        ) from error
    return {"Chem": Chem, "Descriptors": Descriptors, "Fragments": Fragments}[module]


def _table(X: GraphArray, functions: Sequence[Callable]) -> np.ndarray:
    Chem = _rdkit("Chem")
    if not X.schema.paired_edges:
        raise ValueError(
            "Labels from molecules need graphs of molecules, whose edges are bonds, "
            f"but these are {X.schema.name!r} graphs."
        )
    values = np.zeros((len(X), len(functions)))
    with Chem.rdBase.BlockLogs():
        for row in np.flatnonzero(X.valid).tolist():
            smiles = X.ids[row]
            molecule = Chem.MolFromSmiles(smiles) if smiles else None
            if molecule is None:
                raise ValueError(
                    f"Graph {row} has the identifier {smiles!r}, which is no SMILES: "
                    "labels need graphs of SmilesToGraph, with their identifiers."
                )
            values[row] = [function(molecule) for function in functions]
    return values
