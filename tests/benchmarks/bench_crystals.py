"""Crystals: time from CIF to graph, time of an epoch, published weights.

    python tests/benchmarks/bench_crystals.py [--shared FOLDER] [--n 1000]
        [--train 3000] [--repeats 5] [--only graphs epoch weights] [--out FILE.csv]
        [--plot FILE.png]

The peer is the original code's way in ``cgcnn_peer.py``. Contestants take turns in one
process with one thread; medians of CPU time are compared.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import pickle
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cgcnn_peer as peer
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.encoders import CGCNN

SHARED = Path(__file__).resolve().parents[3] / "shared"
BATCH = 256


def read(shared: Path) -> pd.DataFrame:
    path = shared / "data" / "mp_multitask.csv.gz"
    text = {"formula": str, "cif": str}
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=text)


def take_turns(calls: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each call, after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: median(values) for name, values in seconds.items()}


def peak_memory(call: Callable) -> float:
    """Growth of a process at the peak of a call, in MB; the call runs in a fork."""

    def measure(pipe) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pipe.send((after - before) / 1024)

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(sender,))
    process.start()
    peak = receiver.recv()
    process.join()
    return peak


# -- CIF to graph ----------------------------------------------------------------------


def graphs(table: pd.DataFrame, shared: Path, repeats: int) -> list[tuple]:
    texts = table["cif"].tolist()
    elements = peer.element_features(shared / "weights" / "cgcnn" / "atom_init.json")
    ours, cut = CifToGraph(), CifToGraph(ties="cut")
    calls = {
        "ours, shells": lambda: ours.transform(texts),
        "ours, cut": lambda: cut.transform(texts),
        "original": lambda: [peer.featurize(text, elements) for text in texts],
    }
    seconds = take_turns(calls, repeats)
    rows = [
        ("graphs", name, 1e3 * value / len(texts), "ms a structure")
        for name, value in seconds.items()
    ]
    for name in ("ours, shells", "ours, cut"):
        ratio = seconds["original"] / seconds[name]
        rows.append(("graphs", name, ratio, "times faster than the original"))
    rows += memory(calls)
    return [*rows, ("graphs", "distances that differ", same_edges(texts), "of all")]


def memory(calls: dict[str, Callable]) -> list[tuple]:
    rows = []
    for name in ("ours, shells", "original"):
        rows.append(("graphs", name, peak_memory(calls[name]), "MB at the peak"))
    ours, original = calls["ours, shells"](), calls["original"]()
    kept = sum(t.numel() * t.element_size() for crystal in original for t in crystal)
    rows.append(("graphs", "ours, shells", ours.nbytes / 1e6, "MB kept"))
    return [*rows, ("graphs", "original", kept / 1e6, "MB kept")]


def same_edges(texts: list[str]) -> float:
    """Share of the twelve distances of each atom that differ by more than 2e-3 Å.

    pymatgen sorts the sites, and snaps coordinates such as 0.3333 to fractions, which
    moves atoms a little. Its choice among ties is another, which distances do not show.
    """
    X = CifToGraph(ties="cut", dtype="float64").transform(texts)
    ends = np.cumsum(X.n_edges)[:-1]
    differ = []
    for text, ours in zip(texts, np.split(X.edge_features[:, 0], ends), strict=True):
        theirs = np.sort(peer.neighbors(text)[2].ravel())
        differ.append(np.abs(np.sort(ours) - theirs) > 2e-3)
    return float(np.concatenate(differ).mean())


# -- an epoch --------------------------------------------------------------------------


class OurEpoch:
    def __init__(self, X, y) -> None:
        self.X, self.y = X, y
        self.model = MultiTaskGNNRegressor(
            CGCNN(64, n_layers=3),
            readout="mean",
            head_hidden_dims=(128,),
            head_activation="softplus",
            batch_size=BATCH,
            random_state=0,
            device="cpu",
        )

    def __call__(self) -> None:
        self.model.partial_fit(self.X, self.y)


class OriginalEpoch:
    def __init__(self, rows, y) -> None:
        torch.manual_seed(0)
        self.model = peer.OriginalCGCNN()
        self.loader = peer.loader(rows, ((y - y.mean()) / y.std())[:, None], BATCH)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9)

    def __call__(self) -> None:
        self.model.train()
        for *inputs, targets in self.loader:
            loss = F.mse_loss(self.model(*inputs), targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def epoch(table: pd.DataFrame, shared: Path, repeats: int) -> list[tuple]:
    """Epochs over graphs that are in memory on both sides."""
    labelled = table[table["formation_energy_per_atom"].notna()]
    y = labelled["formation_energy_per_atom"].to_numpy()
    path = shared / "weights" / "cgcnn" / "atom_init.json"
    elements = peer.element_features(path)
    texts = labelled["cif"].tolist()
    rows = [peer.featurize(text, elements) for text in texts]
    cut = CifToGraph(ties="cut", element_table=path).transform(texts)
    calls = {
        "ours, 12 neighbours": OurEpoch(cut, y),
        "ours, whole shells": OurEpoch(CifToGraph().transform(texts), y),
        "original": OriginalEpoch(rows, y),
    }
    seconds = take_turns(calls, repeats)
    result = [("epoch", name, value, "s") for name, value in seconds.items()]
    for name in list(calls)[:2]:
        ratio = seconds[name] / seconds["original"]
        result.append(("epoch", name, ratio, "of the original's time"))
    sizes = len(pickle.dumps(cut)), len(pickle.dumps(rows))
    return [
        *result,
        ("epoch", "bytes pickled, ours / original", sizes[0] / sizes[1], ""),
    ]


# -- published weights -----------------------------------------------------------------

PUBLISHED = {
    "formation-energy-per-atom": ("formation_energy_per_atom", "eV/atom"),
    "bulk-moduli": ("K_VRH", "log10 GPa"),
    "shear-moduli": ("G_VRH", "log10 GPa"),
}


def weights(table: pd.DataFrame, shared: Path, plot: str | None) -> list[tuple]:
    """Errors on 150 random structures with the label, ours beside the original way."""
    folder = shared / "weights" / "cgcnn"
    rows, panels = [], []
    for name, (column, unit) in PUBLISHED.items():
        some = table[table[column].notna()].sample(150, random_state=0)
        y = some[column].to_numpy()
        y = np.log10(y) if unit.startswith("log10") else y
        ours, theirs = predictions(name, some["cif"].tolist(), folder)
        for who, found in (("ours", ours), ("original", theirs)):
            error = np.abs(found - y)
            rows.append(("weights", f"{name}, {who}", error.mean(), f"MAE, {unit}"))
            rows.append(("weights", f"{name}, {who}", np.median(error), "median"))
            r = np.corrcoef(found, y)[0, 1]
            rows.append(("weights", f"{name}, {who}", r, "correlation"))
        gap = np.abs(ours - theirs)
        rows.append(("weights", f"{name}, ours - original", np.median(gap), "median"))
        rows.append(("weights", f"{name}, ours - original", gap.max(), "largest"))
        panels.append((name, unit, y, ours))
    if plot:
        parity_plot(panels, plot)
    return rows


def predictions(name: str, texts: list[str], folder: Path):
    path, table = folder / f"{name}.pth.tar", folder / "atom_init.json"
    X = CifToGraph(ties="cut", element_table=table).transform(texts)
    ours = MultiTaskGNNRegressor.from_cgcnn(path, table, device="cpu").predict(X)
    network, mean, scale = peer.published(path)
    elements = peer.element_features(table)
    crystals = [(peer.featurize(text, elements), torch.zeros(1)) for text in texts]
    with torch.inference_mode():
        theirs = network(*peer.collate(crystals)[:4])[:, 0].numpy() * scale + mean
    return ours, theirs


def parity_plot(panels, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(12, 4), layout="constrained")
    for ax, (name, unit, y, found) in zip(axes, panels, strict=True):
        limits = (min(y.min(), found.min()), max(y.max(), found.max()))
        ax.plot(limits, limits, color="0.4", linewidth=1)
        ax.scatter(y, found, s=9, alpha=0.5)
        ax.set(title=name, xlabel=f"computed ({unit})", ylabel="predicted")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--train", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["graphs", "epoch", "weights"])
    parser.add_argument("--plot")
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table, rows = read(options.shared), []
    if "graphs" in options.only:
        some = table.sample(options.n, random_state=0)
        rows += graphs(some, options.shared, options.repeats)
    if "epoch" in options.only:
        labelled = table[table["formation_energy_per_atom"].notna()]
        some = labelled.sample(options.train, random_state=0)
        rows += epoch(some, options.shared, options.repeats)
    if "weights" in options.only:
        rows += weights(table, options.shared, options.plot)
    for row in rows:
        print(f"{row[0]:8} {row[1]:46} {row[2]:10.4g} {row[3]}")
    if options.out:
        with open(options.out, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["part", "what", "value", "unit"])
            writer.writerows(rows)


if __name__ == "__main__":
    main()
