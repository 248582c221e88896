"""Seconds per epoch on QM8: our D-MPNN, chemprop's, and the floor of matrix products.

    python tests/benchmarks/bench_training.py --data-home FOLDER [--out FILE.csv]

Both sides train the same architecture (width 300, depth 3, one hidden layer of 300,
batches of 64, absolute error, two threads) on the same 17,428 molecules with graphs
cached. Epochs alternate in one process; the medians are compared. chemprop runs in a
plain loop over its own data loader, without the callbacks and logs of its trainer.
"""

from __future__ import annotations

import argparse
import time
import warnings
from statistics import median

import numpy as np
import pandas as pd
import torch

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import fetch_qm8
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.readouts import Sum

WIDTH, BATCH, N_TASKS = 300, 64, 12


def split(n: int):
    order = np.random.RandomState(0).permutation(n)
    return order[: int(0.8 * n)]


class OurEpochs:
    """One call is one epoch of partial_fit."""

    def __init__(self, smiles, y) -> None:
        self.X = SmilesToGraph("chemprop").fit_transform(smiles)
        self.y = y
        self.model = MultiTaskGNNRegressor(
            DMPNN(WIDTH),
            readout=Sum(norm=100),
            head_hidden_dims=(WIDTH,),
            loss="absolute_error",
            batch_size=BATCH,
            random_state=0,
        )

    def __call__(self) -> None:
        self.model.partial_fit(self.X, self.y)


class ChempropEpochs:
    """One call is one epoch of chemprop 2 with its default network."""

    def __init__(self, smiles, y) -> None:
        from chemprop import data, models, nn

        scaled = (y - y.mean(axis=0)) / y.std(axis=0)
        points = [
            data.MoleculeDatapoint.from_smi(s, row)
            for s, row in zip(smiles, scaled, strict=True)
        ]
        dataset = data.MoleculeDataset(points)
        dataset.cache = True
        self.loader = data.build_dataloader(dataset, batch_size=BATCH, seed=0)
        head = nn.RegressionFFN(n_tasks=N_TASKS, criterion=nn.metrics.MAE())
        self.model = models.MPNN(nn.BondMessagePassing(), nn.NormAggregation(), head)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-4)

    def __call__(self) -> None:
        model = self.model.train()
        for graphs, V_d, X_d, targets, weights, lt, gt in self.loader:
            self.optimizer.zero_grad()
            outputs = model.predictor.train_step(model.fingerprint(graphs, V_d, X_d))
            mask = targets.isfinite()
            loss = model.criterion(
                outputs, targets.nan_to_num(nan=0.0), mask, weights, lt, gt
            )
            loss.backward()
            self.optimizer.step()


class Floor:
    """Only the matrix products of chemprop's network, on batches of mean size."""

    def __init__(self, graphs) -> None:
        nodes = round(BATCH * graphs.n_nodes.mean())
        edges = round(BATCH * graphs.n_edges.mean())
        self.n_batches = -(-len(graphs) // BATCH)
        # (rows, in, out, whether the input needs a gradient)
        layers = [
            (edges, 86, WIDTH, False),
            (edges, WIDTH, WIDTH, True),
            (edges, WIDTH, WIDTH, True),
            (nodes, 72 + WIDTH, WIDTH, True),
            (BATCH, WIDTH, WIDTH, True),
            (BATCH, WIDTH, N_TASKS, True),
        ]
        self.products = [pair for layer in layers for pair in self._products(*layer)]

    @staticmethod
    def _products(rows, n_in, n_out, needs_input_gradient):
        x, w, g = (torch.randn(s) for s in ((rows, n_in), (n_in, n_out), (rows, n_out)))
        yield x, w
        yield x.t(), g
        if needs_input_gradient:
            yield g, w.t()

    def __call__(self) -> None:
        for _ in range(self.n_batches):
            for a, b in self.products:
                torch.mm(a, b)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(2)
    smiles, y = fetch_qm8(data_home=options.data_home, return_X_y=True)
    rows = split(len(smiles))
    smiles, y = smiles.iloc[rows], y.to_numpy()[rows]
    sides = {"ours": OurEpochs(smiles, y)}
    sides["floor"] = Floor(sides["ours"].X)
    try:
        sides["chemprop"] = ChempropEpochs(smiles, y)
    except ImportError as error:
        warnings.warn(f"chemprop is left out: {error}", stacklevel=1)
    seconds = {name: [] for name in sides}
    for repeat in range(options.repeats + 1):
        for name, epoch in sides.items():
            start = time.perf_counter()
            epoch()
            # The first round fills caches.
            if repeat:
                seconds[name].append(time.perf_counter() - start)
            print(name, f"{time.perf_counter() - start:.2f}", flush=True)
    table = pd.DataFrame(seconds)
    for name, column in table.items():
        print(f"{name}: median {median(column):.2f} s per epoch")
    print((table.median() / table["floor"].median()).rename("times the floor"))
    if "chemprop" in table:
        print("ours / chemprop:", table["ours"].median() / table["chemprop"].median())
    if options.out:
        table.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
