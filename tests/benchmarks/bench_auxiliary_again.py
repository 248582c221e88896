"""What auxiliary tasks add to a pretrained network, given the time of fine-tuning.

    python tests/benchmarks/bench_auxiliary_again.py --seeds 0 1 --arms controls
    python tests/benchmarks/bench_auxiliary_again.py --seeds 2 3 4 --arms FT "FT, 1.3 x"
    python tests/benchmarks/bench_auxiliary_again.py --report

Fine-tuning of the encoder of the package on 200 labelled molecules for 30 epochs, and
arms that may take 1.3 times its CPU time: longer fine-tuning, averaged weights,
descriptors as numbers beside the graphs, self-supervised tasks, and properties of other
tables, as columns of ``y`` ("joint") or in a short training before ("first"). The seed
draws the order in which scaffolds fill the parts, the labelled molecules, and the
network's start. Nothing is chosen by the validation part of a run: its score is there
to choose arms. Molecules of the validation and the test part take no part in other
tables.

A run is a row of the file; runs that it holds are not repeated. No run begins after
``--minutes``. Needs the data sets of ``shared`` beside the repository.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from bench_auxiliary_accuracy import REGRESSION, SHARED, score
from rdkit import Chem, RDLogger
from scipy.stats import t as student
from scipy.stats import ttest_1samp, wilcoxon

from skgnn_mtl import (
    GNNPretrainer,
    GraphArray,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.auxiliary import DescriptorPrediction
from skgnn_mtl.datasets import fetch_biogen_adme, fetch_moleculenet
from skgnn_mtl.encoders import Pretrained
from skgnn_mtl.model_selection import ScaffoldSplit
from skgnn_mtl.readouts import Sum
from skgnn_mtl.weighting import GNS, Equal, Fixed, RCGrad

DOCS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
SETS = ("freesolv", "esol", "clintox", "bbbp", "bace", "sider", "tox21")
SETS += ("lipophilicity",)
KEY = ["set", "split", "arm", "seed"]
COLUMNS = [*KEY, "valid", "test", "seconds", "steps"]
N_LABELLED, EPOCHS, BATCH = 200, 30, 32
FT = "FT"

# Tables whose columns may help, and never the property itself.
TABLES = {
    "esol": {"chem": ("logP", "Tm_K", "Tb_K"), "lipophilicity": None, "freesolv": None},
    "freesolv": {
        "chem": ("logP", "Hvap298_J_mol", "hansen_P_Pa05", "hansen_H_Pa05"),
        "esol": None,
    },
    "lipophilicity": {"chem": ("logP",), "biogen": None, "esol": None},
    "bbbp": {"chem": ("logP",), "lipophilicity": None, "biogen": None, "clintox": None},
    "bace": {"biogen": None, "lipophilicity": None, "bbbp": None},
    "clintox": {"sider": None, "tox21": None, "bbbp": None},
    "sider": {"clintox": None, "tox21": None, "bbbp": None},
    "tox21": {"sider": None, "clintox": None, "chem": ("logP",)},
}
FEWEST = 20  # labels of a column of another table that takes part


class Arm(NamedTuple):
    """What a run does beyond fine-tuning; times in those of fine-tuning."""

    epochs: float = 1.0
    averaging: str | None = None
    numbers: Any = None  # descriptors beside the graphs
    tasks: tuple[Any, ...] = ()
    weighting: Any = None
    weight: float = 0.0  # constant, of all auxiliary entries together
    joint: float = 0.0  # molecules of other tables per labelled one
    first: float = 0.0  # time of a training on other tables before


TWELVE = list(DescriptorPrediction().names)
CHEAP = ("descriptorprediction", "motifprediction")
EVERY_TENTH = {"update_every": 10}
REPRESENTATION = {"gradients": "representation"}
CONTROLS = {
    FT: Arm(),
    "FT, 1.3 x": Arm(epochs=1.3),
    "tail": Arm(averaging="tail"),
    "ema": Arm(averaging="ema"),
    "12 numbers": Arm(numbers=TWELVE),
    "all numbers": Arm(numbers="rdkit2d"),
}
# The best control on the validation parts of seeds 0 and 1.
BASE = Arm(averaging="tail", numbers=TWELVE)
AUXILIARY = {
    "base": BASE,
    "descriptors, 0.1": BASE._replace(tasks=("descriptorprediction",), weight=0.1),
    "motifs, 0.1": BASE._replace(tasks=("motifprediction",), weight=0.1),
    "GNS": BASE._replace(tasks=CHEAP, weighting=GNS(**EVERY_TENTH)),
    "RCGrad": BASE._replace(tasks=CHEAP, weighting=RCGrad(**EVERY_TENTH)),
    "joint": BASE._replace(epochs=0.65, joint=1.0, weight=1.0),
    "joint, GNS": BASE._replace(epochs=0.6, joint=1.0, weighting=GNS(**REPRESENTATION)),
    "first": BASE._replace(first=0.3),
    "first, half": BASE._replace(epochs=0.65, first=0.65),
}
# What is best on the validation parts of these seeds, cut to 1.3 times the time.
FINAL = {
    "joint, in time": AUXILIARY["joint"]._replace(epochs=0.53),
    "GNS, in time": AUXILIARY["GNS"]._replace(epochs=0.87),
    "joint, no numbers": Arm(epochs=0.55, averaging="tail", joint=1.0, weight=1.0),
}
ARMS = CONTROLS | AUXILIARY | FINAL
GROUPS = {
    "controls": list(CONTROLS),
    "auxiliary": list(AUXILIARY),
    "final": [FT, "base", "joint, in time", "GNS, in time", "FT, 1.3 x"],
}


# %% Tables


@cache
def canonical(smiles: str) -> str | None:
    """Write a SMILES in the one way by which molecules are compared."""
    molecule = Chem.MolFromSmiles(smiles)
    return None if molecule is None else Chem.MolToSmiles(molecule)


@cache
def table(name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Read canonical SMILES and labels of a set, without unreadable molecules."""
    home = {"data_home": SHARED / "data", "return_X_y": True}
    if name == "chem":
        frame = pd.read_csv(SHARED / "data" / "chemicals_multitask.csv.gz")
        smiles, y = frame["smiles"], frame.drop(columns=["smiles", "CAS"])
    elif name == "biogen":
        smiles, y = fetch_biogen_adme(**home)
    else:
        smiles, y = fetch_moleculenet(name, **home)
    y = pd.DataFrame(np.asarray(y), columns=getattr(y, "columns", None), dtype=float)
    found = np.array([canonical(s) for s in smiles], dtype=object)
    readable = np.array([s is not None for s in found])
    return found[readable], y[readable].reset_index(drop=True)


@cache
def graphs(smiles: tuple[str, ...]) -> GraphArray:
    """Featurise as the encoder of the package needs it."""
    return SmilesToGraph(features="chemprop").fit_transform(list(smiles))


def others(name: str, left_out: set[str], n_rows: int, rng: Any) -> pd.DataFrame:
    """Draw molecules of the other tables, as many of each; one row per molecule."""
    parts = []
    for source, columns in TABLES[name].items():
        smiles, y = table(source)
        y = y if columns is None else y[list(columns)]
        y = y.add_prefix(f"{source}: ").assign(smiles=smiles)
        y = y[y.drop(columns="smiles").notna().any(axis=1)]
        y = y[~y["smiles"].isin(left_out)]
        n = min(len(y), -(-n_rows // len(TABLES[name])))
        parts.append(y.iloc[rng.choice(len(y), n, replace=False)])
    return pd.concat(parts).groupby("smiles", sort=False).first()


def fit_for(name: str, y: pd.DataFrame) -> pd.DataFrame:
    """Keep columns with labels enough; make numbers classes for a classifier."""
    y = y.loc[:, y.notna().sum() >= FEWEST]
    if name not in REGRESSION:
        y = pd.DataFrame({c: two_classes(y[c]) for c in y})
    return y.loc[:, y.nunique() > 1]


def two_classes(column: pd.Series) -> pd.Series:
    """Say whether numbers are above their median; leave classes as they are."""
    if column.nunique() <= 2:
        return column
    return (column > column.median()).astype(float).where(column.notna())


# %% Runs


class Parts(NamedTuple):
    """Molecules of a set in a split, and labels of the chosen training molecules."""

    smiles: np.ndarray
    y: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


@cache
def parts(name: str, seed: int) -> Parts:
    """Split by scaffolds, and draw the labelled molecules."""
    smiles, y = table(name)
    split = ScaffoldSplit(order="random", random_state=seed)
    train, valid, test = split.parts(graphs(tuple(smiles)))
    train = np.random.default_rng(seed).choice(train, N_LABELLED, replace=False)
    return Parts(smiles, y.to_numpy(), train, valid, test)


def first(name: str, rows: Parts, arm: Arm, seed: int) -> tuple[Any, int]:
    """Train the encoder on other tables; two epochs."""
    left_out = set(rows.smiles[np.r_[rows.valid, rows.test]])
    n_rows = round(arm.first * EPOCHS * N_LABELLED / 2)
    found = others(name, left_out, n_rows, np.random.default_rng(seed))
    found = found.loc[:, found.notna().sum() >= FEWEST]
    model = GNNPretrainer(
        "pretrained",
        readout=Sum(norm=20),
        auxiliary_tasks=(),
        batch_size=BATCH,
        max_epochs=2,
        random_state=seed,
        n_threads=1,
        verbose=0,
    ).fit(graphs(tuple(found.index)), found)
    return Pretrained(model.encoder_), 2 * -(-len(found) // BATCH)


def joined(name: str, rows: Parts, arm: Arm, seed: int) -> tuple[list[str], Any]:
    """Molecules and labels with those of other tables; targets are the first columns.

    A labelled molecule gets what other tables know about it.
    """
    smiles, y = rows.smiles[rows.train], pd.DataFrame(rows.y[rows.train])
    y.index = pd.Index(smiles)
    if not arm.joint:
        return list(smiles), y.to_numpy()
    left_out = set(rows.smiles[np.r_[rows.valid, rows.test]])
    n_rows = round(arm.joint * N_LABELLED)
    found = others(name, left_out, n_rows, np.random.default_rng(seed))
    known = others(name, left_out, 10**6, np.random.default_rng(seed))
    found = found[~found.index.isin(y.index)]
    own = known.reindex(y.index)
    extra = fit_for(name, pd.concat([own, found]))
    targets = np.full((len(extra), y.shape[1]), np.nan)
    targets[: len(y)] = y
    return list(extra.index), np.hstack([targets, extra.to_numpy()])


def weighting_of(arm: Arm, n_targets: int, n_auxiliary: int) -> Any:
    """Make the weighting of an arm; the targets are pooled."""
    if arm.weighting is not None:
        return arm.weighting
    if not n_auxiliary:
        return Equal(pool="labels")
    share = arm.weight / n_auxiliary
    return Fixed([1.0] * n_targets + [share] * n_auxiliary, pool="labels")


def featurised(smiles: Any, arm: Arm) -> GraphArray:
    """Graphs of molecules, with the numbers of the arm."""
    if arm.numbers is None:
        return graphs(tuple(smiles))
    transformer = SmilesToGraph(features="chemprop", descriptors=arm.numbers)
    return transformer.fit_transform(list(smiles))


def run(name: str, arm: Arm, seed: int) -> dict[str, float]:
    """Train an arm: scores of both parts, CPU seconds and steps of all its fits."""
    rows = parts(name, seed)
    smiles, y = joined(name, rows, arm, seed)
    graphs(tuple(smiles))  # Every arm needs them: not in the time.
    n_targets = rows.y.shape[1]
    n_auxiliary = y.shape[1] - n_targets + len(arm.tasks)
    kind = MultiTaskGNNRegressor if name in REGRESSION else MultiTaskGNNClassifier
    epochs = round(arm.epochs * EPOCHS)
    start = time.process_time()
    encoder, steps = "pretrained", 0
    if arm.first:
        encoder, steps = first(name, rows, arm, seed)
    model = kind(
        encoder,
        auxiliary_tasks=arm.tasks,
        target_tasks=list(range(n_targets)) if arm.joint else None,
        task_weighting=weighting_of(arm, n_targets, n_auxiliary),
        weight_averaging=arm.averaging,
        batch_size=BATCH,
        max_epochs=epochs,
        random_state=seed,
        n_threads=1,
        verbose=0,
    ).fit(featurised(smiles, arm), y)
    seconds = time.process_time() - start
    steps += epochs * -(-len(y) // BATCH)

    def scored(chosen: np.ndarray) -> float:
        X = featurised(rows.smiles[chosen], arm)
        read = model.predict if name in REGRESSION else model.predict_logits
        found = read(X).reshape(len(chosen), -1)[:, :n_targets]
        return float(score(name, rows.y[chosen], found))

    scores = {"valid": scored(rows.valid), "test": scored(rows.test)}
    return {**scores, "seconds": seconds, "steps": steps}


def study(options: argparse.Namespace) -> None:
    """Run what the file does not hold, seed by seed."""
    end = time.monotonic() + 60 * options.minutes
    warmed = False
    for seed in options.seeds:
        for name in options.sets:
            for arm in options.arms:
                key = (name, "scaffold", arm, seed)
                if key in done(options.out) or time.monotonic() > end:
                    continue
                if not warmed:  # The first fit of a process pays for torch's start.
                    run("freesolv", Arm(epochs=0.1), 0)
                    warmed = True
                found = run(name, ARMS[arm], seed)
                row = pd.DataFrame([dict(zip(KEY, key, strict=True)) | found])
                new = not options.out.exists()
                row = row[COLUMNS].round({"valid": 4, "test": 4, "seconds": 2})
                row.to_csv(options.out, mode="a", header=new, index=False)
                print(*row.iloc[0], flush=True)


def done(path: Path) -> set[tuple[Any, ...]]:
    """Keys of the runs in a file."""
    if not path.exists():
        return set()
    return set(pd.read_csv(path)[KEY].itertuples(index=False, name=None))


# %% Report


def gains(runs: pd.DataFrame, part: str, over: str = FT) -> pd.DataFrame:
    """Gains over an arm in percent of its score or error; a row is a set and seed."""
    scores = runs.pivot_table(index=["set", "seed"], columns="arm", values=part)
    sign = np.where(scores.index.get_level_values("set").isin(REGRESSION), -100, 100)
    return scores.sub(scores[over], axis=0).div(scores[over], axis=0).mul(sign, axis=0)


def overall(gain: pd.Series) -> dict[str, Any]:
    """Mean over runs, interval and test over the sets' means, Wilcoxon over runs."""
    gain = gain.dropna()
    by_set = gain.groupby("set").mean()
    half = by_set.sem() * student.ppf(0.975, len(by_set) - 1)
    return {
        "runs": len(gain),
        "gain %": by_set.mean(),
        "+-": half,
        "p sets": ttest_1samp(by_set, 0.0).pvalue,
        "wins": int((gain > 0).sum()),
        "p runs": wilcoxon(gain).pvalue if gain.any() else np.nan,
        "sets won": int((by_set > 0).sum()),
        "best": by_set.max(),
        "worst": by_set.min(),
    }


def report(options: argparse.Namespace) -> None:
    """Print the tables of the page."""
    runs = pd.read_csv(options.out)
    runs = runs[runs["seed"].isin(options.seeds)]
    seconds = runs.pivot_table(index=["set", "seed"], columns="arm", values="seconds")
    ratio = seconds.div(seconds[FT], axis=0).median()
    for part in ("valid", "test"):
        for over in options.over:
            gain = gains(runs, part, over)
            arms = [arm for arm in ARMS if arm in gain and arm != over]
            table = pd.DataFrame({arm: overall(gain[arm]) for arm in arms}).T
            table["time"] = ratio
            print(f"\n{part}, gain over {over}, seeds {sorted(runs['seed'].unique())}")
            print(table.astype(float).round(3).to_string())
            print(per_set(gain, arms).to_string())
    scores = runs.groupby(["arm", "set"])["test"].agg(["mean", "std", "count"])
    print(scores.loc[FT].join(seconds[FT].groupby("set").median()).round(3))


def per_set(gain: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    """Write gain, half of its interval over seeds and wins, a column for each arm."""

    def cell(values: pd.Series) -> str:
        values = values.dropna()
        half = values.sem() * student.ppf(0.975, len(values) - 1)
        wins = (values > 0).sum()
        return f"{values.mean():+.1f} ± {half:.1f} ({wins}/{len(values)})"

    by_set = gain[arms].groupby("set")
    return pd.DataFrame({arm: by_set[arm].apply(cell) for arm in arms}).reindex(SETS)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCS / "auxiliary_again.csv")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--over", nargs="+", default=[FT])
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    options.arms = [a for arm in options.arms for a in GROUPS.get(arm, [arm])]
    torch.set_num_threads(1)
    RDLogger.DisableLog("rdApp.*")
    warnings.filterwarnings("ignore")
    report(options) if options.report else study(options)


if __name__ == "__main__":
    main()
