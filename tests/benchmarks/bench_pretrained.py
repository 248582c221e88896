"""Does a pretrained D-MPNN lower the error? Paired runs from both starting points.

A fifth of the rows tests. A run trains the recommended network on 100 of the others,
or on all, from random weights and from the pretrained ones, with the same seed. One row
per run goes to a CSV, and a run that is there is not repeated::

    python tests/benchmarks/bench_pretrained.py --encoder pretrainer --out runs.csv
    python tests/benchmarks/bench_pretrained.py --out runs.csv --report
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from skgnn_mtl import (
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.datasets import fetch_biogen_adme, fetch_moleculenet, load_physchem
from skgnn_mtl.encoders import DMPNN, Pretrained
from skgnn_mtl.metrics import nan_roc_auc_score
from skgnn_mtl.readouts import Sum

SHARED = Path(__file__).parents[3] / "shared"
REGRESSION = ("freesolv", "esol", "lipophilicity", "biogen", "physchem")
CLASSIFICATION = ("bace", "bbbp", "clintox", "sider", "tox21")
MOST_ROWS = 2000
FIELDS = ["set", "labels", "start", "seed", "error", "seconds"]


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
    X = SmilesToGraph(features="chemprop", on_error="nan").transform(smiles[rows])
    return X[np.flatnonzero(X.valid)], y[rows][X.valid]


def chosen(y, rows, n_labels):
    """The first rows that give every task labels (of both classes)."""
    rows = rows[:n_labels]
    known = ~np.isnan(y[rows])
    return rows, known.sum(axis=0) >= 2


def run(name, X, y, n_labels, start, seed, source):
    order = np.random.default_rng(seed).permutation(len(X))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    rows, usable = chosen(y, train, n_labels or len(train))
    y = y[:, usable]
    settings = {
        "encoder": DMPNN() if start == "random" else Pretrained(source),
        "readout": Sum(norm=20),
        "head_hidden_dims": (300,),
        "max_epochs": 60,
        "random_state": seed,
        "device": "cpu",
    }
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in CLASSIFICATION:
            model = MultiTaskGNNClassifier(**settings).fit(X[rows], y[rows])
            scores = model.predict_logits(X[test])
            error = 1.0 - nan_roc_auc_score(y[test], scores)
        else:
            model = MultiTaskGNNRegressor(**settings).fit(X[rows], y[rows])
            squares = (model.predict(X[test]) - y[test]) ** 2
            scale = np.nanstd(y[train], axis=0)
            error = np.mean(np.sqrt(np.nanmean(squares, axis=0)) / scale)
    return float(error), time.process_time() - begun


def report(rows):
    """Print mean errors, their ratio, and its interval over seeds and over sets."""
    found = {}
    for row in rows:
        key = row["labels"], row["set"]
        by_start = found.setdefault(key, {})
        by_start.setdefault(row["start"], {})[row["seed"]] = float(row["error"])
    for labels in sorted({key[0] for key in found}):
        logs = []
        for name in (*REGRESSION, *CLASSIFICATION):
            starts = found.get((labels, name), {})
            seeds = (
                starts.get("random", {}).keys() & starts.get("pretrained", {}).keys()
            )
            if not seeds:
                continue
            before, after = (
                np.array([starts[start][seed] for seed in sorted(seeds)])
                for start in ("random", "pretrained")
            )
            ratios = np.log(after / before)
            logs.append(ratios.mean())
            print(
                f"{labels:>4s} {name:14s} {before.mean():.4f} {after.mean():.4f} "
                f"ratio {np.exp(ratios.mean()):.3f} +- {ratios.std(ddof=1):.3f} "
                f"({len(seeds)} seeds, {int((after < before).sum())} better)"
            )
        test = stats.ttest_1samp(logs, 0.0)
        low, high = np.exp(test.confidence_interval(0.95))
        print(
            f"{labels:>4s} mean over {len(logs)} sets {np.exp(np.mean(logs)):.3f} "
            f"[{low:.3f}, {high:.3f}], p = {test.pvalue:.3g}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 0])
    parser.add_argument("--sets", nargs="*", default=[*REGRESSION, *CLASSIFICATION])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    if options.out.exists():
        with options.out.open() as file:
            rows = list(csv.DictReader(file))
    if options.report:
        report(rows)
        return
    source = GNNPretrainer.load(options.encoder).encoder_
    done = {(r["set"], r["labels"], r["start"], r["seed"]) for r in rows}
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not rows:
            writer.writerow(FIELDS)
        for n_labels in options.labels:
            for name in options.sets:
                X, y = read(name)
                for seed in range(options.seeds):
                    for start in ("random", "pretrained"):
                        key = (name, str(n_labels or "all"), start, str(seed))
                        if key in done:
                            continue
                        found = run(name, X, y, n_labels, start, seed, source)
                        writer.writerow([*key, *found])
                        file.flush()
                        print(*key, *found, flush=True)


if __name__ == "__main__":
    main()
