"""Memory and speed of featurizing, training and predicting, against the rows.

    python tests/benchmarks/bench_memory.py --data-home FOLDER --work FOLDER
        [--kinds molecules crystals] [--sizes 30000 ...] [--stages ...] [--minutes 60]

A row of the CSV file is one stage in a process of its own; runs that the file holds are
not repeated, and none begins after ``--minutes``. Molecules are those of ZINC-250k,
beyond 249,455 also other SMILES of them, drawn by RDKit. Crystals are those of
``mp_multitask.csv.gz``, repeated with lengths of the cell that differ by up to 1 %,
from the fourth round on also with other elements of the same groups.
Only ``--data-home`` is read, only ``--work`` and the CSV file are written.

=============== ====================================================================
featurize       ``transform_to`` from a file: a mapped array
featurize_whole the baseline: ``transform`` of a list, and ``save``
train           ``fit`` of a small network from the map, one epoch; a tenth of the
                rows does not have a label
train_copied    the baseline: the rows of the training are copied, as they were before
predict         ``predict`` of the map
stream          ``predict_stream`` of the map, with standard deviations
=============== ====================================================================

``peak_mb`` is the largest memory of the process beyond that after its imports, without
pages of files; ``resident_mb`` is the largest resident memory with all pages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
SIZES = {
    "molecules": [30_000, 100_000, 300_000, 1_000_000],
    "crystals": [5_000, 20_000, 100_000],
}
# Elements that take each other's places: each becomes the next one, in a ring.
RINGS = (
    *("Li Na K Rb Cs", "Be Mg Ca Sr Ba", "B Al Ga In Tl", "C Si Ge Sn Pb"),
    *("N P As Sb Bi", "O S Se Te", "F Cl Br I", "Sc Y La", "Ti Zr Hf", "V Nb Ta"),
    *("Cr Mo W", "Mn Tc Re", "Fe Ru Os", "Co Rh Ir", "Ni Pd Pt", "Cu Ag Au"),
    "Zn Cd Hg",
)
NEXT = {
    one: other
    for ring in map(str.split, RINGS)
    for one, other in zip(ring, [*ring[1:], ring[0]], strict=True)
}
KEY = ["kind", "n", "stage"]


# -- inputs -----------------------------------------------------------------------


def molecules(home: Path, n: int) -> Iterator[str]:
    """Give SMILES of ZINC-250k, and after these random SMILES of the same molecules."""
    from rdkit import Chem

    with gzip.open(home / "zinc250k.txt.gz", "rt") as file:
        smiles = file.read().split()
    yield from smiles[:n]
    Chem.rdBase.SeedRandomNumberGenerator(0)
    for text in islice(cycle(smiles), max(0, n - len(smiles))):
        yield Chem.MolToSmiles(Chem.MolFromSmiles(text), doRandom=True)


def crystals(home: Path, n: int) -> Iterator[str]:
    """Give CIFs; in later rounds with other lengths, then with other elements."""
    texts = pd.read_csv(home / "mp_multitask.csv.gz")["cif"].tolist()
    rng, length = np.random.default_rng(0), re.compile(r"(_cell_length_[abc]\s+)(\S+)")
    site = re.compile(r"^  ([A-Z][a-z]?)  \1", re.MULTILINE)

    def other(found: re.Match[str]) -> str:
        symbol = NEXT.get(found[1], found[1])
        return f"  {symbol}  {symbol}"

    for k, text in enumerate(islice(cycle(texts), n)):
        if k >= 3 * len(texts):
            text = site.sub(other, text)
        scale = 1.0 if k < len(texts) else rng.uniform(0.99, 1.01)
        yield length.sub(lambda m, s=scale: f"{m[1]}{float(m[2]) * s:.6f}", text)


def source(kind: str, home: Path, work: Path, n: int) -> Path:
    """Write the rows to a file, once."""
    file = work / f"{kind}_{n}.parquet"
    if not file.exists():
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = {"molecules": molecules, "crystals": crystals}[kind](home, n)
        schema = pa.schema([("row", pa.string())])
        with pq.ParquetWriter(file.with_suffix(".part"), schema) as writer:
            while part := list(islice(rows, 10_000)):
                writer.write_table(pa.table({"row": part}, schema=schema))
        file.with_suffix(".part").rename(file)
    return file


# -- one stage, in its own process --------------------------------------------------


class Watch:
    """Largest anonymous memory of this process while a block runs, in MB."""

    def __enter__(self) -> Watch:
        self.begin = self.peak = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, _anonymous())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def _anonymous() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1e3


def transformer(kind: str) -> Any:
    """Make the featurizer of a kind of rows."""
    from skgnn_mtl import CifToGraph, SmilesToGraph

    if kind == "molecules":
        return SmilesToGraph(on_error="nan")
    return CifToGraph(on_error="nan", disorder="majority")


def network(kind: str) -> Any:
    """Make a small network."""
    from skgnn_mtl import MultiTaskGNNRegressor
    from skgnn_mtl.encoders import CGCNN, GCN

    encoder = GCN(64, n_layers=2) if kind == "molecules" else CGCNN(32, n_layers=2)
    return MultiTaskGNNRegressor(
        encoder, max_epochs=1, batch_size=256, n_threads=1, random_state=0
    )


def stage_of(kind: str, stage: str, n: int, work: Path) -> Callable[[], Any]:
    """Prepare a stage; what is returned is measured.

    Each does its work for some rows first, because modules are imported at use.
    """
    from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, predict_stream
    from skgnn_mtl.estimators import _fit

    file, folder = work / f"{kind}_{n}.parquet", work / f"{kind}_{n}"
    model_file = work / f"{kind}_{n}.model"
    if stage == "featurize":
        shutil.rmtree(folder, ignore_errors=True)
        transformer(kind).fit(["C"])
        return lambda: transformer(kind).transform_to(folder, file)
    if stage == "featurize_whole":
        transformer(kind).fit(["C"])
        other = work / f"{kind}_{n}_whole"
        shutil.rmtree(other, ignore_errors=True)
        return lambda: transformer(kind).transform(pd.read_parquet(file)).save(other)
    X = GraphArray.load(folder, mmap_mode="r", verify=False)
    if stage.startswith("train"):
        rng = np.random.default_rng(0)
        y = X.n_nodes + rng.normal(size=(2, n))
        y = np.where(rng.random(n) < 0.1, np.nan, y).T
        if stage == "train_copied":
            _fit.GraphRows = lambda graphs, rows: graphs[rows]
        network(kind).fit(X[:64], y[:64])
        return lambda: network(kind).fit(X, y).save(model_file)
    model = MultiTaskGNNRegressor.load(model_file)
    model.predict(X[:64], return_std=True)
    if stage == "predict":
        return lambda: model.predict(X)
    return lambda: [None for _ in predict_stream(model, X, return_std=True)]


def measure(kind: str, stage: str, n: int, work: Path) -> dict[str, Any]:
    """Run one stage."""
    import warnings

    from skgnn_mtl import GraphArray

    warnings.simplefilter("ignore")
    run = stage_of(kind, stage, n, work)
    with Watch() as watch:
        start, cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    X = GraphArray.load(work / f"{kind}_{n}", mmap_mode="r", verify=False)
    return {
        "kind": kind,
        "n": n,
        "stage": stage,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "rows_per_cpu_second": round(n / cpu, 1),
        "peak_mb": round(watch.peak - watch.begin, 1),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "n_invalid": int((~X.valid).sum()),
        "nodes": int(X.n_nodes.sum()),
        "edges": int(X.n_edges.sum()),
        "array_mb": round(X.nbytes / 1e6, 1),
    }


def compare_epochs(kind: str, n: int, work: Path) -> None:
    """Print CPU seconds of a fit from the map over those from copied rows, in turn."""
    from skgnn_mtl.estimators import _fit
    from skgnn_mtl.graphs import GraphRows

    train, ratios = stage_of(kind, "train", n, work), []
    for _ in range(5):
        seconds = []
        for rows in (GraphRows, lambda graphs, rows: graphs[rows]):
            _fit.GraphRows = rows
            start = time.process_time()
            train()
            seconds.append(time.process_time() - start)
        ratios.append(seconds[0] / seconds[1])
    print(np.median(ratios).round(3), np.round(ratios, 3))


# -- all stages -------------------------------------------------------------------

STAGES = ["featurize", "featurize_whole", "train", "train_copied", "predict", "stream"]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=DOCS / "memory.csv")
    parser.add_argument("--kinds", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--sizes", nargs="+", type=int)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--one", nargs=3, help="kind, stage and n of one measurement")
    parser.add_argument("--epochs", action="store_true", help="compare copied rows")
    options = parser.parse_args()
    if options.epochs:
        for kind in options.kinds:
            compare_epochs(kind, options.sizes[0], options.work)
        return
    if options.one:
        kind, stage, n = options.one
        print(json.dumps(measure(kind, stage, int(n), options.work)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    for kind in options.kinds:
        for n in options.sizes or SIZES[kind]:
            for stage in options.stages:
                if (kind, n, stage) not in done(options.out) and time.monotonic() < end:
                    source(kind, options.data_home, options.work, n)
                    record(options, kind, stage, n)


def done(out: Path) -> set[tuple[Any, ...]]:
    """List the runs that the file holds."""
    if not out.exists():
        return set()
    return set(pd.read_csv(out)[KEY].itertuples(index=False, name=None))


def record(options: argparse.Namespace, kind: str, stage: str, n: int) -> None:
    """Measure one stage in a fresh process, and add its row to the file."""
    command = [sys.executable, __file__, "--work", str(options.work)]
    command += ["--one", kind, stage, str(n)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = pd.DataFrame([json.loads(answer.stdout.splitlines()[-1])])
    row.to_csv(options.out, mode="a", header=not options.out.exists(), index=False)
    print(row.to_string(header=False, index=False), flush=True)


if __name__ == "__main__":
    main()
