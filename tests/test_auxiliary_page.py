"""The page on auxiliary learning has the figures of its files."""

from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@pytest.fixture
def page():
    return (FOLDER / "auxiliary.rst").read_text()


def test_tables_of_derivatives_are_written_from_their_files(page, script):
    for table in script("bench_bilevel").report(FOLDER):
        assert table in page


def test_ratios_of_steps_are_those_of_the_file(page):
    """A line of a table names a step and has its ratio for each encoder."""
    costs = pd.read_csv(FOLDER / "auxiliary.csv").set_index(["encoder", "step"])
    ratios = costs["over fine-tuning"]
    for step in ("MTL", "GCS", "GNS", "AnchoredPCGrad", "GNS every 3"):
        cells = [f"{ratios[encoder, step]:.1f}" for encoder in ("GCN", "GIN")]
        assert any(
            line.split()[-2:] == cells and step.split()[0] in line
            for line in page.splitlines()
        ), step
    for step in ratios["GCN"].index[ratios["GCN"].index.str.startswith("outer")]:
        cells = [f"{ratios[encoder, step]:.1f}" for encoder in ("GCN", "GIN")]
        assert any(line.split()[-2:] == cells for line in page.splitlines()), step
