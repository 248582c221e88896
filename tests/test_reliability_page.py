"""The page on reliability has the figures of its files; some kills are run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

TESTS = Path(__file__).resolve().parent
FOLDER = TESTS.parent / "docs" / "benchmarks"


@pytest.fixture
def kills(script):
    return script("kill_fits")


@pytest.fixture
def damages(script):
    return script("damage_files")


@pytest.fixture
def threads(script):
    return script("predict_in_threads")


@pytest.fixture
def versions(script):
    return script("versions")


@pytest.fixture
def page():
    return (FOLDER / "reliability.rst").read_text()


def test_the_table_of_kills_is_written_from_the_file(kills, page):
    rows = pd.read_csv(FOLDER / "reliability_kills.csv")
    assert kills.report(rows) in page
    assert rows["identical"].all()
    # Every kind of fit was killed.
    assert (rows.groupby("case")["kills"].sum() > 0).all()


def test_the_table_of_writes_is_that_of_the_file(page):
    rows = pd.read_csv(FOLDER / "reliability_writes.csv").to_numpy()
    for name, milliseconds, megabytes in rows:
        line = next(line for line in page.splitlines() if line.startswith(name))
        assert line.split("  ")[-1].strip() == str(megabytes)
        assert f" {milliseconds} " in line


def test_the_table_of_damages_is_written_from_the_file(damages, page):
    rows = pd.read_csv(FOLDER / "reliability_files.csv")
    assert damages.report(rows) in page


def test_damaged_files_are_counted(damages, tmp_path):
    """A reader that checks nothing survives no flipped bit, one that checks does."""
    path, rng = tmp_path / "file", np.random.default_rng(0)
    path.write_bytes(b"whole")

    def strict(path):
        if path.read_bytes() != b"whole":
            raise ValueError("damaged")

    for load, expected in ((strict, 20), (Path.read_bytes, 0)):
        for change in (damages.flip, damages.cut):
            assert damages.damage(load, path, [path], change, 20, rng) == expected
    assert path.read_bytes() == b"whole"


def test_a_kill_loses_what_the_processes_took_beyond_the_fit(kills):
    names = ["case", "kills", "identical", "seconds_alone", "seconds_in_all"]
    rows = [("a", 2, True, 1.0, 5.0), ("a", 1, False, 1.0, 3.0), ("b", 0, True, 2, 2)]
    lines = kills.report(pd.DataFrame(rows, columns=names)).splitlines()
    cells = [line.split() for line in lines[3:-1]]
    assert cells[0] == ["a", "2", "3", "1", "1.0", "2.0"]
    assert cells[1] == ["b", "1", "0", "1", "2.0", "0.0"]
    assert cells[2] == ["all", "3", "3", "2", "1.3", "2.0"]


def test_three_real_kills_change_nothing(tmp_path):
    """In processes of their own, because a forked one must not inherit threads."""
    script = TESTS / "benchmarks" / "kill_fits.py"
    options = ["--minutes", "0", "--epochs", "10", "--kills", "3"]
    options += ["--cases", "surgery", "--out", tmp_path]
    subprocess.run([sys.executable, script, *options], check=True, cwd=TESTS.parent)
    rows = pd.read_csv(tmp_path / "reliability_kills.csv")
    assert len(rows) == 1
    assert rows["identical"].all()


# -- threads ---------------------------------------------------------------------------


def test_the_table_of_threads_is_written_from_the_file(threads, page):
    rows = pd.read_csv(FOLDER / "reliability_threads.csv")
    assert threads.report(rows) in page
    assert (rows["identical"] == rows["outcomes"]).all()


def test_outcomes_in_threads_are_counted(threads, monkeypatch):
    """Predictions that differ from the one made alone are not identical."""
    graphs, y = threads.load(20)
    assert threads.beside_a_fit(graphs, y, 4) == (5, 5)
    monkeypatch.setattr(threads, "in_threads", lambda work, n, beside=None: ["no"] * n)
    assert threads.alone(graphs, y, 3) == (3, 0)


def test_the_table_of_loading_is_that_of_the_file(page):
    for row in pd.read_csv(FOLDER / "reliability_load.csv", dtype=str).to_numpy():
        assert any(line.split() == list(row) for line in page.splitlines())


# -- versions --------------------------------------------------------------------------


def test_the_table_of_versions_is_written_from_the_file(versions, page):
    file = FOLDER / "reliability_versions.csv"
    # No table without the file, which takes hours to write.
    assert file.exists() == (file.name in page)
    if file.exists():
        assert versions.report(pd.read_csv(file, dtype=str)) in page


def test_every_dependency_has_a_lower_bound(versions):
    pinned = versions.lowest()
    assert "numpy==2.0" in pinned
    assert all(line.count("==") == 1 for line in pinned)
    assert not any(line.startswith(versions.TOOLS) for line in pinned)
    # Each extra of users is a part of what the tests need.
    _, extras = versions.declared()
    optional = {
        line
        for name in ("attributions", "files", "optimizers")
        for line in extras[name]
    }
    assert optional <= set(extras["test"])
    assert not optional & set(versions.without_extras())


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("...\n3 passed, 1 skipped in 2.0s", (3, 0, 1)),
        ("1 failed, 2 passed, 4 errors in 2.0s", (2, 5, 0)),
        ("no tests ran in 0.1s", (0, 1, 0)),
        ("", (0, 1, 0)),
    ],
)
def test_outcomes_are_read_from_the_last_line(versions, printed, expected):
    counts = versions.outcomes(printed)
    assert tuple(counts[k] for k in ("passed", "failed", "skipped")) == expected


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("No known vulnerabilities found", (3, 0, 0)),
        ("Found 2 known vulnerabilities in 1 package", (2, 1, 0)),
        ("No known vulnerabilities found\n" + 3 * "could not be audited\n", (0, 0, 3)),
        ("Traceback", (0, 3, 0)),
    ],
)
def test_packages_that_no_service_knows_are_not_clean(
    versions, printed, expected, tmp_path
):
    class Environment:
        def run(self, module, *arguments, cwd):
            return printed

    (tmp_path / "newest.txt").write_text("a==1\nb==1\nc==1\n")
    counts = versions.audit(Environment(), tmp_path)
    assert tuple(counts[k] for k in ("passed", "failed", "skipped")) == expected
