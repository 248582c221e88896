"""Coverage and sharpness of predicted widths, with and without conformal quantiles.

    python tests/benchmarks/bench_confidence.py --data-home FOLDER [--sets FreeSolv ...]
        [--splits random scaffold] [--seeds 0 1 2 3 4] [--models laplace hybrid ...]
        [--conformal no yes] [--chemprop-python PYTHON] [--minutes 60] [--report]

Sets, folds and models are those of ``bench_prediction.py``. A row of the CSV file is
one run: one model on one fold of a set, as it comes (``conformal`` no) or inside
``ConformalRegressor``, which fits it on four fifths of the training rows (yes). Runs
that the file holds are not repeated, and none begins after ``--minutes``. "constant"
has the predictions of "laplace" and one width for each task: the deviation of its
errors on the training rows. "novelty" has the predictions of "laplace", too, and the
distance of a molecule from the training rows, which is no width but may rank errors;
the errors of the farthest third of the test rows and of the nearest are in the row.
``--report`` writes the tables of ``docs/benchmarks/confidence.rst``.

chemprop's widths are calibrated by its "zscaling" on a tenth of the training rows, by
which it also chooses its epoch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from bench_prediction import (
    DOCS,
    HERE,
    SETS,
    Problem,
    hybrid,
    members,
    network,
    read,
    require_chemprop,
    split_rows,
)
from confidence_tables import COVERAGES, MODELS, PEERS, SPLITS, report
from scipy.stats import norm
from sklearn.pipeline import Pipeline

from skgnn_mtl.ensemble import ConformalRegressor
from skgnn_mtl.inspection import novelty
from skgnn_mtl.metrics import (
    nan_calibration_error,
    nan_error_rank_correlation,
    nan_gaussian_nll,
    nan_interval_coverage,
    nan_interval_width,
)

KEY = ["set", "split", "seed", "model", "conformal"]


class Job(NamedTuple):
    """The key of a run."""

    set: str
    split: str
    seed: int
    model: str
    conformal: str


class Widths(NamedTuple):
    """Predictions of the test rows; intervals by coverage; CPU seconds of the fit."""

    mean: np.ndarray
    std: np.ndarray
    intervals: dict[float, np.ndarray]
    seconds: float = np.nan


# %% Models


def variance_head(problem: Problem, seed: int) -> Any:
    """Make the network of the guide with a variance for each label."""
    model = network(problem, seed)
    model[-1].set_params(loss="gaussian_nll")
    return model


ESTIMATORS = {
    "constant": network,
    "laplace": network,
    "novelty": network,
    "variance": variance_head,
    "ensemble": members,
    "hybrid": hybrid,
}


def run_estimators(
    jobs: list[Job], problem: Problem, rows: tuple[np.ndarray, np.ndarray]
) -> list[Widths]:
    """Fit and predict in a process of its own; the jobs are those of one fit."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(fit_and_predict, (jobs, problem, rows))


def fit_and_predict(
    jobs: list[Job], problem: Problem, rows: tuple[np.ndarray, np.ndarray]
) -> list[Widths]:
    """Fit a model, and predict means, deviations and intervals of the test rows."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, seed, conformal = jobs[0].model, jobs[0].seed, jobs[0].conformal
    model = ESTIMATORS[name](problem, seed)
    if conformal == "yes":
        # The quantile of a constant width is that of the plain errors.
        how = None if name == "constant" else "std"
        model = ConformalRegressor(model, normalise=how, random_state=seed)
    X, y = problem.X.iloc[rows[0]], problem.y.iloc[rows[0]]
    start = time.process_time()
    model.fit(X, y)
    seconds = time.process_time() - start
    found = problem.X.iloc[rows[1]]
    return [widths(job, model, X, y, found)._replace(seconds=seconds) for job in jobs]


def widths(
    job: Job, model: Any, X: pd.Series, y: pd.DataFrame, found: pd.Series
) -> Widths:
    """Predict rows by a model that was fitted on X and y."""
    shape = (len(found), y.shape[1])
    if job.model == "novelty":
        mean = model.predict(found).reshape(shape)
        far = np.broadcast_to(novelty(model, found, X)[:, None], shape)
        return Widths(mean, far, {})
    if job.model == "constant" and job.conformal == "no":
        errors = y.to_numpy() - model.predict(X).reshape(y.shape)
        mean = model.predict(found).reshape(shape)
        std = np.broadcast_to(np.nanstd(errors, axis=0), shape)
        return Widths(mean, std, gaussian(mean, std))
    if job.model == "constant":
        mean = model.predict(found).reshape(shape)
        std = np.full(shape, np.nan)  # its intervals are quantiles, of no distribution
    else:
        mean, std = (v.reshape(shape) for v in model.predict(found, return_std=True))
    if isinstance(model, Pipeline):  # which does not pass intervals on
        found, model = model[:-1].transform(found), model[-1]
    intervals = {
        c: model.predict_interval(found, coverage=c).reshape(*shape, 2)
        for c in COVERAGES
    }
    return Widths(mean, std, intervals)


def gaussian(mean: np.ndarray, std: np.ndarray) -> dict[float, np.ndarray]:
    """Make the central intervals of normal distributions."""
    ends = np.array([-1.0, 1.0])
    return {
        c: mean[..., None] + std[..., None] * ends * norm.ppf(0.5 + c / 2)
        for c in COVERAGES
    }


def run_chemprop(
    job: Job, problem: Problem, rows: tuple[np.ndarray, np.ndarray], python: str
) -> Widths:
    """Train and calibrate chemprop by its own command on CSV files of the same rows."""
    train, test = rows
    held_out = np.random.RandomState(job.seed).permutation(len(train)) < len(train) / 10
    targets = [f"t{k}" for k in range(problem.y.shape[1])]
    table = problem.y.set_axis(targets, axis=1).assign(smiles=problem.X)
    parts = np.where(held_out, "val", "train")
    with tempfile.TemporaryDirectory() as folder:
        table.iloc[train].assign(split=parts).to_csv(f"{folder}/train.csv", index=False)
        table.iloc[train[held_out]].to_csv(f"{folder}/val.csv", index=False)
        table.iloc[test][["smiles"]].to_csv(f"{folder}/test.csv", index=False)
        done = subprocess.run(
            [
                *(python, HERE / "chemprop_confidence_peer.py"),
                *(folder, PEERS[job.model], str(job.seed)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"chemprop failed on {job}:\n{done.stderr[-2000:]}")
        found = pd.read_csv(f"{folder}/predictions.csv")
        times = json.loads(Path(folder, "times.json").read_text())
    mean = found[targets].to_numpy()
    # It gives variances.
    std = np.sqrt(found[[f"{name}_unc" for name in targets]].to_numpy())
    return Widths(mean, std, gaussian(mean, std), times["fit_seconds"])


# %% Runs


def scores(found: Widths, truth: pd.DataFrame, scale: np.ndarray) -> dict[str, Any]:
    """Score widths; lengths are divided by the deviations of the labels, (t,)."""
    truth = truth / scale
    mean, std = found.mean / scale, found.std / scale
    row: dict[str, Any] = {}
    for coverage, interval in found.intervals.items():
        ends = interval / scale[:, None]
        name = f"{100 * coverage:.0f}"
        covered = nan_interval_coverage(truth, ends, multioutput="raw_values")
        row[f"coverage_{name}"] = np.nanmean(covered)
        row[f"width_{name}"] = nan_interval_width(truth, ends)
        if name == "90":
            row["tasks_90"] = json.dumps(np.round(covered, 4).tolist())
    error = np.sqrt(np.nanmean((truth.to_numpy() - mean) ** 2, axis=0))
    row["rmse"] = np.nanmean(error)
    if not found.intervals:
        row["spearman"] = nan_error_rank_correlation(truth, mean, found.std)
        rank = np.argsort(found.std[:, 0], kind="stable")
        third = len(rank) // 3
        for name, rows in (("nearest", rank[:third]), ("farthest", rank[-third:])):
            errors = np.sqrt(np.nanmean((truth.to_numpy() - mean)[rows] ** 2, axis=0))
            row[f"rmse_{name}"] = np.nanmean(errors)
    elif np.isfinite(std).all():
        row["nll"] = nan_gaussian_nll(truth, mean, std)
        row["calibration_error"] = nan_calibration_error(truth, mean, std)
        if np.ptp(std, axis=0).all():  # a constant width has no ranks
            row["spearman"] = nan_error_rank_correlation(truth, mean, std)
    return row


def record(group: list[Job], options: argparse.Namespace) -> None:
    """Run the jobs of one fit, and add their rows to the file."""
    first = group[0]
    problem = read(first.set, options.data_home)
    rows = train, test = split_rows(problem, first.split, first.seed)
    if first.model in PEERS:
        outcomes = [run_chemprop(first, problem, rows, options.chemprop_python)]
    else:
        outcomes = run_estimators(group, problem, rows)
    scale = problem.y.std().to_numpy()
    for job, found in zip(group, outcomes, strict=True):
        row = {
            **job._asdict(),
            "n_train": len(train),
            "n_test": len(test),
            "fit_seconds": round(found.seconds, 2),
            **scores(found, problem.y.iloc[test], scale),
        }
        row = {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
        # All columns in each row, because the file grows row by row.
        pd.DataFrame([row]).reindex(columns=COLUMNS).to_csv(
            options.out, mode="a", header=not options.out.exists(), index=False
        )
        print(*job, row.get("coverage_90"), row.get("nll"), flush=True)


COLUMNS = [
    *KEY,
    *("n_train", "n_test", "fit_seconds", "rmse", "nll", "calibration_error"),
    "spearman",
    *("rmse_nearest", "rmse_farthest"),
    *(f"{kind}_{100 * c:.0f}" for kind in ("coverage", "width") for c in COVERAGES),
    "tasks_90",
]


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Order the runs: splits, seeds, sets, models."""
    for split, seed, name in product(options.splits, options.seeds, options.sets):
        for conformal in options.conformal:
            for model in options.models:
                if conformal == "no" or model not in (*PEERS, "novelty"):
                    yield Job(name, split, seed, model, conformal)


def fit_of(job: Job) -> Job:
    """Name the fit that a job needs, which some share."""
    shared = job.conformal == "no" and ESTIMATORS.get(job.model) is network
    return job._replace(model="network") if shared else job


def main() -> None:
    """Read the command line."""
    regression = [name for name, source in SETS.items() if not source.classifier]
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS / "confidence.csv")
    parser.add_argument("--sets", nargs="+", default=regression, choices=regression)
    parser.add_argument("--splits", nargs="+", default=SPLITS, choices=SPLITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--conformal", nargs="+", default=["no", "yes"])
    parser.add_argument("--chemprop-python", default=sys.executable)
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        page = DOCS / "confidence.rst"
        mark = ".. tables of bench_confidence.py --report\n\n"
        head, _, _ = page.read_text().partition(mark)
        page.write_text(head + mark + report(pd.read_csv(options.out)))
        return
    if set(options.models) & set(PEERS):
        require_chemprop(options.chemprop_python)
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    done: set[Job] = set()
    if options.out.exists():
        rows = pd.read_csv(options.out)[KEY].itertuples(index=False)
        done = set(map(Job._make, rows))
    left = (job for job in jobs(options) if job not in done)
    for _, group in groupby(left, fit_of):
        if time.monotonic() < end:
            record(list(group), options)


if __name__ == "__main__":
    main()
