"""Test errors on QM8, ours beside chemprop's, on one fixed split.

    python tests/benchmarks/bench_qm8_accuracy.py --data-home FOLDER --out FILE.csv

The split is ``numpy.random.RandomState(0).permutation``, 80/10/10; all 12 targets are
standardised by the training rows; the error is the mean over the tasks of the mean
absolute error, in the units of the file (hartree for energies, dimensionless oscillator
strengths). One row a run is added to the file, and runs that it holds are not repeated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import fetch_qm8
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.readouts import Sum

EPOCHS = 20
SHARED = {"readout": "mean", "head_hidden_dims": (300,), "loss": "absolute_error"}
OURS = {
    # chemprop's own network and schedule
    "ours, chemprop's settings": {
        **SHARED,
        "encoder": DMPNN(),
        "readout": Sum(norm=100),
        "lr_schedule": "noam",
        "max_epochs": EPOCHS,
    },
    "ours, mean readout": {
        **SHARED,
        "encoder": DMPNN(),
        "lr_schedule": "noam",
        "max_epochs": EPOCHS,
    },
    "ours, mean readout, GELU, cosine": {
        **SHARED,
        "encoder": DMPNN(activation="gelu"),
        "lr_schedule": "warmup_cosine",
        "max_epochs": EPOCHS,
    },
    "ours, best within an hour": {
        **SHARED,
        "encoder": DMPNN(activation="gelu", n_layers=4),
        "lr_schedule": "warmup_cosine",
        "max_epochs": 100,
    },
}


def split(n: int):
    order = np.random.RandomState(0).permutation(n)
    return np.split(order, [int(0.8 * n), int(0.9 * n)])


def run_ours(name, smiles, y, parts, seed):
    X = SmilesToGraph("chemprop").fit_transform(smiles)
    model = MultiTaskGNNRegressor(**OURS[name], random_state=seed)
    start = time.perf_counter()
    model.fit(X[parts[0]], y[parts[0]])
    seconds = time.perf_counter() - start
    return [model.predict(X[rows]) for rows in parts[1:]], seconds


def run_chemprop(name, smiles, y, parts, seed):
    """Train chemprop 2 with its defaults and MAE loss through its own trainer."""
    from chemprop import data, models, nn
    from lightning import pytorch as pl

    pl.seed_everything(seed)
    points = [
        data.MoleculeDatapoint.from_smi(s, row)
        for s, row in zip(smiles, y, strict=True)
    ]
    sets = [data.MoleculeDataset([points[i] for i in rows]) for rows in parts]
    scaler = sets[0].normalize_targets()
    sets[0].cache = True
    head = nn.RegressionFFN(
        n_tasks=y.shape[1],
        criterion=nn.metrics.MAE(),
        output_transform=nn.UnscaleTransform.from_standard_scaler(scaler),
    )
    model = models.MPNN(nn.BondMessagePassing(), nn.NormAggregation(), head)
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    start = time.perf_counter()
    trainer.fit(model, data.build_dataloader(sets[0], seed=seed))
    seconds = time.perf_counter() - start
    loaders = [data.build_dataloader(part, shuffle=False) for part in sets[1:]]
    predictions = [torch.cat(trainer.predict(model, part)).numpy() for part in loaders]
    return predictions, seconds


def run_constant(name, smiles, y, parts, seed):
    """Predict the mean, or the median, which is the best constant for this error."""
    constant = {"mean": np.mean, "median": np.median}[name.split()[0]]
    value = constant(y[parts[0]], axis=0)
    return [np.tile(value, (len(rows), 1)) for rows in parts[1:]], 0.0


RUNS = {
    "mean predictor": run_constant,
    "median predictor": run_constant,
    "chemprop 2, its defaults": run_chemprop,
    **dict.fromkeys(OURS, run_ours),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    smiles, y = fetch_qm8(data_home=options.data_home, return_X_y=True)
    tasks, y, parts = list(y.columns), y.to_numpy(), split(len(smiles))
    smiles = smiles.to_numpy()
    for seed in options.seeds:
        for name in options.runs:
            done = pd.read_csv(options.out) if options.out.exists() else None
            if done is not None and ((done.run == name) & (done.seed == seed)).any():
                continue
            predictions, seconds = RUNS[name](name, smiles, y, parts, seed)
            valid, test = (
                np.abs(p - y[rows]).mean(axis=0)
                for p, rows in zip(predictions, parts[1:], strict=True)
            )
            row = {
                "run": name,
                "seed": seed,
                "test_mae": test.mean(),
                "valid_mae": valid.mean(),
                "seconds": round(seconds, 1),
                "threads": options.threads,
                **dict(zip(tasks, test, strict=True)),
            }
            print({k: row[k] for k in list(row)[:5]}, flush=True)
            pd.DataFrame([row]).to_csv(
                options.out, mode="a", header=done is None, index=False
            )


if __name__ == "__main__":
    main()
