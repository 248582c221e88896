"""Errors on log10 K and log10 G: ours, and the original architecture trained alike.

    python tests/benchmarks/bench_crystal_accuracy.py --out FILE.csv [--shared FOLDER]
        [--models original ours] [--tasks both K G] [--folds 0 1 2 3 4] [--seeds 0]
        [--epochs 40] [--minutes 6]

The elastic part of ``mp_multitask`` (1,181 crystals) in five folds by composition. A
row of the file is one training; rows that are there are not run again, and no training
begins after ``--minutes``, so that the study can be run in pieces. All models have the
same optimizer, schedule, batches and epochs. "original" is the published architecture:
twelve neighbours, sum, softplus head, the authors' element table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupKFold

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.readouts import Mean

SHARED = Path(__file__).resolve().parents[3] / "shared"
TASKS = {"both": ["K", "G"], "K": ["K"], "G": ["G"]}
KEY = ["model", "tasks", "fold", "seed", "epochs"]
HEAD = {
    "readout": Mean(activation="softplus"),
    "head_hidden_dims": (128,),
    "head_activation": "softplus",
}


def models(shared: Path) -> dict:
    """Featurizer, encoder and further parameters of each contestant."""
    table = shared / "weights" / "cgcnn" / "atom_init.json"
    return {
        "original": (
            CifToGraph(ties="cut", element_table=table),
            CGCNN(64, n_layers=3, aggregation="sum"),
            HEAD,
        ),
        "ours": (CifToGraph(), CGCNN(64, n_layers=3), HEAD),
        "ours, mean": (CifToGraph(), CGCNN(64, n_layers=3, aggregation="mean"), HEAD),
    }


def read(shared: Path) -> tuple[pd.Series, pd.DataFrame, np.ndarray]:
    """CIFs, decadic logarithms of the moduli (GPa), and compositions as groups."""
    path = shared / "data" / "mp_multitask.csv.gz"
    columns = ["formula", "cif", "K_VRH", "G_VRH"]
    table = pd.read_csv(path, usecols=columns, keep_default_na=False, na_values=[""])
    table = table.dropna().reset_index(drop=True)
    y = np.log10(table[["K_VRH", "G_VRH"]]).set_axis(["K", "G"], axis=1)
    return table["cif"], y, pd.factorize(table["formula"])[0]


def run(X, y, encoder, parameters, train, test, seed: int, epochs: int) -> dict:
    model = MultiTaskGNNRegressor(
        encoder,
        **{
            "head_hidden_dims": (),
            "lr": 3e-3,
            "lr_schedule": "warmup_cosine",
            "batch_size": 64,
            **parameters,
        },
        max_epochs=epochs,
        random_state=seed,
        device="cpu",
    )
    start = time.process_time()
    model.fit(X[train], y.iloc[train])
    seconds = time.process_time() - start
    error = np.abs(model.predict(X[test]) - y.iloc[test].to_numpy()).mean(axis=0)
    return {f"mae_{t}": e for t, e in zip(y, error, strict=True)} | {"seconds": seconds}


def todo(options, done: pd.DataFrame):
    """All trainings that the file does not hold yet."""
    have = set(map(tuple, done[KEY].astype(str).to_numpy()))
    for seed in options.seeds:
        for fold in options.folds:
            for tasks in options.tasks:
                for name in options.models:
                    key = (name, tasks, fold, seed, options.epochs)
                    if tuple(map(str, key)) not in have:
                        yield key


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--models", nargs="*", default=["original", "ours"])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--folds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    columns = [*KEY, "mae_K", "mae_G", "seconds"]
    if not options.out.exists():
        pd.DataFrame(columns=columns).to_csv(options.out, index=False)
    cifs, y, groups = read(options.shared)
    folds = list(GroupKFold(5, shuffle=True, random_state=0).split(cifs, y, groups))
    known, graphs = models(options.shared), {}
    for key in todo(options, pd.read_csv(options.out)):
        if time.monotonic() > end:
            print("out of time; run again to go on")
            return
        name, tasks, fold, seed, epochs = key
        featurizer, encoder, parameters = known[name]
        if name not in graphs:
            graphs[name] = featurizer.transform(cifs)
        labels = y[TASKS[tasks]]
        row = run(graphs[name], labels, encoder, parameters, *folds[fold], seed, epochs)
        row = dict(zip(KEY, key, strict=True)) | row
        line = pd.DataFrame([row]).reindex(columns=columns)
        line.to_csv(options.out, mode="a", header=False, index=False)
        print(row, flush=True)


def summary(path: Path) -> pd.DataFrame:
    """Mean over folds of each error, for each seed, then mean and spread."""
    rows = pd.read_csv(path)
    by_seed = rows.groupby(["model", "tasks", "epochs", "seed"])[["mae_K", "mae_G"]]
    return by_seed.mean().groupby(["model", "tasks", "epochs"]).agg(["mean", "std"])


if __name__ == "__main__":
    main()
