"""Which weighting for which data: test errors of all methods against single tasks.

    python tests/benchmarks/bench_weighting_accuracy.py --out FILE.csv --data physchem
    python tests/benchmarks/bench_weighting_accuracy.py --out FILE.csv --report

Every method gets the same network, epochs, batches and grid of learning rates. The
first seed tries all learning rates; the others use the one with the best validation
error there. A run is one row (data, rows, epochs, method, learning rate, seed) with its
validation and test errors by task; runs that the file holds are not repeated, so that
the study can be stopped and resumed, and ``--minutes`` bounds what one call may take.
The report compares the test errors of each method with those of single-task models
tuned alike, and with equal weights seed by seed.
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

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl import weighting as w
from skgnn_mtl.datasets import (
    fetch_biogen_adme,
    fetch_mp_multitask,
    fetch_qm8,
    load_physchem,
)
from skgnn_mtl.encoders import CGCNN, GIN
from skgnn_mtl.metrics import delta_m, mean_rank, nan_mean_absolute_error


def crystals(home):
    """The four properties that are no twins of one another, moduli as logarithms."""
    cifs, y = fetch_mp_multitask(data_home=home, return_X_y=True)
    moduli = y[["K_VRH (GPa)", "G_VRH (GPa)"]].clip(lower=1).map(np.log10)
    moduli.columns = ["log10 K", "log10 G"]
    others = y[["formation_energy_per_atom (eV/atom)", "band_gap (eV)"]]
    table = others.join(moduli)
    labelled = table.notna().any(axis=1)
    return cifs[labelled], table[labelled]


DATA: dict[str, Callable] = {
    "physchem": lambda home: load_physchem(return_X_y=True),
    "biogen": lambda home: fetch_biogen_adme(data_home=home, return_X_y=True),
    "qm8": lambda home: fetch_qm8(data_home=home, return_X_y=True),
    "mp": crystals,
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
    "curvature": lambda: w.Curvature(update_every=50, ema=0.5),
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
    "graddrop": w.GradDrop,
    "dbmtl": w.DBMTL,
}
METHODS.update(GRADIENT_METHODS)
# The cheap forms of some: every tenth step only, or from the representation.
for _name in ("pcgrad", "cagrad", "nashmtl", "upgrad"):
    METHODS[f"{_name}/10"] = lambda cls=GRADIENT_METHODS[_name]: cls(update_every=10)
for _name in ("pcgrad", "cagrad", "nashmtl", "upgrad", "mgda", "fairgrad2"):
    METHODS[f"{_name}/z"] = lambda cls=GRADIENT_METHODS[_name]: cls(
        gradients="representation"
    )
SINGLE = "single-task"
KEYS = ["data", "rows", "epochs", "method", "rate", "seed"]


def split(n: int, seed: int):
    """Rows of 70 % training, 10 % validation, 20 % test."""
    order = np.random.RandomState(seed).permutation(n)
    return np.split(order, [int(0.7 * n), int(0.8 * n)])


def regressor(X, method, rate: float, seed: int, options) -> MultiTaskGNNRegressor:
    encoder = CGCNN if X.schema.name.startswith("crystal") else GIN
    return MultiTaskGNNRegressor(
        encoder(width=options.width, n_layers=options.layers),
        readout="mean",
        head_hidden_dims=(),
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
        model = regressor(X, method, rate, seed, options)
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
    texts, table = DATA[options.data](options.data_home)
    rows = np.random.RandomState(0).permutation(len(texts))[: options.rows]
    y = table.to_numpy()[rows]
    featurizer = CifToGraph() if options.data == "mp" else SmilesToGraph()
    X = featurizer.fit_transform(texts.iloc[rows])
    # Errors of different tasks are averaged in units of the mean absolute deviation.
    spread = np.nanmean(np.abs(y - np.nanmean(y, axis=0)), axis=0)
    path, started = Path(options.out), time.perf_counter()
    for seed in range(options.seeds):
        for name in options.methods or [SINGLE, *METHODS]:
            setting = (options.data, len(X), options.epochs, name)
            for rate in options.rates if seed == 0 else [best_rate(path, setting)]:
                key = (*setting, rate, seed)
                if len(rows_of(path, key)):
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


def rows_of(path: Path, key: tuple) -> pd.DataFrame:
    """Rows of the file that begin with this key."""
    if not path.is_file():
        return pd.DataFrame()
    runs = pd.read_csv(path)
    same = [runs[name] == value for name, value in zip(KEYS, key, strict=False)]
    return runs[np.logical_and.reduce(same)]


def best_rate(path: Path, setting: tuple) -> float:
    """The learning rate with the smallest validation error of the first seed."""
    first = rows_of(path, setting).query("seed == 0")
    return float(first.loc[first["valid"].idxmin(), "rate"])


def report(options) -> None:
    """Print a table a data set, the methods named in the order of their test error."""
    runs = pd.read_csv(options.out)
    if options.methods:
        runs = runs[runs["method"].isin(options.methods)]
    for key, part in runs.groupby(["data", "rows", "epochs"]):
        if not {"equal", SINGLE} <= set(part["method"]):
            continue  # longer trainings of one method
        first = part[part["seed"] == 0].set_index(["method", "rate"])["valid"]
        chosen = list(first.groupby("method").idxmin())
        part = part.set_index(["method", "rate"]).loc[chosen].reset_index()
        # Seeds that all methods have, because ranks compare methods on the same rows.
        part = part[part.groupby("seed")["method"].transform("size") == len(chosen)]
        tests = part.pivot_table(index="method", columns="seed", values="test")
        tasks = part["test_by_task"].map(json.loads).apply(pd.Series)
        errors = tasks.groupby(part["method"]).mean()
        to_equal = 100 * (tests / tests.loc["equal"] - 1)
        table = pd.DataFrame(
            {
                "rate": dict(chosen),
                "test": tests.mean(axis=1),
                "sd": tests.std(axis=1),
                "to equal %": to_equal.mean(axis=1),
                "se": to_equal.sem(axis=1),
                "rank": pd.Series(mean_rank(errors), errors.index),
                "seconds": part.groupby("method")["seconds_per_epoch"].median(),
            }
        )
        for average in ("mean", "median"):
            table[f"{average} change %"] = [
                delta_m(errors.loc[m], errors.loc[SINGLE], average=average)
                for m in table.index
            ]
        print(f"\n{key}, {tests.shape[1]} seeds")
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
