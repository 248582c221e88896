"""Optimizers and task weightings at equal processor time: errors, costs, curvature.

    python tests/benchmarks/bench_optimizers.py --out FILE.csv --data physchem
    python tests/benchmarks/bench_optimizers.py --out FILE.csv --report

A cell is an optimizer with a task weighting. Every training of every cell has the same
processor time (``--seconds``): the epochs follow from the seconds of an epoch, which
the first training of a cell finds out, and the learning rate falls to zero over them.
Seeds 0 and 1 try all learning rates, and the other seeds use the one with the best
mean validation error there. They also get the traces and the largest eigenvalues of
each task's Gauss-Newton matrix at the end. ``--seeds 12`` gives the cells named five
seeds more, for those that were chosen by the first five. A run is one row; runs that
the file holds are not repeated, so that the study can be stopped and resumed, and
``--minutes`` bounds what one call may take. The report compares each cell with AdamW
and equal weights, seed by seed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_weighting_accuracy import DATA, regressor, split
from scipy.stats import ttest_1samp

from skgnn_mtl import CifToGraph, SmilesToGraph
from skgnn_mtl import weighting as w
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.metrics import delta_m, mean_rank, nan_mean_absolute_error


class Ones(w.GramianWeighting):
    """Equal weights as a method on gradients, which can have an adaptive momentum."""

    def forward(self, gramian: torch.Tensor) -> torch.Tensor:
        """Weigh all tasks alike."""
        return torch.ones_like(gramian[0])


OPTIMIZERS = ("adamw", "muon", "soap", "sam", "samo")
WEIGHTINGS: dict[str, Callable] = {
    "equal": w.Equal,
    "scale-invariant": w.ScaleInvariant,
    "famo": w.FAMO,
    "fairgrad/z": lambda: w.FairGrad(alpha=2, gradients="representation"),
    "ntkmtl-sr": w.NTKMTLSR,
    "upgrad": w.UPGrad,
    "curvature": lambda: w.Curvature(update_every=50, ema=0.5),
    "fairgrad/z momentum": lambda: w.FairGrad(
        alpha=2, gradients="representation", adaptive_momentum=True
    ),
    # What of this is the weighting, and what is a momentum that is merely smaller? The
    # adaptive one is between 0.6 and 0.75 here.
    "equal momentum": lambda: Ones(gradients="representation", adaptive_momentum=True),
    "fairgrad/z momentum 0.7": lambda: w.FairGrad(
        alpha=2, gradients="representation", adaptive_momentum=(0.7, 0.7)
    ),
}
CELL = ["data", "rows", "seconds", "optimizer", "weighting"]
KEYS = [*CELL, "rate", "seed"]
REFERENCE = ("adamw", "equal")
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TUNING = 2  # seeds that try all learning rates
FRESH = range(TUNING, TUNING + 5)  # later ones repeat cells that were chosen by these


def runs_of(path: Path, key: tuple) -> pd.DataFrame:
    """Rows of the file that begin with this key."""
    if not path.is_file():
        return pd.DataFrame()
    runs = pd.read_csv(path)
    same = [runs[name] == value for name, value in zip(KEYS, key, strict=False)]
    return runs[np.logical_and.reduce(same)]


def fitted(X, y, cell: tuple, rate: float, seed: int, options, epochs: int):
    """Fit, and measure the seconds of the processor."""
    options.epochs = epochs
    model = regressor(X, WEIGHTINGS[cell[4]](), rate, seed, options)
    model.set_params(optimizer=cell[3])
    start = time.process_time()
    model.fit(X, y)
    return model, time.process_time() - start


def epochs_in_time(path: Path, X, y, cell: tuple, options) -> tuple[int, float, float]:
    """How many epochs a cell has in its time, and the seconds behind the number."""
    known = runs_of(path, cell)
    if len(known):
        known = known.dropna(subset=["fixed_seconds"])
    if len(known):
        fixed, cost = known.iloc[0][["fixed_seconds", "epoch_seconds"]]
    else:
        # Of two lengths, because a fit has costs that do not grow with its epochs.
        fitted(X, y, cell, 1e-3, 0, options, 1)
        # Medians, because other work on the machine changes single times.
        one, three = (
            np.median([fitted(X, y, cell, 1e-3, 0, options, n)[1] for _ in range(3)])
            for n in (1, 3)
        )
        cost = max(three - one, 1e-3) / 2
        fixed = max(one - cost, 0.0)
    return max(1, round((options.seconds - fixed) / cost)), float(fixed), float(cost)


def curvature(model, X, y) -> tuple[list[float], list[float]]:
    """Traces and largest eigenvalues of the Gauss-Newton matrices of the tasks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # short runs give a few digits, which suffice
        spectrum = hessian_spectrum(
            model,
            X,
            y,
            matrix="ggn",
            n_eigenvalues=1,
            n_lanczos=8,
            n_probes=2,
            n_samples=256,
            pairwise=False,
            random_state=0,
        )
    return spectrum.trace.tolist(), spectrum.eigenvalues[:, 0].tolist()


def run(path: Path, X, y, names, cell: tuple, rate: float, seed: int, options):
    """One training of a cell, as a row."""
    train, valid, test = split(len(X), seed)
    epochs, fixed, cost = epochs_in_time(path, X[train], y[train], cell, options)
    row = {
        **dict(zip(KEYS, (*cell, rate, seed), strict=True)),
        "epochs": epochs,
        "fixed_seconds": round(fixed, 4),
        "epoch_seconds": round(cost, 4),
    }
    try:
        model, used = fitted(X[train], y[train], cell, rate, seed, options, epochs)
    except FloatingPointError:  # a rate that is too high
        return {**row, "used": np.nan, "ms_per_step": np.nan, "valid": np.inf}
    errors = [
        nan_mean_absolute_error(
            y[rows], model.predict(X[rows]), multioutput="raw_values"
        )
        for rows in (valid, test)
    ]
    spread = np.nanmean(np.abs(y - np.nanmean(y, axis=0)), axis=0)
    steps = epochs * -(-len(train) // 64)
    row |= {
        "used": round(used, 3),
        "ms_per_step": round(1000 * used / steps, 3),
        "valid": float(np.mean(errors[0] / spread)),
        "test": float(np.mean(errors[1] / spread)),
        "test_by_task": json.dumps(
            dict(zip(names, np.round(errors[1], 6).tolist(), strict=True))
        ),
    }
    if seed >= TUNING:
        traces, largest = curvature(model, X[train], y[train])
        row |= {
            "ggn_traces": json.dumps(np.round(traces, 4).tolist()),
            "ggn_largest": json.dumps(np.round(largest, 4).tolist()),
        }
    return row


COLUMNS = [
    *KEYS,
    *(
        "epochs",
        "fixed_seconds",
        "epoch_seconds",
        "used",
        "ms_per_step",
        "valid",
        "test",
        "test_by_task",
    ),
    *("ggn_traces", "ggn_largest"),
]


def study(options) -> None:
    torch.set_num_threads(1)
    texts, table = DATA[options.data](options.data_home)
    rows = np.random.RandomState(0).permutation(len(texts))[: options.rows]
    y = table.to_numpy()[rows]
    featurizer = CifToGraph() if options.data == "mp" else SmilesToGraph()
    X = featurizer.fit_transform(texts.iloc[rows])
    path, started = Path(options.out), time.perf_counter()
    cells = [
        (options.data, len(X), options.seconds, optimizer, weighting)
        for optimizer in options.optimizers
        for weighting in options.weightings
    ]
    # Seed after seed, so that an early end leaves complete tables of few seeds.
    for seed in range(options.seeds):
        for cell in cells:
            tried = options.rates if seed < TUNING else [best_rate(path, cell)]
            for rate in tried:
                if len(runs_of(path, (*cell, rate, seed))):
                    continue
                if time.perf_counter() - started > 60 * options.minutes:
                    print("out of time; call again to go on")
                    return
                row = run(path, X, y, table.columns, cell, rate, seed, options)
                frame = pd.DataFrame([row]).reindex(columns=COLUMNS)
                frame.to_csv(path, mode="a", header=not path.is_file(), index=False)
                print(*cell[3:], rate, seed, row["epochs"], row["valid"], flush=True)


def best_rate(path: Path, cell: tuple) -> float:
    """The learning rate with the smallest mean validation error of the first seeds."""
    tried = runs_of(path, cell).query("seed < @TUNING")
    return float(tried.groupby("rate")["valid"].mean().idxmin())


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per cell of a data set: fresh seeds, at the rate that was chosen.

    The columns are the rate, the epochs, milliseconds per step, the mean change of the
    tasks' errors against AdamW with equal weights in percent and its standard error
    over seeds, the mean rank among the cells, and geometric means over tasks and seeds
    of the traces and largest eigenvalues relative to the same reference.
    """
    runs = _final(runs).reset_index(drop=True)
    tasks, changes = _compared(runs)
    runs.index = tasks.index
    by_cell = runs.groupby(level=[0, 1])
    table = by_cell[["rate", "epochs", "ms_per_step"]].median()
    table["change"], table["se"] = changes.mean(axis=1), changes.sem(axis=1)
    means = tasks.groupby(level=[0, 1]).mean()
    table["rank"] = pd.Series(mean_rank(means), means.index)
    for name in ("ggn_traces", "ggn_largest"):
        logs = runs[name].map(_mean_log).groupby(level=[0, 1]).mean()
        table[name] = np.exp(logs - logs.loc[REFERENCE])
    order = [
        cell
        for cell in ((o, v) for o in OPTIMIZERS for v in WEIGHTINGS)
        if cell in table.index
    ]
    return table.loc[order]


def overall(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per cell that was run on all sets, over all sets and fresh seeds.

    The columns are the mean change in percent and its standard error over the seeds of
    all sets, p of a t-test over them, and the change of the worst set.
    """
    sets = [_compared(_final(part))[1] for _, part in runs.groupby("data")]
    sets = [changes for changes in sets if len(changes)]  # without the reference yet
    every = pd.concat(sets, axis=1, join="inner").drop(index=[REFERENCE])
    means = pd.concat([changes.mean(axis=1) for changes in sets], axis=1, join="inner")
    table = pd.DataFrame({"change": every.mean(axis=1), "se": every.sem(axis=1)})
    table["p"] = ttest_1samp(every, 0.0, axis=1).pvalue
    table["worst"] = means.max(axis=1)
    return table.sort_values("change")


def _compared(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lay out test errors by task, and changes in percent by seed, of each cell."""
    cells = pd.MultiIndex.from_frame(runs[["optimizer", "weighting"]])
    tasks = pd.DataFrame(runs["test_by_task"].map(json.loads).tolist(), index=cells)
    changes = {
        seed: _changes(tasks[(runs["seed"] == seed).to_numpy()])
        for seed in runs["seed"].unique()
        if REFERENCE in cells[runs["seed"] == seed]
    }
    return tasks, pd.DataFrame(changes)


def _final(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of fresh seeds, which had no part in the choice of the rate."""
    return runs[runs["test"].notna() & (runs["seed"] >= TUNING)]


def _changes(errors: pd.DataFrame) -> pd.Series:
    """Compare the cells of one seed with the reference, in percent."""
    reference = errors.loc[[REFERENCE]].iloc[0]
    return pd.Series(
        [delta_m(row, reference) for _, row in errors.iterrows()], errors.index
    )


def _mean_log(text: object) -> float:
    """Average the logarithms of the tasks' numbers; NaN if they were not computed."""
    if not isinstance(text, str):
        return float("nan")
    return float(np.log(np.clip(json.loads(text), 1e-12, None)).mean())


def _overall_lines(title: str, runs: pd.DataFrame) -> list[str]:
    """Write the table over all sets."""
    n_seeds = _final(runs).groupby("data")["seed"].nunique().sum()
    return [
        *_headed(f"{title}: {n_seeds} fresh seeds"),
        *_HEAD,
        "   optimizer, weighting, change %, standard error, p, worst set %",
        *(
            f"   {cell[0]}, {cell[1]}, {row['change']:+.1f}, {row['se']:.1f}, "
            f"{row['p']:.4f}, {row['worst']:+.1f}"
            for cell, row in overall(runs).iterrows()
        ),
        "",
    ]


_HEAD = [".. csv-table::", "   :header-rows: 1", ""]


def _headed(title: str) -> list[str]:
    return [title, "-" * len(title), ""]


def report(runs: pd.DataFrame) -> str:
    """Write the tables of a file: over all sets, and one per data set and time."""
    again = runs["seed"] >= FRESH.stop
    lines = _overall_lines("All sets", runs[~again])
    if again.any():
        lines += _overall_lines("All sets, chosen cells again", runs[again])
    runs = runs[~again]
    for (data, rows, seconds), part in runs.groupby(["data", "rows", "seconds"]):
        table = summary(part)
        n_seeds = part.loc[part["seed"] >= TUNING, "seed"].nunique()
        title = f"{data}: {rows} rows, {seconds:g} seconds, {n_seeds} fresh seeds"
        lines += [*_headed(title), *_HEAD]
        lines.append(
            "   optimizer, weighting, rate, epochs, ms per step, change %, "
            "standard error, mean rank, trace, largest eigenvalue"
        )
        lines += [
            f"   {cell[0]}, {cell[1]}, {row['rate']:g}, {row['epochs']:.0f}, "
            f"{row['ms_per_step']:.1f}, {row['change']:+.1f}, {row['se']:.1f}, "
            f"{row['rank']:.1f}, {row['ggn_traces']:.2f}, {row['ggn_largest']:.2f}"
            for cell, row in table.iterrows()
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=sorted(DATA), default="physchem")
    parser.add_argument("--data-home")
    parser.add_argument("--out", required=True)
    parser.add_argument("--optimizers", nargs="*", default=list(OPTIMIZERS))
    parser.add_argument("--weightings", nargs="*", default=list(WEIGHTINGS))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    parser.add_argument("--seeds", type=int, default=FRESH.stop)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        print(report(pd.read_csv(options.out)))
    else:
        study(options)


if __name__ == "__main__":
    main()
