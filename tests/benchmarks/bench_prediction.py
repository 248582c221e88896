"""Errors and times of networks, descriptors and both together on tables of properties.

    python tests/benchmarks/bench_prediction.py --data-home FOLDER [--sets FreeSolv ...]
        [--splits random scaffold] [--seeds 0 1 2 3 4] [--models network trees ...]
        [--chemprop-python PYTHON] [--minutes 60] [--report]

A row of the CSV file is one run: one model on one fold of a set. Runs that the file
holds are not repeated, and none begins after ``--minutes``. Seed k is fold k of five
and the ``random_state`` of the models, so that all models of a seed have the same rows.
"scaffold" folds do not share Bemis-Murcko scaffolds, or formulas of crystals.
``--report`` writes the tables of ``docs/benchmarks/prediction.rst`` from the file.

chemprop may live in another environment, of which ``--chemprop-python`` is the
interpreter. It holds back a tenth of the training rows, by which it chooses its epoch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from prediction_tables import AUC, MODELS, PEERS, SHIPPED, SPLITS, report
from rdkit import Chem, RDLogger
from sklearn import config_context, ensemble
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.datasets import (
    fetch_biogen_adme,
    fetch_moleculenet,
    fetch_mp_multitask,
    fetch_qm8,
    load_physchem,
)
from skgnn_mtl.ensemble import (
    EnsembleClassifier,
    EnsembleRegressor,
    HybridClassifier,
    HybridRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.ensemble._recommended import default_network
from skgnn_mtl.featurizers import CifToGraph, SmilesToDescriptors, SmilesToGraph
from skgnn_mtl.model_selection import (
    CompositionKFold,
    LabelPresenceKFold,
    ScaffoldKFold,
)

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs" / "benchmarks"
KEY = ["set", "split", "seed", "model"]

# %% Sets


class Source(NamedTuple):
    """Where a set comes from, and how its error is measured."""

    fetch: Callable[..., tuple[Any, Any]]
    unit: str
    n_rows: int | None = None
    classifier: bool = False
    crystals: bool = False


class Problem(NamedTuple):
    """Rows and labels of a set."""

    X: pd.Series
    y: pd.DataFrame
    source: Source


def fetch_physchem(**_: Any) -> tuple[pd.Series, pd.DataFrame]:
    """Load the sample of the package."""
    return load_physchem(return_X_y=True)


def fetch_elasticity(data_home: Path, **_: Any) -> tuple[pd.Series, pd.DataFrame]:
    """Load decadic logarithms of the moduli of 1,181 crystals."""
    X, y = fetch_mp_multitask(data_home=data_home, return_X_y=True)
    moduli = [next(n for n in y if n.startswith(k)) for k in ("K_VRH", "G_VRH")]
    known = y[moduli].notna().all(axis=1)
    names = ["log10 K", "log10 G"]
    return X[known], np.log10(y.loc[known, moduli]).set_axis(names, axis=1)


def moleculenet(name: str) -> Callable[..., tuple[Any, Any]]:
    """Make the loader of one set."""
    return partial(fetch_moleculenet, name)


SCALED = "standard deviations"
SETS = {
    "FreeSolv": Source(moleculenet("freesolv"), "kcal/mol"),
    "ESOL": Source(moleculenet("esol"), "log mol/L"),
    "physchem": Source(fetch_physchem, SCALED),
    "Biogen ADME": Source(fetch_biogen_adme, "log10 units"),
    "Lipophilicity": Source(moleculenet("lipophilicity"), "log D", n_rows=1500),
    "QM8": Source(fetch_qm8, SCALED, n_rows=5000),
    "elasticity": Source(fetch_elasticity, "log10 GPa", crystals=True),
    "BACE": Source(moleculenet("bace"), AUC, classifier=True),
    "BBBP": Source(moleculenet("bbbp"), AUC, classifier=True),
    "ClinTox": Source(moleculenet("clintox"), AUC, classifier=True),
    "SIDER": Source(moleculenet("sider"), AUC, classifier=True),
    "Tox21": Source(moleculenet("tox21"), AUC, classifier=True),
}


@cache
def read(name: str, data_home: Path) -> Problem:
    """Read a set by its name."""
    return read_source(SETS[name], data_home)


def read_source(source: Source, data_home: Path) -> Problem:
    """Read a set without the rows that RDKit cannot read; draw rows of a large one."""
    X, y = source.fetch(data_home=data_home, return_X_y=True)
    if not source.crystals:
        X = X.str.strip()
        RDLogger.DisableLog("rdApp.*")
        readable = X.map(lambda smiles: Chem.MolFromSmiles(smiles) is not None)
        X, y = X[readable], y[readable]
    rows = np.sort(np.random.RandomState(0).permutation(len(X))[: source.n_rows])
    drawn = X.iloc[rows].reset_index(drop=True), y.iloc[rows].reset_index(drop=True)
    return Problem(*drawn, source)


def split_rows(problem: Problem, split: str, seed: int) -> tuple[np.ndarray, ...]:
    """Training and test rows of fold ``seed`` of five."""
    if split == "random":
        splitter: Any = LabelPresenceKFold(5, random_state=0)
    elif problem.source.crystals:
        splitter = CompositionKFold(5, by="formula", shuffle=True, random_state=0)
    else:
        splitter = ScaffoldKFold(5, shuffle=True, random_state=0)
    return list(splitter.split(problem.X, problem.y))[seed]


# %% Models


def network(problem: Problem, seed: int) -> Any:
    """Make the network of the guide."""
    model = default_network(problem.X, classifier=problem.source.classifier)
    model[-1].set_params(random_state=seed)
    return model


def untouched(problem: Problem, seed: int) -> Any:
    """Make the estimator without any argument but the seed."""
    if problem.source.crystals:
        regressor = MultiTaskGNNRegressor("cgcnn", random_state=seed)
        return make_pipeline(CifToGraph(), regressor)
    kinds = MultiTaskGNNRegressor, MultiTaskGNNClassifier
    return make_pipeline(
        SmilesToGraph(), kinds[problem.source.classifier](random_state=seed)
    )


def features_of(graphs: Any) -> np.ndarray:
    """Take the numbers beside the graphs."""
    return graphs.graph_features


def descriptors(problem: Problem) -> Any:
    """Make the transformer from strings to a table of numbers."""
    if problem.source.crystals:
        featurizer = CifToGraph(descriptors="composition")
        return make_pipeline(featurizer, FunctionTransformer(features_of))
    return SmilesToDescriptors()


def learners(name: str) -> Callable[[Problem, int], Any]:
    """Make the maker of one learner of scikit-learn for each task, by its name."""

    def make(problem: Problem, seed: int) -> Any:
        kind = "Classifier" if problem.source.classifier else "Regressor"
        learner = getattr(ensemble, name + kind)(random_state=seed)
        tables = PerTaskRegressor, PerTaskClassifier
        per_task = tables[problem.source.classifier](learner)
        return make_pipeline(descriptors(problem), per_task)

    return make


def pretrained(problem: Problem, seed: int) -> Any:
    """Make the network of the guide from the encoder that the package ships."""
    model = network(problem, seed)
    model[-1].set_params(encoder="pretrained")
    return model


def members(problem: Problem, seed: int) -> Any:
    """Make five networks."""
    kinds = EnsembleRegressor, EnsembleClassifier
    kind = kinds[problem.source.classifier]
    return kind(network(problem, seed), 5, random_state=seed)


def hybrid(problem: Problem, seed: int) -> Any:
    """Make the recommended model, without any argument but the seed."""
    kinds = HybridRegressor, HybridClassifier
    kind = kinds[problem.source.classifier]
    if problem.source.crystals:
        return kind(descriptors=descriptors(problem), random_state=seed)
    return kind(random_state=seed)


def pretrained_hybrid(problem: Problem, seed: int) -> Any:
    """Make the recommended model from the encoder that the package ships."""
    return hybrid(problem, seed).set_params(network=pretrained(problem, seed))


ESTIMATORS: dict[str, Callable[[Problem, int], Any]] = {
    "forest": learners("RandomForest"),
    "trees": learners("ExtraTrees"),
    "boosting": learners("HistGradientBoosting"),
    "network": network,
    "hybrid": hybrid,
    "ensemble": members,
    "pretrained": pretrained,
    "pretrained hybrid": pretrained_hybrid,
    "default": untouched,
}
# %% Runs


class Job(NamedTuple):
    """The key of a run."""

    set: str
    split: str
    seed: int
    model: str


class Outcome(NamedTuple):
    """Predictions of the test rows, CPU seconds, and the peak of resident memory."""

    predictions: np.ndarray
    fit_seconds: float
    predict_seconds: float
    peak_mb: float
    settings: str


def fit_and_predict(job: Job, problem: Problem, rows: tuple[np.ndarray, ...]) -> Any:
    """Run an estimator; called in a process of its own because of the memory."""
    torch.set_num_threads(1)
    model = ESTIMATORS[job.model](problem, job.seed)
    train, test = rows
    start = time.process_time()
    model.fit(problem.X.iloc[train], problem.y.iloc[train])
    fitted = time.process_time()
    found = (
        second_class(model.predict_proba(problem.X.iloc[test]))
        if problem.source.classifier
        else model.predict(problem.X.iloc[test])
    )
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table = np.asarray(found, dtype=float).reshape(len(test), -1)
    settings = settings_of(model, everything=job.model == "default")
    return Outcome(table, fitted - start, done - fitted, peak, settings)


def settings_of(model: Any, *, everything: bool) -> str:
    """Write a model in one line, with or without the parameters as they come."""
    with config_context(print_changed_only=not everything):
        return " ".join(model.__repr__(N_CHAR_MAX=10_000).split())


def second_class(probabilities: Any) -> np.ndarray:
    """Take the probability of class 1 of each task."""
    if not isinstance(probabilities, list):
        probabilities = [probabilities]
    return np.column_stack([p[:, 1] for p in probabilities])


def in_own_process(job: Job, problem: Problem, rows: tuple[np.ndarray, ...]) -> Outcome:
    """Fork, so that the peak of memory is that of one run."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(fit_and_predict, (job, problem, rows))


def run_chemprop(
    job: Job, problem: Problem, rows: tuple[np.ndarray, ...], python: str
) -> Outcome:
    """Train chemprop by its own command on CSV files with the same rows."""
    train, test = rows
    held_out = np.random.RandomState(job.seed).permutation(len(train)) < len(train) / 10
    targets = [f"t{k}" for k in range(problem.y.shape[1])]
    table = problem.y.set_axis(targets, axis=1).assign(smiles=problem.X)
    parts = np.where(held_out, "val", "train")
    kind = "classification" if problem.source.classifier else "regression"
    with tempfile.TemporaryDirectory() as folder:
        table.iloc[train].assign(split=parts).to_csv(f"{folder}/train.csv", index=False)
        table.iloc[test][["smiles"]].to_csv(f"{folder}/test.csv", index=False)
        words = [folder, str(PEERS[job.model]), str(job.seed), kind]
        done = subprocess.run(
            [python, HERE / "chemprop_peer.py", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"chemprop failed on {job}:\n{done.stderr[-2000:]}")
        found = pd.read_csv(f"{folder}/predictions.csv")[targets].to_numpy()
        times = json.loads(Path(folder, "times.json").read_text())
    settings = f"chemprop 2.3.1, its defaults, {PEERS[job.model]} member(s)"
    return Outcome(found, *times.values(), settings)


def mean_of_two(job: Job, study: Study) -> Outcome:
    """Take the plain mean of network and trees, which were fitted with this seed."""
    parts = [study.outcome(job._replace(model=m)) for m in ("network", "trees")]
    both = np.mean([part.predictions for part in parts], axis=0)
    seconds = np.sum([part[1:3] for part in parts], axis=0)
    peak = max(part.peak_mb for part in parts)
    return Outcome(both, *seconds.tolist(), peak, "plain mean of network and trees")


def errors_of(predictions: np.ndarray, truth: pd.DataFrame, problem: Problem) -> list:
    """Measure the error of each task on its labelled test rows."""
    errors = []
    for column, name in zip(predictions.T, truth, strict=True):
        known = truth[name].notna().to_numpy()
        y, p = truth[name].to_numpy()[known], column[known]
        if problem.source.classifier:
            both = len(np.unique(y)) == 2
            errors.append(1 - roc_auc_score(y, p) if both else np.nan)
        else:
            scale = problem.y[name].std() if problem.source.unit == SCALED else 1.0
            errors.append(np.sqrt(np.mean((p - y) ** 2)) / scale)
    return errors


class Study:
    """Runs that are kept in a file."""

    def __init__(self, out: Path, data_home: Path, python: str) -> None:
        self.out, self.data_home, self.python = out, data_home, python
        self._outcomes: dict[Job, Outcome] = {}

    def done(self) -> set[Job]:
        """Keys of the runs in the file."""
        if not self.out.exists():
            return set()
        return {Job(*row) for row in pd.read_csv(self.out)[KEY].itertuples(index=False)}

    def outcome(self, job: Job) -> Outcome:
        """Run a model, unless this process did it before."""
        if job not in self._outcomes:
            problem = read(job.set, self.data_home)
            rows = split_rows(problem, job.split, job.seed)
            if job.model in PEERS:
                outcome = run_chemprop(job, problem, rows, self.python)
            elif job.model == "blend":
                outcome = mean_of_two(job, self)
            else:
                outcome = in_own_process(job, problem, rows)
            self._outcomes[job] = outcome
        return self._outcomes[job]

    def record(self, job: Job) -> None:
        """Run a model and add a row to the file."""
        outcome = self.outcome(job)
        problem = read(job.set, self.data_home)
        train, test = split_rows(problem, job.split, job.seed)
        errors = errors_of(outcome.predictions, problem.y.iloc[test], problem)
        row = {
            **job._asdict(),
            "error": round(float(np.nanmean(errors)), 5),
            "unit": problem.source.unit,
            "n_train": len(train),
            "n_test": len(test),
            "fit_seconds": round(outcome.fit_seconds, 2),
            "predict_seconds_10000": round(
                outcome.predict_seconds * 10_000 / len(test), 2
            ),
            "peak_mb": round(outcome.peak_mb),
            "threads": 1,
            "tasks": json.dumps(dict(zip(problem.y, np.round(errors, 5), strict=True))),
            "settings": outcome.settings,
        }
        print(*list(row.values())[:5], f"{row['fit_seconds']:.0f} s", flush=True)
        new = not self.out.exists()
        pd.DataFrame([row]).to_csv(self.out, mode="a", header=new, index=False)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """Order the runs: splits, seeds, sets, models."""
    for split in options.splits:
        for seed in options.seeds:
            for name in options.sets:
                for model in expected(name):
                    if model in options.models:
                        yield Job(name, split, seed, model)


def expected(name: str) -> list[str]:
    """Models of a set; chemprop and the shipped encoder do not read crystals."""
    of_molecules = {*PEERS, *SHIPPED}
    return [m for m in MODELS if not (SETS[name].crystals and m in of_molecules)]


def require_chemprop(python: str) -> None:
    """Stop if the interpreter cannot import chemprop."""
    found = subprocess.run([python, "-c", "import chemprop"], capture_output=True)
    if found.returncode:
        raise SystemExit(
            f"The models {list(PEERS)} need chemprop 2.3.1, which {python} cannot "
            "import. Name the interpreter of another environment by --chemprop-python, "
            "or leave them out of --models."
        )


def write_report(out: Path, page: Path) -> None:
    """Replace what stands below the mark of the page."""
    mark = ".. tables of bench_prediction.py --report\n\n"
    head, _, _ = page.read_text().partition(mark)
    tables = report(pd.read_csv(out), {name: expected(name) for name in SETS})
    page.write_text(head + mark + tables)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-home", type=Path)
    parser.add_argument("--out", type=Path, default=DOCS / "prediction.csv")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--splits", nargs="+", default=SPLITS, choices=SPLITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--chemprop-python", default=sys.executable)
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        write_report(options.out, DOCS / "prediction.rst")
        return
    if set(options.models) & set(PEERS):
        require_chemprop(options.chemprop_python)
    torch.set_num_threads(1)
    study = Study(options.out, options.data_home, options.chemprop_python)
    end = time.monotonic() + 60 * options.minutes
    done = study.done()
    for job in jobs(options):
        if job not in done and time.monotonic() < end:
            study.record(job)


if __name__ == "__main__":
    main()
