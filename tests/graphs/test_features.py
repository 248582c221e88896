"""Numbers beside the graphs: with_features, and what must keep them."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from random_graphs import NETWORK_SCHEMA, SCHEMA, random_graphs

from skgnn_mtl.graphs import GraphArray, GraphSchema

NAN = np.nan
BARE = random_graphs(n=6, schema=NETWORK_SCHEMA)
VALUES = np.array(
    [[1.0, NAN], [2.0, 5.0], [NAN, NAN], [4.0, -1.0], [0.0, 3.0], [7.0, 8.0]]
)
X = BARE.with_features(VALUES, ["T", "pH"])


def test_features_are_columns_behind_those_that_are_there():
    assert X.schema.graph_features == ("T", "pH")
    assert X.graph_features.dtype == np.float32
    np.testing.assert_array_equal(X.graph_features, VALUES.astype(np.float32))
    more = X.with_features(np.arange(6.0), ["day"])
    assert more.schema.graph_features == ("T", "pH", "day")
    np.testing.assert_array_equal(more.graph_features[:, :2], X.graph_features)
    assert more.graph_features[:, 2].tolist() == list(range(6))
    assert BARE.schema.graph_features == ()


def test_the_rest_of_the_graphs_stays():
    assert X.node_codes.tolist() == BARE.node_codes.tolist()
    assert X.ids.tolist() == BARE.ids.tolist()
    assert X.valid.tolist() == BARE.valid.tolist()
    assert not X.valid.all()  # invalid graphs have features as well
    labelled = BARE.with_index(pd.Index(list("abcdef"))).with_features(
        VALUES, ["u", "v"]
    )
    assert labelled.index.tolist() == list("abcdef")


def test_no_feature_at_all_changes_nothing():
    assert BARE.with_features(np.empty((6, 0)), []) == BARE


def test_double_precision_is_kept_where_the_graphs_have_it():
    table = GraphArray.from_features(np.ones((2, 1)))
    assert table.with_features([1e300, 0.1], ["x"]).graph_features.tolist() == [
        [1e300],
        [0.1],
    ]


@pytest.mark.parametrize(
    "key", [slice(2, 5), slice(None, None, -2), [5, 5, 0], VALUES[:, 0] > 1], ids=str
)
def test_selections_keep_features_with_their_graph(key):
    np.testing.assert_array_equal(X[key].graph_features, X.graph_features[key])
    assert X[key].ids.tolist() == X.ids[key].tolist()


def test_joining_selections_gives_the_whole_and_checks_names():
    assert GraphArray.concatenate([X[:2], X[2:2], X[2:]]) == X
    with pytest.raises(ValueError, match=r"graph_features: \('T', 'pH'\) against \(\)"):
        GraphArray.concatenate([X, BARE])


def test_a_batch_and_a_single_graph_have_them():
    batch = X.batch([1, 3])
    assert batch.graph_features.tolist() == [[2.0, 5.0], [4.0, -1.0]]
    assert np.isnan(X.batch([2]).graph_features.numpy()).all()
    assert X[1].graph_features.tolist() == [[2.0, 5.0]]


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_files_and_pickles_keep_them(tmp_path, mmap_mode):
    X.save(tmp_path / "graphs")
    loaded = GraphArray.load(tmp_path / "graphs", mmap_mode=mmap_mode)
    assert loaded == X
    assert loaded.schema == X.schema
    again = pickle.loads(pickle.dumps(X))
    assert again == X
    assert not again.graph_features.flags.writeable


def test_equality_sees_values_and_names_and_takes_nan_for_equal():
    assert BARE.with_features(VALUES, ["T", "pH"]) == X
    other = VALUES.copy()
    other[1, 1] = NAN
    assert BARE.with_features(other, ["T", "pH"]) != X
    assert BARE.with_features(VALUES, ["pH", "T"]) != X


def test_the_array_that_was_passed_is_not_shared():
    values = VALUES.astype(np.float32)
    mine = BARE.with_features(values, ["T", "pH"])
    values[:] = 0
    assert mine == X
    with pytest.raises(ValueError, match="read-only"):
        mine.graph_features[:] = 0


FRAME = pd.DataFrame(VALUES, columns=["T", "pH"], index=[3, 1, 5, 0, 2, 4])
TABLES = {
    "pandas": FRAME,
    "pandas with its own missing value": FRAME.astype("Float64"),
    "polars": pl.DataFrame({"T": VALUES[:, 0], "pH": VALUES[:, 1]}, nan_to_null=True),
    "pyarrow": pa.table({"T": VALUES[:, 0], "pH": VALUES[:, 1]}),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_frames_give_names_and_are_read_by_position(table):
    assert BARE.with_features(table) == X
    assert BARE.with_features(table, ["a", "b"]).schema.graph_features == ("a", "b")


def test_a_series_is_one_column_and_masks_are_gaps():
    series = FRAME["T"]
    expected = BARE.with_features(VALUES[:, [0]], ["T"])
    assert BARE.with_features(series) == expected
    assert BARE.with_features(pl.Series("T", VALUES[:, 0])) == expected
    masked = np.ma.masked_invalid(VALUES[:, 0])
    assert BARE.with_features(masked, ["T"]) == expected
    labels = pd.DataFrame({5: range(6), ("a", 1): range(6)})
    assert BARE.with_features(labels).schema.graph_features == ("5", "('a', 1)")


def test_integers_and_truth_values_are_numbers():
    mixed = pd.DataFrame({"n": range(6), "is_dry": [True, False] * 3, "x": [None] * 6})
    features = BARE.with_features(mixed).graph_features
    assert features[:, 0].tolist() == list(range(6))
    assert features[:, 1].tolist() == [1.0, 0.0] * 3
    assert np.isnan(features[:, 2]).all()


def changed(row, column, value):
    cells = VALUES.astype(object)
    cells[row, column] = value
    return cells


BAD = {
    "infinite": (changed(3, 1, np.inf), ["T", "pH"], "row 3 of column 'pH' is inf"),
    "beyond single precision": (
        changed(4, 0, -1e39),
        ["T", "pH"],
        r"finite float32 numbers or NaN, but row 4 of column 'T' is -1e\+39",
    ),
    "text": (changed(2, 1, "7.4"), ["T", "pH"], r"row 2 of column 'pH' is '7.4' \(str"),
    "dates": (
        np.full((6, 1), np.datetime64("2020-01-01", "ns")),
        ["day"],
        "row 0 of column 'day' is '2020-01-01",
    ),
    "spans": (np.full((6, 1), np.timedelta64(1, "ns")), ["d"], "column 'd' is '1 nano"),
    "complex": (np.full((6, 1), 1j), ["z"], "column 'z' is '1j'"),
    "too few rows": (VALUES[:5], ["T", "pH"], r"shape \(6, 2\), but have .*\(5, 2\)"),
    "too few names": (VALUES, ["T"], r"must have shape \(6, 1\)"),
    "a name twice": (VALUES, ["T", "T"], "'T' is given twice"),
    "a string of names": (VALUES, "Tp", "sequence of strings, but is 'Tp'"),
    "numbers as names": (VALUES, [0, 1], r"sequence of strings, but is \[0, 1\]"),
    "no names": (VALUES, None, r"names must be given, because values \(ndarray\)"),
    "no name of a Series": (FRAME["T"].rename(None), None, "names must be given"),
}


@pytest.mark.parametrize(("values", "names", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_not_a_feature_is_named(values, names, message):
    with pytest.raises((ValueError, TypeError), match=message):
        BARE.with_features(values, names)


def test_a_name_that_is_there_is_refused():
    with pytest.raises(ValueError, match="have a feature 'pH' already"):
        X.with_features(np.zeros((6, 1)), ["pH"])


def test_the_constructor_takes_gaps_and_refuses_infinity():
    schema = GraphSchema("t", graph_features=("T",))
    one = {"n_nodes": [1], "n_edges": [0]}
    assert np.isnan(GraphArray(schema, graph_features=[[NAN]], **one).graph_features)
    with pytest.raises(ValueError, match="row 0 of column 'T' is inf"):
        GraphArray(schema, graph_features=[[np.inf]], **one)
    with pytest.raises(ValueError, match="graph_features must have shape"):
        GraphArray(schema, **one)


def test_a_schema_names_what_differs_in_the_features():
    def schema(*names):
        return GraphSchema("t", graph_features=names)

    assert schema("T", "pH").difference(schema("pH", "T")) == (
        "graph_features: ('T', 'pH') against ('pH', 'T')"
    )
    many = [f"x{k}" for k in range(200)]
    swapped = [many[1], many[0], *many[2:]]
    assert schema(*many).difference(schema(*swapped)) == (
        "graph_features: 200 against 200 names in another order: 'x0' against 'x1' in "
        "place 0"
    )
    assert schema(*many).difference(schema("T", *many)) == (
        "graph_features: 200 against 201 names, 1 of the second only, such as 'T'"
    )
    assert schema(*many).difference(schema(*many[:-2])) == (
        "graph_features: 200 against 198 names, 2 of the first only, such as 'x198'"
    )
    restored = GraphSchema.from_dict(X.schema.to_dict())
    assert restored == X.schema
    assert SCHEMA.difference(X.schema).startswith("graph_features: ('temperature',)")
