"""Small molecules, targets that a network can learn, and a small network."""

from __future__ import annotations

import numpy as np
import pytest

from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import GIN

SMILES = [
    "C",
    "CC",
    "CCO",
    "CCN",
    "CCC",
    "CC(C)C",
    "CCCCO",
    "c1ccccc1",
    "Cc1ccccc1",
    "CC(=O)O",
    "CCCl",
    "CCBr",
    "CC#N",
    "C1CCCCC1",
    "c1ccncc1",
    "OCC(O)CO",
    "CC(=O)Nc1ccc(O)cc1",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "FC(F)(F)F",
    "N#N",
    "O=C=O",
    "CCOCC",
    "CSC",
    "c1ccc2ccccc2c1",
    "C[N+](=O)[O-]",
    "OC(=O)c1ccccc1OC(C)=O",
    "C=CC=C",
    "CCCCCCCC",
    "NCCO",
    "CC(C)(C)O",
]


@pytest.fixture(scope="session")
def smiles() -> list[str]:
    return list(SMILES)


@pytest.fixture(scope="session")
def graphs() -> GraphArray:
    return SmilesToGraph().fit_transform(SMILES)


@pytest.fixture
def table(graphs) -> np.ndarray:
    """Heavy atoms, bonds and atoms other than carbon, slightly noisy: (30, 3)."""
    carbons = [sum(c in "Cc" for c in s.replace("Cl", "X")) for s in SMILES]
    noise = np.random.default_rng(0).normal(scale=0.1, size=(len(SMILES), 3))
    n_nodes = graphs.n_nodes
    return np.column_stack([n_nodes, graphs.n_edges / 2, n_nodes - carbons]) + noise


@pytest.fixture
def gaps(table) -> np.ndarray:
    """The same with about a third of the labels missing, at least one a row."""
    missing = np.random.default_rng(1).random(table.shape) < 0.35
    missing[missing.all(axis=1), 0] = False
    return np.where(missing, np.nan, table)


@pytest.fixture(scope="session")
def small():
    """Factory of a regressor that trains in milliseconds."""

    def make(**changes) -> MultiTaskGNNRegressor:
        parameters = {
            "encoder": GIN(width=16, n_layers=2, norm=None),
            "lr": 1e-2,
            "max_epochs": 3,
            "device": "cpu",
            "random_state": 0,
            **changes,
        }
        return MultiTaskGNNRegressor(**parameters)

    return make


@pytest.fixture(scope="session")
def same_weights():
    """Whether two fitted estimators have the same network, bit for bit."""

    def compare(a, b) -> bool:
        first, second = a.module_.state_dict(), b.module_.state_dict()
        return first.keys() == second.keys() and all(
            bool((first[key] == second[key]).all()) for key in first
        )

    return compare
