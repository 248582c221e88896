"""Predict with one network from eight threads, also beside fits, and compare the bits.

    python tests/benchmarks/predict_in_threads.py [--rounds 200] [--out FILE]

writes ``docs/benchmarks/reliability_threads.csv``, a row per situation; ``--report``
prints the table of the page. A prediction survives if it has the bits of one that was
made alone, a fit if its network predicts with the bits of a fit that ran alone.

============== ===================================================================
alone          eight threads predict, with standard deviations or without
beside a fit   the same while another network with dropout is trained
of one trained the same, while ``partial_fit`` trains the network that predicts;
               each prediction must be that of some epoch
============== ===================================================================
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN

OUT = Path(__file__).resolve().parents[2] / "docs/benchmarks/reliability_threads.csv"
N_THREADS, N_EPOCHS = 8, 10


def digest(*arrays: Any) -> str:
    """Hash arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array))
    return found.hexdigest()


def load(n_rows: int = 200) -> tuple[Any, np.ndarray]:
    """Make graphs of molecules, and a table of three properties with gaps."""
    data = load_physchem()
    graphs = SmilesToGraph().fit_transform(data.data[:n_rows])
    return graphs, data.target.iloc[:n_rows, :3].to_numpy()


def make(**settings: Any) -> MultiTaskGNNRegressor:
    """Make a network with dropout, which draws from the generator of the process."""
    encoder = DMPNN(width=32, dropout=0.3)
    common = {"device": "cpu", "random_state": 0, "n_threads": 1, "max_epochs": 3}
    return MultiTaskGNNRegressor(encoder, **{**common, **settings})


def predict(model: Any, graphs: Any, round_: int) -> str:
    """Predict by one of two ways, and hash the outcome."""
    if round_ % 2:
        return digest(*model.predict(graphs, return_std=True))
    return digest(model.predict(graphs))


def in_threads(work: Callable[[int], Any], n: int, beside: Any = None) -> list[Any]:
    """Do something n times in eight threads, beside something else."""
    with ThreadPoolExecutor(N_THREADS + 1) as pool:
        other = pool.submit(beside) if beside else None
        results = list(pool.map(work, range(n)))
        if other:
            other.result()
    return results


def alone(graphs: Any, y: np.ndarray, n: int) -> tuple[int, int]:
    """Count predictions of a network that nothing else happens to."""
    model = make().fit(graphs, y)
    expected = [predict(model, graphs, k) for k in (0, 1)]
    found = in_threads(lambda k: predict(model, graphs, k), n)
    return n, sum(f == expected[k % 2] for k, f in enumerate(found))


def beside_a_fit(graphs: Any, y: np.ndarray, n: int) -> tuple[int, int]:
    """Count predictions beside a fit, and the fit."""
    model, other = make().fit(graphs, y), make(random_state=1, max_epochs=N_EPOCHS)
    expected = [predict(model, graphs, k) for k in (0, 1)]
    trained = predict(clone(other).fit(graphs, y), graphs, 0)
    found = in_threads(
        lambda k: predict(model, graphs, k), n, lambda: other.fit(graphs, y)
    )
    n_same = sum(f == expected[k % 2] for k, f in enumerate(found))
    return n + 1, n_same + (predict(other, graphs, 0) == trained)


def of_one_trained(graphs: Any, y: np.ndarray, n: int) -> tuple[int, int]:
    """Count predictions that are those of some epoch of the network."""
    model, twin = (make().fit(graphs, y) for _ in range(2))
    epochs = {predict(twin, graphs, 0)}
    for _ in range(N_EPOCHS):
        epochs.add(predict(twin.partial_fit(graphs, y), graphs, 0))

    def train() -> None:
        for _ in range(N_EPOCHS):
            model.partial_fit(graphs, y)

    # Without deviations, which partial_fit does not give.
    found = in_threads(lambda _: predict(model, graphs, 0), n, train)
    return n, sum(f in epochs for f in found)


SITUATIONS = {
    "alone": alone,
    "beside a fit": beside_a_fit,
    "of one trained": of_one_trained,
}


def report(rows: pd.DataFrame) -> str:
    """Write the table of the page."""
    table = [list(rows.columns), *rows.astype(str).to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def main() -> None:
    """Write one row per situation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        print(report(pd.read_csv(options.out)), end="")
        return
    torch.set_num_threads(1)
    graphs, y = load()
    rows = []
    for name, situation in SITUATIONS.items():
        n, n_same = situation(graphs, y, options.rounds)
        rows.append({"situation": name, "outcomes": n, "identical": n_same})
    pd.DataFrame(rows).to_csv(options.out, index=False)
    print(report(pd.DataFrame(rows)), end="")


if __name__ == "__main__":
    main()
