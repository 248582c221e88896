"""Molecules that show what can be in a graph."""

import pytest

# All kinds of input of one parse, without shared data.
VARIED = (
    "C",
    "[Na+].[Cl-]",
    "CC(=O)[O-].[NH4+]",
    "*c1ccccc1",
    "[2H]C",
    "[H][H]",
    "[13CH3][C@H](F)Cl",
    "F/C=C/C=C\\Cl",
    "[NH3]->[Pt](Cl)Cl",
    "[Cu+2].[O-]S(=O)(=O)[O-]",
    "[CH3]",
    "[O][O]",
    "FS(F)(F)(F)(F)F",
    "C[N+](C)(C)C",
    "[CH3:1][OH:2]",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "C1CC2CCC1C2",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    "[235U]",
    "C" * 300,
    "c1ccc2c(c1)[nH]c1ccccc12",
    "C[Se]C#N",
)


@pytest.fixture
def varied():
    return list(VARIED)
