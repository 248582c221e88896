"""Descriptors of crystals as a table."""

import pickle

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from crystals import COPPER, ORDERED, QUARTZ, cif, structure_of
from sklearn.base import clone

from skgnn_mtl import CifToGraph, SmilesToGraph
from skgnn_mtl.featurizers import CifToDescriptors, _descriptor_table
from skgnn_mtl.featurizers._composition import CompositionDescriptors

ROWS = list(ORDERED.values())
SALT = cif(["Na1 Na+ 0 0 0 0.5", "K1 K+ 0 0 0 0.5", "Cl1 Cl- 0.5 0.5 0.5 1"])


def test_descriptors_are_those_beside_the_graphs():
    slab = Atoms("CuO", [[0, 0, 0], [2, 0, 0]], cell=np.eye(3) * 5, pbc=(1, 1, 0))
    rows = [*ROWS, slab, structure_of(QUARTZ)]
    transformer = CifToDescriptors()
    table = transformer.fit_transform(rows)
    graphs = CifToGraph(descriptors="composition").transform(rows)
    np.testing.assert_array_equal(table.astype(np.float32), graphs.graph_features)
    names = tuple(transformer.get_feature_names_out())
    assert names == graphs.schema.graph_features == CompositionDescriptors().names
    assert np.isnan(table[-2, -2:]).all()


def test_graphs_give_the_numbers_that_stand_beside_them():
    X = CifToGraph(descriptors="composition").transform(ROWS)
    names = X.schema.graph_features
    shuffled = CifToGraph().transform(ROWS)
    shuffled = shuffled.with_features(
        np.hstack([np.zeros((5, 1)), X.graph_features[:, ::-1]]),
        ["other", *names[::-1]],
    )
    for graphs in (X, shuffled):
        found = CifToDescriptors().fit_transform(graphs)
        np.testing.assert_array_equal(found, X.graph_features)


def test_graphs_without_them_are_refused():
    bare = CifToGraph().transform(ROWS)
    with pytest.raises(
        ValueError, match=r"without the descriptor\(s\) atomic_number_m"
    ):
        CifToDescriptors().fit(bare)
    with pytest.raises(ValueError, match="without the descriptor"):
        CifToDescriptors(on_error="nan").transform(SmilesToGraph().transform(["C"]))


def test_partial_occupancies():
    with pytest.raises(ValueError, match=r"Could not read X\[1\] = .* as crystal: "):
        CifToDescriptors().transform([COPPER, SALT])
    numbers = CifToDescriptors(disorder="mix").transform([SALT])[0]
    assert numbers[0] == pytest.approx((11 / 2 + 19 / 2 + 17) / 2)


def test_rows_that_cannot_be_read():
    rows = [COPPER, None, "data_x\n", QUARTZ]
    with pytest.warns(
        UserWarning, match=r"2 of 4 rows .* rows 1, 2\. X\[1\] is missing"
    ):
        found = CifToDescriptors(on_error="nan").transform(rows)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match=r"X\[1\] is missing. With on_error"):
        CifToDescriptors().transform(rows)
    with pytest.warns(UserWarning, match="invalid graph"):
        graphs = CifToGraph(descriptors="composition", on_error="nan").transform(rows)
    with pytest.warns(UserWarning, match="2 of 4 rows"):
        of_graphs = CifToDescriptors(on_error="nan").transform(graphs)
    np.testing.assert_array_equal(of_graphs, found.astype(np.float32))


def test_a_path_is_a_row(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text(QUARTZ)
    expected = CifToDescriptors().transform([QUARTZ])
    for row in (path, str(path)):
        np.testing.assert_array_equal(CifToDescriptors().transform([row]), expected)


def volume(structure):
    return structure.volume


def test_a_function_and_frames_and_processes(monkeypatch):
    monkeypatch.setattr(_descriptor_table, "_CHUNK", 2)
    transformer = clone(CifToDescriptors(volume)).set_output(transform="pandas")
    table = transformer.fit_transform(pd.Series(ROWS, name="cif", index=list("abcde")))
    assert table.columns.tolist() == ["volume"]
    assert table.index.tolist() == list("abcde")
    assert table["volume"].iloc[0] == pytest.approx(4.12**3)
    again = pickle.loads(pickle.dumps(CifToDescriptors(n_jobs=2)))
    expected = CifToDescriptors().transform(ROWS)
    np.testing.assert_array_equal(again.transform(ROWS), expected)


@pytest.mark.parametrize(
    "parameters",
    [{"descriptors": "rdkit2d"}, {"disorder": "drop"}, {"on_error": 3}, {"block": 1}],
)
def test_wrong_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        CifToDescriptors(**parameters).fit(ROWS)
    with pytest.raises(ValueError, match="X is empty"):
        CifToDescriptors().transform([])
