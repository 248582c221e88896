"""Kill processes at random moments of their fits, and compare the ends of the next.

Each run fits one estimator with a checkpoint in a process of its own. The process is
killed (SIGKILL) at a random moment and the fit started again in another one, until one
ends. Its predictions, weights and records must be those of a fit that was never killed,
bit for bit.

    python tests/benchmarks/kill_fits.py --minutes 10 --out docs/benchmarks

writes one row per run into ``reliability_kills.csv``; ``--report`` prints the table of
the page from it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.ensemble import BlendRegressor, EnsembleRegressor
from skgnn_mtl.estimators import _checkpoint
from skgnn_mtl.estimators._io import read
from skgnn_mtl.weighting import BLO, PCGrad

COLUMNS = (
    *("case", "run", "writes", "kills", "epochs_kept", "epochs"),
    *("seconds_alone", "seconds_in_all", "identical"),
)
Fit = Callable[[Any], Any]


def load(n_rows: int = 200) -> tuple[Any, pd.DataFrame]:
    """Make graphs of molecules, and a table of three properties with gaps."""
    data = load_physchem()
    y = data.target.iloc[:n_rows, :3]
    graphs = SmilesToGraph().fit_transform(data.data[:n_rows])
    return graphs, y.set_axis(["a", "b", "c"], axis=1)


def cases(
    graphs: Any, y: pd.DataFrame, n_epochs: int
) -> dict[str, tuple[Callable[..., Any], Fit]]:
    """List a factory of each estimator, and its fit."""
    encoder, masked = DMPNN(width=32, dropout=0.1), GIN(width=32, dropout=0.1)
    common = {
        "device": "cpu",
        "random_state": 0,
        "n_threads": 1,
        "max_epochs": n_epochs,
    }
    gate = {**common, "latent_dim": 16, "encoder_hidden_dims": (32,)}
    helped = {"target_tasks": "a", "batch_size": 32}

    def regressor(**settings: Any) -> tuple[Callable[..., Any], Fit]:
        def make(**more: Any) -> Any:
            return MultiTaskGNNRegressor(
                **{"encoder": encoder, **common, **settings, **more}
            )

        return make, lambda model: model.fit(graphs, y)

    def of_gate(**settings: Any) -> Callable[..., Any]:
        return lambda **more: GATERegressor(encoder, **{**gate, **settings, **more})

    def addition() -> tuple[Callable[..., Any], Fit]:
        # Untrained sources are as good for this as others, and cost nothing.
        few = {"max_epochs": 1, "add_task_steps": 200}

        def make(**more: Any) -> Any:
            sources = of_gate(**few)().fit(graphs, y[["a", "b"]])
            return sources.set_params(**more)

        return make, lambda model: model.add_task(graphs, y["c"])

    halves = (y > y.median()).where(y.notna())
    return {
        "plain": regressor(),
        "surgery": regressor(task_weighting=PCGrad(update_every=2)),
        "second pass": regressor(task_weighting="famo"),
        "bi-level": regressor(task_weighting=BLO(every=3), **helped),
        "curvature": regressor(task_weighting="curvature"),
        "auxiliary tasks": regressor(
            encoder=masked, auxiliary_tasks=["atommasking", "edgeprediction"]
        ),
        "tail average": regressor(weight_averaging="tail"),
        "end with all rows": regressor(
            early_stopping=True, n_iter_no_change=3, lr=0.01, weight_averaging="ema"
        ),
        "plateau": regressor(lr_schedule="plateau", n_iter_no_change=2),
        "classifier": (
            lambda **more: MultiTaskGNNClassifier(encoder, **{**common, **more}),
            lambda model: model.fit(graphs, halves),
        ),
        "pretrainer": (
            lambda **more: GNNPretrainer(masked, **{**common, **more}),
            lambda model: model.fit(graphs),
        ),
        "GATE": (of_gate(), lambda model: model.fit(graphs, y)),
        "GATE in stages": (
            of_gate(target_tasks=["b", "c"], add_task_steps=100),
            lambda model: model.fit(graphs, y),
        ),
        "addition": addition(),
        "ensemble": (
            lambda **more: EnsembleRegressor(
                MultiTaskGNNRegressor(encoder, **common), 3, random_state=0, **more
            ),
            lambda model: model.fit(graphs, y),
        ),
        "blend": (
            lambda **more: BlendRegressor(
                [
                    (name, MultiTaskGNNRegressor(part, **common))
                    for name, part in (("D-MPNN", encoder), ("GIN", masked))
                ],
                weights="oof",
                cv=2,
                **more,
            ),
            lambda model: model.fit(graphs, y),
        ),
    }


def networks(model: Any) -> list[Any]:
    """List a network, or those of the members of an ensemble."""
    members = [*getattr(model, "estimators_", [model])]
    return [m for m in members if hasattr(m, "module_")]


def records_of(model: Any) -> list[dict[str, Any]]:
    """List the records of all epochs."""
    found: list[dict[str, Any]] = []
    for network in networks(model):
        additions = getattr(network, "addition_history_", {}).values()
        found += [*network.history_, *(r for added in additions for r in added)]
    return found


def outcome(model: Any, graphs: Any) -> str:
    """Hash predictions, weights and records; seconds are not a part of them."""
    found = hashlib.sha256()
    apply = model.transform if isinstance(model, GNNPretrainer) else model.predict
    found.update(np.ascontiguousarray(apply(graphs)))
    for network in networks(model):
        for tensor in network.module_.state_dict().values():
            found.update(tensor.contiguous().numpy())
    for record in records_of(model):
        rest = {key: value for key, value in record.items() if key != "seconds"}
        found.update(repr(rest).encode())
    return found.hexdigest()


def child(work: Callable[[], str], answer: Path) -> int:
    """Start a process that writes the result of some work into a file."""
    pid = os.fork()
    if pid:
        return pid
    try:
        # The warnings of a fit are the same in each run.
        warnings.simplefilter("ignore")
        result = work()
        # Renamed, because the process may be killed here, too.
        part = answer.with_suffix(".part")
        part.write_text(result)
        part.rename(answer)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def epochs_kept(path: Path) -> int:
    """Count the epochs that are in a checkpoint, and in those of a folder."""
    if path.is_dir():
        # Of members in training; those that have ended are in files of another kind.
        return sum(epochs_kept(part) for part in path.glob("*.0"))
    if not path.exists():
        return 0
    stages = read(path, kind="checkpoint")["stages"].values()
    return sum(len(stage.get("training", {}).get("records", ())) for stage in stages)


def run(
    make: Callable[..., Any],
    fit: Fit,
    graphs: Any,
    *,
    alone: tuple[float, str],
    each_epoch: bool,
    most_kills: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Kill one fit at random moments until it ends.

    Parameters
    ----------
    make, fit : callable
        Make an estimator with a checkpoint, and train it.
    graphs : GraphArray
        What to predict.
    alone : tuple of float and str
        Seconds and outcome of the fit that is not killed.
    each_epoch : bool
        Whether to write after each epoch, however fast the epochs are.
    most_kills : int
        Kills after which the fit is left alone.
    rng : Generator
        Source of the moments.

    Returns
    -------
    row : dict
        Kills, what was kept at each, seconds, and whether the outcome is the same.
    """
    seconds, expected = alone
    _checkpoint._LARGEST_SHARE = 1e12 if each_epoch else 0.02
    with tempfile.TemporaryDirectory() as folder:
        path, answer = Path(folder) / "fit.checkpoint", Path(folder) / "answer"

        def work() -> str:
            return outcome(fit(make(checkpoint=path)), graphs)

        kept: list[int] = []
        started = time.perf_counter()
        while not answer.exists():
            pid = child(work, answer)
            if len(kept) < most_kills:
                time.sleep(rng.uniform(0.0, 1.1 * seconds))
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFSIGNALED(status) and not answer.exists():
                kept.append(epochs_kept(path))
            elif not answer.exists():
                raise RuntimeError("A fit failed; run it without a kill.")
        left = {file.name for file in Path(folder).iterdir()} - {
            answer.name,
            "answer.part",
        }
        return {
            "writes": "each epoch" if each_epoch else "2 %",
            "kills": len(kept),
            "epochs_kept": " ".join(map(str, kept)),
            "seconds_alone": round(seconds, 2),
            "seconds_in_all": round(time.perf_counter() - started, 2),
            "identical": answer.read_text() == expected and not left,
        }


def measure_alone(
    make: Callable[..., Any], fit: Fit, graphs: Any
) -> tuple[float, str, int]:
    """Fit in a process that is not killed; give seconds, outcome and epochs."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"

        def work() -> str:
            started = time.perf_counter()
            model = fit(make())
            seconds = time.perf_counter() - started
            return f"{seconds} {outcome(model, graphs)} {len(records_of(model))}"

        os.waitpid(child(work, answer), 0)
        seconds, expected, n_epochs = answer.read_text().split()
    return float(seconds), expected, int(n_epochs)


def runs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Run the cases in turn until the time is over, each at least once."""
    # Here, because each process would import it again.
    importlib.import_module("skgnn_mtl.training._net")
    graphs, y = load()
    names, known = options.cases, cases(graphs, y, options.epochs)
    chosen = {k: v for k, v in known.items() if not names or k in names}
    rng = np.random.default_rng(options.seed)
    end = time.monotonic() + 60 * options.minutes
    alone: dict[str, tuple[float, str, int]] = {}
    for k, (name, (make, fit)) in enumerate(cycle(chosen.items())):
        if time.monotonic() > end and k >= len(chosen):
            return
        if name not in alone:
            alone[name] = measure_alone(make, fit, graphs)
        seconds, expected, n_epochs = alone[name]
        each_epoch = k // len(chosen) % 2 == 0
        row = run(
            make,
            fit,
            graphs,
            alone=(seconds, expected),
            each_epoch=each_epoch,
            most_kills=options.kills,
            rng=rng,
        )
        yield {"case": name, "run": k // len(chosen), "epochs": n_epochs, **row}


def report(rows: pd.DataFrame) -> str:
    """Write the table of the page, one line per case and one for all."""
    # Of all processes but the fit itself, so that the start of each is a part of it.
    rows = rows.assign(lost=rows["seconds_in_all"] - rows["seconds_alone"])
    head = ("fit", "runs", "kills", "identical", "seconds", "seconds lost per kill")
    table = [head, *(_cells(name, part) for name, part in rows.groupby("case"))]
    table.append(_cells("all", rows))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def _cells(name: Any, rows: pd.DataFrame) -> tuple[str, ...]:
    n_kills = int(rows["kills"].sum())
    lost = rows["lost"].sum() / max(n_kills, 1)
    return (
        *(str(name), str(len(rows)), str(n_kills), str(int(rows["identical"].sum()))),
        *(f"{rows['seconds_alone'].mean():.1f}", f"{lost:.1f}"),
    )


def main() -> None:
    """Write one row per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--kills", type=int, default=6, help="most per run")
    parser.add_argument("--cases", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    n_kills = n_lost = 0
    file = options.out / "reliability_kills.csv"
    if options.report:
        print(report(pd.read_csv(file)), end="")
        return
    with open(file, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in runs(options):
            writer.writerow(row)
            stream.flush()
            n_kills += row["kills"]
            n_lost += not row["identical"]
    print(f"{n_kills} kills, {n_lost} runs with another outcome: {file}")


if __name__ == "__main__":
    main()
