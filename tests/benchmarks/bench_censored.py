"""Floor values as exact labels, left out, or as bounds: errors on exact test labels.

    python tests/benchmarks/bench_censored.py --data-home DIR --out FILE.csv \
        [--seeds 3] [--epochs 40] [--width 150] [--model network]
    python tests/benchmarks/bench_censored.py --out FILE.csv --report

The two clearances of Biogen's ADME set have a floor: many labels are its lowest
value, which says "at most". A fifth of the rows tests, drawn by the seed, which is also
that of the network. Test rows at the floor are scored apart, by how far predictions
exceed it.

With ``floor="median"`` the floor of each clearance is raised to its median, so that the
labels beneath it are known and can be scored ("below").

``--model trees`` fits 50 extra trees for each clearance, on RDKit's descriptors and 128
fragment counts. They know no bounds: "bound" is left out, because it is "exact".

A line of the file is one floor, treatment, seed and task. What the file holds is not
run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import fetch_biogen_adme
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.ensemble import PerTaskRegressor
from skgnn_mtl.featurizers import SmilesToDescriptors

FLOORED = ["LOG HLM_CLint (mL/min/kg)", "LOG RLM_CLint (mL/min/kg)"]
# What a label at the floor is in the training, and the parameter that reads it.
TREATMENTS = {"exact": "raise", "drop": "drop", "bound": "bound"}


def censor(y: pd.DataFrame, floors: pd.Series) -> pd.DataFrame:
    """Write labels at or below a floor as text."""
    table = y.astype(object)
    for task, floor in floors.items():
        table[task] = table[task].mask(y[task] <= floor, f"<={floor!r}")
    return table


def errors(y: pd.Series, predicted: np.ndarray, floor: float, lowest: float) -> dict:
    """Score the labels above the floor, those below it, and those that are unknown."""
    excess = np.maximum(predicted - floor, 0.0)
    parts = {
        "above": (y > floor, predicted - y),
        "below": ((y <= floor) & (y > lowest), predicted - y),
        "excess": (y <= floor, excess),
    }
    scores = {}
    for name, (rows, error) in parts.items():
        scores[f"n_{name}"] = int(rows.sum())
        scores[name] = (
            float(np.sqrt(np.mean(error[rows] ** 2))) if rows.any() else np.nan
        )
    return scores


def run(X, y, floors, treatment: str, seed: int, arguments):
    """Fit one network, and score every task."""
    test = np.random.default_rng(seed).permutation(len(y)) < len(y) // 5
    labels = y.clip(lower=floors.reindex(y.columns), axis=1)
    if treatment != "exact":
        labels = censor(labels, floors)
    if arguments.model == "trees":
        trees = ExtraTreesRegressor(50, random_state=seed)
        model = PerTaskRegressor(trees, censored=TREATMENTS[treatment])
    else:
        model = MultiTaskGNNRegressor(
            DMPNN(width=arguments.width),
            head_hidden_dims=(arguments.width,),
            max_epochs=arguments.epochs,
            censored=TREATMENTS[treatment],
            random_state=seed,
        )
    start = time.process_time()
    predicted = model.fit(X[~test], labels[~test]).predict(X[test])
    seconds = time.process_time() - start
    lowest = y.min()
    for k, task in enumerate(y):
        floor = floors.get(task, -np.inf)
        unknown = lowest[task] if task in floors else -np.inf
        scores = errors(y[task][test], predicted[:, k], floor, unknown)
        yield {"task": task, **scores, "seconds": seconds}


def report(table: pd.DataFrame) -> None:
    """Print mean errors, and ratios to exact labels with their range over seeds."""
    squares = table["n_above"] * table["above"] ** 2 + (
        table["n_below"] * table["below"].fillna(0.0) ** 2
    )
    # All labels that are known.
    table["both"] = np.sqrt(squares / (table["n_above"] + table["n_below"]))
    for floor, part in table.groupby("floor"):
        print(f"\nfloor: {floor}")
        for score in ("above", "below", "both", "excess"):
            wide = part.pivot_table(
                index=["task", "treatment"], columns="seed", values=score
            )
            if wide.empty:
                continue
            ratios = wide.div(wide.xs("exact", level="treatment"), level="task")
            both = pd.DataFrame(
                {"mean": wide.mean(axis=1), "ratio": ratios.mean(axis=1),
                 "lowest": ratios.min(axis=1), "highest": ratios.max(axis=1)}
            )  # fmt: skip
            print(score, both.round(3).to_string(), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--width", type=int, default=150)
    parser.add_argument("--model", choices=["network", "trees"], default="network")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    done = pd.read_csv(arguments.out) if arguments.out.exists() else pd.DataFrame()
    if arguments.report:
        report(done)
        return
    smiles, y = fetch_biogen_adme(data_home=arguments.data_home, return_X_y=True)
    treatments = list(TREATMENTS)
    if arguments.model == "trees":
        X = SmilesToDescriptors(morgan_counts=128).fit_transform(smiles)
        X[~np.isfinite(X)] = np.nan
        y, treatments = y[FLOORED], ["exact", "drop"]
    else:
        X = SmilesToGraph(features="chemprop").fit_transform(smiles)
    floors = {"real": y[FLOORED].min(), "median": y[FLOORED].median()}
    rows = done.to_dict("records")
    for seed in range(arguments.seeds):
        for floor, values in floors.items():
            for treatment in treatments:
                keys = {"floor": floor, "treatment": treatment, "seed": seed}
                if any(keys.items() <= row.items() for row in rows):
                    continue
                found = run(X, y, values, treatment, seed, arguments)
                rows += [keys | scores for scores in found]
                pd.DataFrame(rows).to_csv(arguments.out, index=False)
                print(keys, flush=True)


if __name__ == "__main__":
    main()
