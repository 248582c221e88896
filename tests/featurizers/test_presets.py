"""The presets against their tables, against RDKit's names and against the peers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, rdBase
from torch_geometric.utils.smiles import from_rdmol

from skgnn_mtl.featurizers import SmilesToGraph
from skgnn_mtl.featurizers import _presets as presets

HERE = Path(__file__).parent
SIZES = {
    "ogb": ([119, 5, 12, 12, 10, 6, 6, 2, 2], [5, 6, 2]),
    "pyg": ([119, 9, 11, 12, 9, 5, 8, 2, 2], [22, 6, 2]),
    "hu2020": ([120, 3], [6, 3]),
    "chemprop": ([38, 7, 6, 5, 6, 8, 2], [5, 2, 2, 7]),
}
# What a preset makes of values that its original does not list.
OUTSIDE = {
    ("ogb", "GetAtomicNum"): {0: 118, 1: 0, 118: 117},
    ("ogb", "GetChiralTag"): {3: 3, 6: 4},
    ("ogb", "GetTotalDegree"): {10: 10, 11: 11},
    ("ogb", "GetFormalCharge"): {-6: 11, -5: 0, 5: 10, 6: 11},
    ("ogb", "GetTotalNumHs"): {8: 8, 9: 9},
    ("ogb", "GetNumRadicalElectrons"): {4: 4, 7: 5},
    ("ogb", "GetHybridization"): {0: 5, 1: 5, 2: 0, 4: 2, 5: 5, 6: 3, 7: 4, 8: 5},
    ("ogb", "GetBondType"): {1: 0, 2: 1, 3: 2, 12: 3, 17: 4, 0: 4, 21: 4},
    ("ogb", "GetStereo"): {0: 0, 1: 5, 2: 1, 3: 2, 4: 3, 5: 4, 6: 0, 7: 0},
    ("pyg", "GetAtomicNum"): {0: 0, 118: 118},
    ("pyg", "GetTotalDegree"): {10: 10, 12: 10},
    ("pyg", "GetFormalCharge"): {-9: 0, -5: 0, 6: 11, 8: 11},
    ("pyg", "GetTotalNumHs"): {8: 8, 9: 8},
    ("pyg", "GetNumRadicalElectrons"): {4: 4, 7: 4},
    ("pyg", "GetHybridization"): {0: 0, 4: 4, 5: 7, 6: 5, 7: 6, 8: 7},
    ("pyg", "GetBondType"): {0: 0, 12: 12, 17: 17, 21: 21},
    ("pyg", "GetStereo"): {5: 5, 6: 0, 7: 0},
    ("hu2020", "GetAtomicNum"): {0: 118, 1: 0, 118: 117},
    ("hu2020", "GetChiralTag"): {0: 0, 1: 1, 2: 2, 3: 0, 6: 0},
    ("hu2020", "GetBondType"): {1: 0, 2: 1, 3: 2, 12: 3, 17: 0},
    ("hu2020", "GetBondDir"): {0: 0, 4: 1, 3: 2, 1: 0, 5: 0},
    ("chemprop", "GetAtomicNum"): {0: 37, 1: 0, 36: 35, 37: 37, 53: 36},
    ("chemprop", "GetFormalCharge"): {-1: 0, -2: 1, 1: 2, 2: 3, 0: 4, 3: 5},
    ("chemprop", "GetHybridization"): {0: 7, 1: 0, 5: 3, 7: 6, 8: 7},
    ("chemprop", "GetBondType"): {1: 0, 12: 3, 17: 4},
    ("chemprop", "GetStereo"): {5: 5, 6: 6},
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_the_originals(name):
    schema = SmilesToGraph(name).transform(["C"]).schema
    assert schema.name == name
    assert schema.paired_edges
    assert (
        [size for _, size in schema.node_columns],
        [size for _, size in schema.edge_columns],
    ) == SIZES[name]
    assert schema.node_features == (("mass",) if name == "chemprop" else ())


@pytest.mark.parametrize(("preset", "getter"), OUTSIDE)
def test_codes_at_the_edge_of_the_vocabulary(preset, getter):
    atoms, bonds = presets.PRESETS[preset]
    (column,) = [c for c in (*atoms, *bonds) if c.getter == getter]
    codes = OUTSIDE[preset, getter]
    assert {value: column.code(value) for value in codes} == codes


def test_integers_are_those_of_rdkit():
    def numbers(enumeration, prefix=""):
        names = enumeration.names.items()
        return {name.removeprefix(prefix): int(value) for name, value in names}

    for ours, theirs in (
        (presets.HYBRIDIZATION, numbers(Chem.HybridizationType)),
        (presets.BOND_TYPE, numbers(Chem.BondType)),
        (presets.BOND_STEREO, numbers(Chem.BondStereo, "STEREO")),
        (presets.BOND_DIRECTION, numbers(Chem.BondDir)),
        (
            presets.CHIRALITY,
            numbers(Chem.ChiralType, "CHI_TETRAHEDRAL_")
            | numbers(Chem.ChiralType, "CHI_"),
        ),
    ):
        assert {name: theirs[name] for name in ours} == ours
    assert len(numbers(Chem.BondType)) == 22
    assert len(numbers(Chem.ChiralType)) == 9


def test_hu2020_bonds_have_one_direction_code_both_ways():
    X = SmilesToGraph("hu2020").transform(["F/C=C/F"])
    assert X.edge_codes[:, 1].tolist() == [1, 1, 0, 0, 1, 1]
    X = SmilesToGraph("hu2020").transform(["F/C=C\\F", "C*", "[NH3]->[Pt]"])
    assert X.edge_codes[:, 1].tolist()[:6] == [1, 1, 0, 0, 2, 2]
    assert X.node_codes[5, 0] == 118
    assert X.edge_codes[-1].tolist() == [0, 0]


# -- peers ----------------------------------------------------------------------------


def one_hot(codes, sizes):
    return np.concatenate(
        [np.eye(size)[codes[:, k]] for k, size in enumerate(sizes)], axis=1
    )


def as_chemprop(X):
    """Chemprop's 72 and 14 numbers out of our codes: see the comment in _presets.py."""
    atoms = one_hot(X.node_codes, [size for _, size in X.schema.node_columns])
    atoms = np.delete(atoms, atoms.shape[1] - 2, axis=1)  # "not aromatic"
    bonds = one_hot(X.edge_codes, [size for _, size in X.schema.edge_columns])
    bonds = np.delete(bonds, [4, 5, 7], axis=1)  # "other type" and two times "no"
    no_bond = np.zeros((len(bonds), 1))
    return np.hstack([atoms, X.node_features]), np.hstack([no_bond, bonds])


def sorted_edges(X, edges):
    """Edge index and features, sorted by source and target within each graph."""
    graph = np.repeat(np.arange(len(X)), X.n_edges)
    order = np.lexsort((X.edge_index[1], X.edge_index[0], graph))
    return X.edge_index[:, order], edges[order]


def assert_graphs_equal(X, atoms, edge_index, edges, reference):
    np.testing.assert_array_equal(X.n_nodes, reference["n_nodes"])
    np.testing.assert_array_equal(X.n_edges, reference["n_edges"])
    np.testing.assert_array_equal(atoms, reference["atoms"])
    np.testing.assert_array_equal(edge_index, reference["edge_index"])
    np.testing.assert_array_equal(edges, reference["edges"])


def assert_equal_to(name, reference):
    X = SmilesToGraph(name).transform(reference["smiles"])
    if name == "chemprop":
        atoms, edges = as_chemprop(X)
        atoms = atoms.astype(np.float32)
    else:
        atoms, edges = X.node_codes, X.edge_codes
    assert_graphs_equal(X, atoms, *sorted_edges(X, edges), reference)


@pytest.mark.parametrize("name", ["ogb", "chemprop"])
def test_pinned_answers_of_the_peers(name):
    with np.load(HERE / f"{name}_reference.npz") as reference:
        assert_equal_to(name, dict(reference))


def answer(graphs, smiles):
    """Collect (atoms, edge index, edges) of many molecules like the pinned files."""
    atoms, index, edges = zip(*graphs, strict=True)
    order = [np.lexsort((pair[1], pair[0])) for pair in index]
    return {
        "smiles": smiles,
        "n_nodes": [len(rows) for rows in atoms],
        "n_edges": [pair.shape[1] for pair in index],
        "atoms": np.concatenate(atoms),
        "edge_index": np.concatenate(
            [p[:, o] for p, o in zip(index, order, strict=True)], axis=1
        ),
        "edges": np.concatenate([e[o] for e, o in zip(edges, order, strict=True)]),
    }


def readable(shared_data, name):
    smiles = pd.read_csv(shared_data / name)["smiles"].tolist()
    with rdBase.BlockLogs():
        return [s for s in smiles if Chem.MolFromSmiles(s) is not None]


def pyg_graph(smiles):
    data = from_rdmol(Chem.MolFromSmiles(smiles))
    edges = data.edge_attr.numpy().reshape(-1, 3)
    return data.x.numpy(), data.edge_index.numpy().reshape(2, -1), edges


DATA = ["delaney-processed.csv", "tox21.csv", "sider.csv.gz"]


@pytest.mark.parametrize("name", DATA)
def test_pyg_on_real_molecules(name, shared_data):
    smiles = readable(shared_data, name)
    assert_equal_to("pyg", answer(map(pyg_graph, smiles), smiles))


def test_pyg_on_varied_molecules(varied):
    assert_equal_to("pyg", answer(map(pyg_graph, varied), varied))


@pytest.mark.parametrize("name", DATA)
def test_ogb_on_real_molecules(name, shared_data):
    mol = pytest.importorskip("ogb.utils.mol", reason="ogb is not installed")
    smiles = readable(shared_data, name)
    keys = ("node_feat", "edge_index", "edge_feat")
    with rdBase.BlockLogs():
        graphs = ([mol.smiles2graph(s)[key] for key in keys] for s in smiles)
        assert_equal_to("ogb", answer(graphs, smiles))


@pytest.mark.parametrize("name", DATA)
def test_chemprop_on_real_molecules(name, shared_data):
    featurizers = pytest.importorskip(
        "chemprop.featurizers", reason="chemprop is not installed"
    )
    featurize = featurizers.SimpleMoleculeMolGraphFeaturizer(
        featurizers.MultiHotAtomFeaturizer.v2()
    )
    smiles = readable(shared_data, name)
    graphs = (featurize(Chem.MolFromSmiles(s)) for s in smiles)
    arrays = (
        (np.float32(g.V), np.reshape(g.edge_index, (2, -1)), np.reshape(g.E, (-1, 14)))
        for g in graphs
    )
    assert_equal_to("chemprop", answer(arrays, smiles))
