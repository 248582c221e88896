"""The page on confidence says what the rows of the benchmark say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@pytest.fixture
def tables(script):
    return script("confidence_tables")


def rows_of(tables, covered):
    """Rows with known coverages, from {(model, conformal, seed): shares of tasks}."""
    other = dict.fromkeys(tables.SCORES, 1.0)
    return pd.DataFrame(
        [
            {"set": "ESOL", "split": "random", "seed": seed, "model": model}
            | {"conformal": conformal, **other}
            | {"coverage_90": np.mean(shares), "tasks_90": str(shares)}
            for (model, conformal, seed), shares in covered.items()
        ]
    )


def test_the_page_is_made_of_the_file(tables):
    rows = pd.read_csv(FOLDER / "confidence.csv")
    assert (FOLDER / "confidence.rst").read_text().endswith(tables.report(rows))


def test_scores_are_means_over_seeds(tables):
    covered = {
        ("laplace", "no", 0): [0.8, 0.9],
        ("laplace", "no", 1): [0.9, 1.0],
        ("laplace", "yes", 0): [0.9, 0.9],
    }
    text = tables.report(rows_of(tables, covered))
    part = text.split("90 % intervals, %")[1].split("95 %")[0]
    assert "laplace             90.0 ± 7.1 (2)" in part
    assert "laplace, conformal  90.0 (1)" in part


def test_tasks_count_by_the_mean_of_their_seeds(tables):
    covered = {
        ("laplace", "no", 0): [0.8, 0.9, 0.5],
        ("laplace", "no", 1): [1.0, 0.9, 0.5],
    }
    counts = tables.tasks_within(rows_of(tables, covered))
    assert counts.loc["laplace"].tolist() == ["67 % of 3", "0.767"]
