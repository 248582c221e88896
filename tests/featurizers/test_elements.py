"""Element tables: the shipped one, and files."""

import csv
import json
from importlib import resources

import numpy as np
import pytest

from skgnn_mtl.featurizers._elements import default_table, read_table


def rows():
    path = resources.files("skgnn_mtl.featurizers") / "data" / "elements.csv"
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_the_shipped_properties_are_those_of_the_elements():
    table = {row["symbol"]: row for row in rows()}
    assert [int(row["Z"]) for row in rows()] == list(range(1, 104))
    iron = table["Fe"]
    assert (iron["group"], iron["period"], iron["block"]) == ("8", "4", "d")
    assert iron["electronegativity"] == "1.83"
    assert iron["valence_electrons"] == "8"
    assert float(iron["ionization_energy"]) == pytest.approx(7.9024681, abs=1e-4)
    valences = [table[s]["valence_electrons"] for s in "H C O Zn Ga Hf Pb Gd".split()]
    assert valences == ["1", "4", "6", "12", "3", "4", "4", "10"]
    assert table["Ne"]["electronegativity"] == ""


def test_the_default_table_has_a_row_an_element_and_tells_them_apart():
    table = np.array(default_table())
    assert table.shape == (104, 29 + 6 * 11)
    assert not table[0].any()
    assert len(np.unique(table[1:], axis=0)) == 103
    assert ((table >= 0) & (table <= 1)).all()


def test_hats_sum_to_one_unless_the_value_is_missing():
    table = np.array(default_table())[1:]
    for k, name in enumerate(["electronegativity", "covalent_radius"]):
        part = table[:, 29 + 11 * k : 40 + 11 * k]
        np.testing.assert_allclose(part.sum(axis=1), 1)
        missing = np.array([row[name] == "" for row in rows()])
        np.testing.assert_array_equal(part[:, -1] == 1, missing)
        assert missing.any()


def test_a_file_gives_its_rows(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"3": [1, 0.5], "1": [0, 2]}))
    table, known = read_table(path)
    assert table == ((0.0, 0.0), (0.0, 2.0), (0.0, 0.0), (1.0, 0.5))
    assert known == {1, 3}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "no",
        '{"1": [1], "2": [1, 2]}',
        '{"0": [1]}',
        '{"H": [1]}',
        '{"1": []}',
    ],
)
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="is not an element table"):
        read_table(path)
