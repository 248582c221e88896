"""Which weighting for which data: test errors of all methods against single tasks.

    python tests/benchmarks/bench_weighting_accuracy.py --out FILE.csv --data physchem
    python tests/benchmarks/bench_weighting_accuracy.py --out FILE.csv --report

Every method gets the same network, epochs, batches and grid of learning rates. A run
is one row (data, rows, epochs, method, learning rate, seed) with its validation and
test errors by task; runs that the file holds are not repeated, so that the study can
be stopped and resumed, and ``--minutes`` bounds what one call may take. The report
takes, for each method, the learning rate with the best mean validation error over the
seeds, and compares its test errors with those of single-task models tuned alike.

The crystals of ``mp_multitask`` join as soon as the package reads crystals: add an
entry to DATA.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl import weighting as w
from skgnn_mtl.datasets import fetch_biogen_adme, fetch_qm8, load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.metrics import delta_m, mean_rank, nan_mean_absolute_error

DATA: dict[str, Callable] = {
    "physchem": lambda home: load_physchem(return_X_y=True),
    "biogen": lambda home: fetch_biogen_adme(data_home=home, return_X_y=True),
    "qm8": lambda home: fetch_qm8(data_home=home, return_X_y=True),
}
METHODS: dict[str, Callable] = {
    "equal": w.Equal,
    "scaleinvariant": w.ScaleInvariant,
    "geometricmean": w.GeometricMean,
    "uncertainty": w.Uncertainty,
    "imtll": w.IMTLL,
    "dwa": w.DWA,
    "rlw": w.RLW,
    "stch": w.STCH,
    "famo": w.FAMO,
    "ntkmtlsr": w.NTKMTLSR,
}
GRADIENT_METHODS = {
    "gradnorm": w.GradNorm,
    "mgda": w.MGDA,
    "pcgrad": w.PCGrad,
    "gradvac": w.GradVac,
    "cagrad": w.CAGrad,
    "imtlg": w.IMTLG,
    "nashmtl": w.NashMTL,
    "fairgrad2": lambda **changes: w.FairGrad(alpha=2.0, **changes),
    "alignedmtl": w.AlignedMTL,
    "upgrad": w.UPGrad,
    "config": w.ConFIG,
}
for _name, _cls in GRADIENT_METHODS.items():
    METHODS[_name] = _cls
    METHODS[f"{_name}/10"] = lambda cls=_cls: cls(update_every=10)
    METHODS[f"{_name}/z"] = lambda cls=_cls: cls(gradients="representation")
METHODS["graddrop"] = w.GradDrop
METHODS["dbmtl"] = w.DBMTL
SINGLE = "single-task"
KEYS = ["data", "rows", "epochs", "method", "rate", "seed"]


def split(n: int, seed: int):
    """Rows of 70 % training, 10 % validation, 20 % test."""
    order = np.random.RandomState(seed).permutation(n)
    return np.split(order, [int(0.7 * n), int(0.8 * n)])


def regressor(method, rate: float, seed: int, options) -> MultiTaskGNNRegressor:
    return MultiTaskGNNRegressor(
        GIN(width=options.width, n_layers=options.layers),
        task_weighting=method,
        lr=rate,
        max_epochs=options.epochs,
        batch_size=64,
        random_state=seed,
    )


def run(name: str, X, y: np.ndarray, rate: float, seed: int, options):
    """Predictions of validation and test rows, and seconds of an epoch."""
    train, valid, test = split(len(X), seed)
    columns = [slice(None)]
    if name == SINGLE:
        columns = [slice(t, t + 1) for t in range(y.shape[1])]
    predictions, seconds = [], 0.0
    for column in columns:
        method = "equal" if name == SINGLE else METHODS[name]()
        model = regressor(method, rate, seed, options)
        start = time.perf_counter()
        model.fit(X[train], y[train, column])
        seconds += time.perf_counter() - start
        predictions.append([model.predict(X[rows]) for rows in (valid, test)])
    parts = [np.concatenate(part, axis=1) for part in zip(*predictions, strict=True)]
    truth = [y[valid], y[test]]
    errors = [
        nan_mean_absolute_error(a, b, multioutput="raw_values")
        for a, b in zip(truth, parts, strict=True)
    ]
    return errors, seconds / options.epochs


def study(options) -> None:
    torch.set_num_threads(options.threads)
    smiles, table = DATA[options.data](options.data_home)
    rows = np.random.RandomState(0).permutation(len(smiles))[: options.rows]
    y = table.to_numpy()[rows]
    X = SmilesToGraph().fit_transform(smiles.iloc[rows])
    # Errors of different tasks are averaged in units of the mean absolute deviation.
    spread = np.nanmean(np.abs(y - np.nanmean(y, axis=0)), axis=0)
    path, started = Path(options.out), time.perf_counter()
    done = set()
    if path.is_file():
        done = set(map(tuple, pd.read_csv(path)[KEYS].to_numpy().tolist()))
    for seed in range(options.seeds):
        for rate in options.rates:
            for name in options.methods or [SINGLE, *METHODS]:
                key = (options.data, len(X), options.epochs, name, rate, seed)
                if key in done:
                    continue
                if time.perf_counter() - started > 60 * options.minutes:
                    print("out of time; call again to go on")
                    return
                (valid, test), seconds = run(name, X, y, rate, seed, options)
                row = {
                    **dict(zip(KEYS, key, strict=True)),
                    "seconds_per_epoch": round(seconds, 4),
                    "valid": float(np.mean(valid / spread)),
                    "test": float(np.mean(test / spread)),
                    "test_by_task": json.dumps(
                        dict(zip(table.columns, test.tolist(), strict=True))
                    ),
                }
                frame = pd.DataFrame([row])
                frame.to_csv(path, mode="a", header=not path.is_file(), index=False)
                print(
                    key, f"valid {row['valid']:.4f} test {row['test']:.4f}", flush=True
                )


def report(options) -> None:
    """Print a table a data set, methods in the order of their mean rank."""
    runs = pd.read_csv(options.out)
    for key, part in runs.groupby(["data", "rows", "epochs"]):
        seeds = part.groupby(["method", "rate"])["seed"].nunique()
        complete = seeds[seeds == seeds.max()].index
        part = part.set_index(["method", "rate"]).loc[complete].reset_index()
        valid = part.groupby(["method", "rate"])["valid"].mean()
        chosen = valid.groupby("method").idxmin()
        part = part.set_index(["method", "rate"]).loc[list(chosen)].reset_index()
        tasks = part["test_by_task"].map(json.loads).apply(pd.Series)
        errors = tasks.groupby(part["method"]).mean()
        table = pd.DataFrame(
            {
                "rate": dict(list(chosen)),
                "test": part.groupby("method")["test"].mean(),
                "sd": part.groupby("method")["test"].std(),
                "rank": pd.Series(mean_rank(errors), errors.index),
                "seconds": part.groupby("method")["seconds_per_epoch"].median(),
            }
        )
        if SINGLE in errors.index:
            reference = errors.loc[SINGLE]
            for average in ("mean", "median"):
                table[f"{average} change %"] = [
                    delta_m(errors.loc[m], reference, average=average)
                    for m in table.index
                ]
        print(f"\n{key}, {int(seeds.max())} seeds")
        print(table.sort_values("test").round(4).to_string())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", choices=sorted(DATA), default="physchem")
    parser.add_argument("--data-home")
    parser.add_argument("--out", required=True)
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3, 3e-3, 1e-2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    report(options) if options.report else study(options)


if __name__ == "__main__":
    main()
