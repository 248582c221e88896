"""The page on censored labels has the figures of its file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "docs/benchmarks"
TASKS = {"human": "LOG HLM_CLint (mL/min/kg)", "rat": "LOG RLM_CLint (mL/min/kg)"}


@pytest.fixture(scope="module")
def runs(request):
    table = pd.read_csv(FOLDER / getattr(request, "param", "censored.csv"))
    squares = table["n_above"] * table["above"] ** 2
    squares += table["n_below"] * table["below"].fillna(0.0) ** 2
    known = table["n_above"] + table["n_below"]
    return table.assign(both=np.sqrt(squares / known))


def figures(runs, floor, task, treatment, score):
    """Mean over three seeds; mean, lowest and highest ratio to exact labels."""
    rows = runs[(runs["floor"] == floor) & (runs["task"] == TASKS[task])]
    table = rows.pivot(index="seed", columns="treatment", values=score)
    assert len(table) == 3
    ratios = table[treatment] / table["exact"]
    of_ratio = [ratios.mean(), ratios.min(), ratios.max()]
    return table[treatment].mean(), [1.0] if treatment == "exact" else of_ratio


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("treatment", ["exact", "drop", "bound"])
def test_both_tables(runs, task, treatment):
    page = (FOLDER / "censored.rst").read_text()
    real, raised = re.findall(rf"^{task} .*\b{treatment}\b.*$", page, re.M)
    numbers = [float(x) for x in re.findall(r"\d+\.?\d*", real)][1:]
    above, of_above = figures(runs, "real", task, treatment, "above")
    excess, of_excess = figures(runs, "real", task, treatment, "excess")
    np.testing.assert_allclose(
        numbers, [above, *of_above, excess, *of_excess], atol=5.1e-4
    )
    numbers = [float(x) for x in re.findall(r"\d+\.?\d*", raised)]
    above, below = (
        figures(runs, "median", task, treatment, score)[0]
        for score in ("above", "below")
    )
    both, of_both = figures(runs, "median", task, treatment, "both")
    np.testing.assert_allclose(numbers, [above, below, both, *of_both], atol=5.1e-4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("treatment", ["exact", "drop"])
@pytest.mark.parametrize("runs", ["censored_trees.csv"], indirect=True)
def test_the_table_of_trees(runs, task, treatment):
    page = (FOLDER / "censored.rst").read_text()
    (row,) = re.findall(rf"^trees, {task} .*\b{treatment}\b.*$", page, re.M)
    numbers = [float(x) for x in re.findall(r"\d+\.?\d*", row)]
    above, below = (
        figures(runs, "median", task, treatment, score)[0]
        for score in ("above", "below")
    )
    both, of_both = figures(runs, "median", task, treatment, "both")
    np.testing.assert_allclose(numbers, [above, below, both, *of_both], atol=5.1e-4)
