"""The page on early stopping has the figures of its file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"


@pytest.fixture
def bench(script):
    return script("bench_stopping")


def test_the_page_is_written_from_the_file(bench):
    table = bench.report(pd.read_csv(FOLDER / "stopping.csv"))
    assert (FOLDER / "stopping.rst").read_text().endswith(table)


def test_ratios_are_geometric_means_over_seeds(bench):
    rows = [
        ("ESOL", 0, "all", 1.0, 100),
        ("ESOL", 1, "all", 4.0, 100),
        ("ESOL", 0, "best", 2.0, 40),
        ("ESOL", 1, "best", 2.0, 60),
        ("FreeSolv", 0, "all", 1.0, 100),
        ("FreeSolv", 0, "end_equal", 3.0, 80),
    ]
    names = ["set", "seed", "arm", "error", "n_epochs"]
    lines = bench.report(pd.DataFrame(rows, columns=names)).splitlines()
    assert lines[1].split("  ")[-1].strip() == "end_equal"
    free, esol, mean = (line.split("  ") for line in lines[3:6])
    cells = [[c.strip() for c in line if c.strip()] for line in (free, esol, mean)]
    assert cells[0] == ["FreeSolv", "1", "1.000", "-", "3.000 (80)"]
    assert cells[1] == ["ESOL", "2", "2.500", "1.000 (50)", "-"]
    assert cells[2] == ["mean of all", "1.000", "3.000"]


def test_the_best_epoch_is_kept_until_the_patience_is_used_up(bench):
    class Net:
        def __init__(self, losses):
            self.losses, self.module_ = losses, self

        @property
        def history(self):
            return self

        def __len__(self):
            return len(self.losses)

        def __getitem__(self, key):
            return self.losses[-1]

        def state_dict(self):
            return {"epoch": len(self)}

    losses = [3.0, 2.0, *np.full(9, 2.5), 2.4, 1.0]
    watch = bench.Watch()
    for n in range(1, len(losses) + 1):
        watch.on_epoch_end(Net(losses[:n]))
    assert (watch.best, watch.stopped, watch.weights) == (2, 12, {"epoch": 2})
