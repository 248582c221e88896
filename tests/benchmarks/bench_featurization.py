"""SMILES to graphs: time, processes, memory and batches, beside the peers.

    python tests/benchmarks/bench_featurization.py [--data FOLDER] [--n 2000]
        [--large 10000] [--repeats 7] [--only time jobs memory batch] [--out FILE.csv]

All contestants take turns in one process; medians are compared. Work in one process is
counted in CPU time, so that a busy machine disturbs it little; work in two processes
and batches in elapsed time. The floor is RDKit's own parser with its sanitization.
torch-geometric is always there; ogb and chemprop 2 take part where they are installed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import pickle
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from rdkit import Chem, RDLogger
from torch_geometric.data import Batch
from torch_geometric.utils import from_smiles

from skgnn_mtl.featurizers import SmilesToGraph, _molecules

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BATCH_SIZES = (32, 128)
OURS = ("ours, ogb", "ours, chemprop")
PEERS = ("torch-geometric", "chemprop", "ogb")


# -- contestants: a list of SMILES in, graphs out -------------------------------------


def floor(smiles: list[str]) -> list:
    return [Chem.MolFromSmiles(s) for s in smiles]


def by_accessors(smiles: list[str]):
    """Ours, as if the binary form of this RDKit were unknown."""
    known = _molecules._binary_form_is_known
    _molecules._binary_form_is_known = lambda: False
    try:
        return SmilesToGraph().transform(smiles)
    finally:
        _molecules._binary_form_is_known = known


def chemprop_python() -> Callable:
    from chemprop import featurizers
    from chemprop.utils import make_mol

    featurize = featurizers.SimpleMoleculeMolGraphFeaturizer(
        featurizers.MultiHotAtomFeaturizer.v2()
    )
    return lambda smiles: [featurize(make_mol(s)) for s in smiles]


def ogb() -> Callable:
    from ogb.utils.mol import smiles2graph

    return lambda smiles: [smiles2graph(s) for s in smiles]


def contestants() -> dict[str, Callable]:
    found = {
        "floor: MolFromSmiles": floor,
        "ours, ogb": SmilesToGraph("ogb").transform,
        "ours, chemprop": SmilesToGraph("chemprop").transform,
        "ours, ogb, atom by atom": by_accessors,
        "torch-geometric from_smiles": lambda smiles: [from_smiles(s) for s in smiles],
    }
    for name, make in (("chemprop", chemprop_python), ("ogb", ogb)):
        if importlib.util.find_spec(name):
            found[f"{name} {version(name)}"] = make()
    return found


# -- measurements: rows of (what, where, value, unit, ratio, to what) ------------------


def take_turns(calls: dict[str, Callable], repeats: int, clock: Callable) -> dict:
    """Median seconds of each call, after one call to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if turn:
                seconds[name].append(clock() - start)
    return {name: median(values) for name, values in seconds.items()}


def time_one_process(smiles: list[str], where: str, repeats: int) -> list[tuple]:
    calls = {
        name: (lambda call=call: call(smiles)) for name, call in contestants().items()
    }
    seconds = take_turns(calls, repeats, time.process_time)
    base = seconds.pop("floor: MolFromSmiles")
    scale, unit = 1e6 / len(smiles), "us a molecule"
    rows = [("floor: MolFromSmiles", where, base * scale, unit, 1.0, "floor")]
    peers = [name for name in seconds if name.startswith(PEERS)]
    for name, s in seconds.items():
        rows.append((name, where, s * scale, unit, s / base, "floor"))
        if name in OURS:
            rows += [
                (name, where, s * scale, unit, s / seconds[peer], peer)
                for peer in peers
            ]
    return rows


def time_two_processes(smiles: list[str], where: str, repeats: int) -> list[tuple]:
    calls = {
        f"n_jobs={n}": lambda n=n: SmilesToGraph(n_jobs=n).transform(smiles)
        for n in (1, 2)
    }
    seconds = take_turns(calls, repeats, time.perf_counter)
    return [
        (name, where, s, "s elapsed", seconds["n_jobs=1"] / s, "n_jobs=1 over this")
        for name, s in seconds.items()
    ]


def bytes_of(data) -> int:
    """Bytes of the tensors and the string of a PyG ``Data``."""
    return (
        data.x.nbytes
        + data.edge_index.nbytes
        + data.edge_attr.nbytes
        + len(data.smiles)
    )


def memory(smiles: list[str], where: str) -> list[tuple]:
    X = SmilesToGraph().transform(smiles)
    peers = [from_smiles(s) for s in smiles]
    sizes = {
        "arrays": (X.nbytes, sum(map(bytes_of, peers))),
        "pickle": (len(pickle.dumps(X, -1)), len(pickle.dumps(peers, -1))),
    }
    return [
        (f"{kind}, {who}", where, size / 1e6, "MB", size / pair[1], "PyG")
        for kind, pair in sizes.items()
        for who, size in zip(("ours", "list of PyG Data"), pair, strict=True)
    ]


def batches(smiles: list[str], where: str, repeats: int) -> list[tuple]:
    X = SmilesToGraph().transform(smiles)
    peers = [from_smiles(s) for s in smiles]
    rng = np.random.default_rng(0)
    rows = []
    for size in BATCH_SIZES:
        draws = [rng.permutation(len(smiles))[:size] for _ in range(100)]
        calls = {
            "ours": lambda draws=draws: [X.batch(draw) for draw in draws],
            "Batch.from_data_list": lambda draws=draws: [
                Batch.from_data_list([peers[i] for i in draw]) for draw in draws
            ],
        }
        seconds = take_turns(calls, repeats, time.perf_counter)
        base = seconds["Batch.from_data_list"]
        rows += [
            (f"batch of {size}, {name}", where, 1e4 * s, "us a batch", s / base, "PyG")
            for name, s in seconds.items()
        ]
    return rows


# -- frame ----------------------------------------------------------------------------


def sample(strings: list[str], n: int) -> list[str]:
    """Draw readable SMILES, the same ones every time."""
    order = np.random.RandomState(0).permutation(len(strings))
    drawn = [strings[i] for i in order[: n + n // 20]]
    return [s for s in drawn if Chem.MolFromSmiles(s) is not None][:n]


def load(folder: Path, name: str, n: int) -> list[str]:
    if name == "zinc250k":
        with gzip.open(folder / "zinc250k.txt.gz", "rt") as file:
            return sample(file.read().split(), n)
    return sample(pd.read_csv(folder / f"{name}.csv")["smiles"].tolist(), n)


def measure(args: argparse.Namespace) -> list[tuple]:
    rows: list[tuple] = []
    if "time" in args.only:
        for name in ("Lipophilicity", "tox21", "zinc250k"):
            smiles = load(args.data, name, args.n)
            rows += time_one_process(smiles, name, args.repeats)
    smiles = load(args.data, "zinc250k", args.large)
    where = f"zinc250k, {len(smiles)}"
    if "jobs" in args.only:
        rows += time_two_processes(smiles, where, args.repeats)
    if "memory" in args.only:
        rows += memory(smiles, where)
    if "batch" in args.only:
        rows += batches(smiles, where, args.repeats)
    return rows


HEADER = ("what", "data", "value", "unit", "ratio", "to")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--n", type=int, default=2000, help="molecules for the times")
    parser.add_argument("--large", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parts = ["time", "jobs", "memory", "batch"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    # torch-geometric switches the log off anyway.
    RDLogger.DisableLog("rdApp.*")
    packages = ("rdkit", "torch-geometric", "numpy")
    print(
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
        + f"; {args.repeats} repeats\n"
    )
    rows = measure(args)
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
    for what, where, value, unit, ratio, to in rows:
        print(f"| {what} | {where} | {value:.4g} | {unit} | {ratio:.2f} | {to} |")
    if args.out:
        with args.out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    main()
