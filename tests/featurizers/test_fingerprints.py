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

from skgnn_mtl import CifToGraph, SmilesToGraph
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


def test_a_descriptor_that_fails_is_nan_and_a_large_one_is_clipped(monkeypatch):
    def broken(molecule):
        raise RuntimeError("Invariant Violation")

    from skgnn_mtl.featurizers import _fingerprints

    functions = {
        "good": lambda mol: 1.0,
        "bad": broken,
        "far": lambda mol: np.inf,
        "large": lambda mol: -1e200,
    }
    monkeypatch.setattr(_fingerprints, "_functions", lambda: functions)
    found = SmilesToDescriptors(tuple(functions), 0).transform(["C"])
    lowest = np.finfo(np.float32).min
    np.testing.assert_array_equal(found, [[1.0, np.nan, np.nan, lowest]])


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
    crystals = CifToGraph()._featurize([])
    with pytest.raises(ValueError, match="graphs of molecules"):
        SmilesToDescriptors(FEW).transform(crystals)


def test_processes_change_nothing(monkeypatch):
    from skgnn_mtl.featurizers import _fingerprints

    monkeypatch.setattr(_fingerprints, "_CHUNK", 2)
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
