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


@pytest.fixture
def again(script):
    return script("bench_auxiliary_again")


@pytest.mark.parametrize("over", ["FT", "base"])
def test_gains_of_fresh_seeds_are_those_of_the_file(page, again, over):
    runs = pd.read_csv(FOLDER / "auxiliary_again.csv")
    runs = runs[runs["seed"].isin(range(2, 7))]
    # The last seed of this arm is incomplete, as the page says.
    runs = runs[(runs["arm"] != "joint, no numbers") | (runs["seed"] < 6)]
    gain = again.gains(runs, "test", over)
    validation = again.gains(runs, "valid", over)
    arms = ["joint, in time", "GNS, in time"]
    if over == "FT":
        arms = ["FT, 1.3 x", "base", *arms, "joint, no numbers"]
    for arm in arms:
        row, checked = again.overall(gain[arm]), again.overall(validation[arm])
        cells = [
            f"{row['gain %']:+.1f} ± {row['+-']:.1f}",
            f"{row['wins']} of {row['runs']}",
            f"{row['best']:+.1f}, {row['worst']:+.1f}",
            f"{checked['gain %']:+.1f} ± {checked['+-']:.1f}",
        ]
        lines = [line for line in page.splitlines() if line.startswith(f"{arm}  ")]
        assert any(all(cell in line for cell in cells) for line in lines), (arm, cells)
    if over == "FT":
        for name, row in again.per_set(gain, arms).iterrows():
            cells = [cell for cell in row if isinstance(cell, str)]
            lines = [line for line in page.splitlines() if cells[0] in line]
            assert any(all(c in line for c in cells) for line in lines), (name, cells)
