"""The page on optimizers has the figures of its file."""

import json
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import sem, ttest_1samp

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@pytest.fixture
def bench(script):
    return script("bench_optimizers")


def test_the_page_is_written_from_the_file(bench):
    table = bench.report(pd.read_csv(FOLDER / "optimizers.csv"))
    assert (FOLDER / "optimizers.rst").read_text().endswith(table)


def test_cells_are_compared_with_the_reference_seed_by_seed(bench):
    rows = []  # seed 0 chooses the rate
    for seed, scale in ((0, 1.0), (2, 1.0), (3, 3.0)):
        for optimizer, errors, traces in (
            ("adamw", [1.0, 2.0], [1.0, 4.0]),
            ("muon", [0.5, 2.0], [2.0, 8.0]),
        ):
            errors = [scale * error for error in errors]
            rows.append(
                {
                    **dict(
                        zip(bench.CELL, ("d", 9, 1.0, optimizer, "equal"), strict=True)
                    ),
                    **{"rate": 0.1, "seed": seed, "epochs": 4, "ms_per_step": 2.0},
                    "test": 1.0,
                    "test_by_task": json.dumps(dict(zip("ab", errors, strict=True))),
                    "ggn_traces": json.dumps(traces),
                    "ggn_largest": json.dumps([1.0, 1.0]),
                }
            )
    table = bench.summary(pd.DataFrame(rows))
    assert list(table.index) == [("adamw", "equal"), ("muon", "equal")]
    # Half the error of one of two tasks, in both fresh seeds.
    assert table["change"].tolist() == pytest.approx([0.0, -25.0])
    assert table["se"].tolist() == pytest.approx([0.0, 0.0])
    assert table["rank"].tolist() == pytest.approx([1.75, 1.25])
    assert table["ggn_traces"].tolist() == pytest.approx([1.0, 2.0])
    assert table["ggn_largest"].tolist() == pytest.approx([1.0, 1.0])


def test_cells_of_all_sets_are_tested_over_all_seeds(bench):
    # Errors of the only task over those of the reference, by set and seed.
    ratios = {("d", 2): 0.9, ("d", 3): 0.8, ("e", 2): 1.0, ("e", 3): 0.9}
    errors = {("soap", *key): ratio for key, ratio in ratios.items()}
    errors |= {("adamw", *key): 1.0 for key in ratios}
    errors |= {("soap", "e", 4): 9.0}  # without the reference
    errors |= {("muon", "d", 2): 0.1, ("muon", "d", 3): 0.1}  # not in all sets
    keys = ["optimizer", "data", "seed"]
    runs = pd.DataFrame(list(errors), columns=keys).assign(weighting="equal", test=1.0)
    runs["test_by_task"] = [json.dumps({"a": error}) for error in errors.values()]
    table = bench.overall(runs)
    assert list(table.index) == [("soap", "equal")]
    found = table.iloc[0]
    changes = [-10.0, -20.0, 0.0, -10.0]
    assert found["change"] == pytest.approx(-10.0)
    assert found["se"] == pytest.approx(sem(changes))
    assert found["p"] == pytest.approx(ttest_1samp(changes, 0.0).pvalue)
    assert found["worst"] == pytest.approx(-5.0)
