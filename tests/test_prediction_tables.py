"""The page on prediction says what the rows of the benchmark say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "prediction.rst"


@pytest.fixture
def tables(script):
    return script("prediction_tables")


@pytest.fixture
def bench(script):
    return script("bench_prediction")


def rows_of(errors):
    """Rows with known errors, from {(set, seed): {model: error}}."""
    common = {"split": "random", "unit": "K", "n_train": 80, "n_test": 20}
    times = {"fit_seconds": 2.0, "predict_seconds_10000": 1.0, "peak_mb": 400}
    return pd.DataFrame(
        [
            {"set": name, "seed": seed, "model": model, "error": error}
            | common
            | times
            | {"tasks": "{}"}
            for (name, seed), models in errors.items()
            for model, error in models.items()
        ]
    )


ROWS = rows_of(
    {
        ("A", 0): {"trees": 2.0, "boosting": 4.0, "hybrid": 1.0, "chemprop": 4.0},
        ("A", 1): {"trees": 2.0, "boosting": 1.0, "hybrid": 1.0},
        ("B", 0): {"trees": 9.0, "boosting": 4.0, "hybrid": 8.0},
    }
)


def test_peers_are_chosen_per_set_and_compared_on_common_seeds(tables):
    table = tables.geometric_means(ROWS)
    # A: 1 / 2 against trees; B: 8 / 4 against boosting.
    assert table.loc["hybrid", "/ the better of trees and boosting"] == "1.00 (2)"
    assert table.loc["trees", "/ the better of trees and boosting"] == "1.50 (2)"
    # chemprop has one seed of A, where the hybrid has 1 of its 4.
    assert table.loc["hybrid", "/ chemprop"] == "0.25 (1)"
    assert table.loc["boosting", "/ chemprop"] == "1.00 (1)"
    assert "/ chemprop5" not in table


def test_spread_and_ratios_of_the_hybrid(tables):
    assert tables.spread(ROWS).loc["boosting", "A"] == "2.500 ± 2.121 (2)"
    assert tables.spread(ROWS).loc["chemprop", "B"] == ""
    ratios = tables.against_hybrid(ROWS)
    assert ratios.loc["A"].tolist() == ["0.50 \\*", "0.40", "0.25"]
    assert ratios.loc["B"].tolist() == ["0.89", "2.00", ""]


def test_missing_runs_are_listed(tables):
    expected = {"A": ["trees", "forest"], "B": ["trees"], "C": ["trees"]}
    assert list(tables.missing(ROWS, expected)) == [
        "* Random folds of C.",
        "* Of five seeds, random folds of A lack: trees (3), forest (5).",
        "* Of five seeds, random folds of B lack: trees (4).",
        "* Scaffold folds of A, B, C.",
    ]


def test_a_wide_table_is_cut_into_parts_with_the_names_of_the_rows(tables):
    table = pd.DataFrame({c * 40: ["", "x"] for c in "abc"}, index=["m", "n"])
    text = tables.grid(table, "model")
    assert text.count("model") == 2
    assert max(map(len, text.splitlines())) <= tables.WIDTH
    assert text.count("..") == 3


def test_the_page_is_made_of_the_file(bench):
    scores = pd.read_csv(PAGE.with_suffix(".csv"))
    expected = {name: bench.expected(name) for name in bench.SETS}
    assert PAGE.read_text().endswith(bench.report(scores, expected))
    assert not scores.duplicated(bench.KEY).any()


@pytest.mark.parametrize("classifier", [False, True])
def test_errors_are_those_of_the_labelled_rows(bench, classifier):
    source = bench.Source(None, bench.SCALED, classifier=classifier)
    y = pd.DataFrame({"a": [0.0, 1, 1, 0, np.nan], "b": [1.0, 0, np.nan, np.nan, 0]})
    problem = bench.Problem(None, y, source)
    found = bench.errors_of(np.full((5, 2), 0.5), y, problem)
    a, b = 0.5 / y.std()
    np.testing.assert_allclose(found, [0.5, 0.5] if classifier else [a, b])


def test_seeds_are_the_five_folds_of_one_partition(bench):
    X = pd.Series(["C" * (k + 1) for k in range(20)])
    y = pd.DataFrame({"a": np.arange(20.0)})
    problem = bench.Problem(X, y, bench.SETS["ESOL"])
    tested = [bench.split_rows(problem, "random", seed)[1] for seed in range(5)]
    assert sorted(np.concatenate(tested)) == list(range(20))
