"""Where auxiliary tasks help a pretrained network: strategies against fine-tuning.

Usage: python tests/benchmarks/bench_auxiliary_accuracy.py --data freesolv \
           --fractions 0.2 --seeds 5 --out docs/benchmarks/auxiliary_accuracy.csv

The scaffold split of Hu et al., a share of its training rows, the best epoch by
validation, the test score there. A seed means the same initial heads, rows and batches
for every strategy. Rows that the file already holds are not computed again. Needs the
data sets and weights of ``shared`` beside the repository.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from rdkit import RDLogger
from sklearn.model_selection import PredefinedSplit

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import fetch_moleculenet
from skgnn_mtl.encoders import GAT, GCN, GraphSAGE, Pretrained
from skgnn_mtl.metrics import nan_root_mean_squared_error
from skgnn_mtl.model_selection import ScaffoldSplit
from skgnn_mtl.weighting import RCGrad

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLASSES = {"gcn": GCN, "graphsage": GraphSAGE, "gat": GAT}
REGRESSION = {"esol", "freesolv", "lipophilicity"}
FIVE = (
    "atommasking",
    "edgeprediction",
    "contextprediction",
    "infomax",
    "motifprediction",
)
THREE = ("atommasking", "infomax", "motifprediction")
ARMS = {
    "FT": ((), "equal"),
    "MTL": (FIVE, "equal"),
    "GCS": (FIVE, "gcs"),
    "GNS": (FIVE, "gns"),
    "AnchoredPCGrad": (FIVE, "anchoredpcgrad"),
    "RCGrad": (FIVE, RCGrad()),
    "RCGrad released": (FIVE, RCGrad(mode="released")),
    "MTL three": (THREE, "equal"),
    "RCGrad three": (THREE, RCGrad()),
    "descriptors": (("descriptorprediction",), "equal"),
}
FIELDS = ["data", "encoder", "fraction", "arm", "seed", "valid", "test", "seconds"]


def run(name, X, y, checkpoint, arm, fraction, seed, epochs):
    train, valid, test = ScaffoldSplit().parts(X)
    rng = np.random.default_rng(seed)
    train = rng.choice(train, max(1, round(fraction * len(train))), replace=False)
    cls = CLASSES[checkpoint.split("_")[0]]
    path = SHARED / "weights" / "pretrain_gnns" / f"{checkpoint}.pth"
    tasks, weighting = ARMS[arm]
    kind = MultiTaskGNNRegressor if name in REGRESSION else MultiTaskGNNClassifier
    rows = np.concatenate([train, valid])
    model = kind(
        Pretrained(cls.from_checkpoint(path, dropout=0.5)),
        auxiliary_tasks=tasks,
        task_weighting=weighting,
        optimizer="adam",
        lr_schedule="constant",
        batch_size=32,
        max_epochs=epochs,
        early_stopping=True,
        n_iter_no_change=epochs,
        validation=PredefinedSplit(np.repeat([-1, 0], [len(train), len(valid)])),
        random_state=seed,
        n_threads=1,
    )
    start = time.perf_counter()
    model.fit(X[rows], y[rows])
    seconds = time.perf_counter() - start

    def score(part):
        if name in REGRESSION:
            return nan_root_mean_squared_error(y[part], model.predict(X[part]))
        return model.score(X[part], y[part])

    return score(valid), score(test), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="freesolv")
    parser.add_argument("--checkpoint", default="gcn_supervised_contextpred")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    RDLogger.DisableLog("rdApp.*")
    smiles, y = fetch_moleculenet(
        options.data, data_home=SHARED / "data", return_X_y=True
    )
    X = SmilesToGraph(features="hu2020", on_error="nan").fit_transform(smiles)
    X, y = X[X.valid], np.asarray(y, dtype=float).reshape(len(X), -1)[X.valid]
    new = not options.out.exists()
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        with options.out.open(newline="") as known:
            done = {tuple(row[:5]) for row in csv.reader(known)}
        for seed in range(options.seeds):
            for fraction in options.fractions:
                for arm in options.arms:
                    key = (
                        options.data,
                        options.checkpoint,
                        str(fraction),
                        arm,
                        str(seed),
                    )
                    if key in done:
                        continue
                    found = run(
                        options.data,
                        X,
                        y,
                        options.checkpoint,
                        arm,
                        fraction,
                        seed,
                        options.epochs,
                    )
                    writer.writerow([*key, *(f"{value:.4f}" for value in found)])
                    file.flush()
                    print(*key, *(f"{value:.4f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
