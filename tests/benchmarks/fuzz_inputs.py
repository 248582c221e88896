"""Try wrong input by the hundred thousand, in processes that may crash or hang.

    python tests/benchmarks/fuzz_inputs.py smiles cifs tables parameters
        --data-home FOLDER [--total 1000000] [--work FOLDER]

writes one row per run into ``docs/benchmarks/reliability_inputs.csv``. A run is a part
of the inputs of a kind, in a process of its own; runs that the file holds are not
repeated, and the same numbers give the same inputs again. ``--work`` keeps the inputs
that something is wrong with, ``--report`` prints the table of the page.

========== =====================================================================
inputs     without the known rows, which stand among them (every fifth)
refused    inputs that became an invalid graph, or an error of the expected kind
crashes    inputs that ended the process
hangs      inputs that took more than ``--limit`` seconds of the processor, or thirty
           times as long on the clock
shifted    rows that are not those of their input
unnamed    errors that do not name the row or the parameter, or of another kind
slowest    seconds of the slowest input that was timed alone
grown_mb   memory of the process at the end, less that after a tenth of the run
========== =====================================================================
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

FOLDER = Path(__file__).resolve().parent
OUT = FOLDER.parents[1] / "docs" / "benchmarks" / "reliability_inputs.csv"
# Inputs of each kind, of a run, and between two signs of life.
KINDS = {
    "smiles": (1_000_000, 100_000, 1000),
    "cifs": (100_000, 20_000, 500),
    "tables": (10_000, 2_500, 25),
    "parameters": (10_000, 2_500, 25),
}
# Seconds that a step of many inputs has beyond those of one input.
MORE_FOR_A_STEP = 60.0
COLUMNS = (
    *("kind", "first", "inputs", "refused", "crashes", "hangs", "shifted", "unnamed"),
    *("slowest", "grown_mb", "minutes"),
)


# -- the process that tries ---------------------------------------------------------


def corpora(home: Path | None) -> tuple[list[str], list[str]]:
    """Read SMILES of all sets, and CIFs; the shipped ones without a folder."""
    if home is None:
        sys.path.insert(0, str(FOLDER.parent))
        from crystals import ORDERED

        from skgnn_mtl.datasets import load_physchem

        return load_physchem().data, list(ORDERED.values())
    with gzip.open(home / "zinc250k.txt.gz", "rt") as file:
        smiles = file.read().split()[:20_000]
    for name in ("BBBP", "SAMPL", "delaney-processed", "Lipophilicity", "tox21"):
        smiles += pd.read_csv(home / f"{name}.csv")["smiles"].tolist()
    return readable(smiles), pd.read_csv(home / "mp_multitask.csv.gz")["cif"].tolist()


def readable(smiles: list[str]) -> list[str]:
    """Leave out the rows that RDKit cannot read."""
    from rdkit import Chem

    with Chem.rdBase.BlockLogs():
        return [row for row in smiles if Chem.MolFromSmiles(row) is not None]


def checker(kind: str, home: Path | None) -> Any:
    """Make what tries the inputs of a kind."""
    import fuzz_checks

    smiles, crystals = corpora(home)
    if kind == "smiles":
        return fuzz_checks.smiles(smiles)
    if kind == "cifs":
        return fuzz_checks.cifs(crystals)
    if kind == "tables":
        return fuzz_checks.Tables(smiles)
    return fuzz_checks.Parameters(smiles, crystals)


def try_inputs(check: Any, first: int, last: int, step: int) -> None:
    """Try inputs step by step, and print a line of JSON after each."""
    # Parameters such as the path of a checkpoint may write files.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print(json.dumps({"next": first}), flush=True)
        for begin in range(first, last, step):
            end = min(begin + step, last)
            found = check.check(begin, end - begin)
            gc.collect()
            line = {
                "next": end,
                "counts": found.counts,
                "slowest": found.slowest,
                "examples": found.examples,
                "mb": anonymous_mb(),
            }
            print(json.dumps(line), flush=True)
        os.chdir(FOLDER)


def anonymous_mb() -> float:
    """Memory of this process without pages of files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1e3


# -- the process that watches -------------------------------------------------------


def watch(command: list[str], limit: float) -> Iterator[dict[str, Any] | str]:
    """Give the lines of a process, then how it ended.

    Parameters
    ----------
    command : list of str
        What to run; its lines are JSON.
    limit : float
        Seconds of the processor between two lines, because other work may slow a
        process down. One that waits has thirty times as long.

    Yields
    ------
    line : dict or str
        A line; at the end "done", "crash" or "hang".
    """
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    lines: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(command, text=True, **streams) as process:

        def read() -> None:
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        # Beyond it, for the imports, which come before the first line.
        spent, begin, more = 0.0, time.monotonic(), 600.0
        while True:
            try:
                line = lines.get(timeout=min(limit, 1.0))
            except queue.Empty:
                waited = time.monotonic() - begin
                used = cpu_seconds(process.pid) - spent
                if used < limit + more and waited < 30 * limit + more:
                    continue
                process.kill()
                reader.join()
                yield "hang"
                return
            if line is None:
                yield "crash" if process.wait() else "done"
                return
            yield json.loads(line)
            spent, begin, more = cpu_seconds(process.pid), time.monotonic(), 0.0


def cpu_seconds(pid: int) -> float:
    """Seconds that a process has used the processor; 0 of one that is over."""
    try:
        # The name, in parentheses, may have blanks.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Run:
    """A part of the inputs of a kind: what was counted so far.

    Parameters
    ----------
    command : list of str
        The process that tries; first, last and step are appended.
    limit : float
        Seconds for one input. A step of many has some more.
    """

    def __init__(self, command: list[str], limit: float) -> None:
        self.command, self.limit = command, limit
        self.counts = dict.fromkeys(COLUMNS[2:8], 0)
        self.slowest, self.examples = 0.0, []
        self.memory: list[float] = []

    def go(self, first: int, last: int, step: int) -> None:
        """Try all inputs; a step that crashes or hangs is repeated one by one."""
        while first < last:
            reached, end = self._process(first, last, step)
            if end == "done":
                return
            if step == 1:
                self.counts["crashes" if end == "crash" else "hangs"] += 1
                self.counts["inputs"] += 1
                self.examples.append({"fault": end, "number": reached})
                first = reached + 1
            else:
                first = min(reached + step, last)
                self.go(reached, first, 1)

    def _process(self, first: int, last: int, step: int) -> tuple[int, str]:
        """Run one process; tell how far it came, and how it ended."""
        reached, end = first, ""
        limit = self.limit + (MORE_FOR_A_STEP if step > 1 else 0.0)
        for line in watch([*self.command, *map(str, (first, last, step))], limit):
            if isinstance(line, str):
                end = line
                continue
            reached = line["next"]
            if "counts" in line:
                self._add(line)
        return reached, end

    def _add(self, line: dict[str, Any]) -> None:
        for name, count in line["counts"].items():
            self.counts[name] += count
        self.slowest = max(self.slowest, line["slowest"])
        self.examples += line["examples"]
        self.memory.append(line["mb"])

    def grown_mb(self) -> float:
        """Memory at the end, less that after a tenth of the run."""
        if not self.memory:
            return 0.0
        return self.memory[-1] - self.memory[len(self.memory) // 10]


def runs(options: argparse.Namespace, kind: str) -> Iterator[dict[str, Any]]:
    """Do the runs of a kind that the file does not hold."""
    total, size, step = KINDS[kind]
    total = options.total or total
    done = pd.read_csv(options.out) if options.out.exists() else None
    known = set() if done is None else set(done.loc[done["kind"] == kind, "first"])
    home = [str(options.data_home.resolve())] if options.data_home else []
    for first in range(0, total, size):
        if first in known or time.monotonic() > options.end:
            continue
        run = Run([sys.executable, __file__, "--child", kind, *home], options.limit)
        start = time.monotonic()
        run.go(first, min(first + size, total), step)
        for example in run.examples if options.work else ():
            with open(options.work / f"{kind}.jsonl", "a") as file:
                file.write(json.dumps(example) + "\n")
        yield {
            "kind": kind,
            "first": first,
            **run.counts,
            "slowest": round(run.slowest, 2),
            "grown_mb": round(run.grown_mb(), 1),
            "minutes": round((time.monotonic() - start) / 60, 1),
        }


def report(rows: pd.DataFrame) -> str:
    """Write the table of the page, one line per kind."""
    table = [["kind", *COLUMNS[2:10]]]
    for kind, part in rows.groupby("kind", sort=False):
        sums = part[list(COLUMNS[2:8])].sum()
        largest = part[["slowest", "grown_mb"]].max()
        table.append([str(kind), *(f"{n:,}" for n in sums), *map(str, largest)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def main() -> None:
    """Write one row per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=", ".join(KINDS))
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--total", type=int, help="inputs per kind")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds per input")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        print(report(pd.read_csv(options.out)), end="")
        return
    options.end = time.monotonic() + 60 * options.minutes
    if unknown := set(options.kinds) - set(KINDS):
        parser.error(f"there is no kind {sorted(unknown)}; kinds are {list(KINDS)}")
    for kind in options.kinds or KINDS:
        for row in runs(options, kind):
            line = pd.DataFrame([row], columns=COLUMNS)
            is_new = not options.out.exists()
            line.to_csv(options.out, mode="a", header=is_new, index=False)
            print(line.to_string(header=False, index=False), flush=True)


def child(kind: str, *rest: str) -> None:
    """Try the inputs that a watching process names."""
    *home, first, last, step = rest
    check = checker(kind, Path(home[0]) if home else None)
    try_inputs(check, int(first), int(last), int(step))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
