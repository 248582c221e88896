"""Which settings an untouched regressor should have: errors on validation parts.

Every set is split at random into training, validation and test rows (80, 10, 10 %). This
script reads training and validation rows only; test rows stay for one look at the
settings that are chosen. One row per run goes to a CSV, and a run that is there is not
repeated. Then ``--report`` prints the geometric mean over sets of the error ratios::

    python tests/benchmarks/bench_defaults.py --out docs/benchmarks/defaults.csv
    python tests/benchmarks/bench_defaults.py --out docs/benchmarks/defaults.csv --report
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import fetch_biogen_adme, fetch_moleculenet, load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.readouts import Sum

SHARED = Path(__file__).parents[3] / "shared"
SETS = ("freesolv", "esol", "biogen", "physchem", "lipophilicity")
MOST_ROWS = 1500
DMPNN_100 = {"encoder": DMPNN(), "max_epochs": 100}
HEAD = {"head_hidden_dims": (300,)}
SETTINGS = {
    "gin": {},
    "dmpnn": DMPNN_100,
    "dmpnn head": {**DMPNN_100, **HEAD},
    "dmpnn head sum": {**DMPNN_100, **HEAD, "readout": Sum(norm=20)},
    "dmpnn head sum tail": {
        **DMPNN_100,
        **HEAD,
        "readout": Sum(norm=20),
        "weight_averaging": "tail",
    },
    "dmpnn head sum stop": {
        **DMPNN_100,
        **HEAD,
        "readout": Sum(norm=20),
        "early_stopping": True,
    },
    "dmpnn head sum noam": {
        **DMPNN_100,
        **HEAD,
        "readout": Sum(norm=20),
        "lr_schedule": "noam",
    },
    "dmpnn head sum warm": {
        **DMPNN_100,
        **HEAD,
        "readout": Sum(norm=20),
        "lr_schedule": "warmup_cosine",
        "lr": 2e-3,
    },
}
FEATURES = ("ogb", "chemprop")


def read(name):
    """SMILES and labels, of at most MOST_ROWS drawn rows."""
    home = {"data_home": SHARED / "data", "return_X_y": True}
    if name == "physchem":
        smiles, y = load_physchem(return_X_y=True)
    elif name == "biogen":
        smiles, y = fetch_biogen_adme(**home)
    else:
        smiles, y = fetch_moleculenet(name, **home)
    smiles = np.asarray(smiles, dtype=object)
    y = np.asarray(y, dtype=float).reshape(len(smiles), -1)
    rows = np.random.default_rng(0).permutation(len(smiles))[:MOST_ROWS]
    return smiles[rows], y[rows]


def error(y, predictions, scale):
    """Mean over tasks of the RMSE in units of the training labels' deviation."""
    return float(np.mean(np.sqrt(np.nanmean((y - predictions) ** 2, axis=0)) / scale))


def run(name, features, settings, seed):
    smiles, y = read(name)
    X = SmilesToGraph(features=features, on_error="nan").transform(smiles)
    order = np.random.default_rng(100 + seed).permutation(len(smiles))
    n = len(order) // 10
    valid, train = order[n : 2 * n], order[2 * n :]
    model = MultiTaskGNNRegressor(**settings, random_state=seed, device="cpu")
    start = time.process_time()
    model.fit(X[train], y[train])
    seconds = time.process_time() - start
    predictions = model.predict(X[valid]).reshape(len(valid), -1)
    scale = np.nanstd(y[train], axis=0)
    return error(y[valid], predictions, scale), seconds, len(model.history_)


def report(rows):
    """Print the mean ratio of each setting to the first of the list."""
    values = {}
    for row in rows:
        key = row["settings"], row["features"]
        values.setdefault(key, {})[row["set"], row["seed"]] = (
            float(row["error"]),
            float(row["seconds"]),
        )
    base = values["dmpnn", "ogb"]
    for key, found in values.items():
        common = sorted(found.keys() & base.keys())
        ratios = np.log([found[k][0] / base[k][0] for k in common])
        times = np.log([found[k][1] / base[k][1] for k in common])
        print(
            f"{key[0]:22s} {key[1]:9s} {np.exp(ratios.mean()):.3f} "
            f"+- {ratios.std(ddof=1) / np.sqrt(len(ratios)):.3f} "
            f"time {np.exp(times.mean()):.2f} ({len(common)} runs)"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--features", nargs="*", default=["ogb"])
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = list(csv.DictReader(options.out.open())) if options.out.exists() else []
    if options.report:
        return report(rows)
    done = {(r["set"], r["features"], r["settings"], r["seed"]) for r in rows}
    names = ["set", "features", "settings", "seed", "error", "seconds", "epochs"]
    with options.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, names)
        if not rows:
            writer.writeheader()
        for seed in range(options.seeds):
            for name in options.sets:
                for features in options.features:
                    for settings in options.settings:
                        key = (name, features, settings, str(seed))
                        if key in done:
                            continue
                        found = run(name, features, SETTINGS[settings], seed)
                        row = dict(zip(names, [*key, *found], strict=True))
                        writer.writerow(row)
                        file.flush()
                        print(row, flush=True)


if __name__ == "__main__":
    main()
