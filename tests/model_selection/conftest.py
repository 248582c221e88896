"""Molecules for the splitters."""

from __future__ import annotations

import itertools

import pytest

CORES = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccc2ccccc2c1", "c1ccoc1", "C1CC1"]
CHAINS = ["", "C", "CC", "O", "N", "CO", "Cl", "C(=O)O"]


@pytest.fixture(scope="session")
def smiles() -> list[str]:
    """Molecules of scaffolds of many sizes, and ten without ring, one of them twice."""
    ringed = [
        core + chain
        for core, n in zip(CORES, (8, 8, 6, 3, 2, 1), strict=True)
        for chain in CHAINS[:n]
    ]
    bridged = [f"c1ccccc1{link}c1ccccc1" for link in ("C", "CC", "O", "N", "CO")]
    substituted = [f"Cc1ccccc1{chain}" for chain in CHAINS[1:]]
    open_chains = ["C" * n for n in range(1, 6)] + ["CCO", "OCC", "CCN", "CCCl", "C=C"]
    mixed = itertools.zip_longest(ringed, open_chains, bridged, substituted)
    return [s for row in mixed for s in row if s is not None]
