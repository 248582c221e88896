"""Graphs and scaffold splits of the published data sets, counted.

The counts are those of Hu et al. (2020) and of the papers that follow their protocol.
"""

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.model_selection import ScaffoldSplit

# file, column of SMILES, rows, readable rows, atoms, directed edges, parts
SETS = [
    ("sider.csv.gz", "smiles", 1427, 1427, 48006, 100912, [1141, 143, 143]),
    ("bace.csv", "mol", 1513, 1513, 51577, 111536, [1210, 151, 152]),
    ("clintox.csv.gz", "smiles", 1484, 1480, 38846, 82832, [1184, 148, 148]),
    ("BBBP.csv", "smiles", 2050, 2039, 49068, 105842, [1631, 204, 204]),
    ("delaney-processed.csv", "smiles", 1128, 1128, 14991, 30856, [902, 113, 113]),
    ("SAMPL.csv", "smiles", 642, 642, 5600, 10770, [513, 64, 65]),
]
LARGE = [
    ("tox21.csv", "smiles", 7831, 7823, 145256, 301802, [6258, 782, 783]),
    ("Lipophilicity.csv", "smiles", 4200, 4200, 113568, 247798, [3360, 420, 420]),
]


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # rows that cannot be read
@pytest.mark.parametrize(
    ("file", "column", "n_rows", "n_readable", "n_atoms", "n_edges", "parts"),
    SETS + LARGE,
    ids=[row[0] for row in SETS + LARGE],
)
def test_counts(shared_data, file, column, n_rows, n_readable, n_atoms, n_edges, parts):
    smiles = pd.read_csv(shared_data / file)[column]
    X = SmilesToGraph(features="hu2020", on_error="nan").fit_transform(smiles)
    assert (len(X), int(X.valid.sum())) == (n_rows, n_readable)
    assert (int(X.n_nodes.sum()), int(X.n_edges.sum())) == (n_atoms, n_edges)
    found = ScaffoldSplit(on_error="nan").parts(X)
    assert [len(part) for part in found] == parts
    rows = np.concatenate(found)
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(X.valid))


def test_labels_of_sider_have_no_gap(shared_data):
    y = pd.read_csv(shared_data / "sider.csv.gz").drop(columns="smiles")
    assert y.shape == (1427, 27)
    assert int(y.notna().to_numpy().sum()) == 38529


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_clintox_without_its_odd_molecules_is_the_published_set(shared_data):
    smiles = pd.read_csv(shared_data / "clintox.csv.gz")["smiles"]
    X = SmilesToGraph(features="hu2020", on_error="nan").fit_transform(smiles)
    # Bonds from a cobalt atom, and an unknown atom.
    odd = ["*" in s or "[Co" in s for s in smiles]
    usual = X[X.valid & ~np.array(odd)]
    assert len(usual) == 1477
    assert [len(p) for p in ScaffoldSplit().parts(usual)] == [1181, 148, 148]
