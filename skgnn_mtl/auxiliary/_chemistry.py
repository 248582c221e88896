"""Labels that RDKit computes for each molecule; only this file here imports RDKit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from skgnn_mtl.graphs import GraphArray


def fragment_names() -> list[str]:
    """List the names of RDKit's fragment counters, in its order.

    Returns
    -------
    names : list of str
        Each name begins with ``fr_``.
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

    Raises
    ------
    ValueError
        If the graphs are not molecules, or if an identifier is not a SMILES.
    """
    functions = dict(_rdkit("Fragments").fns)
    return _table(X, [(name, functions[name]) for name in names])


def descriptors(X: GraphArray, names: Sequence[str]) -> np.ndarray:
    """Compute descriptors of molecules.

    Parameters
    ----------
    X : GraphArray of shape (n_graphs,)
        Graphs with SMILES as identifiers.
    names : sequence of str
        Names of ``rdkit.Chem.Descriptors``.

    Returns
    -------
    values : ndarray of float64 of shape (n_graphs, n_names)
        0 for an invalid graph, NaN where a descriptor is not defined.

    Raises
    ------
    ValueError
        If RDKit does not have a descriptor of a name or fails on a molecule, if the
        graphs are not molecules, or if an identifier is not a SMILES.
    """
    functions = dict(_rdkit("Descriptors")._descList)
    unknown = [name for name in names if name not in functions]
    if unknown:
        raise ValueError(
            f"RDKit does not have a descriptor {unknown[0]!r}; see "
            "rdkit.Chem.Descriptors."
        )
    return _table(X, [(name, functions[name]) for name in names])


def _rdkit(module: str) -> ModuleType:
    try:
        from rdkit import Chem
        from rdkit.Chem import Descriptors, Fragments
    except ImportError as error:
        raise ImportError(
            "Labels from molecules need rdkit: pip install rdkit."
        ) from error
    return {"Chem": Chem, "Descriptors": Descriptors, "Fragments": Fragments}[module]


def _table(
    X: GraphArray, functions: Sequence[tuple[str, Callable[[Any], float]]]
) -> np.ndarray:
    Chem = _rdkit("Chem")
    if not X.schema.paired_edges:
        raise ValueError(
            "Labels from RDKit need graphs of molecules, whose edges are bonds, but "
            f"these graphs have the schema {X.schema.name!r}."
        )
    values = np.zeros((len(X), len(functions)))
    with Chem.rdBase.BlockLogs():
        for row in np.flatnonzero(X.valid).tolist():
            molecule = _molecule(X.ids[row], row, Chem)
            for k, (name, function) in enumerate(functions):
                try:
                    values[row, k] = function(molecule)
                except Exception as error:  # C++ may raise anything
                    raise ValueError(
                        f"RDKit cannot compute {name} of graph {row}, "
                        f"{X.ids[row]!r}: {type(error).__name__}. Leave out the row or "
                        "the label."
                    ) from error
    return values


def _molecule(smiles: str, row: int, Chem: ModuleType) -> object:
    try:
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
    except Exception:  # C++ may raise anything
        molecule = None
    if molecule is None:
        raise ValueError(
            f"Graph {row} has the identifier {smiles!r}, which is not a "
            "SMILES. Labels from RDKit need graphs of SmilesToGraph, with their "
            "identifiers."
        )
    return molecule
