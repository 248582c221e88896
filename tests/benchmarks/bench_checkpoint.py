"""Measure the writes of checkpoints: milliseconds and size for the default network.

    python tests/benchmarks/bench_checkpoint.py --out docs/benchmarks

writes ``reliability_writes.csv``. The network is that of 16 tasks, as many as QM8 has;
only the number of epochs in the history depends on the training.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.estimators import _checkpoint

N_TASKS, N_EPOCHS = 16, 43  # those of "auto" for the 21,786 molecules of QM8
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "early stopping, ema": {"early_stopping": True, "weight_averaging": "ema"},
}


def measure(settings: dict[str, Any], graphs: Any, y: np.ndarray) -> tuple[Any, ...]:
    """Fit with a write after each epoch; give the median milliseconds and megabytes."""
    seconds, sizes = [], []
    keep = _checkpoint.Stage.keep

    def timed(stage: Any, collect: Any, final: bool) -> bool:
        started = time.perf_counter()
        kept = keep(stage, collect, final)
        seconds.append(time.perf_counter() - started)
        sizes.append(stage.checkpoint.path.stat().st_size)
        return kept

    _checkpoint._LARGEST_SHARE = 1e12
    _checkpoint.Stage.keep = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            MultiTaskGNNRegressor(
                checkpoint=Path(folder) / "fit",
                max_epochs=N_EPOCHS,
                random_state=0,
                device="cpu",
                n_threads=1,
                **settings,
            ).fit(graphs, y)
    finally:
        _checkpoint.Stage.keep = keep  # type: ignore[method-assign]
    # The last ones, because the history grows.
    return round(1e3 * float(np.median(seconds[-10:])), 1), round(sizes[-1] / 1e6, 2)


def main() -> None:
    """Write one row per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    graphs = SmilesToGraph().fit_transform(load_physchem().data[:64])
    y = np.random.default_rng(0).normal(size=(64, N_TASKS))
    with open(options.out / "reliability_writes.csv", "w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["settings", "milliseconds", "megabytes"])
        for name, settings in SETTINGS.items():
            writer.writerow([name, *measure(settings, graphs, y)])


if __name__ == "__main__":
    main()
