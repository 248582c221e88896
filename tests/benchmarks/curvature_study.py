"""
Does the curvature of a task say what multi-task training costs?
================================================================

A resumable study::

    python tests/benchmarks/curvature_study.py qm8 FOLDER --data-home DATA --seeds 0 1 2
    python tests/benchmarks/curvature_study.py mp FOLDER --data-home DATA --seeds 0 1 2

Every run writes its rows to ``errors.csv`` and ``spectra.csv`` in FOLDER, and its
spectra as npz beside them; runs that are there already are skipped, so the script can
be stopped and started again. ``--rates 1e-3 3e-3 1e-2`` chooses the learning rate of
the equally weighted network, of each single-task network and of each rule from one
grid: by the error on the last fifth of the training rows after training on the others,
in the first seed only. The scores are kept in ``rates.csv``, and in ``exponents.csv``
those of constant weights, powers of the trace, which are chosen alike.
``curvature_plots.py`` runs it small and draws what it found; the definitions are in
``docs/benchmarks/curvature.rst``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from curvature_analysis import correlations, dispersion, weighting_table
from diagonal_preconditioning import DiagonalPreconditioning
from sklearn.base import clone

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import (
    fetch_mp_multitask,
    fetch_qm8,
    load_elasticity,
    load_physchem,
)
from skgnn_mtl.encoders import CGCNN, GIN
from skgnn_mtl.metrics import nan_mean_absolute_error
from skgnn_mtl.weighting import Curvature, Fixed


@dataclass
class Setting:
    """Sizes of a study."""

    n_train: int = 1600
    n_test: int = 800
    width: int = 64
    n_layers: int = 4
    max_epochs: int = 40
    at: tuple[float, ...] = (0, 0.1, 0.25, 0.5, 1.0)
    n_samples: int = 512
    n_lanczos: int = 30
    n_probes: int = 4
    n_eigenvalues: int = 10
    # Learning rates to choose from; everything is trained at 2e-3 if there are none.
    rates: tuple[float, ...] = ()


SMALL = Setting(200, 60, 16, 2, 6, (0, 1.0), 64, 12, 3, 3)
SMALL_CRYSTALS = Setting(60, 60, 16, 2, 20, (0, 1.0), 32, 8, 3, 2)


def load(name: str, setting: Setting, data_home=None):
    """Graphs and labels, shuffled once: training rows, then test rows."""
    loaders = {
        "qm8": lambda: fetch_qm8(data_home=data_home, return_X_y=True),
        "physchem": lambda: load_physchem(return_X_y=True),
        "mp": lambda: materials(*fetch_mp_multitask(data_home=data_home, return_X_y=1)),
        "elasticity": lambda: materials(*load_elasticity(return_X_y=True)),
    }
    texts, y = loaders[name]()
    n = setting.n_train + setting.n_test
    rows = np.random.RandomState(0).permutation(len(texts))[:n]
    featurizer = CifToGraph() if name in CRYSTALS else SmilesToGraph()
    return featurizer.fit_transform(texts.iloc[rows]), y.iloc[rows]


CRYSTALS = ("elasticity", "mp")


def materials(cifs, y):
    """Crystals with a label, and the properties that are no twins of one another."""
    moduli = {f"log10 {m}": np.log10(y[f"{m}_VRH (GPa)"].clip(lower=1)) for m in "KG"}
    if "band_gap (eV)" in y:
        others = {
            "formation energy": y["formation_energy_per_atom (eV/atom)"],
            "band gap": y["band_gap (eV)"],
        }
    else:
        others = {
            "Poisson ratio": y["poisson_ratio"],
            "log10 anisotropy": np.log10(y["elastic_anisotropy"].clip(lower=1e-3)),
        }
    table = pd.DataFrame({**others, **moduli})
    labelled = table.notna().any(axis=1)
    return cifs[labelled], table[labelled]


# Of the trace, for tuned constants: 0 are equal weights, -1 the inverse.
EXPONENTS = (-1.0, -0.5, 0.0, 0.5, 1.0)
# Weightings need the spectra of the multi-task run.
PARTS = ("multi_task", "single_tasks", "controls", "weightings")


class Study:
    """All runs of all seeds; each is skipped if its rows are there."""

    def __init__(self, X, y, folder, setting: Setting, skip=()) -> None:
        self.X, self.y, self.setting = X, y, setting
        self.skip = skip  # rules of weighting to leave out
        width, depth = setting.width, setting.n_layers
        # Both have smooth activations: kinks have no second derivative.
        self.encoder = (
            CGCNN(width, n_layers=depth)
            if X.schema.name.startswith("crystal")
            else GIN(width, n_layers=depth, norm=None, activation="silu")
        )
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.check_rates()

    # -- storage ------------------------------------------------------------------

    def table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.csv"
        return pd.read_csv(path) if path.is_file() else pd.DataFrame()

    def done(self, run: str, seed: int) -> bool:
        rows = self.table("errors")
        return len(rows) > 0 and ((rows.run == run) & (rows.seed == seed)).any()

    def append(self, name: str, rows: pd.DataFrame) -> None:
        path = self.folder / f"{name}.csv"
        rows.to_csv(path, mode="a", header=not path.is_file(), index=False)

    def check_rates(self) -> None:
        """Refuse to mix runs with a chosen rate and runs without in one table."""
        chosen = len(self.table("rates")) > 0
        if len(self.table("errors")) and chosen != bool(self.setting.rates):
            raise ValueError(
                f"The runs in {self.folder} were made with{'' if chosen else 'out'} a "
                f"choice of learning rates (--rates), but rates={self.setting.rates}. "
                "Use the same option, or another folder."
            )

    # -- learning rates -----------------------------------------------------------

    def rate(self, run: str, seed: int, y, **changes) -> float:
        """Learning rate of a run."""
        rates = self.setting.rates
        if not rates:
            return 2e-3
        made = {rate: self.estimator(seed, lr=rate, **changes) for rate in rates}
        return self.best("rate", run, seed, made, y)

    def best(self, what: str, run: str, seed: int, estimators: dict, y) -> float:
        """The key of the estimator with the smallest error on validation rows.

        It is chosen in the first seed that asks, and kept for the others.
        """
        n = int(0.8 * self.setting.n_train)
        for value, estimator in estimators.items():
            if value in self.scores(what, run).index:
                continue
            score = self.score(estimator, y.iloc[: self.setting.n_train], n)
            row = {"run": run, "seed": seed, what: value, "score": score}
            self.append(f"{what}s", pd.DataFrame([row]))
        return float(self.scores(what, run)[list(estimators)].idxmin())

    def scores(self, what: str, run: str) -> pd.Series:
        """Errors on the validation rows by rate or exponent, so far as known."""
        table = self.table(f"{what}s")
        if not len(table):
            return pd.Series(dtype=float)
        return table[table.run == run].set_index(what)["score"]

    def score(self, estimator, y, n: int) -> float:
        """Train on the first n rows; mean over tasks of error / deviation on the rest.

        A training that breaks down is infinitely bad.
        """
        try:
            fitted = clone(estimator).fit(self.X[:n], y.iloc[:n])
        except FloatingPointError:
            return np.inf
        predictions = np.reshape(fitted.predict(self.X[n : len(y)]), (len(y) - n, -1))
        errors = nan_mean_absolute_error(
            y.iloc[n:], predictions, multioutput="raw_values"
        )
        return float(np.nanmean(errors / y.iloc[:n].std().to_numpy()))

    # -- runs ---------------------------------------------------------------------

    def estimator(self, seed: int, lr: float, **changes) -> MultiTaskGNNRegressor:
        return MultiTaskGNNRegressor(
            self.encoder,
            readout="mean",
            head_hidden_dims=(),
            lr=lr,
            max_epochs=self.setting.max_epochs,
            device="cpu",
            random_state=seed,
            **changes,
        )

    @property
    def n_steps(self) -> int:
        """Steps of a training, in batches of the default size."""
        return self.setting.max_epochs * -(-self.setting.n_train // 64)

    def options(self, matrix: str, at=()) -> dict:
        s = self.setting
        return {
            "matrix": matrix,
            "n_samples": s.n_samples,
            "n_lanczos": s.n_lanczos,
            "n_probes": s.n_probes,
            "n_eigenvalues": s.n_eigenvalues,
            # The same graphs and probes in every run.
            "random_state": 0,
            **({"at": at} if at else {}),
        }

    def fit(self, estimator, y):
        n = self.setting.n_train
        return estimator.fit(self.X[:n], y.iloc[:n])

    def record(self, run: str, seed: int, fitted, y, started: float) -> None:
        """Write the test errors: the row that marks a run as done comes last."""
        n = self.setting.n_train
        predictions = np.reshape(fitted.predict(self.X[n:]), (len(y) - n, -1))
        errors = nan_mean_absolute_error(
            y.iloc[n:], predictions, multioutput="raw_values"
        )
        rows = {"run": run, "seed": seed, "task": list(y.columns), "mae": errors}
        seconds = time.perf_counter() - started
        self.append("errors", pd.DataFrame({**rows, "seconds": seconds}))

    def record_spectrum(self, run: str, seed: int, spectrum, fraction: float) -> None:
        name = f"{run}_{seed}_{spectrum.matrix}_{fraction}.npz".replace(" ", "_")
        spectrum.save(self.folder / name.replace("/", "-"))
        rows = spectrum.to_frame()
        rows.insert(0, "fraction", fraction)
        rows.insert(0, "matrix", spectrum.matrix)
        rows.insert(0, "seed", seed)
        rows.insert(0, "run", run)
        self.append("spectra", rows)

    def record_path(self, run: str, seed: int, path) -> None:
        for spectrum in path:
            fraction = spectrum.settings["epoch"] / self.setting.max_epochs
            self.record_spectrum(run, seed, spectrum, fraction)

    def run(self, seed: int, parts=PARTS) -> None:
        """All runs of one seed, or those of some parts."""
        for part in parts:
            getattr(self, part)(seed)

    def multi_task(self, seed: int) -> None:
        if self.done("multi-task", seed):
            return
        lr = self.rate("multi-task", seed, self.y)
        started = time.perf_counter()
        path = []
        for matrix in ("ggn", "hessian"):
            # Two fits with one seed are the same training.
            options = self.options(matrix, self.setting.at)
            estimator = self.estimator(seed, lr, hessian_spectrum=options)
            fitted = self.fit(estimator, self.y)
            path += fitted.hessian_spectrum_path_
        # Only now: a run that is cut leaves nothing behind.
        self.record_path("multi-task", seed, path)
        self.record("multi-task", seed, fitted, self.y, started)

    def single_tasks(self, seed: int) -> None:
        for task in self.y.columns:
            run = f"single: {task}"
            if self.done(run, seed):
                continue
            y = self.y[[task]]
            lr = self.rate(run, seed, y)
            started = time.perf_counter()
            options = self.options("ggn")
            fitted = self.fit(self.estimator(seed, lr, hessian_spectrum=options), y)
            self.record_spectrum(run, seed, fitted.hessian_spectrum_, 1.0)
            self.record(run, seed, fitted, y, started)

    def controls(self, seed: int) -> None:
        """Labels without meaning, one task with two heads, as many labels for all."""
        rng = np.random.RandomState(seed)
        first = self.y.columns[0]
        controls = {
            "shuffled labels": self.y.apply(lambda column: _shuffled(column, rng)),
            "a task twice": pd.concat(
                [self.y, self.y[[first]].add_suffix(" again")], axis=1
            ),
        }
        if self.y.isna().any(axis=None):
            n = self.setting.n_train
            fewest = self.y.iloc[:n].notna().sum().min()
            thinned = self.y.iloc[:n].apply(
                lambda column: column.dropna().sample(fewest, random_state=rng)
            )
            rows = thinned.reindex(self.y.index[:n])
            controls["equal label counts"] = pd.concat([rows, self.y.iloc[n:]])
        for run, y in controls.items():
            if self.done(run, seed):
                continue
            # Trained as what they are held against.
            lr = self.rate("multi-task", seed, self.y)
            started = time.perf_counter()
            options = self.options("ggn", self.setting.at)
            fitted = self.fit(self.estimator(seed, lr, hessian_spectrum=options), y)
            self.record_path(run, seed, fitted.hessian_spectrum_path_)
            self.record(run, seed, fitted, y, started)

    def weightings(self, seed: int) -> None:
        """Weights from curvature at the end of the multi-task run, and other rules."""
        spectra = self.table("spectra")
        mine = (spectra.run == "multi-task") & (spectra.seed == seed)
        last = spectra[mine & (spectra.matrix == "ggn") & (spectra.fraction == 1.0)]
        last = last.set_index("task").loc[list(self.y.columns)]
        tuned = "weights: tuned power of trace"
        constants = {
            exponent: Fixed((last["trace"] ** exponent).to_numpy(), rescale="mean1")
            for exponent in EXPONENTS
        }
        lr = self.rate("multi-task", seed, self.y)
        made = {
            exponent: self.estimator(seed, lr, task_weighting=rule)
            for exponent, rule in constants.items()
        }
        rules = {
            tuned: constants[self.best("exponent", tuned, seed, made, self.y)],
            "weights: uncertainty": "uncertainty",
            "weights: scale-invariant": "scaleinvariant",
            "weights: 1 / trace": Fixed(
                (1 / last["trace"]).to_numpy(), rescale="mean1"
            ),
            "weights: 1 / head^2": Fixed(
                (1 / last["head_norm"] ** 2).to_numpy(), rescale="mean1"
            ),
            # Ten looks in a training, with a memory of about two.
            **{
                f"weights: curvature, {name}": Curvature(
                    update_every=self.n_steps // 10 or 1, ema=0.5, **parameters
                )
                for name, parameters in {
                    "trace": {},
                    "root of trace": {"exponent": 0.5},
                    "Hessian": {"statistic": "hessian_max"},
                }.items()
            },
            **{
                f"weights: diagonal, {name}": DiagonalPreconditioning(exponent)
                for name, exponent in {"Newton": 1.0, "root": 0.5}.items()
            },
        }
        for run, rule in rules.items():
            if self.done(run, seed) or run in self.skip:
                continue
            lr = self.rate(run, seed, self.y, task_weighting=rule)
            started = time.perf_counter()
            estimator = self.estimator(seed, lr, task_weighting=rule)
            fitted = self.fit(clone(estimator), self.y)
            self.record(run, seed, fitted, self.y, started)


def _shuffled(column: pd.Series, rng) -> pd.Series:
    """Move the labels among the labelled rows."""
    labelled = column.notna()
    mixed = rng.permutation(column[labelled].to_numpy())
    return column.mask(labelled).fillna(pd.Series(mixed, column.index[labelled]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", choices=["qm8", "physchem", *CRYSTALS])
    parser.add_argument("folder")
    parser.add_argument("--data-home")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    sizes = "n_train n_test width max_epochs n_samples n_lanczos"
    for name in sizes.split():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=getattr(Setting, name)
        )
    parser.add_argument("--at", type=float, nargs="+", default=list(Setting.at))
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[], help="learning rates to try"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--skip", nargs="+", default=[], help="rules to leave out")
    parser.add_argument("--threads", type=int, default=1)
    arguments = vars(parser.parse_args())
    torch.set_num_threads(arguments.pop("threads"))
    data, folder = arguments.pop("data"), arguments.pop("folder")
    home, seeds = arguments.pop("data_home"), arguments.pop("seeds")
    parts, skip = arguments.pop("parts"), arguments.pop("skip")
    lists = {name: tuple(arguments[name]) for name in ("at", "rates")}
    setting = Setting(**{**arguments, **lists})
    X, y = load(data, setting, home)
    study = Study(X, y, folder, setting, skip)
    for seed in seeds:
        study.run(seed, parts)
        print(f"seed {seed} done", flush=True)
    print(dispersion(study.table("spectra")).to_string())
    print(correlations(study.table("spectra"), study.table("errors")).to_string())
    print(weighting_table(study.table("errors")).to_string())
    if setting.rates:
        scores = study.table("rates").set_index(["run", "rate"])["score"]
        print(scores.unstack().round(4).to_string())


if __name__ == "__main__":
    main()
