"""Samples of the wrong input that the benchmarks try, and the counting itself."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators import MultiTaskGNNRegressor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "reliability.rst"


@pytest.fixture
def checks(script):
    pytest.importorskip("gemmi")
    pytest.importorskip("pymatgen.core")
    return script("fuzz_checks")


@pytest.fixture
def fuzz(script):
    return script("fuzz_inputs")


@pytest.fixture(scope="module")
def corpus():
    return load_physchem().data[:200]


@pytest.fixture(scope="module")
def crystals():
    return list(importlib.import_module("crystals").ORDERED.values())


def faults(found):
    return [(e["number"], e["message"], e["input"]) for e in found.examples]


# -- samples ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 3000, 3500])
def test_mutated_smiles(first, checks, corpus):
    """The second and the third sample are of labels and of descriptors."""
    found = checks.smiles(corpus).check(first, 150)
    assert faults(found) == []
    assert 20 < found.counts["refused"] < 150


@pytest.mark.parametrize("first", [0, 500, 1000, 1500])
def test_mutated_cifs(first, checks, crystals):
    found = checks.cifs(crystals).check(first, 60)
    assert faults(found) == []
    assert found.counts["inputs"] == 60
    assert found.counts["refused"] > 10


def test_spoiled_tables(checks, corpus):
    found = checks.Tables(corpus).check(0, 60)
    assert faults(found) == []
    assert 20 < found.counts["refused"] < 60


def test_wrong_parameters(checks, corpus, crystals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a name may become that of a checkpoint
    found = checks.Parameters(corpus, crystals).check(0, 150)
    assert faults(found) == []
    assert found.counts["refused"] > 100


def test_the_same_number_gives_the_same_input(checks, corpus):
    one, two = checks.smiles(corpus), checks.smiles(corpus)
    assert [one.row(k) for k in range(50)] == [two.row(k) for k in range(50)]
    assert len({one.row(k) for k in range(50)}) > 45
    assert one.row(0) != checks.smiles(corpus, seed=1).row(0)


# -- counting --------------------------------------------------------------------------


class Shifting(SmilesToGraph):
    """Confuses the rows from the third on."""

    def transform(self, X):
        graphs = super().transform(X)
        return graphs if len(X) < 40 else graphs[[0, 1, *range(3, len(X)), 2]]


class Raising(SmilesToGraph):
    """Stops at rows with a ring."""

    def transform(self, X):
        if len(X) != 32 and any("1" in row for row in X):
            raise KeyError("1")
        return super().transform(X)


class Silent(SmilesToGraph):
    """Does not say which row it is."""

    def complaint(self, position, row):
        return "Some row is wrong."


@pytest.mark.parametrize(
    ("cls", "kind"), [(Shifting, "shifted"), (Raising, "unnamed"), (Silent, "unnamed")]
)
def test_planted_faults_of_rows_are_counted(cls, kind, checks, corpus):
    rows = checks.Rows([cls(on_error="nan")], checks.mutate_smiles, corpus)
    found = rows.check(0, 60)
    assert found.counts[kind] > 0
    assert found.examples[0]["fault"] == kind


class Careless(MultiTaskGNNRegressor):
    """Refuses any y, or predicts rows in another order."""

    def fit(self, X, y, sample_weight=None, groups=None):
        if self.lr == 1:
            raise ValueError("no")
        if self.lr == 2:
            raise KeyError("the labels of y")
        return super().fit(X, y, sample_weight, groups)

    def predict(self, X):
        return super().predict(X).cumsum(axis=0)


@pytest.mark.parametrize(
    ("lr", "kind"), [(1, "unnamed"), (2, "unnamed"), (1e-3, "shifted")]
)
def test_planted_faults_of_tables_are_counted(lr, kind, checks, corpus):
    tables = checks.Tables(corpus)
    tables.estimators = [Careless(GIN(4, n_layers=1), lr=lr, max_epochs=1)]
    counts = tables.check(0, 20).counts
    assert counts[kind] > (19 if kind == "unnamed" else 0)


PROCESS = """
import json, os, sys
first, last, step = map(int, sys.argv[1:])
print(json.dumps({"next": first}), flush=True)
for begin in range(first, last, step):
    end = min(begin + step, last)
    if begin <= 3 < end:
        os.abort()
    if begin <= 6 < end:
        while True:
            pass
    counts = {"inputs": end - begin, "refused": 1}
    line = {"next": end, "counts": counts, "slowest": 0.5, "examples": [], "mb": end}
    print(json.dumps(line), flush=True)
"""


def test_crashes_and_hangs_are_counted_one_by_one(fuzz, monkeypatch):
    monkeypatch.setattr(fuzz, "MORE_FOR_A_STEP", 0.0)
    run = fuzz.Run([sys.executable, "-c", PROCESS], limit=0.1)
    run.go(0, 12, 4)
    assert run.counts["crashes"] == run.counts["hangs"] == 1
    assert run.counts["inputs"] == 12
    assert run.counts["refused"] == 3 + 3 + 1
    assert [(e["fault"], e["number"]) for e in run.examples] == [
        ("crash", 3),
        ("hang", 6),
    ]
    assert run.slowest == 0.5
    assert run.grown_mb() == 12 - 1


def test_a_process_that_waits_hangs(fuzz):
    command = [
        sys.executable,
        "-c",
        "print(0, flush=True); import time; time.sleep(60)",
    ]
    assert list(fuzz.watch(command, limit=0.02)) == [0, "hang"]


def test_the_table_of_inputs_is_written_from_the_file(fuzz):
    rows = pd.read_csv(PAGE.parent / "reliability_inputs.csv")
    assert fuzz.report(rows) in PAGE.read_text()
    assert not rows[["crashes", "hangs", "shifted", "unnamed"]].to_numpy().any()


def test_runs_that_the_file_holds_are_not_repeated(fuzz, tmp_path, monkeypatch):
    monkeypatch.setitem(fuzz.KINDS, "smiles", (20, 10, 5))
    out = tmp_path / "inputs.csv"
    done = [["smiles", first, 10, *[0] * 8] for first in (0, 10)]
    pd.DataFrame(done, columns=fuzz.COLUMNS).to_csv(out, index=False)
    monkeypatch.setattr(sys, "argv", ["fuzz_inputs.py", "smiles", "--out", str(out)])
    monkeypatch.setattr(fuzz, "Run", None)  # nothing is run
    fuzz.main()
    assert len(pd.read_csv(out)) == 2
