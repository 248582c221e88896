"""Cost of auxiliary learning: a step of each strategy in units of a fine-tuning step.

Usage: python tests/benchmarks/bench_auxiliary.py [--out docs/benchmarks/auxiliary.csv]

SIDER, batch 32, Hu et al.'s encoders with all five tasks. Strategies alternate in one
process. A row has the median CPU time and the median ratio to the fine-tuning step of
the same round. The time of a surgery step is divided into its passes. Outer steps of
BLO come after a fine-tuning step each, with 64 and with 229 rows held out. Needs the
data sets and weights of ``shared`` beside the repository.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from skgnn_mtl import SmilesToGraph
from skgnn_mtl._flat import flat_size, pull_back
from skgnn_mtl.auxiliary import (
    AtomMasking,
    BatchContext,
    ContextPrediction,
    EdgePrediction,
    Infomax,
    MotifPrediction,
)
from skgnn_mtl.auxiliary._context_prediction import _distances
from skgnn_mtl.auxiliary._edge_prediction import _others
from skgnn_mtl.datasets import fetch_moleculenet
from skgnn_mtl.encoders import GAT, GCN, GIN, GraphSAGE, Pretrained
from skgnn_mtl.graphs import HU2020, GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import HeldOutRows, MultiTaskModel, TrainingStep, logistic
from skgnn_mtl.training._jacobian import fill_jacobian, task_pass
from skgnn_mtl.weighting import BLO, GCS, GNS, AnchoredPCGrad, Equal, RCGrad

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
        start = time.process_time()
        self.optimizer.zero_grad()
        record = self.step.backward(self.model, graphs, labels)
        self.optimizer.step()
        self.seconds.append(time.process_time() - start)
        return record


STRATEGIES = {
    "fine-tuning": (Equal, False),
    "MTL": (Equal, True),
    "GCS": (GCS, True),
    "GNS": (GNS, True),
    "AnchoredPCGrad": (AnchoredPCGrad, True),
    "RCGrad angle": (RCGrad, True),
    "RCGrad released": (lambda: RCGrad(mode="released"), True),
    "GNS every 3": (lambda: GNS(update_every=3), True),
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
    unit = np.array(contestants["fine-tuning"].seconds[2:])
    for label, contestant in contestants.items():
        seconds = np.array(contestant.seconds[2:])
        # Of update_every only the mean has a meaning.
        average = np.mean if "every" in label else np.median
        yield [name, label, *cells(average(seconds), average(seconds / unit))]


def cells(seconds, ratio):
    return f"{1e3 * seconds:.1f}", f"{ratio:.2f}"


def pass_rows(name, data, n_rounds):
    """The passes of a surgery step: forward, one row per task, heads."""
    plain = Contestant(name, Equal(), [], data)
    one = Contestant(name, GNS(), tasks(), data)
    n_tasks, shared = data.targets.shape[1], one.model.shared_parameters()
    jacobian = torch.empty(1, flat_size(shared))
    pool = torch.full((n_tasks,), 1.0 / n_tasks, dtype=torch.float64)
    rng = np.random.default_rng(0)
    spent = {}

    def timed(label, function, *arguments):
        start = time.process_time()
        result = function(*arguments)
        spent.setdefault(label, []).append(time.process_time() - start)
        return result

    for _ in range(n_rounds):
        batch = data.__getitems__(rng.integers(0, len(data), BATCH))
        plain.run(*batch)
        draws = one.step.draws
        found = timed("forward", task_pass, one.model, *batch, logistic, draws)
        fill = [jacobian, found, torch.tensor([0]), shared, 1, pool]
        timed("row: targets", fill_jacobian, *fill)
        for k, task in enumerate(one.model.tasks()):
            fill = [jacobian, found, torch.tensor([n_tasks + k]), shared]
            timed(f"row: {type(task).__name__}", fill_jacobian, *fill)
        seeds = found.seeds(torch.ones(n_tasks + len(one.model.tasks())))
        outputs, cotangents = zip(*seeds, strict=True)
        heads = one.model.head_parameters()
        timed("heads", pull_back, outputs, heads, cotangents)
        x, w = torch.randn(batch[0].n_nodes, 300), torch.randn(300, 300)
        timed("ten products (n_nodes, 300) (300, 300)", products, x, w)
    unit = np.array(plain.seconds[2:])
    for label, seconds in spent.items():
        seconds = np.array(seconds[2:])
        yield [
            name,
            f"pass: {label}",
            *cells(np.median(seconds), np.median(seconds / unit)),
        ]


def products(x, w):
    """Matrix products of the size of those of GCN's backward pass."""
    for _ in range(10):
        x @ w


OUTER = {
    "BLO": BLO,
    "BLO, n_batches=None": lambda **kept: BLO(n_batches=None, **kept),
    "BLO, n_terms=3": lambda **kept: BLO(n_terms=3, **kept),
    "BLO, n_terms=3, n_batches=None": lambda **kept: BLO(
        n_terms=3, n_batches=None, **kept
    ),
    "BLO(RCGrad), consistent": lambda **kept: BLO(RCGrad(), **kept),
}


def part(data, rows):
    """Rows of a data set, with what auxiliary tasks know of them."""
    columns = [table[rows] for table in data.columns]
    return GraphDataset(
        data.graphs[rows], data.targets[rows], data.weights[rows], columns
    )


def outer_rows(name, data, n_rounds, sizes):
    """Cost of an outer step, as the median ratio to the step before it."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data))
    plain = Contestant(name, Equal(), [], data)
    contestants = {}
    for label, make in OUTER.items():
        for size in sizes:
            one = Contestant(name, make(every=1), tasks(), data)
            held_out, inner = part(data, order[:size]), part(data, order[size:])
            one.step.hold_out(HeldOutRows(inner, held_out, BATCH, 0))
            contestants[f"outer step: {label}, {size} rows held out"] = one
    ratios = {label: [] for label in contestants}
    for _ in range(n_rounds):
        for label, one in contestants.items():
            start = time.process_time()
            batch = data.__getitems__(rng.integers(0, len(data), BATCH))
            record = plain.run(*batch)
            middle = time.process_time()
            one.step.after_step(one.model, *batch, record)
            seconds = time.process_time() - middle
            ratios[label].append((seconds, seconds / (middle - start)))
    for label, found in ratios.items():
        seconds, ratio = np.median(found[1:], axis=0)
        yield [name, label, *cells(seconds, ratio)]


def transform_rows(data, n_rounds=200):
    """Milliseconds a molecule of everything but the networks."""
    task = AtomMasking()
    rng = np.random.default_rng(0)
    spent = {"masking": 0.0, "pairs": 0.0, "contexts": 0.0}
    generator = torch.Generator().manual_seed(0)
    for _ in range(n_rounds):
        graphs, _ = data.__getitems__(rng.integers(0, len(data), BATCH))
        seen = BatchContext(None, graphs, None, None, generator)
        start = time.process_time()
        masked = task._masked(seen)
        codes = graphs.node_codes.clone()
        codes[masked] = codes.new_tensor((119, 0))
        graphs.with_node_codes(codes)
        middle = time.process_time()
        _others(seen)
        late = time.process_time()
        first, counts = seen.first_nodes()
        roots = first + (seen.uniform(len(counts)) * counts).long()
        d = _distances(graphs, roots, 7)
        graphs.induced((d >= 0) & (d <= 5))
        graphs.induced(d >= 5)
        end = time.process_time()
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
    parser.add_argument("--only-outer", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    smiles, y = fetch_moleculenet("sider", data_home=SHARED / "data", return_X_y=True)
    X = SmilesToGraph(features="hu2020").fit_transform(smiles)
    y = np.asarray(y, dtype=float)
    columns = [np.empty((len(X), 0))] * 4 + [MotifPrediction().prepare(X)]
    data = GraphDataset(X, y, np.isfinite(y).astype(float), columns)
    rows = [["encoder", "step", "milliseconds", "over fine-tuning"]]
    if not options.only_outer:
        rows += transform_rows(data)
        for name in options.encoders:
            rows += step_rows(name, data, options.rounds)
            rows += pass_rows(name, data, options.rounds)
    for name in options.encoders:
        # The held-out fifth of the training rows of the scaffold split are 229.
        rows += outer_rows(name, data, max(3, options.rounds // 3), (2 * BATCH, 229))
    for row in rows:
        print(*(f"{cell:<28}" for cell in row), flush=True)
    if options.out:
        with options.out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
