"""Labels out of any container, with gaps of any kind, paired by position."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.dummy import DummyRegressor

from skgnn_mtl.inspection import ParityDisplay
from skgnn_mtl.metrics import (
    delta_m,
    mean_rank,
    nan_mean_absolute_error,
    nan_roc_auc_score,
    per_task_scorers,
    task_scorer,
)
from skgnn_mtl.metrics._tables import (
    as_cells,
    as_numbers,
    as_table,
    column_names,
    find_task,
    name_of,
)

nan = np.nan
ROWS = [[1.0, nan], [2.5, 0.0], [nan, 1.0]]
OBJECTS = [[1.0, None], [2.5, 0], [None, 1]]
FRAME = pd.DataFrame(ROWS, columns=["a", "b"], index=[2, 0, 0])
TABLES = {
    "array": np.array(ROWS),
    "list": ROWS,
    "objects": OBJECTS,
    "tuples": tuple(map(tuple, OBJECTS)),
    "strings": [["1.0", "nan"], [" 2.5", "0"], [None, "1e0"]],
    "exact": [[Decimal(1), None], [Fraction(5, 2), False], [pd.NA, np.int8(1)]],
    "masked": np.ma.masked_array([[1, 9], [2.5, 0], [9, 1]], [[0, 1], [0, 0], [1, 0]]),
    "masked objects": np.ma.masked_array(
        np.array([[1, "x"], [2.5, 0], [9, 1]], object), [[0, 1], [0, 0], [1, 0]]
    ),
    "pandas": FRAME,
    "pandas objects": FRAME.astype(object),
    "pandas nullable": FRAME.astype("Float64"),
    "pandas mixed": FRAME.assign(b=pd.array([None, 0, 1], dtype="Int64")),
    "pandas arrow": FRAME.astype("float64[pyarrow]"),
    "pandas boolean": FRAME.assign(b=pd.array([None, False, True], "boolean")),
    "pandas categories": FRAME.assign(b=pd.Categorical([None, 0, 1])),
    "pandas sparse": FRAME.astype(pd.SparseDtype(float)),
    "polars": pl.DataFrame({"a": [1.0, 2.5, None], "b": [None, 0, 1]}),
    "polars boolean": pl.DataFrame({"a": [1.0, 2.5, None], "b": [None, False, True]}),
    "polars strings": pl.DataFrame({"a": ["1", "2.5", None], "b": [None, "0", "1"]}),
    "pyarrow": pa.table({"a": [1.0, 2.5, None], "b": [None, 0, 1]}),
    "pyarrow strings": pa.table({"a": ["1", "2.5", None], "b": [None, "0", "1"]}),
}
COLUMNS = {
    "Series": pd.Series([1.0, 2.5, nan], index=[2, 0, 1], name="a"),
    "polars": pl.Series("a", [1.0, 2.5, None]),
    "pyarrow array": pa.array([1.0, 2.5, None]),
    "pyarrow chunks": pa.chunked_array([[1.0], [2.5, None]]),
    "masked": np.ma.masked_array([1, 2.5, 7], [0, 0, 1]),
    "list": ["1", 2.5, None],
    "Index": pd.Index([1.0, 2.5, nan]),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_is_read_alike(table):
    np.testing.assert_array_equal(as_table(table, "y"), ROWS)


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_every_column_is_read_alike(column):
    np.testing.assert_array_equal(as_table(column, "y")[:, 0], [1.0, 2.5, nan])


WRONG = {
    "<-0.77": "Make a number of a censored value",
    "> 5": "Make a number of a censored value",
    "": "",
    "1,5": "Write a decimal point",
    "1_000": "",
    "n/a": "",
    b"2": "bytes",
    datetime.date(2020, 1, 1): "date",
    datetime.timedelta(1): "timedelta",
    pd.Timestamp("2020"): "Timestamp",
    np.datetime64("2021", "ns"): "datetime64",
    np.timedelta64(3, "s"): "timedelta64",
    1j: "complex",
    (1,): "tuple",
    10**400: "int",
}


@pytest.mark.parametrize(("entry", "part"), WRONG.items(), ids=map(repr, WRONG))
def test_an_entry_that_is_no_number_is_named(entry, part):
    column = np.array([1.0, None, None, 2.0], dtype=object)
    column[2] = entry
    frame = pd.DataFrame({"a": np.arange(4.0), "logS": column}, index=[3, 2, 1, 0])
    assert type(frame.iloc[2, 1]) is type(entry)
    with pytest.raises(ValueError, match="task 'logS' has .* in row 2") as caught:
        as_table(frame, "y", ["a", "logS"])
    assert part in str(caught.value)
    with pytest.raises(ValueError, match="y_pred must hold numbers.* in row 2"):
        nan_mean_absolute_error(frame["a"], frame["logS"].to_numpy())


@pytest.mark.parametrize(
    "dates",
    [
        pd.DataFrame({"a": pd.date_range("2020", periods=2)}),
        pd.DataFrame({"a": [1.0, 2], "b": pd.date_range("2020", periods=2)}),
        np.array(["2020", "2021"], dtype="M8[ns]"),
        np.array([1, 2], dtype="m8[s]"),
        pl.DataFrame({"a": [1.0, 2], "b": [datetime.date(2020, 1, 1)] * 2}),
        pl.Series([datetime.datetime(2020, 1, 1)] * 2),
        pa.table({"a": [datetime.date(2020, 1, 1)] * 2}),
    ],
    ids=range(7),
)
def test_dates_are_no_numbers(dates):
    with pytest.raises(ValueError, match="y must hold numbers.* in row 0"):
        as_table(dates, "y")


def test_long_entries_are_cut():
    with pytest.raises(ValueError, match=r"has 'x{59}\.\.\. in row 0") as caught:
        as_table(["x" * 500], "y")
    assert len(str(caught.value)) < 200


def test_other_containers_are_refused():
    with pytest.raises(TypeError, match=r"dense array, but is a sparse csr_array"):
        as_table(sparse.csr_array(np.eye(2)), "y")
    with pytest.raises(TypeError, match=r"structured array; pass pandas\.DataFrame"):
        as_table(np.zeros(2, dtype=[("a", float)]), "y")
    with pytest.raises(ValueError, match=r"rows 0 and 1 differ: \[1, 2\] and \[1\]"):
        as_table([[1, 2], [1]], "y")


def test_a_string_makes_no_strings_of_numbers():
    assert as_cells([0, "a", None], "y").tolist() == [0, "a", None]
    assert as_cells([[0, "a"], [1.5, "b"]], "y").tolist() == [[0, "a"], [1.5, "b"]]


def test_columns_named_like_attributes():
    names = ["nnz", "column_names", "to_pylist", "name", "rows", "columns_"]
    frame = pd.DataFrame(np.eye(6), columns=names)
    assert column_names(frame) == names
    np.testing.assert_array_equal(as_table(frame, "y"), np.eye(6))


# -- names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("a", "a"),
        (5, "5"),
        (np.int64(5), "5"),
        (2.5, "2.5"),
        (("a", 1), "('a', 1)"),
        (("a", np.int64(1)), "('a', 1)"),
        (None, "None"),
        (nan, "None"),
        (True, "True"),
        (pd.Timestamp("2020-01-01"), "2020-01-01 00:00:00"),
    ],
)
def test_names_of_labels(label, name):
    assert name_of(label) == name


def test_names_of_containers():
    labels = pd.MultiIndex.from_product([["a"], [1, 2]])
    assert column_names(pd.DataFrame(np.eye(2), columns=labels)) == [
        "('a', 1)",
        "('a', 2)",
    ]
    assert column_names(pd.DataFrame(np.eye(2))) == ["0", "1"]
    assert column_names(pa.table({"x": [1], "y": [2]})) == ["x", "y"]
    assert column_names(pl.DataFrame({"x": [1]})) == ["x"]
    assert column_names(pd.Series([1.0], name=5)) == ["5"]
    for unnamed in (pd.Series([1.0]), pl.Series([1.0]), [1.0], np.ones(2), None):
        assert column_names(unnamed) == []


def test_positions_and_names():
    names = ["7", "x", "('a', 1)"]
    assert [find_task(t, names) for t in (0, -1, 7, "7", "x", ("a", 1))] == [
        *(0, 2, 0, 0, 1, 2)
    ]
    assert [find_task(t, names) for t in (3, "y", None, True)] == [None] * 4
    with pytest.raises(ValueError, match="0 is the position of task '1', but also the"):
        find_task(0, ["1", "0"])
    assert find_task("0", ["1", "0"]) == 1
    assert find_task(0, ["0", "1"]) == 0


LABELS = {
    "ints": [10, 20],
    "tuples": pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]),
    "None": [None, "x"],
    "mixed": [2.5, pd.Timestamp("2020")],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_scorers_find_columns_of_any_label(labels):
    X, values = np.zeros((2, 1)), np.array([[0.0, 10.0], [2.0, 30.0]])
    y = pd.DataFrame(values, columns=labels)
    model = DummyRegressor().fit(X, y)
    assert task_scorer("mae", y.columns[1])(model, X, y) == -10.0
    scorers = per_task_scorers(y.columns)
    assert [score(model, X, y) for score in scorers.values()] == [-1.0, -10.0]
    names = list(map(name_of, labels))
    assert list(scorers) == [f"mae_{name}" for name in names]
    assert task_scorer("mae", labels[1], task_names=labels)(model, X, values) == -10.0


def test_two_columns_of_one_name_are_refused_by_the_scorer_of_it():
    y = pd.DataFrame(np.eye(2), columns=["a", "a"])
    X = np.zeros((2, 1))
    model = DummyRegressor().fit(X, y.to_numpy())
    with pytest.raises(ValueError, match="Two columns of y have the name 'a'"):
        task_scorer("mae", "a")(model, X, y)


def test_displays_find_columns_of_any_label():
    y = pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=[10, 20])
    display = ParityDisplay.from_predictions(y, y, tasks=[20])
    assert display.axes_[0].get_title().startswith("20\n")
    display = ParityDisplay.from_predictions(y, y, task_names=[("a", 1), None])
    assert display.axes_[1].get_title().startswith("None\n")
    with pytest.raises(ValueError, match="tasks names 5, but the tasks are"):
        ParityDisplay.from_predictions(y, y, tasks=[5])


# -- scores ---------------------------------------------------------------------------


def test_rows_are_paired_by_position():
    true = pd.Series([0.0, 1.0, 4.0], index=[2, 1, 0])
    pred = pd.Series([0.0, 1.0, 2.0], index=[0, 1, 2])
    weight = pd.Series([1.0, 1.0, 2.0], index=[1, 2, 0])
    assert nan_mean_absolute_error(true, pred, sample_weight=weight) == 1.0


def test_masks_are_gaps_of_labels_and_of_predictions():
    true = np.ma.masked_array([0.0, 99.0, 4.0], [0, 1, 0])
    assert nan_mean_absolute_error(true, [1.0, 0.0, 4.0]) == 0.5
    pred = np.ma.masked_array([1.0, 99.0, 4.0], [0, 1, 0])
    with pytest.warns(UserWarning, match="1 of 3 rows have no prediction"):
        assert nan_mean_absolute_error([0.0, 0.0, 4.0], pred) == 0.5
    weight = np.ma.masked_array([1.0, 1.0, 1.0], [0, 0, 1])
    with pytest.raises(ValueError, match="sample_weight has 1 masked .* row 2"):
        nan_mean_absolute_error([0.0, 0.0, 4.0], [0.0, 0.0, 4.0], sample_weight=weight)


def test_areas_under_curves_of_masked_text():
    labels = np.ma.masked_array(["n", "y", "y", "n"], [0, 0, 0, 1])
    assert nan_roc_auc_score(labels, [0.1, 0.8, 0.9, 1.0]) == 1.0
    frame = pl.DataFrame({"a": ["n", "y", None], "b": [0, 1, 1]})
    scores = [[0.1, 0.2], [0.3, 0.1], [0.0, 0.3]]
    found = nan_roc_auc_score(frame, scores, multioutput="raw_values")
    assert found.tolist() == [1.0, 0.5]


def test_comparisons_read_the_same_tables():
    errors = pa.table({"a": [1.0, 2.0], "b": [3.0, 3.0]})
    assert mean_rank(errors).tolist() == [1.25, 1.75]
    masked = np.ma.masked_array([1.0, 2.0], [0, 1])
    with pytest.raises(ValueError, match="1 missing .* task 1"):
        delta_m(masked, [1.0, 2.0])
    labels = pd.MultiIndex.from_product([["a"], [1, 2]])
    frame = pd.DataFrame([[1.0, 2.0]], columns=labels)
    assert delta_m(frame, pd.Series([1.0, 2.0], index=labels)).tolist() == [0.0]
    with pytest.raises(ValueError, match="differ; put them into one order"):
        delta_m(frame, pd.Series([1.0, 2.0], index=labels[::-1]))
    with pytest.raises(ValueError, match="errors must hold numbers.*'b'"):
        delta_m(pd.DataFrame({"a": [1.0], "b": ["<2"]}), [1.0, 2.0])


def test_names_that_do_not_fit_are_not_used():
    with pytest.raises(ValueError, match="task 'task_1' has 'x'"):
        as_table([[1, "x"]], "y", ["only one"])
    assert as_numbers(np.array([[True, False]]), ["a", "b"], "y").tolist() == [[1, 0]]
