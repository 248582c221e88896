"""GATE on 31 properties at once: errors, and hits by several criteria.

    python tests/benchmarks/bench_gate_wide.py --data-home DIR --cache FOLDER \
        [--out FILE.csv] [--sizes all 50] [--methods ...] [--folds 0 1 2 3] \
        [--seeds 0] [--minutes M]
    python tests/benchmarks/bench_gate_wide.py --cache FOLDER --screen FILE.csv
    python tests/benchmarks/bench_gate_wide.py --data-home DIR --table FILE.csv

The table joins the 22 properties of ``chemicals_multitask.csv.gz``, the six of Biogen's
ADME set, ESOL, FreeSolv and Lipophilicity by canonical SMILES. Tasks with fewer than
2,100 labels are "scarce", the others "rich" and cut to ``MOST_LABELS`` labels. Folds
are of molecules, for all tasks at once. A row of the file is one task of one run; runs
that the file holds are not repeated. ``--sizes 50`` keeps 50 training labels of each
scarce task and reports these tasks only. Predictions stay in the cache, from which
``--screen`` counts the hits of random conjunctions; ``--table`` writes the joined table
for ``bench_gate.py``. ``gate_tables.py`` writes the tables of the page.

All networks are those of ``bench_gate_accuracy.py``, with two layers and batches of 64.
"trees" are extra trees on RDKit's descriptors for each task; "a + trees" is the plain
mean of the predictions of both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from bench_gate_accuracy import TERMS, canonical, descriptors_of, graphs_of, physchem
from gate_tables import DOCS, JOINT, SINGLE
from sklearn.ensemble import ExtraTreesRegressor

from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.ensemble import PerTaskRegressor
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.metrics import nan_screening_scores
from skgnn_mtl.model_selection import LabelPresenceKFold
from skgnn_mtl.model_selection._transfer import _cut, _labelled
from skgnn_mtl.model_selection._transfer_methods import (
    TransferBudget,
    TransferProblem,
    gate,
    hard_sharing,
    single_task,
)

KEY = ["method", "size", "fold", "seed"]
RUN = ["method", "fold", "seed"]
N_FOLDS, RICH, MOST_LABELS = 4, 2100, 3000
SINGLE_STEPS, JOINT_STEPS, BATCH = 500, 3000, 64
D = 32
GATE = {"latent_dim": D, "encoder_hidden_dims": (2 * D,)}
GATE |= {"transfer_hidden_dims": (D,), "head_hidden_dims": (D,)}
# Conjunctions: criteria each, conjunctions of each kind, rows and hits in each fold.
CRITERIA, N_CONJUNCTIONS, FEWEST_ROWS, FEWEST_HITS = (2, 3, 4), 100, 30, 5
N_SHUFFLES, BLOCK = 10, 10

# %% Data


class Data(NamedTuple):
    """Molecules, their labels and the folds."""

    smiles: pd.Series
    X: GraphArray
    y: pd.DataFrame
    folds: list[tuple[np.ndarray, np.ndarray]]

    @property
    def scarce(self) -> list[str]:
        """Tasks with few labels; the others were cut to ``MOST_LABELS``."""
        return [name for name in self.y if self.y[name].count() < RICH]


def joined(home: Path) -> pd.DataFrame:
    """31 columns, indexed by canonical SMILES; medians where a molecule is repeated."""
    smiles, y, *_ = physchem(home)
    adme = pd.read_csv(home / "ADME_public_set_3521.csv")
    names = [name for name in adme if name.startswith("LOG ")]
    parts = [y.assign(smiles=smiles), adme[names].assign(smiles=adme["SMILES"])]
    measured = "measured log solubility in mols per litre"
    for file, column, name in (
        ("delaney-processed.csv", measured, "ESOL"),
        ("SAMPL.csv", "expt", "FreeSolv"),
        ("Lipophilicity.csv", "exp", "Lipophilicity"),
    ):
        table = pd.read_csv(home / file).rename(columns={column: name})
        parts.append(table[["smiles", name]])
    table = pd.concat(parts, ignore_index=True)
    return table.drop(columns="smiles").groupby(canonical(table["smiles"])).median()


def wide(home: Path, folder: Path) -> Data:
    """Graphs come from the cache."""
    y = joined(home)
    order = np.random.RandomState(0).permutation(len(y))
    # One order of all molecules, so that few of them hold the labels of all tasks.
    for name in y:
        have = order[y[name].notna().to_numpy()[order]]
        y.iloc[have[MOST_LABELS:], y.columns.get_loc(name)] = np.nan
    y = y[y.notna().any(axis=1)]
    path = folder / "wide.graphs"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        graphs_of("wide", pd.Series(y.index)).save(path)
    X = GraphArray.load(path)
    y = y[X.valid]
    X = X[np.flatnonzero(X.valid)]
    folds = list(LabelPresenceKFold(N_FOLDS, random_state=0).split(y, y))
    return Data(pd.Series(y.index), X, y.reset_index(drop=True), folds)


@cache
def _descriptors(path: Path) -> np.ndarray:
    return np.load(path)


def descriptors(data: Data, folder: Path) -> np.ndarray:
    """RDKit's descriptors of all molecules, from the cache."""
    path = folder / "wide.descriptors.npy"
    if not path.exists():
        np.save(path, descriptors_of("wide", data.smiles).astype(np.float32))
    return _descriptors(path)


# %% Methods: from training rows, labels and test rows to predictions


class Task(NamedTuple):
    """What a method learns and predicts."""

    data: Data
    train: np.ndarray
    test: np.ndarray
    y: pd.DataFrame
    tasks: list[str]
    seed: int
    folder: Path

    def problem(self, names: list[str], n_steps: int) -> TransferProblem:
        budget = TransferBudget(
            DMPNN(64, n_layers=2), {"batch_size": BATCH}, GATE, 0, n_steps
        )
        X = self.data.X[self.train]
        return TransferProblem(X, self.y[names], [], names, budget, self.seed)


def separate(task: Task) -> np.ndarray:
    """One network for each task; predictions where there is a label."""
    truth = task.data.y.iloc[task.test][task.tasks]
    result = np.full(truth.shape, np.nan)
    for column, name in enumerate(task.tasks):
        model = single_task(task.problem([name], SINGLE_STEPS))
        rows = np.flatnonzero(truth[name].notna())
        result[rows, column] = model.predict(task.data.X[task.test[rows]]).ravel()
    return result


def together(task: Task, method: Callable[..., Any], **changes: Any) -> np.ndarray:
    """One network for all tasks, also those that are not asked for."""
    names = list(task.y)
    model = method(task.problem(names, JOINT_STEPS), **changes)
    columns = [names.index(name) for name in task.tasks]
    return np.asarray(model.predict(task.data.X[task.test]))[:, columns]


def trees(task: Task) -> np.ndarray:
    """Extra trees on descriptors for each task."""
    table = descriptors(task.data, task.folder)
    learner = ExtraTreesRegressor(max_features=1 / 3, random_state=task.seed)
    model = PerTaskRegressor(learner).fit(table[task.train], task.y[task.tasks])
    return np.asarray(model.predict(table[task.test]))


def mean_of(task: Task, *members: np.ndarray) -> np.ndarray:
    return np.mean(members, axis=0)


METHODS: dict[str, Callable[[Task], np.ndarray]] = {
    SINGLE: separate,
    "hard-sharing": partial(together, method=hard_sharing),
    "balanced-sharing": partial(together, method=gate, **dict.fromkeys(TERMS, 0.0)),
    JOINT: partial(together, method=gate, routes=3),
    "gate": partial(together, method=gate, routes="all"),
    "trees": trees,
}
BLENDS = [f"{name} + trees" for name in (SINGLE, "hard-sharing", JOINT)]

# %% Runs


def study(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    data = wide(options.data_home, options.cache)
    end = time.monotonic() + 60 * options.minutes
    for setting in settings(options):
        if setting in done(options.out):
            continue
        if time.monotonic() > end:
            print("out of time; call again to go on")
            return
        run(options, data, *setting)


def settings(options: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    for seed in options.seeds:
        for size in options.sizes:
            for method in [*options.methods, *BLENDS]:
                for fold in options.folds:
                    members = method.split(" + ")
                    if set(members) <= set(options.methods):
                        yield method, size, fold, seed


def done(path: Path) -> set[tuple[str, str, int, int]]:
    if not path.is_file():
        return set()
    runs = pd.read_csv(path, dtype={"size": str})[KEY].drop_duplicates()
    return set(runs.itertuples(index=False, name=None))


def run(
    options: argparse.Namespace,
    data: Data,
    method: str,
    size: str,
    fold: int,
    seed: int,
) -> None:
    """Append the rows of one run, and keep its predictions."""
    train, test = data.folds[fold]
    y, tasks = data.y.iloc[train], list(data.y)
    if size != "all":
        tasks = data.scarce
        y = _cut(y, {name: _labelled(y[name], seed) for name in tasks}, int(size))
    task = Task(data, train, test, y, tasks, seed, options.cache)
    start = time.process_time()
    if method in METHODS:
        predictions = METHODS[method](task)
    else:
        paths = (kept(options, m, size, fold, seed) for m in method.split(" + "))
        predictions = mean_of(task, *map(np.load, paths))
    seconds = time.process_time() - start
    path = kept(options, method, size, fold, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, predictions.astype(np.float32))
    residuals = data.y.iloc[test][tasks] - predictions
    rows = pd.DataFrame(
        {
            "n_train": y[tasks].count(),
            "n_test": residuals.count(),
            "rmse": np.sqrt((residuals**2).mean()),
            "error": np.sqrt((residuals**2).mean()) / data.y.iloc[train][tasks].std(),
        }
    ).rename_axis("task")
    setting = dict(zip(KEY, (method, size, fold, seed), strict=True))
    rows = rows.reset_index().assign(**setting, seconds=seconds)
    new = not options.out.is_file()
    columns = [*KEY, "task", "n_train", "n_test", "rmse", "error", "seconds"]
    rows[columns].round(5).to_csv(options.out, mode="a", header=new, index=False)
    print(*setting.values(), f"{seconds:.1f} s, {rows['error'].mean():.4f}", flush=True)


def kept(
    options: argparse.Namespace, method: str, size: str, fold: int, seed: int
) -> Path:
    name = f"{method}-{size}-{fold}-{seed}.npy".replace(" ", "_")
    return Path(options.cache) / "wide" / name


# %% Conjunctions


class Conjunction(NamedTuple):
    """Tasks, the share of training labels that meet each criterion, and its side."""

    tasks: tuple[str, ...]
    shares: tuple[float, ...]
    high: tuple[bool, ...]

    def criteria(self, y: pd.DataFrame) -> dict[str, tuple[float | None, float | None]]:
        """Intervals, from quantiles of training labels."""
        return {
            name: (y[name].quantile(1 - share), None)
            if high
            else (None, y[name].quantile(share))
            for name, share, high in zip(
                self.tasks, self.shares, self.high, strict=True
            )
        }


def conjunctions(data: Data) -> list[Conjunction]:
    """Draw conjunctions with enough labelled rows and hits in each fold."""
    rng, found = np.random.default_rng(0), []
    for k in CRITERIA:
        chosen: dict[Conjunction, None] = {}
        while len(chosen) < N_CONJUNCTIONS:
            # Of one molecule, because most sets of tasks share no molecule.
            known = data.y.columns[data.y.iloc[rng.integers(len(data.y))].notna()]
            if len(known) < k:
                continue
            tasks = tuple(rng.choice(known, k, replace=False))
            shares = tuple(rng.uniform(0.3, 0.5, k).round(3))
            drawn = Conjunction(tasks, shares, tuple(rng.random(k) < 0.5))
            if all(is_usable(drawn, data, fold) for fold in data.folds):
                chosen[drawn] = None
        found += list(chosen)
    return found


def is_usable(drawn: Conjunction, data: Data, fold: tuple) -> bool:
    train, test = (data.y.iloc[rows] for rows in fold)
    known = test[list(drawn.tasks)].dropna()
    if len(known) < FEWEST_ROWS:
        return False
    criteria = drawn.criteria(train)
    return nan_screening_scores(known, known, criteria).n_hits >= FEWEST_HITS


COUNTS = ["rows", "hits", "predicted", "found", "found_first"]
COUNTS += ["predicted_shuffled", "found_shuffled"]


def screen(options: argparse.Namespace) -> None:
    """Count the hits of each conjunction in the runs that the file lacks."""
    parts = [pd.read_csv(options.screen)] if options.screen.is_file() else []
    known = {cell for part in parts for cell in zip(*map(part.get, RUN), strict=True)}
    data = wide(options.data_home, options.cache)
    drawn = conjunctions(data)
    for method, size, fold, seed in sorted(done(options.out)):
        if size != "all" or (method, fold, seed) in known:
            continue
        y, test = (data.y.iloc[rows] for rows in data.folds[fold])
        predictions = np.load(kept(options, method, size, fold, seed))
        frame = pd.DataFrame(predictions, test.index, test.columns, dtype=float)
        records = []
        for number, c in enumerate(drawn):
            found = counts(test, frame, c.criteria(y), y.std(), fold)
            records.append((number, len(c.tasks), method, fold, seed, *found))
        columns = ["conjunction", "k", *RUN, *COUNTS]
        parts.append(pd.DataFrame(records, columns=columns))
        pd.concat(parts).to_csv(options.screen, index=False)
        print(method, fold, seed, flush=True)


def counts(
    truth: pd.DataFrame,
    predictions: pd.DataFrame,
    criteria: dict[str, tuple[float | None, float | None]],
    scale: pd.Series,
    seed: int,
) -> tuple[float, ...]:
    """Rows, hits, predicted hits, and how many of these are hits.

    Then the hits among as many rows as there are hits, in the order of the smallest
    margin to a threshold, in standard deviations; and the predicted hits and the hits
    among them if the errors of each task are exchanged between molecules.
    """
    names = list(criteria)
    truth = truth[names].dropna()
    predictions = predictions.loc[truth.index, names]
    scores = nan_screening_scores(truth, predictions, criteria)
    limits = [*criteria.values()], scale[names].to_numpy()
    labels, guesses = truth.to_numpy(), predictions.to_numpy()
    first = np.argsort(-margin(guesses, *limits), kind="stable")[: scores.n_hits]
    hits = margin(labels, *limits) >= 0
    rng, shuffled = np.random.default_rng(seed), []
    for _ in range(N_SHUFFLES):
        predicted = margin(exchanged(labels, guesses, rng), *limits) >= 0
        shuffled.append((predicted.sum(), (predicted & hits).sum()))
    return (
        scores.n_rows,
        scores.n_hits,
        scores.n_predicted,
        scores.n_found,
        int(hits[first].sum()),
        *np.mean(shuffled, axis=0),
    )


def margin(
    values: np.ndarray,
    limits: list[tuple[float | None, float | None]],
    scale: np.ndarray,
) -> np.ndarray:
    """Smallest distance inside of a threshold, in standard deviations, shape (n,)."""
    parts = [
        (column - low if high is None else high - column) / width
        for column, (low, high), width in zip(values.T, limits, scale, strict=True)
    ]
    return np.min(parts, axis=0)


def exchanged(
    truth: np.ndarray, predictions: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Exchange the errors of each task between molecules with similar labels.

    Each task is as accurate as before, but its errors have nothing to do with those of
    the other tasks.
    """
    n, errors = len(truth), predictions - truth
    result = truth.copy()
    for column, labels in enumerate(truth.T):
        order = np.argsort(labels, kind="stable")
        block = (np.arange(n) + rng.integers(BLOCK)) // BLOCK
        # An order by block, and within a block by chance.
        other = order[np.lexsort((rng.random(n), block))]
        result[order, column] += errors[other, column]
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("gate-cache"))
    parser.add_argument("--out", type=Path, default=DOCS / "gate_wide.csv")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--sizes", nargs="*", default=["all"])
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(N_FOLDS)))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--screen", type=Path)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table:
        table = joined(options.data_home).rename_axis("smiles").reset_index()
        table.to_csv(options.table, index=False)
    else:
        (screen if options.screen else study)(options)


if __name__ == "__main__":
    main()
