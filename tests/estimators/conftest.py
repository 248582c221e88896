"""Small molecules with targets that a network can learn."""

from __future__ import annotations

import numpy as np
import pytest
from small_estimators import SMILES, small, with_gaps

from skgnn_mtl import GraphArray, SmilesToGraph


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
    """The same with about a third of the labels missing, at least one per row."""
    return with_gaps(table, 0.35)


@pytest.fixture(scope="session", name="small")
def small_fixture():
    """Factory of a regressor that trains in milliseconds."""
    return small


@pytest.fixture(scope="session")
def same_weights():
    """Whether two fitted estimators have the same network, bit for bit."""

    def compare(a, b) -> bool:
        first, second = a.module_.state_dict(), b.module_.state_dict()
        return first.keys() == second.keys() and all(
            bool((first[key] == second[key]).all()) for key in first
        )

    return compare
