"""Rows of several molecules are one graph each, whose nodes know their molecule."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from joblib import parallel_config
from rdkit import Chem

from skgnn_mtl import CifToGraph, GraphColumns, SmilesToGraph
from skgnn_mtl.featurizers import AtomColumn, SmilesToDescriptors
from skgnn_mtl.graphs import GraphArray

PAIRS = [("CCO", "c1ccccc1O"), ("O", "[Na+].[Cl-]"), ("C/C=C/C", "N[C@@H](C)C(=O)O")]
FRAME = pd.DataFrame(PAIRS, columns=["solute", "solvent"])


@pytest.fixture
def pairs(varied):
    """Each of the varied molecules beside the next one."""
    return list(zip(varied, varied[1:] + varied[:1], strict=True))


def sorted_edges(graphs):
    """Graph, ends, codes and features of all edges, sorted."""
    columns = [
        np.repeat(np.arange(len(graphs)), graphs.n_edges),
        *graphs.edge_index,
        *graphs.edge_codes.T,
        *graphs.edge_features.T,
    ]
    return np.array(sorted(zip(*columns, strict=True)))


@pytest.mark.parametrize("features", ["ogb", "pyg", "hu2020", "chemprop"])
def test_a_pair_is_the_mixture_with_a_column_of_molecules(features, pairs):
    found = SmilesToGraph(features).transform(pairs)
    mixtures = SmilesToGraph(features).transform([".".join(pair) for pair in pairs])
    assert np.array_equal(found.node_codes[:, :-1], mixtures.node_codes)
    for name in ("n_nodes", "n_edges", "valid", "ids", "node_features"):
        assert np.array_equal(getattr(found, name), getattr(mixtures, name)), name
    # RDKit lists bonds that close rings behind all others of a mixture.
    assert np.array_equal(sorted_edges(found), sorted_edges(mixtures))
    alone = SmilesToGraph(features).transform([m for pair in pairs for m in pair])
    # The first molecule is 0, the second is 1.
    assert np.array_equal(
        found.node_codes[:, -1],
        np.repeat(np.tile([0, 1], len(pairs)), alone.n_nodes),
    )
    assert found.schema.node_columns[-1] == ("molecule", 2)
    assert found.schema.name == f"{features}, 2 molecules"
    assert found.schema.paired_edges


def test_rows_are_independent_and_the_order_of_columns_matters(pairs):
    graphs = SmilesToGraph().transform(pairs)
    order = np.random.default_rng(0).permutation(len(pairs))
    assert SmilesToGraph().transform([pairs[k] for k in order]) == graphs[order]
    swapped = SmilesToGraph().transform([pair[::-1] for pair in pairs])
    assert (swapped.n_nodes == graphs.n_nodes).all()
    assert swapped != graphs
    three = SmilesToGraph().transform([(a, b, a) for a, b in pairs])
    assert (three.n_nodes > graphs.n_nodes).all()
    assert set(three.node_codes[:, -1]) == {0, 1, 2}


@pytest.mark.parametrize(
    "container",
    [
        list,
        lambda frame: [list(pair) for pair in PAIRS],
        lambda frame: frame.to_numpy(),
        lambda frame: frame.to_numpy().astype(str),
        lambda frame: frame,
        lambda frame: frame.set_axis([7, 7, 7]),
        pl.from_pandas,
        pa.Table.from_pandas,
    ],
)
def test_containers(container):
    X = PAIRS if container is list else container(FRAME)
    assert SmilesToGraph().fit_transform(X) == SmilesToGraph().transform(PAIRS)


def test_one_column_is_as_before(varied):
    graphs = SmilesToGraph().transform(varied)
    assert SmilesToGraph().transform([[s] for s in varied]) == graphs
    assert SmilesToGraph().transform(pd.DataFrame({"a": varied})) == graphs
    assert graphs.schema.name == "ogb"


def test_widths_and_names_are_those_of_fit():
    transformer = SmilesToGraph().fit(FRAME)
    assert transformer.n_features_in_ == 2
    assert transformer.feature_names_in_.tolist() == ["solute", "solvent"]
    with pytest.raises(ValueError, match="feature names"):
        transformer.transform(FRAME[["solvent", "solute"]])
    for kind in (SmilesToGraph(), SmilesToDescriptors(["TPSA"], 0)):
        kind.fit(PAIRS)
        with pytest.raises(ValueError, match="X has 1 features, but Smiles.*expecting"):
            kind.transform(["C"])
        with pytest.raises(ValueError, match="X has 2 features, but Smiles.*ing 1 fe"):
            kind.fit(["C"]).transform(PAIRS)


def test_crystals_come_alone():
    with pytest.raises(ValueError, match="X has 2 columns, but one column of strings"):
        CifToGraph().fit(PAIRS)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([("C", "N"), ("C", "C1CC")], ValueError, r"read X\[1, 1\] = 'C1CC' as SMILES"),
        ([("C", "N"), (None, "C1CC")], ValueError, r"X\[1, 0\] is missing. With on_er"),
        ([("C", 3.0)], TypeError, r"X\[0, 1\] = 3.0 is a number.*columns alone"),
        ([("C", "N"), ("C",)], ValueError, r"X\[1\] has 1 entries, and others have 2"),
        ([("C", "N"), "CC"], TypeError, r"X\[0\] = \('C', 'N'\) is of type tuple"),
    ],
)
def test_wrong_rows_are_named(X, error, message):
    for kind in (SmilesToGraph(), SmilesToDescriptors(["TPSA"], 0)):
        with pytest.raises(error, match=message):
            kind.transform(X)


def test_an_invalid_molecule_makes_its_row_invalid():
    X = [("CCO", "O"), ("CCO", "C1CC"), (None, "C"), ("C", "CC")]
    transformer = SmilesToGraph(on_error="nan", descriptors=["TPSA", "MolWt"])
    with pytest.warns(UserWarning, match=r"2 of 4 .* rows 1, 2. Could .*X\[1, 1\]"):
        graphs = transformer.transform(X)
    assert graphs.valid.tolist() == [True, False, False, True]
    good = transformer.transform([X[0], X[3]])
    assert graphs[[0, 3]] == good
    assert graphs.n_nodes[1:3].tolist() == graphs.n_edges[1:3].tolist() == [0, 0]
    assert np.isnan(graphs.graph_features[1:3]).all()
    assert graphs.ids.tolist() == ["CCO.O", "CCO.C1CC", "", "C.CC"]
    with pytest.warns(UserWarning, match="1 of 1"):
        assert not transformer.transform([("C", None)]).valid.any()


def test_identifiers_are_mixtures_in_the_order_of_the_atoms():
    molecule = Chem.MolFromSmiles("CCS")
    graphs = SmilesToGraph().transform([("CCO ethanol", " N"), (molecule, "C")])
    assert graphs.ids.tolist() == ["CCO.N", "CCS.C"]
    for graph, text in zip(graphs, graphs.ids, strict=True):
        atoms = Chem.MolFromSmiles(text).GetAtoms()
        numbers = [atom.GetAtomicNum() - 1 for atom in atoms]
        assert graph.x[:, 0].tolist() == numbers


def test_processes_give_the_same_graphs(pairs):
    many = (pairs * 70)[:1100]
    wanted = SmilesToGraph().transform(many)
    numbers = SmilesToDescriptors(["TPSA"], 8)
    table = numbers.transform(many[:300])
    # In threads, because what is sent to processes is the same.
    with parallel_config("threading", n_jobs=2):
        assert SmilesToGraph().transform(many) == wanted
        np.testing.assert_array_equal(numbers.transform(many[:300]), table)


def test_molecules_are_sent_to_processes_one_by_one(monkeypatch):
    def portable(self, rows):
        return [row.replace("O", "N") for row in rows]

    monkeypatch.setattr(SmilesToGraph, "_portable", portable)
    with parallel_config("threading", n_jobs=2):
        found = SmilesToGraph().transform([("CO", "O")] * 1001)
    assert set(found.ids) == {"CN.N"}


def fails_for_nitrogen(part):
    if part.GetSymbol() == "N":
        raise ZeroDivisionError("no")
    return 1.0


def no_nitrogen(molecule):
    for atom in molecule.GetAtoms():
        fails_for_nitrogen(atom)
    return 1.0


def test_errors_of_own_functions_name_row_and_column():
    X = [("C", "O")] * 600 + [("C", "CN")]
    atoms = (AtomColumn("a", fails_for_nitrogen),)
    for kind in (
        SmilesToGraph((atoms, ())),
        SmilesToGraph(descriptors=no_nitrogen),
        SmilesToDescriptors(no_nitrogen, 0),
    ):
        with pytest.raises(ValueError, match=r"of X\[600, 1\] = 'CN'.*no"):
            kind.transform(X)


def test_descriptors_of_all_molecules_stand_side_by_side():
    names = ["TPSA", "MolWt"]
    first, second = (
        SmilesToDescriptors(names, 4).transform(FRAME[name]) for name in FRAME
    )
    transformer = SmilesToDescriptors(names, 4).fit(FRAME)
    table = transformer.transform(FRAME)
    np.testing.assert_array_equal(table, np.hstack([first, second]))
    columns = transformer.get_feature_names_out()
    assert columns[1] == "molecule0_MolWt"
    assert columns[6:8].tolist() == ["molecule1_TPSA", "molecule1_MolWt"]
    graphs = SmilesToGraph(descriptors=names).transform(FRAME)
    np.testing.assert_allclose(graphs.graph_features, table[:, [0, 1, 6, 7]], rtol=1e-6)
    assert graphs.schema.graph_features == tuple(columns[[0, 1, 6, 7]])
    with pytest.raises(ValueError, match="those of each molecule, but these graphs ha"):
        transformer.transform(graphs)


def test_rows_of_descriptors_are_nan_as_a_whole():
    X = [("C", "N"), ("C1CC", "C"), ("C", None), ("C", "C1CC")]
    transformer = SmilesToDescriptors(["TPSA"], 2, on_error="nan")
    with pytest.warns(UserWarning, match=r"3 of 4 rows .* rows 1, 2, 3. Could not re"):
        table = transformer.transform(X)
    np.testing.assert_array_equal(table[:1], transformer.transform(X[:1]))
    assert np.isnan(table[1:]).all()


def test_graphs_are_kept(tmp_path):
    graphs = SmilesToGraph(descriptors=["TPSA"]).transform(FRAME)
    graphs.save(tmp_path / "graphs")
    assert GraphArray.load(tmp_path / "graphs", mmap_mode="r") == graphs
    assert pickle.loads(pickle.dumps(graphs)) == graphs
    assert "CCO" in graphs._repr_html_() or "svg" in graphs._repr_html_()


@pytest.mark.parametrize("kind", ["csv", "parquet", "frames", "lists", "arrow", "all"])
def test_graphs_are_written_chunk_by_chunk(kind, tmp_path):
    pairs = PAIRS * 7
    table = pd.DataFrame(pairs, columns=["a", "b"])[["b", "a"]].assign(c=1.0)
    transformer = SmilesToGraph(descriptors=["TPSA"])
    wanted = transformer.transform(pairs)
    column = ["a", "b"]
    if kind == "csv":
        X = tmp_path / "table.csv"
        table.to_csv(X, index=False)
    elif kind == "parquet":
        X = tmp_path / "table.parquet"
        table.to_parquet(X)
    elif kind == "arrow":
        X = pa.Table.from_pandas(table)
    elif kind == "frames":
        X = iter([table[:5], table[5:]])
    else:
        X = pairs if kind == "all" else iter([pairs[:4], pairs[4:]])
        column = None
    found = transformer.transform_to(
        tmp_path / "graphs", X, column=column, chunk_size=4
    )
    assert found == wanted
    with pytest.raises(ValueError, match=r"X\[3\] has 1 entries, and those before h"):
        transformer.transform_to(tmp_path / "other", iter([PAIRS, ["C"]]))


def test_a_stopped_process_goes_on_with_pairs(tmp_path):
    pairs = [*PAIRS, ("C", "C1CC")]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"X\[3, 1\] = 'C1CC'"):
            SmilesToGraph().transform_to(tmp_path / "a", pairs, chunk_size=1)
    swapped = [pair[::-1] for pair in PAIRS]
    with pytest.raises(ValueError, match="its rows are not the first 3 of X"):
        SmilesToGraph().transform_to(tmp_path / "a", [*swapped, ("C", "C")])
    found = SmilesToGraph().transform_to(tmp_path / "a", [*PAIRS, ("C", "CC")])
    assert found == SmilesToGraph().transform([*PAIRS, ("C", "CC")])


def test_tables_with_two_columns_of_molecules_and_numbers():
    table = FRAME.assign(temperature=[300.0, 310.0, 320.0])
    columns = GraphColumns(
        ["solute", "solvent"], features=[("t", "passthrough", ["temperature"])]
    )
    graphs = columns.fit_transform(table)
    bare = SmilesToGraph().transform(PAIRS)
    assert graphs == bare.with_features(table[["temperature"]], ["t__temperature"])
    with pytest.raises(ValueError, match="does not have the column 'solvent'"):
        columns.fit(table.drop(columns="solvent"))
