"""GraphArray: packing, indexing, equality, files."""

import hashlib
import pickle

import joblib
import numpy as np
import pytest
from random_graphs import SCHEMA, as_tuples, random_graphs
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, cross_validate, train_test_split
from sklearn.utils import resample, shuffle

from skgnn_mtl.graphs import GraphArray, GraphSchema

KEYS = {
    "slice": slice(3, 17),
    "empty slice": slice(9, 4),
    "step": slice(None, None, -2),
    "negative": slice(-5, None),
    "list": [4, 4, 0, 29],
    "negative rows": np.array([-1, -30]),
    "mask": np.arange(30) % 3 == 0,
    "no row": np.array([], dtype=int),
    "rows and ellipsis": (np.array([7, 2]), Ellipsis),
    "mask and ellipsis": (np.arange(30) < 3, Ellipsis),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_indexing_equals_indexing_of_a_list_of_graphs(key):
    X = random_graphs()
    plain = key[0] if isinstance(key, tuple) else key
    expected = [as_tuples(X)[i] for i in np.arange(30)[plain]]
    assert as_tuples(X[key]) == expected


def test_an_integer_gives_one_graph_and_a_list_of_one_an_array():
    X = random_graphs()
    i = int(np.flatnonzero(X.n_edges)[0])
    data = X[i]
    codes, _, edge_index, bonds, distances, temperature, name, _ = as_tuples(X)[i]
    assert data.x.tolist() == codes
    assert data.edge_index.tolist() == edge_index
    assert data.edge_attr.tolist() == bonds
    assert data.edge_features.tolist() == distances
    assert data.graph_features.tolist() == [temperature]
    assert data.id == name
    assert data.num_nodes == X.n_nodes[i]
    assert X[-1].id == X.ids[-1]
    assert isinstance(X[[i]], GraphArray)
    assert [data.id for data in X] == X.ids.tolist()


@pytest.mark.parametrize("key", [30, -31])
def test_a_row_that_is_not_there_raises(key):
    with pytest.raises(IndexError, match="array has 30 graphs"):
        random_graphs()[key]


@pytest.mark.parametrize("key", ["list", "negative rows", "mask", "no row"])
def test_a_batch_takes_the_rows_that_indexing_takes(key):
    X = random_graphs()
    chosen, batch = X[KEYS[key]], X.batch(KEYS[key])
    expected = chosen.batch(np.arange(len(chosen)))
    assert batch.n_graphs == expected.n_graphs
    for name in ("node_features", "edge_index", "graph_of_node", "graph_features"):
        assert getattr(batch, name).equal(getattr(expected, name)), name


@pytest.mark.parametrize("rows", [[1.7], [30], [-31], [True, False], [[0, 1]]], ids=str)
def test_rows_of_a_batch_that_are_no_rows_raise(rows):
    with pytest.raises(IndexError):
        random_graphs().batch(rows)


def test_two_dimensional_indices_raise():
    with pytest.raises(IndexError, match="one dimension, but 2 indices"):
        random_graphs()[0, 1]
    with pytest.raises(IndexError, match="one-dimensional"):
        random_graphs()[np.zeros((2, 2), dtype=int)]


def test_concatenating_the_parts_gives_the_whole():
    X = random_graphs()
    parts = [X[:7], X[7:7], X[7:20], X[20:]]
    assert GraphArray.concatenate(parts) == X


def test_concatenate_refuses_other_schemas_and_nothing():
    other = GraphArray.from_features(np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"arrays 0 and 1.*name: 'toy'"):
        GraphArray.concatenate([random_graphs(), other])
    with pytest.raises(ValueError, match="at least one"):
        GraphArray.concatenate([])


def test_equality_sees_every_column():
    X = random_graphs()
    assert random_graphs() == X
    assert X[:3] != X[1:4]
    assert X[:29] != X
    assert X.without_ids() != X
    assert X != "graphs"


def test_columns_are_read_only_also_behind_views_and_pickle():
    X = random_graphs()
    for array in (X, X[2:9], X[[3, 1]], pickle.loads(pickle.dumps(X))):
        with pytest.raises(ValueError, match="read-only"):
            array.node_codes[...] = 0


def columns_of(X):
    names = ("node_codes", "edge_codes", "edge_index", "valid")
    names += ("node_features", "edge_features", "graph_features")
    return {name: getattr(X, name).copy() for name in names}


def test_the_arrays_that_were_passed_stay_writeable_and_are_not_shared():
    X = random_graphs()
    columns = columns_of(X)
    again = GraphArray(
        SCHEMA, n_nodes=X.n_nodes, n_edges=X.n_edges, ids=X.ids.tolist(), **columns
    )
    for column in columns.values():
        column[...] = 0
    assert again == X


def test_read_only_arrays_are_not_copied():
    X = random_graphs()
    columns = columns_of(X)
    for column in columns.values():
        column.flags.writeable = False
    again = GraphArray(SCHEMA, n_nodes=X.n_nodes, n_edges=X.n_edges, **columns)
    for name, column in columns.items():
        assert np.shares_memory(getattr(again, name), column), name


def test_shape_repr_and_bytes():
    X = random_graphs()
    n_invalid = int((~X.valid).sum())
    assert X.shape == (30,)
    assert repr(X) == (
        f"GraphArray(30 graphs, {X.n_nodes.sum()} nodes, {X.n_edges.sum()} edges, "
        f"'toy', {n_invalid} invalid)"
    )
    per_node, per_edge, per_graph = 2 + 4, 8 + 1 + 4, 4 + 1
    letters = sum(len(name.encode()) for name in X.ids)
    assert X.nbytes == (
        per_node * X.n_nodes.sum()
        + per_edge * X.n_edges.sum()
        + per_graph * 30
        + letters
        + 3 * 31 * 8
    )


def test_ids_can_be_dropped():
    X = random_graphs().without_ids()
    assert X.ids.tolist() == [""] * 30
    assert X.nbytes < random_graphs().nbytes


def test_becoming_a_numpy_array_is_refused_with_a_sentence():
    with pytest.raises(TypeError, match="cannot become a NumPy array"):
        np.asarray(random_graphs())


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_files_give_the_same_graphs_back(tmp_path, mmap_mode):
    X = random_graphs()
    X.save(tmp_path / "graphs")
    loaded = GraphArray.load(tmp_path / "graphs", mmap_mode=mmap_mode)
    assert loaded == X
    assert loaded[[3, 5]] == X[[3, 5]]
    assert isinstance(loaded.node_codes.base, np.memmap) == (mmap_mode == "r")


def test_files_of_graphs_without_edges_can_be_mapped(tmp_path):
    X = GraphArray.from_features(np.ones((3, 2)))
    X.save(tmp_path / "graphs")
    assert GraphArray.load(tmp_path / "graphs", mmap_mode="r") == X


def test_save_refuses_a_folder_with_something_in_it(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        random_graphs().save(tmp_path)


def test_load_refuses_other_folders_pickles_and_modes(tmp_path):
    with pytest.raises(ValueError, match=r"header\.json is missing"):
        GraphArray.load(tmp_path)
    random_graphs().save(tmp_path / "graphs")
    np.save(
        tmp_path / "graphs" / "column_valid.npy",
        np.array([{}], dtype=object),
        allow_pickle=True,
    )
    with pytest.raises(ValueError, match="allow_pickle"):
        GraphArray.load(tmp_path / "graphs", verify=False)
    with pytest.raises(ValueError, match="mmap_mode"):
        GraphArray.load(tmp_path / "graphs", mmap_mode="w+")


@pytest.mark.parametrize(
    "header",
    ["{", "[]", "{}", '{"format": "other"}', '{"format": "skgnn_mtl.GraphArray"}'],
)
def test_load_refuses_broken_headers(tmp_path, header):
    random_graphs().save(tmp_path / "graphs")
    seal_header(tmp_path / "graphs", header)
    with pytest.raises(ValueError, match="graphs does not hold a complete GraphArray"):
        GraphArray.load(tmp_path / "graphs")


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_load_refuses_folders_without_a_column_or_with_half_of_it(tmp_path, mmap_mode):
    random_graphs().save(tmp_path / "graphs")
    column = tmp_path / "graphs" / "column_node_codes.npy"
    for content in (column.read_bytes()[:-1], b"", None):
        column.unlink() if content is None else column.write_bytes(content)
        with pytest.raises(
            ValueError, match="graphs does not hold a complete GraphArray"
        ):
            GraphArray.load(tmp_path / "graphs", mmap_mode=mmap_mode)


def seal_header(folder, text):
    seal = hashlib.sha256(text.encode()).hexdigest()
    (folder / "header.json").write_text(f"{seal}\n{text}")


def test_load_refuses_a_newer_format(tmp_path):
    random_graphs().save(tmp_path / "graphs")
    text = (tmp_path / "graphs" / "header.json").read_text().partition("\n")[2]
    newer = text.replace('"format_version": 1', '"format_version": 2')
    seal_header(tmp_path / "graphs", newer)
    with pytest.raises(ValueError, match="its format is 2, and this version"):
        GraphArray.load(tmp_path / "graphs")


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_load_finds_one_changed_bit(tmp_path, mmap_mode):
    random_graphs(2).save(tmp_path / "graphs")
    rng = np.random.default_rng(0)
    for file in sorted((tmp_path / "graphs").iterdir()):
        content = file.read_bytes()
        for place in rng.integers(len(content), size=10):
            changed = bytearray(content)
            changed[place] ^= 1 << rng.integers(8)
            file.write_bytes(bytes(changed))
            with pytest.raises(ValueError, match="does not hold a complete"):
                GraphArray.load(tmp_path / "graphs", mmap_mode=mmap_mode)
        file.write_bytes(content)
    assert GraphArray.load(tmp_path / "graphs") == random_graphs(2)


def test_verification_can_be_left_out(tmp_path):
    X = random_graphs(2)
    X.save(tmp_path / "graphs")
    column = tmp_path / "graphs" / "column_node_features.npy"
    changed = bytearray(column.read_bytes())
    changed[-1] ^= 1
    column.write_bytes(bytes(changed))
    assert GraphArray.load(tmp_path / "graphs", mmap_mode="r", verify=False) != X


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(np, "save", full)
    for name in ("empty", "new"):
        with pytest.raises(OSError, match="No space"):
            random_graphs().save(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["empty"]


def test_joblib_maps_the_columns_into_its_files(tmp_path):
    X = random_graphs()
    joblib.dump(X, tmp_path / "graphs.joblib")
    assert joblib.load(tmp_path / "graphs.joblib", mmap_mode="r") == X


def test_scikit_learn_cuts_it_like_any_array():
    X, y = random_graphs(), np.arange(30.0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert X_train == X[y_train.astype(int)]
    assert X_test == X[y_test.astype(int)]
    X_mixed, y_mixed = shuffle(X, y, random_state=1)
    assert X_mixed == X[y_mixed.astype(int)]
    X_drawn, y_drawn = resample(X, y, random_state=1)
    assert X_drawn == X[y_drawn.astype(int)]


class CountNodes(BaseEstimator):
    """The smallest estimator that uses graphs."""

    def fit(self, X, y):
        return self

    def score(self, X, y):
        return float(np.mean(X.n_nodes == y))


def test_cross_validate_with_two_processes():
    X = random_graphs()
    scores = cross_validate(CountNodes(), X, X.n_nodes, cv=KFold(3), n_jobs=2)
    assert scores["test_score"].tolist() == [1.0, 1.0, 1.0]


BAD = {
    "codes beyond the vocabulary": (
        {"node_codes": [[5, 0]]},
        r"'element' of node_codes must lie in 0..4, but runs from 5 to 5",
    ),
    "codes that are no integers": ({"node_codes": [[0.5, 0]]}, "must be integers"),
    "negative codes": ({"node_codes": [[0, -1]]}, r"'charge' .* runs from -1 to -1"),
    "too few codes": ({"node_codes": [[0]]}, r"node_codes must have shape \(1, 2\)"),
    "an edge to nowhere": (
        {"n_edges": [1], "edge_index": [[0], [1]], "edge_codes": [[0]]},
        "names a node that its graph does not have",
    ),
    "an edge number that wraps to another": (
        {"n_edges": [1], "edge_index": [[2**32], [0]], "edge_codes": [[0]]},
        "names a node that its graph does not have",
    ),
    "edges that are no integers": (
        {"n_edges": [1], "edge_index": [[0.9], [0.2]], "edge_codes": [[0]]},
        "edge_index must be integers, got float64",
    ),
    "an odd edge index": ({"edge_index": [[0]]}, r"must have shape \(2, 0\)"),
    "two lengths": ({"n_edges": [0, 0]}, "same length"),
    "too many ids": ({"ids": ["a", "b"]}, "1 graphs, but 2 ids"),
    "a bad mask": ({"valid": [True, True]}, r"valid must have shape \(1,\)"),
    "an invalid graph with a node": ({"valid": [False]}, "must not have nodes"),
    "negative counts": ({"n_nodes": [-1]}, ">= 0"),
    "counts that are no integers": ({"n_nodes": [1.9]}, "n_nodes must be integers"),
    "missing values": (
        {"node_features": [[np.nan]]},
        "Column 'mass' of node_features must be finite, but holds nan",
    ),
    "infinite values": ({"node_features": [[np.inf]]}, "must be finite, but holds inf"),
    "missing features": ({"node_features": [[1.0, 2.0]]}, r"node_features must have"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_columns_that_disagree_are_refused(change, message):
    schema = GraphSchema(
        "toy", SCHEMA.node_columns, SCHEMA.edge_columns, node_features=("mass",)
    )
    good = {
        "n_nodes": [1],
        "n_edges": [0],
        "node_codes": [[0, 0]],
        "node_features": [[1.0]],
    }
    GraphArray(schema, **good)
    with pytest.raises(ValueError, match=message):
        GraphArray(schema, **{**good, **change})


def test_a_table_becomes_graphs_of_one_node_in_double_precision():
    table = np.random.default_rng(0).normal(size=(4, 3))
    X = GraphArray.from_features(table)
    assert X.n_nodes.tolist() == [1] * 4
    assert X.n_edges.tolist() == [0] * 4
    assert X.node_features.dtype == np.float64
    assert np.array_equal(X.node_features, table)


@pytest.mark.parametrize("values", [[1.0, 2.0], [[[1.0]]], [[np.nan]]])
def test_other_tables_are_no_graphs(values):
    with pytest.raises(ValueError, match="must have shape|must be finite"):
        GraphArray.from_features(values)


def test_wide_vocabularies_get_wider_codes():
    schema = GraphSchema("wide", node_columns=(("z", 300),))
    X = GraphArray(schema, n_nodes=[1], n_edges=[0], node_codes=[[299]])
    assert X.node_codes.dtype == np.uint16
    assert X.node_codes.tolist() == [[299]]


def test_schema_survives_json_and_names_differences():
    again = GraphSchema.from_dict(SCHEMA.to_dict())
    assert again == SCHEMA
    assert SCHEMA.difference(again) == ""
    assert "paired_edges: True against False" in SCHEMA.difference(
        GraphSchema("toy", SCHEMA.node_columns)
    )


def test_a_node_table_is_kept_compared_and_named_by_its_shape():
    schema = GraphSchema(
        "t", node_columns=(("element", 2),), node_table=((0.0, 1.0), (2.0, 3.0))
    )
    assert GraphSchema.from_dict(schema.to_dict()) == schema
    bare = GraphSchema("t", node_columns=(("element", 2),))
    assert schema.difference(bare) == "node_table: a table 2 x 2 against ()"
    old = bare.to_dict()
    del old["node_table"]  # a file of the first release
    assert GraphSchema.from_dict(old) == bare
    assert "3.0" not in repr(schema)


@pytest.mark.parametrize("table", [((1.0,),), ((1.0,), (1.0, 2.0))])
def test_a_node_table_has_one_row_for_each_code(table):
    with pytest.raises(ValueError, match="each of the 2 codes"):
        GraphSchema("t", node_columns=(("element", 2),), node_table=table)
