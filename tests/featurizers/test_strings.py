"""Every container of strings gives the same list of rows."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from rdkit import Chem
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline

from skgnn_mtl.featurizers import SmilesToGraph
from skgnn_mtl.featurizers._strings import as_strings

ROWS = ["CCO", "c1ccccc1", "[Na+].[Cl-]"]
CONTAINERS = {
    "list": ROWS,
    "list of rows": [[row] for row in ROWS],
    "tuple": tuple(ROWS),
    "object array": np.array(ROWS, dtype=object),
    "unicode array": np.array(ROWS),
    "StringDType array": np.array(ROWS, dtype=np.dtypes.StringDType()),
    "column array": np.array(ROWS, dtype=object)[:, None],
    "pandas Series": pd.Series(ROWS, index=[2, 0, 1]),
    "pandas object Series": pd.Series(ROWS, dtype=object),
    "pandas arrow Series": pd.Series(ROWS, dtype="string[pyarrow]"),
    "pandas categorical Series": pd.Series(ROWS, dtype="category"),
    "pandas Index": pd.Index(ROWS),
    "pandas DataFrame": pd.DataFrame({"smiles": ROWS}, index=[2, 0, 1]),
    "polars Series": pl.Series(ROWS),
    "polars DataFrame": pl.DataFrame({"smiles": ROWS}),
    "pyarrow array": pa.array(ROWS),
    "pyarrow chunks": pa.chunked_array([ROWS[:1], ROWS[1:]]),
    "pyarrow table": pa.table({"smiles": ROWS}),
    "pandas column of odd name": pd.DataFrame({"nnz": ROWS}),
    "pandas column of a number": pd.DataFrame({5: ROWS}),
    "pandas column of a tuple": pd.DataFrame({("a", 1): ROWS}),
}
MISSING = {
    "list": ["C", None, "", "N"],
    "nan": ["C", float("nan"), np.float64("nan"), "N"],
    "blank": ["C", "  ", "\t", "N"],
    "pandas.NA": pd.Series(["C", pd.NA, "", "N"], dtype="string"),
    "pandas 3 str": pd.Series(["C", None, None, "N"], dtype="str"),
    "pandas object": pd.Series(["C", None, pd.NA, "N"], dtype=object),
    "polars": pl.Series(["C", None, "", "N"]),
    "StringDType": np.array(
        ["C", None, "", "N"], dtype=np.dtypes.StringDType(na_object=None)
    ),
    "pyarrow": pa.table({"smiles": ["C", None, "", "N"]}),
    "masked": np.ma.masked_array(np.array(["C", "X", "", "N"], object), [0, 1, 0, 0]),
}


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_give_the_same_rows(X):
    rows = as_strings(X)
    assert rows == ROWS
    assert {type(row) for row in rows} == {str}


@pytest.mark.parametrize("X", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_give_the_same_graphs(X):
    assert SmilesToGraph().fit_transform(X) == SmilesToGraph().transform(ROWS)


@pytest.mark.parametrize("X", MISSING.values(), ids=MISSING)
def test_missing_entries_become_none(X):
    assert as_strings(X) == ["C", None, None, "N"]


def test_objects_pass_as_they_are():
    molecule = Chem.MolFromSmiles("C")
    assert as_strings([molecule, "C"])[0] is molecule
    assert as_strings(np.array([molecule, None], dtype=object)) == [molecule, None]


def test_empty_containers_have_no_rows():
    assert as_strings([]) == []
    assert as_strings(pd.Series([], dtype="str")) == []


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        ("CCO", r"one string, 'CCO'; wrap it in a list: \['CCO'\]"),
        (b"CCO", "wrap it in a list"),
        (Path("a.smi"), "file path, 'a.smi'; read the file"),
        ([Path("a.smi")], r"X\[0\] = 'a.smi' is a file path"),
        (["C", 5], r"X\[1\] = 5 is a number \(int\)"),
        (["C", None, 1.5, 2], r"X\[2\] = 1.5 is a number \(float\)"),
        (np.arange(3), r"X\[0\] = 0 is a number"),
        (np.array([True]), r"X\[0\] = True is a number"),
        (pd.Series([1.0, 2.0], index=[7, 8]), r"X\[0\] = 1.0 is a number"),
        (["C", b"C"], r"X\[1\] = b'C' is of type bytes"),
        (["C", {"smiles": "C"}], r"X\[1\] .* is of type dict"),
        (["C", ["C"]], r"X\[1\] = \['C'\] is of type list"),
        ({"C", "N"}, "must be a list.*but is set"),
        (None, "but is NoneType"),
        (5, "but is int"),
        (
            Chem.MolFromSmiles("C"),
            "but is Mol. Wrap a single molecule or crystal in a list",
        ),
        ((row for row in ROWS), "but is generator.*make a list of an iterator"),
        (np.array("CCO"), "but is one str"),
        (sparse.csr_array(np.eye(2)), "sparse"),
        (SmilesToGraph().transform(["C"]), "GraphArray already"),
        (pl.LazyFrame({"smiles": ROWS}), r"call collect\(\) on the LazyFrame"),
        (np.zeros(2, dtype=[("smiles", "U3")]), "structured array"),
    ],
)
def test_wrong_types_are_named(X, sentence):
    with pytest.raises(TypeError, match=sentence):
        as_strings(X)


@pytest.mark.parametrize(
    ("X", "n_columns"),
    [
        (np.array([["C", "N"]]), 2),
        ([["C", "N", "O"]], 3),
        (pd.DataFrame({"a": ["C"], "b": ["N"]}), 2),
        (pl.DataFrame({"a": ["C"], "b": ["N"]}), 2),
        (pa.table({"a": ["C"], "b": ["N"]}), 2),
        (pd.DataFrame([["C", "N"]], columns=["a", "a"]), 2),
        (np.full((2, 2, 2), "C"), 4),
    ],
)
def test_several_columns_point_to_column_transformer(X, n_columns):
    with pytest.raises(ValueError, match=f"X has {n_columns} columns.*ColumnTransf"):
        as_strings(X)


def test_the_advice_for_several_columns_works():
    X = pd.DataFrame({"smiles": ROWS, "price": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="put ColumnTransf") as error:
        as_strings(X)
    advice = re.search(r"put (.*) in front", str(error.value))[1]
    chooser = eval(advice, {"ColumnTransformer": ColumnTransformer})
    expected = SmilesToGraph().transform(ROWS)
    assert make_pipeline(chooser, SmilesToGraph()).fit_transform(X) == expected
    assert SmilesToGraph().fit_transform(X[["smiles"]]) == expected


def test_tables_without_a_column_are_refused():
    with pytest.raises(ValueError, match=r"0 feature\(s\) \(shape=\(2, 0\)\)"):
        as_strings(np.empty((2, 0), dtype=object))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_told_from_a_file(tmp_path, kind):
    with pytest.raises(TypeError, match=r"is a folder, .*glob\(\"\*\.cif\"\)"):
        as_strings(kind(tmp_path), paths=True)
    with pytest.raises(TypeError, match="is one string"):
        as_strings("C" * 5000)
