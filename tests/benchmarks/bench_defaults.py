"""Candidates for the defaults of the estimators, on validation rows.

    python tests/benchmarks/bench_defaults.py --data-home FOLDER [--sets ESOL ...]
        [--seeds 0 1 2] [--arms today norm ...] [--minutes 60] [--report]

Seed k takes the training rows of fold k of ``bench_prediction.py``, fits on four
fifths of them and measures the error on the others, so that its test rows stay unseen.
A row of the CSV file is one fit. ``--report`` prints the errors over those of "today".
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench_prediction import (
    DOCS,
    SETS,
    Problem,
    errors_of,
    read,
    second_class,
    split_rows,
)
from sklearn.pipeline import make_pipeline

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.featurizers import SmilesToGraph
from skgnn_mtl.model_selection import LabelPresenceKFold
from skgnn_mtl.readouts import Sum
from skgnn_mtl.weighting import FairGrad

KEY = ["set", "seed", "arm"]
NORM = {"readout": Sum(norm=20)}
FAIR = FairGrad(alpha=2, gradients="representation")
WARMUP = {"lr_schedule": "warmup_cosine"}
# Features of the graphs, and parameters of the estimator.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "today": ("ogb", {"readout": Sum(), "lr_schedule": "cosine"}),
    "norm": ("ogb", {**NORM, "lr_schedule": "cosine"}),
    "warmup": ("ogb", {"readout": Sum(), **WARMUP}),
    "both": ("ogb", {**NORM, **WARMUP}),
    "features": ("chemprop", {"readout": Sum(), "lr_schedule": "cosine"}),
    "all": ("chemprop", {**NORM, **WARMUP}),
    # With the readout of "norm", which is the default since then.
    "muon 1e-3": ("ogb", {"optimizer": "muon", "lr": 1e-3}),
    "muon 3e-3": ("ogb", {"optimizer": "muon", "lr": 3e-3}),
    "muon 1e-2": ("ogb", {"optimizer": "muon", "lr": 1e-2}),
    "adamw 3e-3": ("ogb", {"lr": 3e-3}),
    # A step of Muon takes twice as long. These sets have 100 passes otherwise.
    "adamw, 200 passes": ("ogb", {"max_epochs": 200}),
    "muon 3e-3, 50 passes": (
        "ogb",
        {"optimizer": "muon", "lr": 3e-3, "max_epochs": 50},
    ),
    # Of several tasks.
    "fairness": ("ogb", {"task_weighting": FAIR}),
    "muon 3e-3, fairness, 50 passes": (
        "ogb",
        {"optimizer": "muon", "lr": 3e-3, "max_epochs": 50, "task_weighting": FAIR},
    ),
    # Of classifiers, whose loss of the training rows nearly vanishes.
    "30 passes": ("ogb", {"max_epochs": 30}),
    "ema": ("ogb", {"weight_averaging": "ema"}),
    "dropout": ("ogb", {"encoder": DMPNN(dropout=0.2)}),
}


def error(problem: Problem, seed: int, arm: str) -> tuple[float, float]:
    """Fit on a part of the training rows; measure the error on the others."""
    train, _ = split_rows(problem, "random", seed)
    X, y = problem.X.iloc[train], problem.y.iloc[train]
    inner, held_out = next(LabelPresenceKFold(5, random_state=1).split(X, y))
    features, parameters = ARMS[arm]
    kind = (MultiTaskGNNRegressor, MultiTaskGNNClassifier)[problem.source.classifier]
    model = make_pipeline(
        SmilesToGraph(features), kind(random_state=seed, **parameters)
    )
    start = time.process_time()
    model.fit(X.iloc[inner], y.iloc[inner])
    seconds = time.process_time() - start
    rows = X.iloc[held_out]
    if problem.source.classifier:
        found = second_class(model.predict_proba(rows))
    else:
        found = model.predict(rows).reshape(len(rows), -1)
    return float(np.nanmean(errors_of(found, y.iloc[held_out], problem))), seconds


def report(table: pd.DataFrame) -> pd.DataFrame:
    """Average, over seeds, the errors over those of "today" on the same rows."""
    wide = table.pivot_table(index=["set", "seed"], columns="arm", values="error")
    ratios = wide.div(wide["today"], axis=0)[[arm for arm in ARMS if arm in wide]]
    logarithms = np.log(ratios).groupby("set", sort=False).mean()
    logarithms.loc["mean"] = logarithms.mean()
    means = np.exp(logarithms)
    means["seeds"] = ratios.groupby("set", sort=False).size()
    return means.round(3)


def main() -> None:
    """Read the command line."""
    molecules = [name for name, source in SETS.items() if not source.crystals]
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS / "defaults.csv")
    parser.add_argument("--sets", nargs="+", default=molecules, choices=molecules)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(3))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        print(report(pd.read_csv(options.out)).to_string())
        return
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    out, done = options.out, set()
    if out.exists():
        done = set(pd.read_csv(out)[KEY].itertuples(index=False, name=None))
    for seed in options.seeds:
        for name in options.sets:
            problem = read(name, options.data_home)
            for arm in options.arms:
                job = (name, seed, arm)
                if job in done or time.monotonic() > end:
                    continue
                found, seconds = error(problem, seed, arm)
                row = dict(zip(KEY, job, strict=True))
                row |= {"error": round(found, 5), "fit_seconds": round(seconds, 1)}
                pd.DataFrame([row]).to_csv(
                    out, mode="a", header=not out.exists(), index=False
                )
                print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
