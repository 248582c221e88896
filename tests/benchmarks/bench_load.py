"""Time to load a fitted pipeline: this package's file against pickle.

    python tests/benchmarks/bench_load.py [--out FILE]

writes ``docs/benchmarks/reliability_load.csv``: medians of 20, in turn.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import make_pipeline

import skgnn_mtl
from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem

OUT = Path(__file__).resolve().parents[2] / "docs/benchmarks/reliability_load.csv"
N_TIMES = 20


def seconds(work: Callable[[], Any]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path) -> list[dict[str, Any]]:
    """Save the default network in both ways, and load it again and again."""
    data = load_physchem()
    network = MultiTaskGNNRegressor(max_epochs=1, device="cpu", random_state=0)
    model = make_pipeline(SmilesToGraph(), network)
    model.fit(data.data[:200], data.target.iloc[:200, :3])
    own, other = folder / "own", folder / "pickle"
    skgnn_mtl.save(model, own)
    other.write_bytes(pickle.dumps(model))
    ways = {
        "skgnn_mtl.load": (own, lambda: skgnn_mtl.load(own)),
        "pickle": (other, lambda: pickle.loads(other.read_bytes())),
    }
    # The first calls import what they need.
    times: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(N_TIMES + 1):
        for name, (_, load) in ways.items():
            times[name] += [seconds(load)] * (k > 0)
    return [
        {
            "way": name,
            "milliseconds": round(1e3 * statistics.median(times[name]), 1),
            "megabytes": round(file.stat().st_size / 1e6, 1),
        }
        for name, (file, _) in ways.items()
    ]


def main() -> None:
    """Write one row per way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = pd.DataFrame(measure(Path(folder)))
    rows.to_csv(options.out, index=False)
    print(rows.to_string(index=False))


if __name__ == "__main__":
    main()
