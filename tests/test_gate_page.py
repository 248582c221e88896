"""The page on GATE has the figures of its files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@pytest.fixture
def tables(script):
    return script("gate_tables")


@pytest.fixture
def bench(script):
    return script("bench_gate_wide")


def test_the_tables_are_written_from_the_files(tables):
    page = (FOLDER / "gate.rst").read_text()
    assert [name for name, text in tables.tables().items() if text not in page] == []


def test_intervals_are_those_of_students_t(tables):
    # t of 95 % with three degrees of freedom is 3.182; the standard error is 1 / sqrt 3
    # times sqrt 5 / 2.
    mean, low, high = tables.interval(pd.Series([1.0, 2.0, 3.0, 4.0]))
    half = 3.182446 * np.sqrt(5 / 3) / 2
    assert (mean, low, high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))


def test_changes_are_averaged_over_the_tasks_and_seeds_of_a_fold(tables):
    cells = [(f, s, t) for f in (0, 1) for s in (0, 1) for t in ("a", "b")]
    runs = pd.DataFrame(cells, columns=["fold", "seed", "target"])
    ours = [1.1, 1.1, 0.9, 0.9, 1.2, 1.2, 1.2, 1.6]
    runs = pd.concat(
        [runs.assign(method="plain", error=1.0), runs.assign(method="m", error=ours)]
    )
    found = tables.against(runs, "plain", ["plain", "m"])
    # Folds have 0 and 30 %; t with one degree of freedom is 12.7062.
    half = 12.7062 * 30 / np.sqrt(2) / np.sqrt(2)
    assert found == {"m": f"+15.0 ({15 - half:+.1f} to {15 + half:+.1f}), 25"}


def test_false_hits_are_added_up_over_conjunctions(tables):
    rows = pd.DataFrame(
        {
            "method": ["m", "m"],
            "fold": [0, 0],
            "hits": [10, 30],
            "predicted": [8, 12],
            "found": [6, 9],
            "found_first": [7, 13],
            "predicted_shuffled": [9.0, 15.0],
            "found_shuffled": [6.0, 8.0],
        }
    )
    scores = tables.totals(rows).loc[("m", 0)]
    assert scores["precision"] == pytest.approx(75)
    assert scores["recall"] == pytest.approx(37.5)
    assert scores["found_first"] == pytest.approx(50)
    assert scores["false"] == 5
    assert scores["dependence"] == pytest.approx(-50)


def test_exchanged_errors_keep_the_accuracy_of_each_task(bench):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200, 2))
    shared = rng.normal(size=200)
    predictions = truth + np.column_stack([shared, shared])
    other = bench.exchanged(truth, predictions, rng)
    errors = other - truth
    for column in errors.T:
        assert sorted(column) == pytest.approx(sorted(shared))
    assert abs(np.corrcoef(errors.T)[0, 1]) < 0.3  # it was 1
    # Errors that are the labels tell whose they were: of nearly the same label.
    moved = bench.exchanged(truth, 2 * truth, rng)[:, 0] - truth[:, 0]
    ranks = np.searchsorted(np.sort(truth[:, 0]), moved - 1e-9)
    distance = abs(ranks - np.argsort(np.argsort(truth[:, 0])))
    assert 0 < distance.max() < bench.BLOCK


def test_a_conjunction_counts_hits_by_all_criteria(bench):
    y = pd.DataFrame({"a": np.arange(10.0), "b": np.arange(10.0)})
    drawn = bench.Conjunction(("a", "b"), (0.5, 0.5), (True, False))
    criteria = drawn.criteria(y)
    assert criteria == {"a": (4.5, None), "b": (None, 4.5)}
    truth = pd.DataFrame({"a": [5.0, 6.0, 4.0], "b": [4.0, 1.0, np.nan]})
    guess = pd.DataFrame({"a": [5.0, 4.0, 9.0], "b": [4.4, 0.0, 0.0]})
    scale = pd.Series({"a": 1.0, "b": 2.0})
    limits = [*criteria.values()], scale.to_numpy()
    margins = bench.margin(guess.to_numpy(), *limits)
    assert margins == pytest.approx([0.05, -0.5, 2.25])
    n_rows, n_hits, n_predicted, n_found, n_first, *_ = bench.counts(
        truth, guess, criteria, scale, 0
    )
    assert (n_rows, n_hits, n_predicted, n_found, n_first) == (2, 2, 1, 1, 2)
