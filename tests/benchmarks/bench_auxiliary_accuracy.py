"""Where auxiliary tasks help a pretrained network: strategies against fine-tuning.

    python tests/benchmarks/bench_auxiliary_accuracy.py --data freesolv \
        --fractions 0.2 --seeds 5 --out FILE.csv
    python tests/benchmarks/bench_auxiliary_accuracy.py --out FILE.csv --report

The scaffold split of Hu et al., a share of its training rows, the best epoch by
validation, the test score there: root mean squared error, or mean ROC-AUC. With
``--split random`` the seed draws the order in which scaffolds fill the parts. A seed
means the same initial heads, rows and batches for every strategy. Targets are pooled by
their labels. "FT on D_in" trains on what bi-level weights leave, without auxiliary
tasks; "FT, 4 x" has four times the epochs, as many gradients as a strategy; "MTL, 0.1"
multiplies every auxiliary loss by that constant; "descriptors, unlabelled" meets the
other training molecules, too, without their labels. ``--checkpoint gcn`` starts from
random weights.

Rows that the file already holds are not computed again, and ``--minutes`` bounds what
one call may take. ``--predictions FOLDER`` keeps predictions for the test molecules; a
report then draws these anew for a second interval. Bi-level weights hold scaffolds out
for classification, and molecules for regression, where one group, the acyclic
molecules, is half of the set. Needs the data sets and weights of ``shared`` beside the
repository.
"""

import argparse
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rdkit import RDLogger
from scipy.stats import t as student
from sklearn.model_selection import PredefinedSplit

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import fetch_moleculenet
from skgnn_mtl.encoders import GAT, GCN, GraphSAGE, Pretrained
from skgnn_mtl.metrics import nan_roc_auc_score, nan_root_mean_squared_error
from skgnn_mtl.model_selection import ScaffoldSplit, scaffold_groups
from skgnn_mtl.weighting import (
    BLO,
    GCS,
    GNS,
    AnchoredPCGrad,
    Equal,
    Fixed,
    RCGrad,
)

SHARED = Path(__file__).resolve().parents[3] / "shared"
CLASSES = {"gcn": GCN, "graphsage": GraphSAGE, "gat": GAT}
REGRESSION = {"esol", "freesolv", "lipophilicity"}
FIVE = (
    "atommasking",
    "edgeprediction",
    "contextprediction",
    "infomax",
    "motifprediction",
)
THREE = ("atommasking", "infomax", "motifprediction")
FT, LONGER = "FT", "FT, 4 x"
# The training molecules beyond the share take part without their labels.
UNLABELLED = "descriptors, unlabelled"
# Weights that never move: the first belongs to the target.
ON_D_IN = BLO(weight_init=(1.0, *(0.0,) * len(FIVE)), lr=1e-12)
# All held-out rows at each update, as the kept rows were measured.
ALL = {"n_batches": None}
COSINES = {**ALL, "normalize": True, "lr": 0.03}
ARMS = {
    FT: ((), Equal(pool="labels")),
    LONGER: ((), Equal(pool="labels")),
    "FT on D_in": (FIVE, ON_D_IN),
    "MTL": (FIVE, Equal(pool="labels")),
    "MTL, 0.1": (FIVE, 0.1),
    "MTL, 0.01": (FIVE, 0.01),
    "GCS": (FIVE, GCS()),
    "GNS": (FIVE, GNS()),
    "AnchoredPCGrad": (FIVE, AnchoredPCGrad()),
    "RCGrad": (FIVE, RCGrad()),
    "RCGrad schedule": (FIVE, RCGrad(mode="schedule")),
    "RCGrad released": (FIVE, RCGrad(mode="released")),
    "BLO": (FIVE, BLO(n_terms=3, **ALL)),
    "BLO, no Hessian": (FIVE, BLO(**COSINES)),
    "BLO+RCGrad": (FIVE, BLO(RCGrad(), **COSINES)),
    "BLO+RCGrad intended": (FIVE, BLO(RCGrad(), mode="intended", n_terms=3, **ALL)),
    "BLO+RCGrad released": (FIVE, BLO(RCGrad(), mode="released")),
    "MTL three": (THREE, Equal(pool="labels")),
    "GNS three": (THREE, GNS()),
    "RCGrad three": (THREE, RCGrad()),
    "descriptors": (("descriptorprediction",), Equal(pool="labels")),
    UNLABELLED: (("descriptorprediction",), Equal(pool="labels")),
    **{f"GNS, {task}": ((task,), GNS()) for task in FIVE},
    **{
        f"GNS without {task}": (tuple(t for t in FIVE if t != task), GNS())
        for task in FIVE
    },
}
CORE = (FT, LONGER, "FT on D_in", "MTL", "MTL, 0.1", "GCS", "GNS", "AnchoredPCGrad")
CORE += ("RCGrad", "RCGrad released", "BLO, no Hessian", "BLO+RCGrad", "descriptors")
SETTING = ["data", "split", "encoder", "lr", "epochs", "fraction"]
DRAWS = 500


def run(X, y, groups, setting, predictions):
    """The scores for the validation and the test part, and the seconds of the fit."""
    name, split, checkpoint, lr, epochs, fraction, arm, seed = setting.values()
    drawn = {"order": "random", "random_state": seed} if split == "random" else {}
    train, valid, test = ScaffoldSplit(**drawn).parts(X)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(train, max(1, round(fraction * len(train))), replace=False)
    if arm == UNLABELLED:
        y = y.copy()
        y[np.setdiff1d(train, chosen)] = np.nan
    else:
        train = chosen
    name_of_class, _, recipe = checkpoint.partition("_")
    cls = CLASSES[name_of_class]
    path = SHARED / "weights" / "pretrain_gnns" / f"{checkpoint}.pth"
    encoder = cls(dropout=0.5)
    if recipe:
        encoder = Pretrained(cls.from_checkpoint(path, dropout=0.5))
    tasks, weighting = ARMS[arm]
    if isinstance(weighting, float):
        constants = [1.0] * y.shape[1] + [weighting] * len(tasks)
        weighting = Fixed(constants, pool="labels")
    kind = MultiTaskGNNRegressor if name in REGRESSION else MultiTaskGNNClassifier
    epochs *= 4 if arm == LONGER else 1
    rows = np.concatenate([train, valid])
    model = kind(
        encoder,
        auxiliary_tasks=tasks,
        task_weighting=weighting,
        optimizer="adam",
        lr=lr,
        lr_schedule="constant",
        batch_size=32,
        max_epochs=epochs,
        early_stopping=True,
        n_iter_no_change=epochs,
        scoring="loss" if name in REGRESSION else None,
        validation=PredefinedSplit(np.repeat([-1, 0], [len(train), len(valid)])),
        random_state=seed,
        n_threads=1,
    )
    start = time.perf_counter()
    model.fit(X[rows], y[rows], groups=None if name in REGRESSION else groups[rows])
    seconds = time.perf_counter() - start

    predict = model.predict if name in REGRESSION else model.predict_logits
    predicted = predict(X[test]).reshape(len(test), -1)
    if predictions:
        predictions.mkdir(parents=True, exist_ok=True)
        path = predictions / file_name(setting)
        np.savez(path, true=y[test], predicted=predicted)
    scores = score(name, y[valid], predict(X[valid])), score(name, y[test], predicted)
    return dict(zip(("valid", "test", "seconds"), (*scores, seconds), strict=True))


def score(name, true, predicted):
    predicted = predicted.reshape(true.shape)
    if name in REGRESSION:
        return nan_root_mean_squared_error(true, predicted)
    return nan_roc_auc_score(true, predicted)


def file_name(setting) -> str:
    return "_".join(map(str, setting.values())).replace(" ", "-") + ".npz"


def study(options):
    smiles, y = fetch_moleculenet(
        options.data, data_home=SHARED / "data", return_X_y=True
    )
    X = SmilesToGraph(features="hu2020", on_error="nan").fit_transform(smiles)
    X, y = X[X.valid], np.asarray(y, dtype=float).reshape(len(X), -1)[X.valid]
    groups = scaffold_groups(X, chirality=True, acyclic="one")
    started = time.perf_counter()
    common = {
        "data": options.data,
        "split": options.split,
        "encoder": options.checkpoint,
        "lr": options.lr,
        "epochs": options.epochs,
    }
    cells = product(range(options.seeds), options.fractions, options.arms)
    for seed, fraction, arm in cells:
        setting = common | {"fraction": fraction, "arm": arm, "seed": seed}
        if is_known(options.out, setting):
            continue
        if time.perf_counter() - started > 60 * options.minutes:
            print("out of time; call again to go on")
            return
        row = pd.DataFrame([setting | run(X, y, groups, setting, options.predictions)])
        new = not options.out.exists()
        row.round(4).to_csv(options.out, mode="a", header=new, index=False)
        print(*row.round(4).iloc[0], flush=True)


def is_known(path, key) -> bool:
    if not path.exists():
        return False
    runs = pd.read_csv(path)
    return bool(np.logical_and.reduce([runs[k] == v for k, v in key.items()]).any())


def report(options):
    """Print a table for each data set, checkpoint and share of the rows; one of all."""
    for values, runs in pd.read_csv(options.out).groupby(SETTING):
        setting = dict(zip(SETTING, values, strict=True))
        tests = runs.pivot_table(index="arm", columns="seed", values="test")
        better = -1 if setting["data"] in REGRESSION else 1
        gain = better * (tests - tests.loc[FT])
        n = gain.notna().sum(axis=1)
        table = pd.DataFrame(
            {
                "seeds": n,
                "test": tests.mean(axis=1),
                "sd": tests.std(axis=1),
                "gain": gain.mean(axis=1),
                # Half of the 95 % interval over seeds: the test molecules are fixed.
                "+-": gain.sem(axis=1) * student.ppf(0.975, n - 1),
                "gain %": (100 * gain / tests.loc[FT]).mean(axis=1),
                "wins": (gain > 0).sum(axis=1),
                "seconds": runs.groupby("arm")["seconds"].median(),
            }
        )
        if options.predictions and setting["split"] == "size":
            drawn = {arm: over_molecules(options, setting, arm, n) for arm in ARMS}
            table.insert(5, "molecules +-", pd.Series(drawn))
        print("\n" + ", ".join(f"{k} {v}" for k, v in setting.items()))
        table = table.reindex([arm for arm in ARMS if arm in table.index])
        print(table.round(4).to_string())
    summary(pd.read_csv(options.out))


def summary(runs):
    """Print gains over fine-tuning in percent, a column for each data set."""
    keys = ["split", "encoder", "fraction", "data"]
    tests = runs.pivot_table(index=[*keys, "seed"], columns="arm", values="test")
    sign = np.where(tests.index.get_level_values("data").isin(REGRESSION), -1, 1)
    gain = 100 * tests.sub(tests[FT], axis=0).div(tests[FT], axis=0).mul(sign, axis=0)
    for setting, part in gain.groupby(keys[:3]):
        means = part.groupby("data").mean().dropna(axis=1, how="all").T
        means["mean"] = means.mean(axis=1)
        means["sets won"] = (means.drop(columns="mean") > 0).sum(axis=1)
        print("\ngain in %, " + ", ".join(map(str, setting)))
        print(means.drop(index=FT).round(1).to_string())


def over_molecules(options, setting, arm, seeds) -> float:
    """Half of the 95 % interval of the mean gain over seeds and test molecules."""
    if arm not in seeds or arm == FT:
        return np.nan

    def scores(arm, seed):
        key = file_name(setting | {"arm": arm, "seed": seed})
        with np.load(options.predictions / key) as found:
            true, predicted = found["true"], found["predicted"]
        # The same draws for every arm and seed.
        n, drawn = len(true), np.random.default_rng(0)
        counts = drawn.multinomial(n, np.full(n, 1 / n), size=DRAWS)
        return drawn_scores(setting["data"], true, predicted, counts)

    gains = [scores(arm, seed) - scores(FT, seed) for seed in range(seeds[arm])]
    rng = np.random.default_rng(1)
    chosen = rng.integers(len(gains), size=(len(gains), DRAWS))
    means = np.take_along_axis(np.array(gains), chosen, axis=0).mean(axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return (high - low) / 2


def drawn_scores(name, true, predicted, counts):
    """Score (draws,) where molecules were drawn so often, counts (draws, n)."""
    if name in REGRESSION:
        squares = (true.reshape(predicted.shape) - predicted) ** 2
        return np.sqrt(counts @ squares.mean(axis=1) / counts.sum(axis=1))
    areas = []
    for labels, logits in zip(true.T, predicted.T, strict=True):
        first, second = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
        above = np.subtract.outer(logits[second], logits[first])
        wins = (np.sign(above) + 1) / 2
        a, b = counts[:, second], counts[:, first]
        pairs = (a.sum(axis=1) * b.sum(axis=1)).astype(float)
        # A draw may have one class only of a task.
        pairs[pairs == 0] = np.nan
        areas.append(((a @ wins) * b).sum(axis=1) / pairs)
    return np.nanmean(areas, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="freesolv")
    parser.add_argument("--checkpoint", default="gcn_supervised_contextpred")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(CORE))
    parser.add_argument("--split", choices=["size", "random"], default="size")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--predictions", type=Path)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    RDLogger.DisableLog("rdApp.*")
    # The groups are for bi-level weights, which split the training rows.
    warnings.filterwarnings("ignore", "The groups parameter is ignored")
    # Some tasks have one label only among the test molecules, or those drawn of them.
    warnings.filterwarnings("ignore", "nan_roc_auc_score is undefined")
    report(options) if options.report else study(options)


if __name__ == "__main__":
    main()
