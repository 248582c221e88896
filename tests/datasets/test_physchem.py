"""The shipped sample."""

from __future__ import annotations

import runpy
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.datasets import load_physchem

N_LABELS = {
    "Tb (K)": 1465,
    "Tm (K)": 1517,
    "Tflash (K)": 415,
    "rho (kg/m3)": 1157,
    "RI": 1089,
    "Hvap298 (J/mol)": 707,
    "logP": 795,
    "log10 permittivity": 511,
}
RANGES = {  # bounds that no organic molecule of the sample may leave
    "Tb (K)": (100, 1000),
    "Tm (K)": (50, 800),
    "Tflash (K)": (150, 600),
    "rho (kg/m3)": (600, 4500),
    "RI": (1.1, 2.0),
    "Hvap298 (J/mol)": (1e4, 3e5),
    "logP": (-5, 11),
    "log10 permittivity": (0.1, 2.5),
}


def test_bunch():
    bunch = load_physchem()
    assert set(bunch) == {"data", "target", "frame", "target_names", "DESCR"}
    assert bunch.data.name == "smiles"
    assert bunch.data.is_unique
    assert bunch.data.notna().all()
    assert bunch.target.shape == (2000, 8)
    assert (bunch.target.dtypes == np.float64).all()
    assert bunch.target_names == list(N_LABELS)
    pd.testing.assert_series_equal(bunch.frame["smiles"], bunch.data)
    pd.testing.assert_frame_equal(bunch.frame[bunch.target_names], bunch.target)


def test_arrays():
    bunch = load_physchem(as_frame=False)
    assert set(bunch) == {"data", "target", "target_names", "DESCR"}
    assert bunch.data.shape == (2000,)
    assert bunch.data.dtype == object
    assert {type(smiles) for smiles in bunch.data} == {str}
    assert bunch.target.shape == (2000, 8)
    assert bunch.target.dtype == np.float64
    np.testing.assert_array_equal(bunch.target, load_physchem().target)


@pytest.mark.parametrize("as_frame", [True, False])
def test_return_X_y(as_frame):
    X, y = load_physchem(return_X_y=True, as_frame=as_frame)
    bunch = load_physchem(as_frame=as_frame)
    assert type(X) is type(bunch.data)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_labels_and_gaps():
    y = load_physchem().target
    assert y.count().to_dict() == N_LABELS
    assert np.isfinite(y.to_numpy()[y.notna()]).all()
    assert y.notna().any(axis=1).all()
    assert y.isna().any(axis=1).mean() > 0.8
    assert y.isna().to_numpy().mean() == pytest.approx(0.52, abs=0.005)


@pytest.mark.parametrize("task", N_LABELS)
def test_values_are_in_the_stated_unit(task):
    values = load_physchem().target[task].dropna()
    assert values.between(*RANGES[task]).all()


@pytest.mark.parametrize(
    ("smiles", "values"),
    [
        ("c1ccccc1", [353.2, 278.7, 262, 876.5, 1.501, 33_900, 2.13, np.log10(2.28)]),
        ("CCO", [351.4, 159.0, 286, 789.3, 1.361, 42_300, -0.31, np.log10(25.3)]),
    ],
    ids=["benzene", "ethanol"],
)
def test_known_molecules(smiles, values):
    """Handbook values from elsewhere; flash points depend on the method."""
    X, y = load_physchem(return_X_y=True)
    tolerance = np.array([0.01, 0.01, 0.1, 0.01, 0.01, 0.01, 0.04, 0.01])
    found = y[X.eq(smiles)].to_numpy()[0]
    assert (np.abs(found - values) <= tolerance * np.abs(values)).all()


def test_rows_are_shuffled():
    """Unshuffled folds must not meet the label-rich molecules in one block."""
    n_labels = load_physchem().target.count(axis=1).to_numpy()
    assert np.ptp(n_labels.reshape(4, 500).mean(axis=1)) < 0.5


def test_descr_names_every_property_with_unit_and_number_of_labels():
    bunch = load_physchem()
    lines = bunch.DESCR.splitlines()
    units = ("K", "K", "K", "kg/m3", "dimensionless", "J/mol", *["dimensionless"] * 2)
    for (task, count), unit in zip(N_LABELS.items(), units, strict=True):
        row = next(i for i, line in enumerate(lines) if line.startswith(f"{task}  "))
        assert unit in lines[row].split()
        assert f"{count:,}" in lines[row].split()
    for word in ("MIT", "chemicals 1.5.2", "Stereoisomers", "random", "logarithm"):
        assert word in bunch.DESCR


def test_notice_and_size():
    folder = resources.files("skgnn_mtl.datasets") / "data"
    notice = (folder / "NOTICE").read_text("utf-8")
    assert "Caleb Bell and Contributors" in notice
    assert "Permission is hereby granted, free of charge" in notice
    assert len((folder / "physchem.csv.gz").read_bytes()) < 150_000


def test_the_sample_is_what_its_script_cuts(shared_data):
    script = resources.files("skgnn_mtl.datasets") / "data" / "make_physchem.py"
    source = pd.read_csv(shared_data / "chemicals_multitask.csv.gz")
    sample = runpy.run_path(str(script))["cut"](source)
    pd.testing.assert_frame_equal(sample, load_physchem().frame)


def test_no_loader_changes_the_global_settings_of_pandas():
    before = pd.describe_option(_print_desc=False)
    load_physchem()
    assert pd.describe_option(_print_desc=False) == before
