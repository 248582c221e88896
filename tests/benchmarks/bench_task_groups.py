"""Errors of models of suggested groups of tasks, of all tasks, and of single tasks.

    python tests/benchmarks/bench_task_groups.py --data-home FOLDER [--sets physchem]
        [--seeds 0 1 2] [--epochs 20] [--minutes 60] [--report]

Sets and networks are those of ``bench_prediction.py``, and "Materials Project" are the
four properties of ``bench_weighting_accuracy.py``. For each set and seed
``suggest_task_groups`` chooses groups by trial fits, and compares them on a fifth of
the rows that no trial has seen. A row of the CSV file is one task of one run. Runs that
the file holds are not repeated, and none begins after ``--minutes``. ``--report``
prints the table of ``docs/benchmarks/task_groups.rst``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_prediction import DOCS, SCALED, SETS, Source, network, read_source
from bench_weighting_accuracy import crystals
from prediction_tables import grid
from scipy.stats import ttest_1samp

from skgnn_mtl.model_selection import suggest_task_groups

KEY = ["set", "seed", "n_epochs", "n_trials"]


def materials_project(data_home: Path, **_: Any) -> tuple[pd.Series, pd.DataFrame]:
    """Read crystals with a formation energy, a band gap or moduli."""
    return crystals(data_home)


TABLES = {**SETS, "Materials Project": Source(materials_project, SCALED, crystals=True)}


def record(name: str, seed: int, options: argparse.Namespace) -> None:
    """Run one set and seed, and add a row for each task."""
    problem = read_source(TABLES[name], options.data_home)
    model = network(problem, seed)
    model[-1].set_params(max_epochs=options.epochs, n_threads=1)
    X, y = problem.X.reset_index(drop=True), problem.y.reset_index(drop=True)
    keep = np.random.default_rng(0).permutation(len(X))[: options.rows]
    X, y = X.iloc[keep], y.iloc[keep]
    start = time.process_time()
    found = suggest_task_groups(model, X, y, n_trials=options.trials, random_state=seed)
    seconds = time.process_time() - start
    group_of = {task: k for k, group in enumerate(found.groups) for task in group}
    rows = found.errors.rename_axis("task").reset_index()
    rows = rows.assign(
        set=name,
        seed=seed,
        n_epochs=options.epochs,
        n_trials=options.trials,
        n_rows=len(X),
        group=rows["task"].map(group_of),
        n_labels=rows["task"].map(y.notna().sum()),
        seconds=round(seconds, 1),
        effects=[json.dumps(np.round(row, 3).tolist()) for row in found.effects.values],
    )
    columns = [
        *KEY,
        *("n_rows", "task", "n_labels", "group", "grouped", "together", "alone"),
        *("seconds", "effects"),
    ]
    rows[columns].to_csv(
        options.out, mode="a", header=not options.out.exists(), index=False
    )
    print(name, seed, found.groups, found.changes().round(2).to_dict(), flush=True)


def report(rows: pd.DataFrame) -> str:
    """Write mean changes over tasks and seeds, and how sure they are."""
    lines = {}
    for name, part in rows.groupby("set", sort=False):
        cells = {
            "tasks": str(part["task"].nunique()),
            "seeds": str(part["seed"].nunique()),
            "groups": " ".join(
                str(n) for n in part.groupby("seed")["group"].nunique().tolist()
            ),
        }
        pairs = {
            "grouped / together": ("grouped", "together"),
            "grouped / alone": ("grouped", "alone"),
            "together / alone": ("together", "alone"),
        }
        for title, (one, other) in pairs.items():
            # One number for each task, because its seeds have rows in common.
            change = 100 * (part[one] / part[other] - 1)
            by_task = change.groupby(part["task"]).mean().dropna()
            p = ttest_1samp(by_task, 0.0).pvalue if np.ptp(by_task) else np.nan
            cells[title] = f"{by_task.mean():+.1f} % (p {p:.2f})"
        cells["CPU minutes"] = (
            f"{part.groupby('seed')['seconds'].first().mean() / 60:.0f}"
        )
        lines[name] = cells
    return grid(pd.DataFrame(lines).T, "set")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS / "task_groups.csv")
    parser.add_argument("--sets", nargs="+", default=["physchem"], choices=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trials", type=int, default=22)
    parser.add_argument("--rows", type=int, default=2000, help="most rows of a set")
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        print(report(pd.read_csv(options.out)))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    end = time.monotonic() + 60 * options.minutes
    for seed in options.seeds:
        for name in options.sets:
            key = (name, seed, options.epochs, options.trials)
            if time.monotonic() > end:
                return
            if options.out.exists():
                done = pd.read_csv(options.out)[KEY]
                if key in set(done.itertuples(index=False, name=None)):
                    continue
            record(name, seed, options)


if __name__ == "__main__":
    main()
