"""What BLO learns from: derivatives of its task weights, exact and as it takes them.

Usage: python tests/benchmarks/bench_bilevel.py --derivatives bilevel.csv
       python tests/benchmarks/bench_bilevel.py --unrolled bilevel_unrolled.csv
       python tests/benchmarks/bench_bilevel.py --weights bilevel_weights.csv
       python tests/benchmarks/bench_bilevel.py --report docs/benchmarks

``--derivatives`` trains with all five tasks. At each update of the weights it computes
the derivatives in float64, with several numbers of products with the Hessian and steps
of the series, and in float32 by the forward pass. Cosines and errors are against the
exact derivatives without products. ``--unrolled`` compares all of them with the
derivative of the held-out loss after ten further steps of the encoder, on ten batches,
by automatic differentiation through the steps; at every third update. ``--weights``
compares the weights that settings of BLO learn, on the same batches. Needs the data
sets and weights of ``shared`` beside the repository.
"""

import argparse
import copy
import csv
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_auxiliary import BATCH, SHARED, encoder, part, tasks

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.auxiliary import MotifPrediction
from skgnn_mtl.datasets import fetch_moleculenet
from skgnn_mtl.graphs import HU2020, GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import (
    LOSSES,
    HeldOutRows,
    MultiTaskModel,
    TrainingStep,
    at_moved,
    logistic,
    task_losses,
)
from skgnn_mtl.training._held_out import HeldOutLoop, held_out_gradient
from skgnn_mtl.training._replay import evaluating
from skgnn_mtl.weighting import BLO

REGRESSION = {"freesolv", "esol", "lipophilicity"}
SCALES, TERMS = (1.0, 0.1, 0.01), (1, 3)
METHODS = {
    "default": {},
    "all held-out rows": {"n_batches": None},
    "3 products, scale 0.01": {"n_batches": None, "n_terms": 3, "scale": 0.01},
    "3 products, scale 1": {"n_batches": None, "n_terms": 3},
}


class InDoubles(GraphDataset):
    """Batches in float64."""

    def __getitems__(self, rows):
        graphs, labels = super().__getitems__(rows)
        names = ("node_features", "edge_features", "graph_features")
        values = {name: getattr(graphs, name).double() for name in names}
        return replace(graphs, **values), labels.to(torch.float64)


def load(name):
    smiles, y = fetch_moleculenet(name, data_home=SHARED / "data", return_X_y=True)
    X = SmilesToGraph(features="hu2020").fit_transform(smiles)
    y = np.asarray(y, dtype=float).reshape(len(X), -1)
    if name in REGRESSION:
        y = (y - y.mean(axis=0)) / y.std(axis=0)
    columns = [np.empty((len(X), 0))] * 4 + [MotifPrediction().prepare(X)]
    return GraphDataset(X, y, np.isfinite(y).astype(float), columns)


class Training:
    """Steps on four fifths of a data set, with an update every ten of them."""

    def __init__(self, name, data, network, method, seed):
        torch.manual_seed(seed)
        n_tasks = data.targets.shape[1]
        self.loss = LOSSES["squared_error"] if name in REGRESSION else logistic
        self.targets = list(range(n_tasks))
        parts = tasks()
        self.model = MultiTaskModel(
            encoder(network), Mean(), HU2020, n_tasks, auxiliary=parts
        ).train()
        method.build(n_tasks + len(parts))
        self.step = TrainingStep(
            method,
            self.loss,
            n_tasks + len(parts),
            generator=torch.Generator().manual_seed(seed),
            draws=torch.Generator().manual_seed(seed),
            targets=self.targets,
        )
        self.rng = np.random.default_rng(seed)
        order = self.rng.permutation(len(data))
        n_held = len(data) // 5
        self.held_out, self.inner = (
            part(data, rows) for rows in (order[:n_held], order[n_held:])
        )
        rows = HeldOutRows(self.inner, self.held_out, BATCH, seed)
        self.step.hold_out(rows)
        self.method, self.optimizer = (
            method,
            torch.optim.Adam(self.model.parameters(), 1e-3),
        )

    def run(self):
        batch = self.inner.__getitems__(self.rng.integers(0, len(self.inner), BATCH))
        self.optimizer.zero_grad()
        record = self.step.backward(self.model, *batch)
        self.optimizer.step()
        return *batch, record

    def evidence(self, dtype, n_batches=None):
        """The held-out gradient, and what the next update draws, or several batches."""
        model = copy.deepcopy(self.model).to(dtype)
        cls = InDoubles if dtype is torch.float64 else GraphDataset
        inner, held_out = (
            cls(x.graphs, x.targets, x.weights, x.columns)
            for x in (self.inner, self.held_out)
        )
        rows = HeldOutRows(inner, held_out, BATCH, 0)
        loop = HeldOutLoop(self.method, self.loss, self.targets, rows, None)
        loop.generator.set_state(self.step._held_out.generator.get_state())
        chosen = loop._sample(self.method.n_batches)
        g = held_out_gradient(
            model,
            held_out,
            self.loss,
            targets=self.targets,
            pool="labels",
            batch_size=64,
            rows=chosen,
        )
        if n_batches is None:
            return g, loop._draw_batch(model)
        self.copy = model
        return g, [loop._draw_batch(model) for _ in range(n_batches)]

    def after(self, batches, weights, update):
        """The derivative of the held-out loss by the weights, after some steps."""
        w = weights.detach().clone().requires_grad_()
        shared = self.copy.shared_parameters()
        moves = [torch.zeros_like(p).requires_grad_() for p in shared]
        for k, batch in enumerate(batches):
            losses, _ = batch._evaluate(moves)
            loss = w @ torch.stack(losses)
            slopes = torch.autograd.grad(loss, moves, create_graph=True)
            moves = update(moves, slopes, k)
        own = set(map(id, shared))
        names = [name for name, p in self.copy.named_parameters() if id(p) in own]
        with evaluating(self.copy):
            moved = dict(zip(names, moves, strict=True))
            loss = at_moved(self.held_out_loss, self.copy, moved)
        return torch.autograd.grad(loss, w)[0]

    def held_out_loss(self, model):
        held_out = self.held_out
        cls = InDoubles(held_out.graphs, held_out.targets, held_out.weights)
        graphs, labels = cls.__getitems__(np.arange(len(held_out)))
        outputs = model.evaluate(graphs)
        losses, mass = task_losses(outputs, labels.targets, labels.weights, self.loss)
        return losses @ (mass / mass.sum())


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()).clamp(min=1e-300))


def compared(found, exact):
    """Cosine over all entries, over auxiliary ones, and the relative error."""
    error = float((found - exact).norm() / exact.norm())
    return cosine(found, exact), cosine(found[1:], exact[1:]), error


def derivatives(name, data, network, seed, n_updates):
    """Rows of the derivatives at each update of a training."""
    training = Training(name, data, network, BLO(), seed)
    for k in range(10 * n_updates):
        found = training.run()
        if k % 10 == 9:
            g, batch = training.evidence(torch.float64)
            single, batch32 = training.evidence(torch.float32)
            forward = batch32.products(single).double()
            exact = batch.jacobian() @ g
            start = [name, network, seed, k // 10]
            yield [*start, "float32", "", 0, "", *compared(forward, exact)]
            double = batch.products(g)
            yield [*start, "float64", "", 0, "", *compared(double, exact)]
            weights = training.method.factors()[batch.places]
            for scale, n_terms in product(SCALES, TERMS):
                series = batch.neumann_series(
                    weights, g, n_terms=n_terms, scale=scale, keep_graph=True
                )
                values = compared(series.products, exact)
                yield [*start, "float64", scale, n_terms, series.ratio, *values]
        training.step.after_step(training.model, *found)


def descent(rate):
    """Steps of gradient descent."""

    def update(moves, slopes, k):
        return [a - rate * b for a, b in zip(moves, slopes, strict=True)]

    return update


def adam(training, rate=1e-3):
    """Steps of Adam from the moments of the training."""
    states = [training.optimizer.state[p] for p in training.model.shared_parameters()]
    first = [state["exp_avg"].double() for state in states]
    second = [state["exp_avg_sq"].double() for state in states]
    start = int(states[0]["step"])

    def update(moves, slopes, k):
        n = start + k + 1
        for j, g in enumerate(slopes):
            first[j] = 0.9 * first[j] + 0.1 * g
            second[j] = 0.999 * second[j] + 0.001 * g * g
        return [
            a - rate * (m / (1 - 0.9**n)) / (v / (1 - 0.999**n) + 1e-16).sqrt()
            for a, m, v in zip(moves, first, second, strict=True)
        ]

    return update


def unrolled(name, data, network, seed, n_updates, rates):
    """Rows of cosines with the derivative after ten steps, at each update."""
    training = Training(name, data, network, BLO(n_batches=None), seed)
    for k in range(10 * n_updates):
        found = training.run()
        if k % 30 == 9:
            g, batches = training.evidence(torch.float64, n_batches=10)
            # Averaged over the ten batches, as the steps are.
            estimates = {}
            weights = training.method.factors()[batches[0].places]
            for batch in batches:
                forward = batch.products(g)
                estimates.setdefault((0, ""), []).append(forward)
                for scale, n_terms in product(SCALES, TERMS):
                    series = batch.neumann_series(
                        weights, g, n_terms=n_terms, scale=scale
                    )
                    del batch.losses  # whose graph is used up
                    key = n_terms, scale
                    estimates.setdefault(key, []).append(series.products)
            rules = {f"descent, {rate}": descent(rate) for rate in rates}
            rules["adam, 0.001"] = adam(training)
            for label, rule in rules.items():
                exact = -training.after(batches, weights, rule)
                for (n_terms, scale), values in estimates.items():
                    cosines = compared(torch.stack(values).mean(dim=0), exact)[:2]
                    one = [compared(value, exact)[:2] for value in values]
                    yield [
                        *(name, network, seed, k // 10, label, scale, n_terms),
                        *cosines,
                        *np.mean(one, axis=0).tolist(),
                    ]
        training.step.after_step(training.model, *found)


def weights(name, data, network, seed, n_updates):
    """Rows of the weights that settings of BLO learn."""
    for label, settings in METHODS.items():
        training = Training(name, data, network, BLO(**settings), seed)
        for k in range(10 * n_updates):
            found = training.run()
            training.step.after_step(training.model, *found)
            if k % 50 == 49:
                learned = training.method.weights_.tolist()
                yield [name, network, seed, label, (k + 1) // 10, *learned]


def series_table(rows):
    """Ratio and cosines of the series, over all updates of the trainings."""
    found = []
    groups = rows[rows.n_terms > 0].groupby(["encoder", "n_terms", "scale"])
    for (network, n_terms, scale), own in groups:
        ratio = f"{own.ratio.median():.2f} ({own.ratio.max():.2g})"
        cosines = [spread(own.cosine), spread(own.auxiliary_cosine)]
        found.append([network, f"{n_terms}", f"{scale:g}", ratio, *cosines])
    head = ["encoder", "products", "scale", "ratio", "all weights", "auxiliary"]
    return table(head, found)


def spread(values):
    """The median and the smallest value."""
    return f"{values.median():.3f} ({values.min():.2f})"


def unrolled_table(rows):
    """Mean cosines with the derivative after ten steps, by encoder and steps."""
    found = []
    rows = rows.assign(scale=rows.scale.fillna(0.0))
    groups = rows.groupby("encoder")
    measured = [set(zip(own.n_terms, own.scale, strict=True)) for _, own in groups]
    settings = sorted(set.intersection(*measured))
    for (network, steps), own in rows.groupby(["encoder", "steps"], sort=False):
        line = [network, steps]
        for n_terms, scale in settings:
            part_ = own[(own.n_terms == n_terms) & (own.scale == scale)]
            means = part_[["cosine", "auxiliary_cosine"]].mean()
            line.append(", ".join(f"{x:.2f}" for x in means))
        found.append(line)
    head = [f"{n}, scale {scale:g}" if n else "0" for n, scale in settings]
    return table(["encoder", "steps", *head], found)


def weights_table(rows):
    """Learned weights of each seed at the end."""
    last = rows[rows.updates == rows.updates.max()]
    names = list(rows.columns[5:])
    lines = [
        [setting, f"{seed}", *(f"{x:.4f}" for x in own[names].iloc[0])]
        for (setting, seed), own in last.groupby(["setting", "seed"], sort=False)
    ]
    lines.sort(key=lambda line: list(METHODS).index(line[0]))
    return table(["setting", "seed", *names], lines)


def table(head, rows):
    """A simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    bar = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [head, *rows]
    ]
    lines = [line.rstrip() for line in lines]
    return "\n".join([bar, lines[0], bar, *lines[1:], bar, ""])


def report(folder):
    """The tables of the page, in order."""
    return [
        series_table(pd.read_csv(folder / "bilevel.csv")),
        unrolled_table(pd.read_csv(folder / "bilevel_unrolled.csv")),
        weights_table(pd.read_csv(folder / "bilevel_weights.csv")),
    ]


def write(path, head, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        for row in rows:
            cells = [f"{x:.6g}" if isinstance(x, float) else x for x in row]
            writer.writerow(cells)
            file.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--derivatives", type=Path)
    parser.add_argument("--unrolled", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--data", nargs="+", default=["freesolv"])
    parser.add_argument("--encoders", nargs="+", default=["GCN", "GIN", "GAT"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--rates", nargs="+", type=float, default=[0.03, 0.1])
    options = parser.parse_args()
    if options.report:
        print("\n".join(report(options.report)))
        return
    torch.set_num_threads(1)
    sets = {name: load(name) for name in options.data}
    cells = list(product(sets, options.encoders, range(options.seeds)))
    if options.derivatives:
        head = "data,encoder,seed,update,precision,scale,n_terms,ratio,cosine,"
        head += "auxiliary_cosine,error"
        rows = (
            row
            for name, network, seed in cells
            for row in derivatives(name, sets[name], network, seed, options.updates)
        )
        write(options.derivatives, head.split(","), rows)
    if options.unrolled:
        head = "data,encoder,seed,update,steps,scale,n_terms,cosine,auxiliary_cosine,"
        head += "single_cosine,single_auxiliary_cosine"
        rows = (
            row
            for name, network, seed in cells
            for row in unrolled(
                name, sets[name], network, seed, options.updates, options.rates
            )
        )
        write(options.unrolled, head.split(","), rows)
    if options.weights:
        names = [type(task).__name__.lower() for task in tasks()]
        head = ["data", "encoder", "seed", "setting", "updates", "target", *names]
        rows = (
            row
            for name, network, seed in cells
            for row in weights(name, sets[name], network, seed, options.updates)
        )
        write(options.weights, head, rows)


if __name__ == "__main__":
    main()
