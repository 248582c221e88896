"""The downloaded tables: real files where they are at hand, small fakes elsewhere."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.datasets import fetch_biogen_adme, fetch_moleculenet, fetch_qm8

SHAPES = {
    "bace": (1513, 1),
    "bbbp": (2050, 1),
    "clintox": (1484, 2),
    "esol": (1128, 1),
    "freesolv": (642, 1),
    "lipophilicity": (4200, 1),
    "sider": (1427, 27),
    "tox21": (7831, 12),
    "qm8": (21786, 12),
    "biogen_adme": (3521, 6),
}
FULL = {"bace", "bbbp", "clintox", "esol", "freesolv", "lipophilicity", "sider", "qm8"}


def fetch(name, **kwargs):
    if name == "qm8":
        return fetch_qm8(**kwargs)
    if name == "biogen_adme":
        return fetch_biogen_adme(**kwargs)
    return fetch_moleculenet(name, **kwargs)


@pytest.fixture
def real(shared_data, no_network):
    """Fetch from the folder of real data, without a network."""
    return lambda name, **kwargs: fetch(
        name, data_home=shared_data, download_if_missing=False, **kwargs
    )


@pytest.fixture
def fake(tmp_path, no_network):
    """Write a file that looks like FreeSolv's, and fetch it."""

    def write(n_rows=642, columns="iupac,smiles,expt,calc", row="x,NA,-1.5,-2"):
        lines = [columns, *[row] * n_rows]
        (tmp_path / "SAMPL.csv").write_text("\n".join(lines) + "\n")
        return fetch_moleculenet("freesolv", data_home=tmp_path)

    return write


@pytest.mark.parametrize("name", SHAPES)
def test_shape_and_labels(real, name):
    bunch = real(name)
    n, t = SHAPES[name]
    assert bunch.data.shape == (n,)
    assert bunch.data.name == "smiles"
    assert bunch.data.notna().all()
    assert bunch.target.shape == (n, t)
    assert (bunch.target.dtypes == np.float64).all()
    assert bunch.frame.shape == (n, 1 + t)
    assert bunch.target_names == list(bunch.target.columns)
    assert (bunch.target.count() == n).all() == (name in FULL)
    assert not np.isinf(bunch.target).any(axis=None)


@pytest.mark.parametrize("name", SHAPES)
def test_arrays_and_return_X_y(real, name):
    X, y = real(name, return_X_y=True, as_frame=False)
    assert type(X) is type(y) is np.ndarray
    assert X.dtype == object
    assert y.dtype == np.float64
    bunch = real(name, as_frame=False)
    assert "frame" not in bunch
    np.testing.assert_array_equal(bunch.data, X)
    np.testing.assert_array_equal(bunch.target, y)
    np.testing.assert_array_equal(real(name).target, y)


@pytest.mark.parametrize("name", SHAPES)
def test_descr_names_tasks_source_and_licence(real, name):
    bunch = real(name)
    for task in bunch.target_names:
        assert task in bunch.DESCR
    for word in ("Licence:", "Source and citation", f"{SHAPES[name][0]:,}"):
        assert word in bunch.DESCR


def test_the_folder_of_real_data_is_only_read(real, shared_data):
    before = sorted(os.listdir(shared_data)), shared_data.stat().st_mtime_ns
    for name in SHAPES:
        real(name)
    assert (sorted(os.listdir(shared_data)), shared_data.stat().st_mtime_ns) == before


def test_qm8_has_each_task_once(real):
    y = real("qm8").target
    assert [name.split(" ")[0] for name in y] == [
        f"{quantity}-{method}"
        for method in ("CC2", "PBE0", "CAM")
        for quantity in ("E1", "E2", "f1", "f2")
    ]
    assert all(name.endswith("(hartree)") == name.startswith("E") for name in y)
    assert not y.T.duplicated().any()
    assert (y["f1-CC2"] < 0).sum() == 38
    assert (y["f2-CC2"] < 0).sum() == 24
    hartree = 27.211386
    gap = (y["E1-PBE0 (hartree)"] - y["E1-CC2 (hartree)"]).abs().mean() * hartree
    assert gap == pytest.approx(0.271, abs=5e-4)


def test_the_dropped_block_of_qm8_is_a_copy(shared_data):
    raw = pd.read_csv(shared_data / "qm8.csv")
    for quantity in ("E1", "E2", "f1", "f2"):
        assert (raw[f"{quantity}-PBE0"] == raw[f"{quantity}-PBE0.1"]).all()


def test_biogen_labels_and_floors(real):
    y = real("biogen_adme").target
    assert y.count().tolist() == [3087, 2642, 2173, 194, 168, 3054]
    assert (y["LOG HLM_CLint (mL/min/kg)"] == 0.675686709).sum() == 958
    assert (y["LOG RLM_CLint (mL/min/kg)"] == 1.027920136).sum() == 346


def test_esol_keeps_trailing_blanks_and_leaves_the_other_model_out(real):
    bunch = real("esol")
    assert bunch.data.str.endswith(" ").sum() == 212
    assert bunch.target_names == ["log10 S (mol/L)"]
    assert bunch.target.iloc[0, 0] == -0.77  # amygdalin; the model's value is -0.974


def test_freesolv_hands_out_the_simulation_as_no_task(real):
    bunch = real("freesolv")
    assert bunch.target_names == ["expt (kcal/mol)"]
    assert list(bunch.extra) == ["calc (kcal/mol)"]
    assert bunch.extra.iloc[0, 0] == -9.625
    assert real("freesolv", as_frame=False).extra.shape == (642, 1)


def test_bace_class_is_a_threshold_of_the_extra_column(real):
    bunch = real("bace")
    disagree = (bunch.extra["pIC50"] >= 7) != (bunch.target["Class"] == 1)
    assert disagree.sum() == 17


@pytest.mark.parametrize("name", ["bbbp", "clintox", "sider", "tox21", "bace"])
def test_binary_tasks_are_zero_one_or_missing(real, name):
    y = real(name).target.to_numpy()
    assert set(np.unique(y[~np.isnan(y)])) == {0.0, 1.0}


def test_tox21_labels(real):
    y = real("tox21").target
    assert y.isna().to_numpy().mean() == pytest.approx(0.17, abs=0.005)
    assert y.sum().loc[["NR-AR", "SR-p53"]].tolist() == [309, 423]


@pytest.mark.usefixtures("no_network")
def test_a_packed_and_an_unpacked_tox21_are_told_apart(shared_data, tmp_path):
    (tmp_path / "tox21.csv.gz").write_bytes(b"broken")
    with pytest.raises(OSError, match="but the official file has 2882d69e"):
        fetch_moleculenet("tox21", data_home=tmp_path)
    (tmp_path / "tox21.csv.gz").unlink()
    (tmp_path / "tox21.csv").write_bytes((shared_data / "tox21.csv").read_bytes())
    assert fetch_moleculenet("tox21", data_home=tmp_path).target.shape == (7831, 12)


def test_only_an_empty_field_is_missing(fake):
    """'NA' is a text, here a wrong SMILES, and none of our business."""
    bunch = fake()
    assert (bunch.data == "NA").all()
    assert (bunch.target == -1.5).all(axis=None)
    assert (bunch.extra == -2.0).all(axis=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_rows": 641}, "642 rows expected, 641 found"),
        (
            {"columns": "iupac,smiles,exp,calc"},
            r"it does not have the columns \['expt'\]",
        ),
        ({"row": "x,C,,-2"}, "642 entries expected in column 'expt', 0 found"),
        ({"row": "x,,1,-2"}, "642 entries expected in column 'smiles', 0 found"),
        ({"row": "x,C,high,-2"}, "high"),
        (
            {"columns": "<html>", "row": "<p>", "n_rows": 3},
            "it does not have the columns",
        ),
        ({"columns": "", "row": "", "n_rows": 0}, "No columns"),
    ],
    ids=["rows", "column", "labels", "smiles", "number", "page", "empty"],
)
def test_another_table_is_refused(fake, tmp_path, change, message):
    with pytest.raises(OSError, match=message) as error:
        fake(**change)
    assert str(tmp_path / "SAMPL.csv") in str(error.value)
    assert "https://deepchemdata" in str(error.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'qm9' is unknown; choose one of bace, bbbp"):
        fetch_moleculenet("qm9")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", SHAPES)
def test_absent_file_without_download(tmp_path, name):
    with pytest.raises(OSError, match="download_if_missing=False") as error:
        fetch(name, data_home=tmp_path, download_if_missing=False)
    assert str(tmp_path) in str(error.value)
    assert "https://" in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_the_environment_variable_names_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKGNN_MTL_DATA", str(tmp_path))
    with pytest.raises(OSError, match=tmp_path.name):
        fetch_qm8(download_if_missing=False)
