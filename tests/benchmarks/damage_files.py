"""Damage files of models and graphs, and kill processes that write them.

    python tests/benchmarks/damage_files.py [--seed 0] [--report]

Each file is damaged many times, in one bit or by cutting its end off, and loaded. Then
processes save over a good file in a loop and are killed (``SIGKILL``) at random
moments. ``reliability_files.csv`` has a row for each kind of fault, and
``docs/benchmarks/reliability.rst`` its table; ``--report`` only writes the table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

import skgnn_mtl
from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
OUT, PAGE = DOCS / "reliability_files.csv", DOCS / "reliability.rst"
BEGIN = ".. table of damage_files.py --report\n\n"
END = "\n.. end of the table\n"


def refused(load: Callable[[Path], Any], path: Path) -> bool:
    """Tell whether a file is refused with a sentence; other errors are raised."""
    try:
        load(path)
    except ValueError:
        return True
    return False


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    """Leave out the end."""
    return content[: rng.integers(len(content))]


def damage(
    load: Callable[[Path], Any],
    path: Path,
    files: list[Path],
    change: Callable[[bytes, np.random.Generator], bytes],
    n: int,
    rng: np.random.Generator,
) -> int:
    """Damage one of the files of a path n times; count how often it is refused."""
    sizes = np.array([file.stat().st_size for file in files])
    count = 0
    for k in rng.choice(len(files), size=n, p=sizes / sizes.sum()):
        whole = files[k].read_bytes()
        files[k].write_bytes(change(whole, rng))
        count += refused(load, path)
        files[k].write_bytes(whole)
    load(path)  # whole again
    return count


FAULTS = (("one bit", flip, 1200), ("end cut off", cut, 480))


def save_in_a_loop(models: list[Any], path: Path) -> None:
    """Save two models in turn until the process is killed."""
    while True:
        for model in models:
            skgnn_mtl.save(model, path)


def kill(models: list[Any], path: Path, n: int, rng: np.random.Generator) -> int:
    """Kill n processes that save; count after how many the file is one of both."""
    skgnn_mtl.save(models[0], path)
    contents = set()
    for model in models:
        skgnn_mtl.save(model, path.with_suffix(".other"))
        contents.add(path.with_suffix(".other").read_bytes())
    context, count = multiprocessing.get_context("fork"), 0
    for _ in range(n):
        process = context.Process(target=save_in_a_loop, args=(models, path))
        process.start()
        time.sleep(0.05 + 0.15 * rng.random())
        process.kill()
        process.join()
        skgnn_mtl.load(path)
        count += path.read_bytes() in contents
    return count


def run(seed: int) -> pd.DataFrame:
    """Make all faults."""
    rng = np.random.default_rng(seed)
    smiles, y = load_physchem(return_X_y=True)
    smiles, y = smiles[:200], y[:200]
    models = [
        make_pipeline(
            SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=1, random_state=k)
        ).fit(smiles, y)
        for k in range(2)
    ]
    graphs = models[0][0].transform(smiles)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, pipe, saved = folder / "model", folder / "pipeline", folder / "graphs"
        models[0][-1].save(model)
        skgnn_mtl.save(models[0], pipe)
        graphs.save(saved)
        subjects = [
            ("network", MultiTaskGNNRegressor.load, model, [model]),
            ("pipeline", skgnn_mtl.load, pipe, [pipe]),
            ("graphs", GraphArray.load, saved, sorted(saved.iterdir())),
        ]
        for subject, load, path, files in subjects:
            for fault, change, n in (
                ("one bit", flip, 1200),
                ("end cut off", cut, 480),
            ):
                count = damage(load, path, files, change, n, rng)
                rows.append((subject, fault, n, count))
        count = kill(models, folder / "killed", 100, rng)
        rows.append(("pipeline", "killed while saving", 100, count))
    return pd.DataFrame(rows, columns=["file", "fault", "faults", "survived"])


def report(rows: pd.DataFrame) -> str:
    """Lay the table out."""
    lines = [rows.columns.tolist(), *rows.astype(str).to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *body = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([rule, head, rule, *body, rule, ""])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if not options.report:
        run(options.seed).to_csv(OUT, index=False)
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(head + BEGIN + report(pd.read_csv(OUT)) + END + tail)
    print(report(pd.read_csv(OUT)))


if __name__ == "__main__":
    main()
