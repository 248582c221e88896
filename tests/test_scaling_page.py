"""The page on scaling has the figures of its file, and of its formula."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def bench(script):
    return script("bench_scaling")


def test_the_page_is_written_from_the_file(bench):
    figures = bench.report(pd.read_csv(bench.OUT), bench.ROWS)
    assert figures in (DOCS / "guide" / "cluster.rst").read_text()


def made_up(n_rows=256, repeats=3):
    """Epochs of 1 ms per step and 0.1 ms per graph, twice as fast in two processes."""
    rows = []
    for repeat in range(repeats):
        # A machine that is slow for a while is slow for both.
        busy = 1 + 5 * (repeat == 1)
        for size in (64, 256):
            one = n_rows / size * 1e-3 + n_rows * 1e-4
            rows.append(("epoch", "equal", size, 1, repeat, busy * one, one))
            rows.append(("epoch", "equal", size, 2, repeat, busy * one / 2, one / 2))
        for size in (100, 4_000_000):
            seconds = busy * (1e-3 + 1e-9 * size)
            rows.append(("message", "", size, 2, repeat, seconds, 0.0))
    return rows


def test_parts_are_those_that_were_put_in(bench):
    table = pd.DataFrame(made_up(), columns=bench.COLUMNS)
    found = bench.parts(table, 256)
    np.testing.assert_allclose(found["steps"]["equal"], [1e-3, 1e-4])
    assert found["latency"] == pytest.approx(1e-3, rel=1e-3)
    assert found["per_number"] == pytest.approx(1e-9, rel=1e-3)
    epochs = bench.measured(table)
    np.testing.assert_allclose(epochs.speed, 2.0)
    np.testing.assert_allclose(epochs.cpu_ratio, 0.5)


def test_a_step_is_that_of_the_formula(bench):
    steps = {"equal": (1e-3, 1e-4), "nashmtl": (1e-3, 1e-4)}
    found = {"steps": steps, "latency": 1e-3, "per_number": 1e-9}
    assert bench.step_seconds(found, "equal", 65, 1) == pytest.approx(7.5e-3)
    p, t, heads = bench.N_SHARED + bench.N_HEADS, bench.N_TASKS, bench.N_HEADS
    for n in (2, 8):
        share = 2 * (n - 1) / n * 1e-9
        local = 1e-3 + 1e-4 * np.ceil(65 / n)
        plain = local + 4 * (n - 1) * 1e-3 + share * (p + 3 * t)
        assert bench.step_seconds(found, "equal", 65, n) == pytest.approx(plain)
        numbers = t * bench.N_SHARED + heads + 3 * t
        gradients = local + 5 * (n - 1) * 1e-3 + share * numbers
        assert bench.step_seconds(found, "nashmtl", 65, n) == pytest.approx(gradients)
