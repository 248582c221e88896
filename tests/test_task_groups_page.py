"""The page on groups of tasks has the table of its file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@pytest.fixture
def bench(script):
    yield script("bench_task_groups")
    sys.modules.pop("bench_task_groups", None)


def test_the_table_is_written_from_the_file(bench):
    rows = pd.read_csv(DOCS / "task_groups.csv")
    assert bench.report(rows) in (DOCS / "task_groups.rst").read_text()


def test_changes_are_means_over_tasks_of_means_over_seeds(bench):
    rows = pd.DataFrame(
        {
            "set": "s",
            "seed": [0, 0, 1, 1],
            "task": ["a", "b", "a", "b"],
            "group": [0, 1, 0, 0],
            "grouped": [0.9, 1.0, 1.1, 0.8],
            "together": 1.0,
            "alone": 2.0,
            "seconds": 60.0,
        }
    )
    # Task a: -10 and +10 %, task b: 0 and -20 %.
    text = bench.report(rows)
    assert "-5.0 %" in text
    assert f"{100 * (np.mean([0.45, 0.5, 0.55, 0.4]) - 1):+.1f} %" in text
    assert "2 1" in text
