"""A table of one's own: every fault is reported, repairs are those that are named."""

import gzip

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import read_table
from skgnn_mtl.model_selection import molecule_groups

SMILES = [
    "CCO",
    "CCN",
    "CCC",
    "c1ccccc1",
    "CC(=O)O",
    "CCCl",
    "CCBr",
    "CC#N",
    "CO",
    "CS",
]
LABELS = [0.5, 1.25, 2.0, 0.1, 3.0, 4.5, 2.5, 1.0, 0.75, 5.0]


def write(folder, text, encoding="utf-8", name="table.csv"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def csv(rows, separator=","):
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def plain(smiles=SMILES, labels=LABELS, names=("smiles", "y")):
    return pd.DataFrame(dict(zip(names, (smiles, labels), strict=True)))


def findings(report, what):
    """Rows, columns and values of one kind."""
    found = report[report["what"] == what]
    return list(zip(found["row"], found["column"], found["value"], strict=True))


def rows_of(report, what):
    return [row for row, *_ in findings(report, what)]


def read_cells(cells, **options):
    """Read a column of cells beside as many molecules."""
    smiles = [f"C{'C' * k}O" for k in range(len(cells))]
    X, y, report = read_table(
        pd.DataFrame({"smiles": smiles, "y": cells}), targets="y", **options
    )
    assert X.tolist() == smiles
    return y["y"], report


# -- a good table --------------------------------------------------------------------


def test_a_clean_table_comes_back_and_nothing_is_said():
    X, y, report = read_table(plain())
    assert X.tolist() == SMILES
    assert X.name == "smiles"
    assert y["y"].tolist() == LABELS
    assert X.index.tolist() == y.index.tolist() == list(range(10))
    assert list(report) == ["row", "column", "what", "value"]
    assert report.empty


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_the_separator_of_a_file_is_found(tmp_path, separator, pack):
    rows = [("id", "smiles", "y"), *zip("abcdefghij", SMILES, LABELS, strict=True)]
    content = csv(rows, separator).encode()
    path = tmp_path / ("t.csv" if pack is None else "t.csv.gz")
    path.write_bytes(content if pack is None else pack(content))
    X, y, report = read_table(path)
    assert X.tolist() == SMILES
    assert y["y"].tolist() == LABELS
    assert findings(report, "left out")[0][1] == "id"
    assert len(report) == 1


def test_tables_of_other_libraries_and_parquet_are_read_alike(tmp_path):
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    frame = plain([*SMILES[:9], None], [*LABELS[:8], None, 5.0])
    frame.to_parquet(tmp_path / "t.parquet")
    expected = read_table(frame)
    for source in (
        tmp_path / "t.parquet",
        pyarrow.Table.from_pandas(frame),
        polars.from_dict({"smiles": [*SMILES[:9], None], "y": frame["y"].tolist()}),
    ):
        for part, other in zip(read_table(source), expected, strict=True):
            assert part.equals(other)


def test_rows_keep_their_places_whatever_is_wrong_with_them(tmp_path):
    text = "smiles,y\nCCO,1\n\nC1CC,2\n,3\nCCN,\n,\nCCC,4\n\n"
    X, y, report = read_table(write(tmp_path, text))
    assert X.isna().tolist() == [False, True, False, True, False, True, False]
    assert y["y"][[0, 2, 3, 6]].tolist() == [1, 2, 3, 4]
    assert np.isnan(y["y"][[1, 4, 5]]).all()
    assert rows_of(report, "blank row") == [1, 5]
    assert rows_of(report, "missing molecule") == [1, 3, 5]
    ((row, column, value),) = findings(report, "unreadable")
    assert (row, column, value) == (2, "smiles", "'C1CC': unclosed ring")
    X, y, _ = read_table(write(tmp_path, text), unreadable="drop")
    assert X.index.tolist() == y.index.tolist() == [0, 4, 6]
    assert X.tolist() == ["CCO", "CCN", "CCC"]


def test_the_report_is_in_the_order_of_the_rows():
    frame = plain(["CCO", "C1CC", "CCN.Cl", "OCC"], ["x", ">5", 1e9, 1e-9])
    _, _, report = read_table(frame, targets=["y"])
    rows = report["row"].fillna(-1).tolist()
    assert rows == sorted(rows)
    assert rows[0] == -1


# -- columns -------------------------------------------------------------------------


def test_the_column_of_molecules_is_found_by_name_and_by_content():
    odd = {"Compound": SMILES, "y": LABELS, "group": list("CNCNCNCNCN")}
    assert read_table(pd.DataFrame(odd))[0].name == "Compound"
    both = {"mol": SMILES, "canonical_smiles": SMILES[::-1], "y": LABELS}
    assert read_table(pd.DataFrame(both))[0].name == "canonical_smiles"
    assert read_table(pd.DataFrame(both), smiles="MOL")[0].name == "mol"


def test_no_or_two_columns_of_molecules_are_refused_by_name():
    two = pd.DataFrame({"smiles_a": SMILES, "smiles_b": SMILES, "y": LABELS})
    with pytest.raises(ValueError, match=r"'smiles_a', 'smiles_b'. Choose one by smil"):
        read_table(two)
    with pytest.raises(ValueError, match="No column holds SMILES; the columns are 'n"):
        read_table(pd.DataFrame({"name": ["water", "ethanol"], "y": [1.0, 2.0]}))
    inchi = pd.DataFrame({"inchi": ["InChI=1S/CH4/h1H4"] * 3, "y": [1.0, 2.0, 3.0]})
    with pytest.raises(
        ValueError, match="'inchi': it looks like an InChI; read it wit"
    ):
        read_table(inchi)
    with pytest.raises(ValueError, match=r"names 'smile', but .* mean 'smiles'\?"):
        read_table(plain(), smiles="smile")


def test_targets_are_columns_of_numbers_that_do_not_count_rows():
    frame = plain().assign(CID=range(100, 110), nr=LABELS, note="none", z=LABELS)
    frame.insert(0, "Unnamed: 0", LABELS)
    frame["row count"] = np.arange(10)
    _, y, report = read_table(frame)
    assert list(y) == ["y", "z"]
    left_out = {column for _, column, _ in findings(report, "left out")}
    assert left_out == {"Unnamed: 0", "CID", "nr", "note", "row count"}
    assert list(read_table(frame, targets=["CID", "y"])[1]) == ["CID", "y"]
    with pytest.raises(ValueError, match="No column but 'smiles' holds numbers"):
        read_table(frame[["smiles", "note"]])
    with pytest.raises(ValueError, match="each once"):
        read_table(frame, targets=["y", "smiles"])


def test_two_columns_of_one_name_are_told_apart(tmp_path):
    text = csv([("smiles", "y", "y"), *zip(SMILES, LABELS, LABELS, strict=True)])
    _, y, report = read_table(write(tmp_path, text))
    assert list(y) == ["y", "y.1"]
    assert findings(report, "name of two columns")[0][1] == "y"
    frame = plain().assign(z=LABELS).rename(columns={"z": "y"})
    assert list(read_table(frame)[1]) == ["y", "y.1"]


def test_a_column_of_few_texts_is_classes_if_it_is_named():
    cells = ["yes", "no", None, "no", "", "yes", "NA", "no", "no", "yes"]
    _, y, _ = read_table(plain(labels=cells), targets="y")
    assert y["y"].isna().tolist() == [cell in (None, "", "NA") for cell in cells]
    assert set(y["y"].dropna()) == {"yes", "no"}


# -- cells ---------------------------------------------------------------------------


def test_missing_labels_are_silent_and_other_texts_are_reported():
    cells = ["1", "", "NA", " ", None, np.nan, "n.d.", "5 ± 1", "inf", "1e3", " 2 "]
    y, report = read_cells(cells)
    expected = [1, *[np.nan] * 8, 1000, 2]
    np.testing.assert_array_equal(y.to_numpy(float), expected)
    assert rows_of(report, "not a number") == [6, 7]
    assert rows_of(report, "infinite") == [8]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["0,5", "1,25", "3"], [0.5, 1.25, 3]),
        (["0,512", "3"], [0.512, 3]),
        (["0,5", "1.234,5", ">1,5"], [0.5, 1234.5, ">1.5"]),
        (["1,355.5", "12,000", "7"], [1355.5, 12000, 7]),
        (["1,234,567", "-1,000"], [1234567, -1000]),
        (["\u22121.5", "2"], [-1.5, 2]),
    ],
)
def test_commas_are_read_where_the_column_says_what_they_are(cells, values):
    y, report = read_cells(cells)
    assert y.tolist() == values
    assert not findings(report, "comma")
    decimal = "0,5" in cells[0]
    assert bool(findings(report, "decimal comma")) == decimal


def test_commas_that_may_be_either_are_not_guessed(tmp_path):
    y, report = read_cells(["1,355", "2,500", "3"])
    np.testing.assert_array_equal(y, [np.nan, np.nan, 3])
    assert rows_of(report, "comma") == [0, 1]
    assert "decimal=" in findings(report, "comma")[0][2]
    # Both kinds in one column leave the same doubt.
    assert rows_of(read_cells(["0,5", "1,234.5"])[1], "comma") == [0, 1]
    assert read_cells(["1,355", "2"], decimal=",")[0].tolist() == [1.355, 2]
    assert read_cells(["1,355", "2"], decimal=".")[0].tolist() == [1355, 2]
    # Files with semicolons come from where the comma is the decimal mark.
    rows = [("smiles", "y", "z"), ("CCO", "1,355", ">2"), ("C", 2, 3)]
    _, y, report = read_table(write(tmp_path, csv(rows, ";")))
    assert y["y"].tolist() == [1.355, 2]
    assert [column for _, column, _ in findings(report, "decimal comma")] == ["y"]


@pytest.mark.parametrize(
    "date",
    ["2025-03-04", "2025-03-04 00:00:00", "4-Mar", "Mar-25", "04.03.2025", "3/4/25"],
)
def test_dates_among_numbers_are_reported(date):
    y, report = read_cells(["1.5", date, "2"])
    assert np.isnan(y[1])
    ((row, column, value),) = findings(report, "date")
    assert (row, column) == (1, "y")
    assert date in value


def test_dates_of_pandas_do_not_become_numbers():
    dates = pd.to_datetime(["2025-03-04", "2025-03-05", None])
    assert rows_of(read_cells(dates)[1], "date") == [0, 1]
    y, report = read_cells([1.5, dates[0], 2.5])
    assert np.isnan(y[1])
    assert rows_of(report, "date") == [1]
    frame = plain(SMILES[:3], LABELS[:3]).assign(when=dates)
    assert list(read_table(frame)[1]) == ["y"]


def test_bounds_stay_as_the_estimators_read_them_or_are_dropped():
    cells = ["1.5", ">100", "<= 0.25", "2", "≥1e3", 3.0]
    y, report = read_cells(cells)
    assert y.tolist() == [1.5, ">100", "<0.25", 2, ">1000", 3]
    assert findings(report, "censored")[0] == (1, "y", ">100")
    assert rows_of(report, "censored") == [1, 2, 4]
    dropped, report = read_cells(cells, censored="drop")
    assert dropped.dtype == np.float64
    np.testing.assert_array_equal(dropped, [1.5, np.nan, np.nan, 2, np.nan, 3])
    assert len(findings(report, "censored")) == 3
    graphs = SmilesToGraph().transform(["C" * k for k in range(1, 7)])
    network = MultiTaskGNNRegressor(censored="bound", max_epochs=1, random_state=0)
    assert network.fit(graphs, y).predict(graphs).shape == (6,)


# -- units ---------------------------------------------------------------------------


def test_units_in_headers_are_reported_and_converted_where_asked():
    frame = plain(names=("smiles", "IC50 (uM)"))
    _, y, report = read_table(frame)
    assert list(y) == ["IC50 (uM)"]
    assert y.attrs["units"] == {"IC50 (uM)": "uM"}
    assert findings(report, "unit")[0][2] == "uM in the header, kept"
    _, y, report = read_table(frame, units={"ic50": "nM"})
    assert y["IC50 (nM)"].tolist() == [1000 * label for label in LABELS]
    assert y.attrs["units"] == {"IC50 (nM)": "nM"}
    assert "converted to nM" in findings(report, "unit")[0][2]


def test_units_in_cells_are_read_where_the_wanted_unit_is_named():
    cells = ["0.5 uM", "200 nM", "300", ">1 µM", "5 mg/mL", "2 apples"]
    y, report = read_cells(cells, units={"y": "nM"})
    assert y.tolist()[:4] == [500, 200, 300, ">1000"]
    assert y[4:].isna().all()
    assert rows_of(report, "unit in a cell") == [4]
    assert rows_of(report, "not a number") == [5]
    _, report = read_cells(cells)
    assert rows_of(report, "unit in a cell") == [0, 1, 3, 4]
    assert "units=" in findings(report, "unit in a cell")[0][2]


def test_units_that_cannot_be_converted_are_refused():
    with pytest.raises(ValueError, match=r"'K' in column 'Tb \(°C\)', whose header"):
        read_table(plain(names=("smiles", "Tb (°C)")), units={"Tb": "K"})
    with pytest.raises(ValueError, match="seems to hold logarithms"):
        read_table(plain(names=("smiles", "LOG S (ug/mL)")), units={"LOG S": "mg/mL"})
    with pytest.raises(ValueError, match="units names 'z'"):
        read_table(plain(), units={"z": "K"})


# -- columns of labels ---------------------------------------------------------------


def test_constant_empty_and_wide_columns_are_named():
    frame = plain().assign(one=7.0, few=[1.0, *[None] * 9], wide=np.logspace(0, 4, 10))
    frame["signed"] = [-1.0, *np.logspace(0, 5, 9)]
    _, _, report = read_table(frame)
    assert findings(report, "constant")[0][1:] == ("one", "all labels are 7.0")
    assert findings(report, "nearly empty")[0][1:] == ("few", "1 labels in 10 rows")
    (_, column, advice), (_, other, caution) = findings(report, "wide scale")
    assert (column, other) == ("wide", "signed")
    assert advice == "from 1 to 10000; consider target_transform='log10'"
    assert "1 labels are not positive" in caution
    assert not findings(read_table(plain())[2], "wide scale")


# -- molecules -----------------------------------------------------------------------


def test_duplicates_and_contradicting_labels_are_found_by_the_molecule():
    smiles = ["CCO", "CCN", "OCC", "C(O)C", "NCC", "CCC"]
    X, _, report = read_table(plain(smiles, [1.0, 2.0, 1.5, None, 2.0, 3.0]))
    assert len(X) == 6
    assert findings(report, "duplicate") == [
        (2, "smiles", "the molecule of row 0"),
        (3, "smiles", "the molecule of row 0"),
        (4, "smiles", "the molecule of row 1"),
    ]
    assert findings(report, "contradiction") == [(0, "y", "2 labels from 1 to 1.5")]
    groups = molecule_groups(X)
    assert groups.tolist() == [0, 1, 0, 0, 1, 2]


@pytest.mark.parametrize(("how", "value"), [("mean", 3.0), ("median", 2.0)])
def test_duplicates_are_merged_at_the_place_of_the_first(how, value):
    smiles = ["C", "CCO", "OCC", "C(O)C", "C1C", None, None]
    frame = plain(smiles, [9.0, 1.0, 2.0, 6.0, 4.0, 5.0, 6.0])
    frame["z"] = [1.0, None, 7.0, None, 4.0, 5.0, 6.0]
    X, y, report = read_table(frame, duplicates=how)
    # Rows without a molecule are not the same molecule.
    assert X.index.tolist() == y.index.tolist() == [0, 1, 4, 5, 6]
    assert y["y"].tolist() == [9, value, 4, 5, 6]
    assert y["z"].tolist() == [1, 7, 4, 5, 6]
    assert rows_of(report, "duplicate") == [2, 3]


def test_classes_of_one_molecule_are_not_averaged():
    smiles = ["CCO", "OCC", "CCN", "NCC", "CCC"]
    _, y, _ = read_table(plain(smiles, [1, 0, 1, 1, 0]), duplicates="mean")
    np.testing.assert_array_equal(y["y"], [np.nan, 1, 0])
    words = plain(smiles, ["a", "b", "a", "a", "b"])
    _, y, report = read_table(words, targets="y", duplicates="mean")
    assert y["y"].tolist()[1:] == ["a", "b"]
    assert y["y"].isna()[0]
    assert findings(report, "contradiction") == [(0, "y", "2 labels")]


def test_bounds_of_one_molecule_yield_to_exact_labels_and_to_tighter_bounds():
    smiles = ["CCO", "OCC", "CCN", "NCC", "CCC", "C(C)C", "CO"]
    labels = [">5", "7", ">5", ">8", "<1", ">3", "<2"]
    _, y, _ = read_table(plain(smiles, labels), targets="y", duplicates="mean")
    assert y["y"].tolist()[:2] == [7, ">8"]
    assert np.isnan(y["y"][4])
    assert y["y"][6] == "<2"


def test_salts_are_reported_and_cut_where_asked():
    smiles = ["CCN.Cl", "CC(=O)[O-].[Na+]", "CCO", "O.O", "CCN"]
    frame = plain(smiles, [1.0, 2.0, 3.0, 4.0, 5.0])
    X, _, report = read_table(frame)
    assert X.tolist() == smiles
    assert rows_of(report, "salt") == [0, 1, 3]
    assert findings(report, "salt")[0][2] == "CCN.Cl; its largest component is CCN"
    assert not findings(report, "duplicate")
    X, _, report = read_table(frame, salts="largest")
    assert X.tolist() == ["CCN", "CC(=O)[O-]", "CCO", "O", "CCN"]
    assert rows_of(report, "duplicate") == [4]


def test_the_largest_component_has_the_most_heavy_atoms_then_carbons():
    frame = plain(["[H][H].C.OO.CN", "CC.[O-][N+](=O)[O-]"], [1.0, 2.0])
    X, *_ = read_table(frame, salts="largest")
    assert X.tolist() == ["CN", "O=[N+]([O-])[O-]"]


@pytest.mark.parametrize(
    ("text", "look"),
    [
        ("InChI=1S/CH4/h1H4", "InChI; read it with"),
        ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "InChIKey, a checksum"),
        ("[C][C][O]", "SELFIES"),
        ("[C][=C][Branch1][C][O][C]", "SELFIES"),
        ("CCO>>CC=O", "reaction"),
        ("CCO.O>[Pd]>CC=O", "reaction"),
    ],
)
def test_other_notations_are_said(text, look):
    _, _, report = read_table(plain([*SMILES[:9], text]))
    ((row, column, value),) = findings(report, "other notation")
    assert (row, column) == (9, "smiles")
    assert look in value


@pytest.mark.parametrize(
    "text", ["[Cu]<-N", "N->[Cu]", "[CH3][CH3]", "[C-]#[O+]", "[C]"]
)
def test_unusual_smiles_are_no_other_notation(text):
    assert not findings(read_table(plain([*SMILES[:9], text]))[2], "other notation")


# -- files ---------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_found(tmp_path, encoding):
    text = csv([("smiles", "Kᵢ" if encoding != "cp1252" else "K é", "y (µM)")])
    text += csv(zip(SMILES, "abcdefghij", LABELS, strict=True))
    X, y, report = read_table(write(tmp_path, text, encoding))
    assert X.name == "smiles"
    assert list(y) == ["y (µM)"]
    assert bool(findings(report, "encoding")) == (encoding == "cp1252")


def test_a_wrong_encoding_is_refused(tmp_path):
    path = write(tmp_path, "smiles,y (µM)\nC,1\n", "cp1252")
    with pytest.raises(ValueError, match="cannot be read with encoding='utf-8'"):
        read_table(path, encoding="utf-8")
    assert list(read_table(path, encoding="cp1252")[1]) == ["y (µM)"]


def test_lines_with_another_separator_are_reported(tmp_path):
    text = "smiles,name,y\nCCO,a,1\nCCN;b;2\nCCC,c,3\n"
    _, _, report = read_table(write(tmp_path, text))
    ((row, _, value),) = findings(report, "other separator")
    assert row == 1
    assert value == "'CCN;b;2' is separated by ';'"


def test_lines_with_too_many_cells_are_listed(tmp_path):
    path = write(tmp_path, "smiles,y\nCCO,1\nCCN,1,5\nCCC,3\nCC,4,5,6\n")
    with pytest.raises(ValueError, match=r"2 columns.*line 3 has 3: .*line 5 has 4"):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"smiles,y\n", "has no row below its header"),
        (b"PK\x03\x04rest", "read_excel"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_other_things_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(TypeError, match="but list was given"):
        read_table(SMILES)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
    for option in ("duplicates", "salts", "unreadable", "censored", "decimal"):
        with pytest.raises(ValueError, match=f"{option} must be"):
            read_table(plain(), **{option: "fix"})


def test_a_long_table_costs_little_beside_its_molecules(tmp_path, monkeypatch):
    """The texts of molecules are read once each, whatever the number of rows."""
    from skgnn_mtl.featurizers import _canonical

    read = []
    original = _canonical.map_molecules

    def counted(rows, digest):
        read.extend(rows)
        return original(rows, digest)

    monkeypatch.setattr(_canonical, "map_molecules", counted)
    n = 20_000
    labels = np.random.default_rng(0).normal(size=n).round(3)
    X, y, _ = read_table(plain(SMILES * (n // 10), labels))
    assert len(X) == n
    assert y["y"].tolist() == labels.tolist()
    # The search for the column reads each distinct one of its sample, too.
    assert len(read) <= 2 * len(SMILES)


def test_workers_change_nothing():
    smiles = [f"{'C' * (k % 50)}N{'C' * (k // 50)}O" for k in range(2500)]
    frame = plain([*smiles, "C1C"], np.arange(2501.0)[::-1])
    with parallel_config(backend="threading"):
        one, two = (read_table(frame, n_jobs=n) for n in (1, 2))
    assert all(a.equals(b) for a, b in zip(one, two, strict=True))


def test_several_columns_of_molecules_are_the_rows_of_a_table():
    table = plain().assign(solvent=["O", "CO", *["O"] * 8], row=range(10))
    table.loc[9] = ["CCO", 0.5, "[H]O[H]", 9]
    table.loc[8, "solvent"] = "C1CC"
    table.loc[7, "smiles"] = None
    given = {"smiles": ["smiles", "Solvent"], "targets": "y"}
    X, y, report = read_table(table, **given)
    assert X.columns.tolist() == ["smiles", "solvent"]
    assert X.index.equals(y.index)
    found = report[["row", "column", "what"]].to_numpy().tolist()
    assert [7, "smiles", "missing molecule"] in found
    assert [8, "solvent", "unreadable"] in found
    assert [9, "smiles, solvent", "duplicate"] in found
    X, y, _ = read_table(table, **given, unreadable="drop", duplicates="mean")
    assert X.index.tolist() == list(range(7))
    graphs = SmilesToGraph().fit_transform(X)
    assert graphs.schema.node_columns[-1] == ("molecule", 2)
    # The same solute in another solvent is another row.
    table.loc[9, "solvent"] = "CO"
    assert len(read_table(table, **given, duplicates="mean")[0]) == 10
    with pytest.raises(ValueError, match=r"each once, but is \['smiles', 'smiles'\]"):
        read_table(table, smiles=["smiles", "smiles"])
    with pytest.raises(ValueError, match="molecules are in 'smiles', 'solvent'"):
        read_table(table, smiles=["smiles", "solvent"], targets=["solvent"])
