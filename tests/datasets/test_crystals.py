"""Crystal data: the sample, the joined table, and matminer's files."""

from __future__ import annotations

import gzip
import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.datasets import (
    _matminer,
    fetch_matbench,
    fetch_mp_dielectric,
    fetch_mp_elasticity,
    fetch_mp_multitask,
    load_elasticity,
)
from skgnn_mtl.datasets._matminer import structure_to_cif

TASKS = ["K_VRH (GPa)", "G_VRH (GPa)", "poisson_ratio", "elastic_anisotropy"]


# -- the sample ----------------------------------------------------------------------


def test_the_sample():
    bunch = load_elasticity()
    assert bunch.data.shape == (600,)
    assert bunch.data.name == "cif"
    assert bunch.target.shape == (600, 4)
    assert bunch.target_names == list(bunch.target) == TASKS
    assert (bunch.target.dtypes == np.float64).all()
    assert bunch.target.notna().all(axis=None)
    assert list(bunch.extra) == ["material_id", "formula", "space_group"]
    assert bunch.frame.shape == (600, 5)
    X, y = load_elasticity(return_X_y=True, as_frame=False)
    assert X.dtype == object
    np.testing.assert_array_equal(y, bunch.target)
    for word in (*TASKS, "Licence: CC BY 4.0", "de Jong"):
        assert word in bunch.DESCR


def test_the_tasks_follow_from_each_other():
    """An isotropic solid has nu = (3 K - 2 G) / (6 K + 2 G)."""
    y = load_elasticity().target
    k, g = y["K_VRH (GPa)"], y["G_VRH (GPa)"]
    nu = (3 * k - 2 * g) / (6 * k + 2 * g)
    assert np.abs(nu - y["poisson_ratio"]).max() < 0.01


def test_the_sample_is_part_of_the_table(shared_data):
    path = shared_data / "elastic_tensor.csv"
    table = pd.read_csv(path, skiprows=1, keep_default_na=False)
    table = table.set_index("material_id")
    bunch = load_elasticity()
    rows = table.loc[bunch.extra["material_id"]]
    assert bunch.data.tolist() == rows["structure"].tolist()
    np.testing.assert_allclose(bunch.target["K_VRH (GPa)"], rows["K_VRH"].astype(float))


def test_the_sample_has_the_sites_of_its_cells():
    from skgnn_mtl import CifToGraph

    X = CifToGraph().transform(load_elasticity().data)
    assert X.valid.all()
    assert X.n_nodes.max() <= 152


# -- the joined table ----------------------------------------------------------------


def test_the_joined_table(shared_data):
    bunch = fetch_mp_multitask(data_home=shared_data)
    assert bunch.data.shape == (9000,)
    assert bunch.target.shape == (9000, 13)
    counts = bunch.target.count()
    assert counts["K_VRH (GPa)"] == 1181
    assert counts["formation_energy_per_atom (eV/atom)"] == 3938
    assert counts.sum() == 25671
    assert "NaN" in set(bunch.extra["formula"])
    assert bunch.extra.notna().all(axis=None)
    n, electronic = bunch.target["n"], bunch.target["poly_electronic"]
    assert np.nanmax(np.abs(n - np.sqrt(electronic))) < 0.05
    for task in bunch.target_names:
        assert task in bunch.DESCR


def test_an_absent_or_another_file_is_refused(tmp_path):
    with pytest.raises(OSError, match="cannot be downloaded"):
        fetch_mp_multitask(data_home=tmp_path)
    (tmp_path / "mp_multitask.csv.gz").write_bytes(b"other")
    with pytest.raises(OSError, match="must have sha256 85bfcdcf.* but has"):
        fetch_mp_multitask(data_home=tmp_path)


# -- matminer's files ----------------------------------------------------------------

STRUCTURE = {
    "@module": "pymatgen.core.structure",
    "@class": "Structure",
    "lattice": {
        "matrix": [[4.12, 0, 0], [0, 4.12, 0], [0, 0, 4.12]],
        "a": 4.12,
        "b": 4.12,
        "c": 4.12,
        "alpha": 90.0,
        "beta": 90.0,
        "gamma": 90.0,
    },
    "sites": [
        {"species": [{"element": "Cs", "occu": 1}], "abc": [0.0, 0.0, 0.0]},
        {
            "species": [
                {"element": "Cl", "occu": 0.75},
                {"element": "I", "occu": 0.25},
            ],
            "abc": [0.5, 0.5, 0.5],
        },
    ],
}
FETCHERS = {
    "matbench_log_kvrh": lambda **k: fetch_matbench("log_kvrh", **k),
    "matbench_mp_is_metal": lambda **k: fetch_matbench("matbench_mp_is_metal", **k),
    "elastic_tensor_2015": fetch_mp_elasticity,
    "dielectric_constant": fetch_mp_dielectric,
}
COLUMNS = {
    "matbench_log_kvrh": ["structure", "log10(K_VRH)"],
    "matbench_mp_is_metal": ["structure", "is_metal"],
    "elastic_tensor_2015": [
        "material_id", "G_VRH", "K_VRH", "elastic_anisotropy", "poisson_ratio",
        "structure",
    ],
    "dielectric_constant": [
        "n", "poly_total", "poly_electronic", "band_gap", "structure",
    ],
}  # fmt: skip


@pytest.fixture
def fake(tmp_path, monkeypatch, no_network):
    """Write a small file in matminer's format, and make its hash the known one."""

    def write(name, n_rows=2, columns=None, known_rows=None, value=1.5):
        columns = columns or COLUMNS[name]
        rows = [[STRUCTURE if c == "structure" else value for c in columns]] * n_rows
        content = {"columns": columns, "index": list(range(n_rows)), "data": rows}
        path = tmp_path / f"{name}.json.gz"
        path.write_bytes(gzip.compress(json.dumps(content).encode()))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        remote, _ = _matminer._remote(name)
        changed = type(remote)(remote.url, f"sha256:{digest}", filename=remote.filename)
        rows_wanted = known_rows or n_rows
        monkeypatch.setattr(_matminer, "_remote", lambda _: (changed, rows_wanted))
        return FETCHERS[name](data_home=tmp_path)

    return write


@pytest.mark.parametrize("name", FETCHERS)
def test_a_file_becomes_cifs_and_labels(fake, name):
    bunch = fake(name)
    assert bunch.data.name == "cif"
    assert bunch.data.tolist() == [structure_to_cif(STRUCTURE)] * 2
    assert (bunch.target == 1.5).all(axis=None)
    assert bunch.target.shape == (2, 4 if "matbench" not in name else 1)
    assert "Licence" in bunch.DESCR


def test_truth_values_are_zero_and_one(fake):
    assert fake("matbench_mp_is_metal", value=True).target.iloc[0, 0] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"known_rows": 3}, "3 rows expected, 2 found"),
        ({"columns": ["structure", "other"]}, "KeyError"),
        ({"value": "high"}, "high"),
    ],
)
def test_another_file_of_matminer_is_refused(fake, change, message):
    with pytest.raises(OSError, match=message):
        fake("matbench_log_kvrh", **change)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", FETCHERS)
def test_an_absent_file_names_its_address(tmp_path, name):
    with pytest.raises(OSError, match=f"{name}.json.gz is not in") as error:
        FETCHERS[name](data_home=tmp_path, download_if_missing=False)
    assert "https://" in str(error.value)


def test_a_wrong_hash_is_refused(tmp_path, no_network):
    (tmp_path / "matbench_log_kvrh.json.gz").write_bytes(b"broken")
    with pytest.raises(OSError, match="but the official file has 44b113dd"):
        fetch_matbench("log_kvrh", data_home=tmp_path)


def test_addresses_are_those_of_the_metadata(shared_data):
    path = shared_data / "matminer_official_urls_hashes.json"
    source = json.loads(path.read_text("utf-8"))
    for name in (*_matminer._MATBENCH, "elastic_tensor_2015", "dielectric_constant"):
        remote, n_rows = _matminer._remote(name)
        assert remote.url == source[name]["url"]
        assert remote.known_hash == f"sha256:{source[name]['hash']}"
        assert n_rows == source[name]["num_entries"]
        tasks = _matminer._MATBENCH.get(name, {})
        assert {*tasks, "structure"} <= set(source[name]["columns"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("qm9", "not have a task 'qm9'"), ("steels", "it has compositions only")],
)
def test_an_unknown_name_lists_the_known_ones(name, message):
    with pytest.raises(ValueError, match=message) as error:
        fetch_matbench(name)
    assert "log_gvrh, log_kvrh" in str(error.value)


def test_cif_text_is_the_structure():
    from pymatgen.core import Structure

    from skgnn_mtl import CifToGraph

    rows = [structure_to_cif(STRUCTURE), Structure.from_dict(STRUCTURE)]
    X = CifToGraph(disorder="mix", dtype="float64").transform(rows)
    np.testing.assert_allclose(X[[0]].edge_features, X[[1]].edge_features)
    np.testing.assert_allclose(X[[0]].node_features, X[[1]].node_features)
