"""Cost of GATE beside hard sharing, and of adding a task beside training them all.

    python tests/benchmarks/bench_gate.py --table chemicals_multitask.csv.gz \
        [--molecules 2560] [--repeats 5] [--out FILE.csv] [--wide 12 22 31]

All sides have the same D-MPNN (width 300, depth 3), readout, batches of 256 and
molecules, featurized once. They take turns in one process; medians are compared.

* Steps: one epoch of ``partial_fit`` on 12 tasks, GATE against hard sharing.
* Additions: one epoch of an addition to 15 frozen sources, from the difference of two
  additions of different length (the rest is the cache, reported apart), against an
  epoch of GATE on all 16 tasks, and against an epoch of a linear head on the frozen
  encoder, which evaluates that encoder in each step.
* ``--wide T ...``: only steps, on the first T tasks, GATE with all routes and with
  three of them; the table of 31 comes from ``bench_gate_wide.py --table``.
"""

from __future__ import annotations

import argparse
import copy
import time
from math import ceil

import numpy as np
import pandas as pd
import torch

from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import DMPNN

BATCH = 256


def read(path, n_molecules: int):
    """Molecules drawn at random, and the properties by their number of labels."""
    table = pd.read_csv(path)
    properties = table.select_dtypes("number")
    properties = properties[properties.notna().sum().sort_values().index[::-1]]
    rows = table.sample(n_molecules, random_state=0).index
    column = next(c for c in table.columns if c.lower() == "smiles")
    X = SmilesToGraph("chemprop", on_error="nan").fit_transform(table[column][rows])
    return X[X.valid], properties.loc[rows].to_numpy()[X.valid]


def seconds(call, clock=time.perf_counter) -> float:
    start = clock()
    call()
    return clock() - start


def gate(**changes) -> GATERegressor:
    return GATERegressor(
        DMPNN(300), batch_size=BATCH, device="cpu", random_state=0, **changes
    )


def hard_sharing() -> MultiTaskGNNRegressor:
    return MultiTaskGNNRegressor(
        DMPNN(300),
        readout="mean",
        head_hidden_dims=(),
        batch_size=BATCH,
        gradient_clip=1.0,
        device="cpu",
        random_state=0,
    )


class HeadOnFrozenEncoder:
    """One call is one epoch of a linear head, the encoder evaluated in each step."""

    def __init__(self, model: GATERegressor, X, y) -> None:
        self.module, self.X = model.module_, X
        self.y = torch.from_numpy(y).float()
        self.head = torch.nn.Linear(300, 1)
        self.adam = torch.optim.AdamW(self.head.parameters(), 1e-3)

    def __call__(self) -> None:
        for rows in np.split(np.arange(len(self.X)), range(BATCH, len(self.X), BATCH)):
            with torch.no_grad():
                e = self.module.embed(self.X.batch(rows))
            self.adam.zero_grad()
            (self.head(e)[:, 0] - self.y[rows]).square().mean().backward()
            self.adam.step()


def addition(source: GATERegressor, X, y, n_steps: int) -> float:
    model = copy.deepcopy(source).set_params(add_task_steps=n_steps)
    return seconds(lambda: model.add_task(X, y, name="added"))


def steps(X, y, repeats: int) -> pd.DataFrame:
    """Compare an epoch of hard sharing with epochs of GATE on all columns."""
    models = {"hard sharing": hard_sharing(), "GATE": gate(routes="all")}
    models["GATE, 3 routes"] = gate(routes=3)
    records = []
    for repeat in range(repeats + 1):
        # CPU time, because other work may hold one side longer than another.
        record = {
            name: seconds(
                lambda model=model: model.partial_fit(X, y), time.process_time
            )
            for name, model in models.items()
        }
        print({name: round(value, 3) for name, value in record.items()}, flush=True)
        if repeat:  # the first round warms up
            records.append({"tasks": y.shape[1], "molecules": len(X), **record})
    table = pd.DataFrame(records)
    for name in list(models)[1:]:
        ratio = table[name] / table["hard sharing"]
        middle = table[name].median() / table["hard sharing"].median()
        print(
            f"{name} / hard sharing: {middle:.2f}, {ratio.min():.2f}-{ratio.max():.2f}"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", required=True)
    parser.add_argument("--molecules", type=int, default=2560)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out")
    parser.add_argument("--wide", type=int, nargs="*", metavar="T")
    options = parser.parse_args()
    torch.set_num_threads(1)
    X, y = read(options.table, options.molecules)
    if options.wide:
        rounds = [steps(X, y[:, :t], options.repeats) for t in options.wide]
        if options.out:
            pd.concat(rounds).round(4).to_csv(options.out, index=False)
        return
    shared = hard_sharing()
    twelve, sixteen, sources = (gate(routes="all") for _ in range(3))
    sources.partial_fit(X, y[:, :15])
    target = np.where(np.isnan(y[:, 15]), np.nanmean(y[:, 15]), y[:, 15])
    probe = HeadOnFrozenEncoder(sources, X, (target - target.mean()) / target.std())
    n_batches, records = ceil(len(X) / BATCH), []
    for repeat in range(options.repeats + 1):
        record = {
            "hard sharing, 12 tasks": seconds(lambda: shared.partial_fit(X, y[:, :12])),
            "GATE, 12 tasks": seconds(lambda: twelve.partial_fit(X, y[:, :12])),
            "GATE, 16 tasks": seconds(lambda: sixteen.partial_fit(X, y[:, :16])),
            "head on frozen encoder": seconds(probe),
        }
        short, long = (addition(sources, X, target, k * n_batches) for k in (2, 12))
        record["addition to 15 sources"] = (long - short) / 10
        record["cache of an addition"] = short - 2 * record["addition to 15 sources"]
        print({name: round(value, 3) for name, value in record.items()}, flush=True)
        if repeat:  # the first round warms up
            records.append({"molecules": len(X), **record})
    table = pd.DataFrame(records)
    cost = table.median()
    print(
        "GATE / hard sharing:", cost["GATE, 12 tasks"] / cost["hard sharing, 12 tasks"]
    )
    for other in ("GATE, 16 tasks", "head on frozen encoder"):
        print(f"addition / {other}:", cost["addition to 15 sources"] / cost[other])
    if options.out:
        table.round(4).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
