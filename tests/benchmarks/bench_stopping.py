"""What early stopping costs, and where from; passes over tables of many rows.

    python tests/benchmarks/bench_stopping.py --data-home FOLDER [--sets FreeSolv ...]
        [--seeds 0 1 2] [--arms all held ...] [--minutes 60] [--report]

A row of the CSV file is one fit of the regressor with ``readout="sum"``, untouched but
for what its arm says.
Runs that the file holds are not repeated, and none begins after ``--minutes``. Seed k
is fold k of five random folds and the ``random_state``; all arms of a seed validate on
rows of the same size. ``--report`` writes the tables of
``docs/benchmarks/stopping.rst`` from the file.

========== =========================================================================
all        no early stopping, all rows
held       a tenth of the rows is held back and not used: the last of all epochs
best       the same training, stopped after 10 epochs without a better validation
           loss: its best epoch
average    as "best", of the exponential average of the weights
refit      all rows, for as many epochs as "best" ran
end_*      ``early_stopping=True``, whose end with all rows takes a quarter of the
           epochs before it, a half, or as many
passes100  ``max_epochs=100`` where "auto" gives fewer
========== =========================================================================
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from bench_prediction import SETS, Problem, errors_of, read, split_rows
from sklearn.model_selection import ShuffleSplit
from skorch.callbacks import Callback

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.training import _options

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
KEY = ["set", "seed", "arm"]
COLUMNS = [*KEY, "error", "unit", "n_train", "n_test", "n_epochs", "best_epoch"]
COLUMNS += ["fit_seconds"]
PATIENCE = 10
# Length of the end, as a share of the epochs before it.
ENDS = {"end_quarter": 0.25, "end_half": 0.5, "end_equal": 1.0}
SETS["QM8 (10,000)"] = SETS["QM8"]._replace(n_rows=10_000)


class Run(NamedTuple):
    """Predictions of the test rows, epochs run, and the epoch of the weights."""

    predictions: np.ndarray
    n_epochs: int
    best_epoch: int


class Table(NamedTuple):
    """Rows of a fold."""

    X: Any
    y: np.ndarray
    X_test: Any
    seed: int


def network(table: Table, **changes: Any) -> MultiTaskGNNRegressor:
    """Make the regressor with few changes."""
    # The default when the first rows were measured; all rows must have the same.
    return MultiTaskGNNRegressor(readout="sum", random_state=table.seed, **changes)


def fitted(table: Table, **changes: Any) -> Run:
    """Train, and predict the test rows."""
    model = network(table, **changes).fit(table.X, table.y)
    found = model.predict(table.X_test).reshape(len(table.X_test), -1)
    return Run(found, len(model.history_), model.best_epoch_)


# %% Stopped trainings


class Watch(Callback):
    """Note the epoch at which a training would stop, and the weights of its best."""

    def __init__(self) -> None:
        self.least, self.best, self.weights = np.inf, 0, None
        self.stopped: int | None = None

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare an epoch with the best one."""
        epoch, loss = len(net.history), net.history[-1, "valid_loss"]
        if self.stopped is not None:
            return
        if loss < self.least:
            self.least, self.best = loss, epoch
            self.weights = copy.deepcopy(net.module_.state_dict())
        elif epoch - self.best == PATIENCE:
            self.stopped = epoch


def watched(table: Table, **changes: Any) -> dict[str, Run]:
    """Train without a tenth of the rows; give the last and the best epoch."""
    # A splitter, because its rows validate without early stopping, too.
    split, watch = ShuffleSplit(1, test_size=0.1, random_state=table.seed), Watch()
    model = network(table, validation=split, callbacks=[watch], **changes)
    model.fit(table.X, table.y)
    n_epochs = len(model.history_)
    found = []
    for weights in (model.module_.state_dict(), watch.weights):
        model.module_.load_state_dict(weights)
        found.append(model.predict(table.X_test).reshape(len(table.X_test), -1))
    stopped = watch.stopped or n_epochs
    return {
        "held": Run(found[0], n_epochs, n_epochs),
        "best": Run(found[1], stopped, watch.best),
    }


def ending(share: float) -> Callable[[Study, str, Table], dict[str, Run]]:
    """Make an arm of early stopping whose end has this length."""

    def run(study: Study, name: str, table: Table) -> dict[str, Run]:
        _options._END_SHARE = share
        arm = next(arm for arm, value in ENDS.items() if value == share)
        return {arm: fitted(table, early_stopping=True)}

    return run


def refit(study: Study, name: str, table: Table) -> dict[str, Run]:
    """Train on all rows for as many epochs as the stopped training ran."""
    n_epochs = study.epochs(name, table.seed, "best")
    return {"refit": fitted(table, max_epochs=n_epochs)}


def average(study: Study, name: str, table: Table) -> dict[str, Run]:
    """Stop the exponential average of the weights."""
    return {"average": watched(table, weight_averaging="ema")["best"]}


# An arm may come with others, of the same training.
ARMS: dict[str, Callable[[Study, str, Table], dict[str, Run]]] = {
    "all": lambda study, name, table: {"all": fitted(table)},
    "held": lambda study, name, table: watched(table),
    "best": lambda study, name, table: watched(table),
    "average": average,
    "refit": refit,
    **{arm: ending(share) for arm, share in ENDS.items()},
    "passes100": lambda study, name, table: {
        "passes100": fitted(table, max_epochs=100)
    },
}

# %% Runs


@cache
def featurised(name: str, data_home: Path) -> tuple[Problem, Any]:
    """Read a set as graphs."""
    problem = read(name, data_home)
    return problem, SmilesToGraph().fit_transform(problem.X)


class Study:
    """Runs that are kept in a file."""

    def __init__(self, out: Path, data_home: Path) -> None:
        self.out, self.data_home = out, data_home

    def table(self) -> pd.DataFrame:
        """Read the file."""
        return pd.read_csv(self.out) if self.out.exists() else pd.DataFrame(columns=KEY)

    def done(self) -> set[tuple[str, int, str]]:
        """Keys of the runs in the file."""
        return set(self.table()[KEY].itertuples(index=False, name=None))

    def epochs(self, name: str, seed: int, arm: str) -> int:
        """Find how long a training was."""
        rows = self.table().set_index(KEY)["n_epochs"]
        return int(rows[name, seed, arm])

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows to the file."""
        new = not self.out.exists()
        frame[COLUMNS].to_csv(self.out, mode="a", header=new, index=False)

    def record(self, name: str, seed: int, arm: str) -> None:
        """Run an arm and add its rows to the file."""
        problem, graphs = featurised(name, self.data_home)
        train, test = split_rows(problem, "random", seed)
        table = Table(graphs[train], problem.y.to_numpy()[train], graphs[test], seed)
        start = time.process_time()
        runs = ARMS[arm](self, name, table)
        seconds = round(time.process_time() - start, 2)
        rows = []
        for label, run in runs.items():
            errors = errors_of(run.predictions, problem.y.iloc[test], problem)
            error = round(float(np.nanmean(errors)), 5)
            sizes = [problem.source.unit, len(train), len(test)]
            key = [name, seed, label]
            rows.append([*key, error, *sizes, run.n_epochs, run.best_epoch, seconds])
            print(*rows[-1], flush=True)
        self.add(pd.DataFrame(rows, columns=COLUMNS))


def report(table: pd.DataFrame) -> str:
    """Write the ratios to no early stopping as a table."""
    errors = table.pivot(index=["set", "seed"], columns="arm", values="error")
    epochs = table.pivot(index=["set", "seed"], columns="arm", values="n_epochs")
    arms = [arm for arm in ARMS if arm in errors and arm != "all"]
    lines = [["set", "seeds", "all: error", *arms]]
    for name in [name for name in SETS if name in errors.index.get_level_values(0)]:
        part, passes = errors.loc[name], epochs.loc[name]
        line = [name, str(len(part)), f"{part['all'].mean():.3f}"]
        for arm in arms:
            ratio = np.exp(np.log(part[arm] / part["all"]).mean())
            run = f"{ratio:.3f} ({passes[arm].mean():.0f})"
            line.append(run if np.isfinite(ratio) else "-")
        lines.append(line)
    means = np.exp(np.log(errors[arms].div(errors["all"], axis=0)).mean())
    lines.append(["mean of all", "", "", *(f"{mean:.3f}" for mean in means)])
    return aligned(lines)


def aligned(lines: list[list[str]]) -> str:
    """Write a simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    lines_of_table = [rule, rows[0], rule, *rows[1:], rule]
    return "\n".join(line.rstrip() for line in lines_of_table) + "\n"


def write_report(out: Path, page: Path) -> None:
    """Replace what stands below the mark of the page."""
    mark = ".. tables of bench_stopping.py --report\n\n"
    head, _, _ = page.read_text().partition(mark)
    page.write_text(head + mark + report(pd.read_csv(out)))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS / "stopping.csv")
    parser.add_argument("--sets", nargs="+", default=["FreeSolv", "ESOL"])
    parser.add_argument("--seeds", type=int, nargs="+", default=range(3))
    parser.add_argument("--arms", nargs="+", default=list(ARMS)[:-1], choices=ARMS)
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        write_report(options.out, DOCS / "stopping.rst")
        return
    torch.set_num_threads(1)
    study = Study(options.out, options.data_home)
    end = time.monotonic() + 60 * options.minutes
    for seed in options.seeds:
        for name in options.sets:
            for arm in options.arms:
                if (name, seed, arm) not in study.done() and time.monotonic() < end:
                    study.record(name, seed, arm)


if __name__ == "__main__":
    main()
