"""Cost of auxiliary learning: a step of each strategy in units of a fine-tuning step.

Usage: python tests/benchmarks/bench_auxiliary.py [--out docs/benchmarks/auxiliary.csv]

SIDER, batch 32, Hu et al.'s encoders with all five tasks; strategies alternate in one
process, and a row is the median over rounds. Needs the data sets and weights of
``shared`` beside the repository.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.auxiliary import (
    AtomMasking,
    ContextPrediction,
    EdgePrediction,
    Infomax,
    MotifPrediction,
    PlainPass,
)
from skgnn_mtl.auxiliary._context_prediction import _distances
from skgnn_mtl.auxiliary._edge_prediction import _others
from skgnn_mtl.datasets import fetch_moleculenet
from skgnn_mtl.encoders import GAT, GCN, GIN, GraphSAGE, Pretrained
from skgnn_mtl.graphs import HU2020, GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import MultiTaskModel, TrainingStep, logistic
from skgnn_mtl.weighting import GCS, GNS, AnchoredPCGrad, Equal, RCGrad

SHARED = Path(__file__).resolve().parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "pretrain_gnns"
FILES = {
    "GCN": (GCN, "gcn_supervised_contextpred"),
    "GraphSAGE": (GraphSAGE, "graphsage_supervised_contextpred"),
    "GAT": (GAT, "gat_supervised_contextpred"),
}
BATCH = 32


def encoder(name):
    if name not in FILES:
        return GIN(dropout=0.5)
    cls, file = FILES[name]
    return Pretrained(cls.from_checkpoint(WEIGHTS / f"{file}.pth", dropout=0.5))


def tasks():
    return [
        AtomMasking(),
        EdgePrediction(),
        ContextPrediction(),
        Infomax(),
        MotifPrediction(),
    ]


class Contestant:
    """A network, its step and its optimizer."""

    def __init__(self, name, weighting, auxiliary, data):
        torch.manual_seed(0)
        self.model = MultiTaskModel(
            encoder(name), Mean(), HU2020, data.targets.shape[1], auxiliary=auxiliary
        ).train()
        n_tasks = data.targets.shape[1]
        n_entries = n_tasks + len(auxiliary)
        weighting.build(n_entries)
        self.step = TrainingStep(
            weighting,
            logistic,
            n_entries,
            generator=torch.Generator().manual_seed(0),
            draws=torch.Generator().manual_seed(1),
            targets=range(n_tasks),
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        self.seconds = []

    def run(self, graphs, labels):
        start = time.perf_counter()
        self.optimizer.zero_grad()
        self.step.backward(self.model, graphs, labels)
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


STRATEGIES = {
    "fine-tuning": (Equal, False),
    "MTL": (Equal, True),
    "GCS": (GCS, True),
    "GNS": (GNS, True),
    "AnchoredPCGrad": (AnchoredPCGrad, True),
    "RCGrad angle": (RCGrad, True),
    "RCGrad released": (lambda: RCGrad(mode="released"), True),
    "RCGrad every 10": (lambda: RCGrad(update_every=10), True),
}


def step_rows(name, data, n_rounds):
    contestants = {
        label: Contestant(name, make(), tasks() if aided else [], data)
        for label, (make, aided) in STRATEGIES.items()
    }
    rng = np.random.default_rng(0)
    for _ in range(n_rounds):
        batch = data.__getitems__(rng.integers(0, len(data), BATCH))
        for contestant in contestants.values():
            contestant.run(*batch)
    unit = np.median(contestants["fine-tuning"].seconds[2:])
    for label, contestant in contestants.items():
        # Of update_every only the mean means anything.
        seconds = np.array(contestant.seconds[2:])
        value = seconds.mean() if "every" in label else np.median(seconds)
        yield [name, label, f"{1e3 * value:.1f}", f"{value / unit:.2f}"]


def transform_rows(data, n_rounds=200):
    """Milliseconds a molecule of everything but the networks."""
    task = AtomMasking()
    rng = np.random.default_rng(0)
    spent = {"masking": 0.0, "pairs": 0.0, "contexts": 0.0}
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_rounds):
        graphs, _ = data.__getitems__(rng.integers(0, len(data), BATCH))
        seen = PlainPass(None, graphs, None, None, generator)
        start = time.perf_counter()
        masked = task._masked(seen)
        codes = graphs.node_codes.clone()
        codes[masked] = codes.new_tensor((119, 0))
        graphs.with_node_codes(codes)
        middle = time.perf_counter()
        _others(seen)
        late = time.perf_counter()
        first, counts = seen.first_nodes()
        roots = first + (seen.uniform(len(counts)) * counts).long()
        d = _distances(graphs, roots, 7)
        graphs.induced((d >= 0) & (d <= 5))
        graphs.induced(d >= 5)
        end = time.perf_counter()
        spent["masking"] += middle - start
        spent["pairs"] += late - middle
        spent["contexts"] += end - late
    for label, seconds in spent.items():
        yield [
            "-",
            f"transform: {label}",
            f"{1e3 * seconds / n_rounds / BATCH:.4f}",
            "",
        ]
    total = 1e3 * sum(spent.values()) / n_rounds / BATCH
    yield ["-", "transform: all, a molecule", f"{total:.4f}", ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=22)
    parser.add_argument("--encoders", nargs="+", default=["GCN", "GIN"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    smiles, y = fetch_moleculenet("sider", data_home=SHARED / "data", return_X_y=True)
    X = SmilesToGraph(features="hu2020").fit_transform(smiles)
    y = np.asarray(y, dtype=float)
    columns = [np.empty((len(X), 0))] * 4 + [MotifPrediction().prepare(X)]
    data = GraphDataset(X, y, np.isfinite(y).astype(float), columns)
    rows = [["encoder", "step", "milliseconds", "over fine-tuning"]]
    rows += transform_rows(data)
    for name in options.encoders:
        rows += step_rows(name, data, options.rounds)
    for row in rows:
        print(*(f"{cell:<28}" for cell in row))
    if options.out:
        with options.out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
