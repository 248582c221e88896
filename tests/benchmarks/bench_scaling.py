"""Measure data-parallel training: epochs of one and of two processes, and their parts.

    python tests/benchmarks/bench_scaling.py [--repeats 7] [--rows 512]

starts two processes on this machine and writes ``scaling.csv``; ``--report`` writes the
tables of ``docs/guide/cluster.rst`` from it instead. Fits of one process (the other
one waits) and of both alternate. A row of the file is one measurement:

=============== ====================================================================
epoch           seconds of an epoch, and seconds of the CPU of the main process, by
                weighting, batch size and number of processes
message         seconds to sum so many numbers over two processes
=============== ====================================================================
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

DOCS = Path(__file__).resolve().parents[2] / "docs"
OUT = DOCS / "benchmarks" / "scaling.csv"
ROWS = 512
COLUMNS = ["kind", "weighting", "size", "n_processes", "repeat", "seconds", "cpu"]
WEIGHTINGS = ("equal", "nashmtl")
BATCHES = (64, 256)
MESSAGES = (100, 10_000, 1_000_000, 4_000_000)
# Parameters of the default network with 8 tasks: encoder and shared layer, and heads.
N_SHARED, N_HEADS, N_TASKS = 319_200, 2_408, 8
WORKERS = (2, 4, 8, 16, 32)
# Sizes for which the model is shown.
SHOWN = (("equal", 64), ("equal", 256), ("equal", 4096), ("nashmtl", 4096))
BEGIN, END = "..  begin of figures", "..  end of figures"


# -- measuring --------------------------------------------------------------------


def measure(rows: int, repeats: int) -> list[tuple[Any, ...]]:
    """Measure in this process, together with the other one."""
    import torch

    from skgnn_mtl import SmilesToGraph, data_parallel
    from skgnn_mtl.datasets import load_physchem
    from skgnn_mtl.training import World, joined

    def wait(world: World) -> None:
        world.gather(None)

    torch.set_num_threads(1)
    smiles, table = load_physchem(return_X_y=True)
    X = SmilesToGraph("chemprop").transform(smiles[:rows])
    y = table.to_numpy()[:rows]
    found: list[tuple[Any, ...]] = []
    with data_parallel(cpu=True) as team, joined() as world:
        for repeat in range(repeats):
            for weighting in WEIGHTINGS:
                for size in BATCHES:
                    if team.is_main:
                        # Outside of the context, thus in this process alone.
                        one = alone(epoch, X, y, weighting, size)
                        found.append(("epoch", weighting, size, 1, repeat, *one))
                    wait(world)
                    both = epoch(X, y, weighting, size)
                    found.append(("epoch", weighting, size, 2, repeat, *both))
            for size in MESSAGES:
                wait(world)
                one = message(world, torch.zeros(size))
                found.append(("message", "", size, 2, repeat, *one))
    return found if team.is_main else []


def alone(function: Any, *arguments: Any) -> Any:
    """Call a function in a thread, which does not belong to the context."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def epoch(X: Any, y: Any, weighting: str, size: int) -> tuple[float, float]:
    """Train for two epochs; give the time of the second one, and that of its CPU."""
    from skorch.callbacks import Callback

    from skgnn_mtl import MultiTaskGNNRegressor

    clocks = []

    class Clock(Callback):  # type: ignore[misc]
        def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
            clocks.append((time.perf_counter(), time.process_time()))

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            clocks.append((time.perf_counter(), time.process_time()))

    MultiTaskGNNRegressor(
        task_weighting=weighting,
        batch_size=size,
        max_epochs=2,
        callbacks=[Clock()],
        random_state=0,
        n_threads=1,
    ).fit(X, y)
    began, ended = clocks[-2:]
    return ended[0] - began[0], ended[1] - began[1]


def message(world: Any, numbers: Any) -> tuple[float, float]:
    """Sum numbers over the processes; give the time, and that of the CPU."""
    world.sum_(numbers)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(5):
        world.sum_(numbers)
    return (time.perf_counter() - wall) / 5, (time.process_time() - cpu) / 5


def launch(arguments: list[str]) -> None:
    """Start two processes of this script, as a launcher does."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env=os.environ | common | {"RANK": str(k), "LOCAL_RANK": str(k)},
        )
        for k in range(2)
    ]
    # All of them, because none may be left behind.
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit("a process failed")


# -- reporting --------------------------------------------------------------------


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Give medians over the repeats: seconds of one process, and ratios one to two."""
    epochs = table[table.kind == "epoch"]
    wide = epochs.pivot(
        index=["weighting", "size", "repeat"],
        columns="n_processes",
        values=["seconds", "cpu"],
    )
    found = pd.DataFrame(
        {
            "seconds": wide["seconds"][1],
            "cpu": wide["cpu"][1],
            # Each from one repeat, because the machine is not equally busy in all.
            "speed": wide["seconds"][1] / wide["seconds"][2],
            "cpu_ratio": wide["cpu"][2] / wide["cpu"][1],
        }
    )
    return found.groupby(["weighting", "size"]).median()


def parts(table: pd.DataFrame, n_rows: int) -> dict[str, Any]:
    """Fit seconds per step and per graph, and per message and number."""
    epochs = measured(table)
    steps = {}
    for weighting, group in epochs.groupby("weighting"):
        sizes = group.index.get_level_values("size").to_numpy()
        n_steps = np.ceil(n_rows / sizes)
        design = np.column_stack([n_steps, np.full(len(sizes), n_rows)])
        steps[weighting] = np.linalg.lstsq(design, group["cpu"].to_numpy())[0]
    # The fastest, because waiting for a busy core is not part of a message.
    messages = table[table.kind == "message"].groupby("size").seconds.min()
    # The smallest is all latency; the largest is nearly all transfer.
    latency = float(messages.iloc[0])
    per_number = (float(messages.iloc[-1]) - latency) / messages.index[-1]
    return {"steps": steps, "latency": latency, "per_number": per_number}


def step_seconds(found: dict[str, Any], weighting: str, size: int, n: int) -> float:
    """Predict the seconds of a step of n processes.

    A sum over n processes is a ring: 2 (n - 1) messages of an n-th of the numbers each.
    """
    per_step, per_graph = found["steps"][weighting]
    seconds = float(per_step + per_graph * np.ceil(size / n))
    p = N_SHARED + N_HEADS
    numbers = [p] if weighting == "equal" else [N_TASKS * N_SHARED, N_HEADS]
    # Three short ones: label masses, losses, and the tasks that have labels.
    for count in (*numbers, *[N_TASKS] * 3):
        if n > 1:
            # Two processes send two messages, of half of the numbers each.
            seconds += (n - 1) * found["latency"]
            seconds += 2 * (n - 1) / n * count * found["per_number"]
    return seconds


def speeds(found: dict[str, Any], weighting: str, size: int) -> list[float]:
    """Predict how many times faster than one process several processes are."""
    one = step_seconds(found, weighting, size, 1)
    return [one / step_seconds(found, weighting, size, n) for n in WORKERS]


def report(table: pd.DataFrame, n_rows: int) -> str:
    """Write the tables of the page."""
    found, epochs = parts(table, n_rows), measured(table)
    n_repeats = table.repeat.nunique()
    lines = [
        f"Medians of {n_repeats} repeats; {n_rows} molecules, 8 tasks, D-MPNN of width "
        "300,",
        "on two cores without other work:",
        "",
        *grid(
            ["weighting", "batch", "speed, 2 to 1", "CPU per process, 2 to 1"],
            [
                [w, str(size), f"{row.speed:.2f}", f"{row.cpu_ratio:.2f}"]
                for (w, size), row in epochs.iterrows()
            ],
        ),
        "",
        "The parts, from the time of the CPU for steps and the fastest messages:",
        "",
        *(
            f"* {name}: a = {1e3 * a:.1f} ms, b = {1e3 * b:.2f} ms per graph;"
            for name, (a, b) in found["steps"].items()
        ),
        f"* messages: {1e3 * found['latency']:.2f} ms, and "
        f"{1e9 * found['per_number']:.1f} ns per number.",
        "",
        "How many times faster than one process, by T(N):",
        "",
        *grid(
            ["weighting", "batch", *(f"{n} processes" for n in WORKERS)],
            [
                [w, str(size), *(f"{s:.1f}" for s in speeds(found, w, size))]
                for w, size in SHOWN
            ],
        ),
        "",
    ]
    return "\n".join(lines)


def grid(head: list[str], rows: list[list[str]]) -> list[str]:
    """Write a simple table of reStructuredText."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)

    def line(cells: list[str]) -> str:
        padded = [c.ljust(w) for c, w in zip(cells, widths, strict=True)]
        return "  ".join(padded).rstrip()

    return [rule, line(head), rule, *map(line, rows), rule]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        page = DOCS / "guide" / "cluster.rst"
        before, rest = page.read_text().split(BEGIN)
        after = rest.split(END)[1]
        figures = report(pd.read_csv(OUT), options.rows)
        page.write_text(f"{before}{BEGIN}\n\n{figures}\n{END}{after}")
    elif "WORLD_SIZE" not in os.environ:
        launch(sys.argv[1:])
    elif found := measure(options.rows, options.repeats):
        table = pd.DataFrame(found, columns=COLUMNS)
        table.round({"seconds": 6, "cpu": 6}).to_csv(OUT, index=False)


if __name__ == "__main__":
    main()
