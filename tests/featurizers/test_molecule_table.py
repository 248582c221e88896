"""Descriptors and counts of molecules."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skgnn_mtl import CifToGraph, GraphArray, SmilesToGraph
from skgnn_mtl.featurizers import SmilesToDescriptors

SMILES = ["CCO", "c1ccccc1O", "CC(=O)[O-].[Na+]", "[Fe]", "*CC", "CCCCCCCC"]
FEW = ("MolWt", "TPSA", "RingCount")


def test_values_are_those_of_rdkit():
    transformer = SmilesToDescriptors(morgan_counts=256, radius=3)
    table = transformer.fit_transform(SMILES)
    names = transformer.get_feature_names_out().tolist()
    assert table.shape == (6, len(names)) == (6, len(Descriptors.descList) + 256)
    generator = GetMorganGenerator(radius=3, fpSize=256)
    for row, smiles in zip(table, SMILES, strict=True):
        molecule = Chem.MolFromSmiles(smiles)
        for name in ("MolWt", "TPSA", "MolLogP", "fr_phenol"):
            assert row[names.index(name)] == dict(Descriptors.descList)[name](molecule)
        counts = generator.GetCountFingerprintAsNumPy(molecule)
        np.testing.assert_array_equal(row[-256:], counts)
    assert names[-1] == "morgan3_255"


# A metal, an atom of no element, explicit and isotopic hydrogens, and molecules that
# are too large for some of RDKit's descriptors.
ODD = ["[Fe]", "*CC", "[H][H]", "[2H]O[2H]", "[U]", "C" * 150, "C" * 600, "C" * 1100]


def test_descriptors_are_those_beside_the_graphs():
    rows = [*SMILES, *ODD, Chem.AddHs(Chem.MolFromSmiles("CCO"))]
    table = SmilesToDescriptors(morgan_counts=0).transform(rows)
    graphs = SmilesToGraph(descriptors="rdkit2d").transform(rows)
    np.testing.assert_array_equal(table.astype(np.float32), graphs.graph_features)
    names = SmilesToDescriptors(morgan_counts=0).get_feature_names_out()
    assert tuple(names) == graphs.schema.graph_features
    large = np.isnan(table[rows.index("C" * 1100)])
    assert {"Ipc", "BalabanJ", "BCUT2D_MWHI"} <= set(names[large])
    assert not large.all()


def test_explicit_hydrogens_change_nothing():
    molecule = Chem.MolFromSmiles("CCO")
    transformer = SmilesToDescriptors()
    expected = transformer.transform([molecule])
    found = transformer.transform([Chem.AddHs(molecule)])
    np.testing.assert_array_equal(found, expected)


def test_counts_stay_where_a_molecule_is_too_large_for_descriptors():
    values = SmilesToDescriptors(FEW, 8).transform(["C" * 5001])[0]
    assert np.isnan(values[:3]).all()
    # Radius 2: three fragments per atom, without the redundant ones at the ends.
    assert values[3:].sum() > 3 * 5001 - 10


def rings(molecule):
    return {"rings": molecule.GetRingInfo().NumRings(), "size": np.inf}


def test_a_function_describes_molecules():
    transformer = SmilesToDescriptors(rings, 0)
    found = transformer.fit_transform(["CC", "C1CC1"])
    np.testing.assert_array_equal(found, [[0, np.nan], [1, np.nan]])
    assert transformer.get_feature_names_out().tolist() == ["rings", "size"]


def test_an_error_of_a_function_names_its_row():
    def fails(molecule):
        return 1 / (molecule.GetNumAtoms() - 1)

    rows = ["CC"] * 250 + ["C"]
    for transformer in (
        SmilesToDescriptors(fails),
        SmilesToDescriptors(fails, 0, on_error="nan", n_jobs=2),
    ):
        with pytest.raises(ValueError, match=r"X\[250\] = 'C': ZeroDivisionError"):
            transformer.transform(rows)


def test_rows_that_cannot_be_read():
    rows = ["CCO", "C1CC", None, "CC"]
    with pytest.raises(ValueError, match=r"Could not read X\[1\] = 'C1CC' as SMILES"):
        SmilesToDescriptors(FEW, 8).transform(rows)
    with pytest.raises(ValueError, match=r"X\[1\] is missing"):
        SmilesToDescriptors(FEW, 8).transform(["C", None])
    with pytest.warns(UserWarning, match="2 of 4 rows of X .* NaN: rows 1, 2"):
        found = SmilesToDescriptors(FEW, 8, on_error="nan").transform(rows)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    "convert",
    [
        tuple,
        np.array,
        lambda rows: pd.Series(rows, index=range(9, 3, -1)),
        lambda rows: pd.DataFrame({"smiles": rows}),
        lambda rows: pl.DataFrame({"smiles": rows}),
        lambda rows: [Chem.MolFromSmiles(row) for row in rows],
        lambda rows: SmilesToGraph().transform(rows),
    ],
    ids=["tuple", "array", "Series", "DataFrame", "polars", "molecules", "graphs"],
)
def test_all_containers_give_the_same_numbers(convert):
    expected = SmilesToDescriptors(FEW, 16).transform(SMILES)
    found = SmilesToDescriptors(FEW, 16).fit_transform(convert(SMILES))
    np.testing.assert_array_equal(found, expected)


def test_invalid_graphs_are_rows_of_nan():
    with pytest.warns(UserWarning, match="invalid graph"):
        graphs = SmilesToGraph(on_error="nan").transform(["CC", "C1CC"])
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        found = SmilesToDescriptors(FEW, 4, on_error="nan").transform(graphs)
    assert np.isnan(found[1]).all()
    # Its identifier may be readable.
    named = GraphArray(
        graphs.schema,
        n_nodes=[0],
        n_edges=[0],
        node_codes=graphs.node_codes[:0],
        edge_index=graphs.edge_index[:, :0],
        edge_codes=graphs.edge_codes[:0],
        ids=["CC"],
        valid=[False],
    )
    with pytest.raises(ValueError, match=r"X\[0\] is missing"):
        SmilesToDescriptors(FEW, 4).transform(named)
    crystals = CifToGraph()._featurize([])
    with pytest.raises(ValueError, match="graphs of molecules"):
        SmilesToDescriptors(FEW).transform(crystals)


def test_processes_change_nothing(monkeypatch):
    from skgnn_mtl.featurizers import _descriptor_table

    monkeypatch.setattr(_descriptor_table, "_CHUNK", 2)
    one = SmilesToDescriptors(FEW, 16).transform(SMILES)
    two = SmilesToDescriptors(FEW, 16, n_jobs=2).transform(SMILES)
    np.testing.assert_array_equal(one, two)


def test_it_is_a_transformer_of_scikit_learn():
    transformer = clone(SmilesToDescriptors(FEW, 8))
    frame = transformer.set_output(transform="pandas").fit_transform(
        pd.Series(SMILES, name="smiles", index=list("abcdef"))
    )
    assert frame.columns.tolist()[:3] == list(FEW)
    assert frame.index.tolist() == list("abcdef")
    # By which scikit-learn puts it beside other tables, also if it is made of graphs.
    graphs = SmilesToGraph().transform(pd.Series(SMILES, index=list("abcdef")))
    pd.testing.assert_frame_equal(transformer.transform(graphs), frame)
    model = make_pipeline(SmilesToDescriptors(FEW, 8), Ridge())
    model.fit(SMILES, np.arange(6.0))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(SMILES), model.predict(SMILES))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"descriptors": ("MolWt", "Beauty")}, "does not have a descriptor 'Beauty'"),
        ({"descriptors": "rdkit3d"}, "descriptors"),
        ({"descriptors": None, "morgan_counts": 0}, "has no column"),
        ({"on_error": "drop"}, "on_error"),
        ({"radius": -1}, "radius"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        SmilesToDescriptors(**parameters).fit(SMILES)
    with pytest.raises(ValueError, match="X is empty"):
        SmilesToDescriptors(FEW).transform([])
