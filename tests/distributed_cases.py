"""Trainings that several processes share; run as a script, it is one of them.

``python distributed_cases.py FOLDER`` expects the variables of a launcher, and leaves a
file of results per process.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from skorch.callbacks import Callback
from small_estimators import SMILES, small, with_gaps

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    SmilesToGraph,
    data_parallel,
)
from skgnn_mtl.encoders import GIN
from skgnn_mtl.ensemble import EnsembleRegressor
from skgnn_mtl.training import World
from skgnn_mtl.weighting import (
    BLO,
    FAMO,
    NTKMTLSR,
    Curvature,
    JacobianAggregation,
    PCGrad,
)

RNG = np.random.default_rng(0)
X = SmilesToGraph().transform(SMILES)
# 30 rows in batches of 8: the last batch has 6. The third task has labels in the first
# rows alone, so that most parts of a batch lack it.
Y = with_gaps(RNG.normal(size=(30, 3)) + X.n_nodes[:, None] / 5, 0.4)
Y[6:, 2] = np.nan
# Rows of a table are computed in double precision.
TABLE = RNG.normal(size=(30, 4))
WEIGHTS = RNG.uniform(0.5, 2.0, size=30)


class Diagonal(JacobianAggregation):
    """Divides gradients by samples of the curvature in each coordinate."""

    def forward(self, jacobian, *, diagonals):
        D = diagonals()
        return (jacobian / (D + D.mean(dim=1, keepdim=True))).sum(dim=0)


def model(**changes):
    return small(batch_size=8, n_threads=1, **changes)


def fitted(estimator, data=X, y=Y, **arguments):
    """Predictions and histories, as arrays."""
    estimator.fit(data, y, **arguments)
    return results(estimator, data)


def results(estimator, data=X):
    history = [
        {k: v for k, v in record.items() if k != "seconds"}
        for record in estimator.history_
    ]
    return {"predictions": estimator.predict(data), "history": list(numbers(history))}


def numbers(value):
    """All numbers in nested containers, in order."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    if isinstance(value, list):
        for entry in value:
            yield from numbers(entry)
    elif not isinstance(value, str):
        yield float(value)


def weighted(task_weighting, **changes):
    return lambda: fitted(model(task_weighting=task_weighting, **changes))


def continued():
    estimator = model(task_weighting="nashmtl")
    for _ in range(2):
        estimator.partial_fit(X, Y)
    return results(estimator.set_params(warm_start=True).fit(X, Y))


def classified():
    estimator = small(MultiTaskGNNClassifier, batch_size=8, n_threads=1)
    labels = np.where(np.isnan(Y), np.nan, np.nanmean(Y, axis=0) < Y)
    estimator.fit(X, labels)
    return results(estimator) | {"predictions": estimator.predict_proba(X)[0]}


def gate(**changes):
    encoder = GIN(width=16, n_layers=2, norm=None)
    return GATERegressor(
        encoder,
        **{"lr": 1e-2, "max_epochs": 3, "random_state": 0, "latent_dim": 8},
        **{"batch_size": 8, "n_threads": 1, **changes},
    )


def with_a_task():
    estimator = gate(add_task_steps=10).fit(X, Y[:, :2])
    estimator.add_task(X, Y[:, 0] ** 2, name="square")
    return {"predictions": estimator.predict(X)}


def searched():
    search = GridSearchCV(model(), {"lr": [1e-3, 1e-2]}, cv=2).fit(X, Y[:, :2])
    return {"predictions": search.cv_results_["mean_test_score"]}


def batch_normalised(task_weighting, data=TABLE, **changes):
    encoder = GIN(width=8, n_layers=2, norm="batch")
    estimator = model(encoder=encoder, task_weighting=task_weighting)
    return fitted(estimator.set_params(**changes), data)


def with_spectra():
    # Recorded during the training, from copies of the network.
    options = {"n_lanczos": 6, "n_eigenvalues": 1, "tol": 0.5, "at": (0, 0.5, 1)}
    encoder = GIN(width=8, n_layers=1, norm="batch")
    estimator = model(encoder=encoder, max_epochs=2, hessian_spectrum=options)
    estimator.fit(TABLE, Y[:, 0])
    path = estimator.hessian_spectrum_path_
    return {"eigenvalues": [spectrum.eigenvalues[0, 0] for spectrum in path]}


def with_empty_parts():
    # Plain descent, because Adam turns the rounding of a zero gradient into a step.
    one = {"batch_size": 1, "max_epochs": 1, "optimizer": torch.optim.SGD}
    return batch_normalised("equal", X, **one)


STOPPING = {"early_stopping": True, "validation": 0.3, "max_epochs": 8}
CASES = {
    # One per family, and what each family reads beside the losses.
    "equal": weighted("equal"),
    "ldcmtl": weighted("ldcmtl"),
    "excessmtl": weighted("excessmtl"),
    "adaptive momentum": weighted(PCGrad(adaptive_momentum=True)),
    "uncertainty": weighted("uncertainty"),
    "dwa": weighted("dwa"),
    "famo": weighted(FAMO()),
    "nashmtl": weighted("nashmtl"),
    "pcgrad": weighted(PCGrad(update_every=2)),
    "cagrad": weighted("cagrad", gradient_clip=0.1),
    "upgrad": weighted("upgrad"),
    "representation": weighted(PCGrad(gradients="representation")),
    "parts": weighted(NTKMTLSR(n_splits=3)),
    "graddrop": weighted("graddrop"),
    "dbmtl": weighted("dbmtl"),
    "diagonal": weighted(Diagonal()),
    "rcgrad": weighted("rcgrad", target_tasks="task_0"),
    "blo": weighted(BLO(), target_tasks="task_0"),
    "ggn_trace": weighted(Curvature(statistic="ggn_trace", update_every=2)),
    "ggn_max": weighted(Curvature(statistic="ggn_max", update_every=2)),
    "hessian_max": weighted(Curvature(statistic="hessian_max", update_every=2)),
    # What surrounds the step.
    "weights": lambda: fitted(model(), sample_weight=WEIGHTS),
    "likelihood": lambda: fitted(model(loss="beta_nll", weight_averaging="ema")),
    "one graph": lambda: fitted(model(max_epochs=1).set_params(batch_size=1)),
    "stopping": lambda: fitted(model(**STOPPING)),
    "scores": lambda: fitted(
        model(**STOPPING, scoring=None, lr_schedule="plateau", n_iter_no_change=2)
    ),
    "normalised": lambda: batch_normalised("equal"),
    "normalised gradients": lambda: batch_normalised("nashmtl"),
    "normalised, empty parts": with_empty_parts,
    "spectra": with_spectra,
    "continued": continued,
    "classifier": classified,
    "gate": lambda: fitted(gate(routes=1)),
    "added task": with_a_task,
    "search": searched,
    "ensemble": lambda: {
        "predictions": EnsembleRegressor(model(), n_members=2, random_state=0)
        .fit(X, Y)
        .predict(X)
    },
}


# -- what only several processes can show ---------------------------------------------


class At(Callback):
    """Calls a function at the end of an epoch, in the second process."""

    def __init__(self, world, epoch, function):
        self.world, self.epoch, self.function = world, epoch, function

    def on_epoch_end(self, net, **kwargs):
        if not self.world.is_main and len(net.history) == self.epoch:
            self.function()


def outcome(function):
    """The error of a call, and how long it took."""
    started = time.perf_counter()
    try:
        function()
        text = "no error"
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
    return {"error": text, "seconds": time.perf_counter() - started}


def fail():
    raise ZeroDivisionError("in the second process")


def stop():
    raise KeyboardInterrupt


def failing(world, function):
    """A fit that ends in one process, and a fit after it."""
    before = fitted(estimator := model())
    estimator.set_params(callbacks=[At(world, 2, function)])
    found = outcome(lambda: estimator.fit(X, Y))
    same = np.array_equal(estimator.predict(X), before["predictions"])
    again = fitted(model())["predictions"]
    return found | {"as before": same, "again": again, "wanted": before["predictions"]}


def other_labels(world):
    return outcome(lambda: model().fit(X, Y + world.rank))


def late(world):
    """A process that does not fail, but is busy with something else."""
    with data_parallel(cpu=True, timeout=1.0):
        return outcome(
            lambda: model(callbacks=[At(world, 1, lambda: time.sleep(3))]).fit(X, Y)
        )


def absent(world):
    """A process that comes to the fit too late."""
    if not world.is_main:
        time.sleep(3)
    with data_parallel(cpu=True, timeout=1.0):
        return outcome(lambda: model().fit(X, Y))


def unseeded(world):
    splitter = ShuffleSplit(1, test_size=0.5)
    changes = {**STOPPING, "random_state": None, "validation": splitter}
    return fitted(model(**changes), y=Y[:, 0])


def resumed(world):
    """A fit that fails in its third epoch, and goes on from its checkpoint."""
    settings = {"task_weighting": Curvature(update_every=2), "max_epochs": 6}
    estimator = model(**settings, checkpoint=FOLDER[0] / "fit")
    plain, calls = World.require_same_network, []

    def broken(self, network):
        calls.append(network)
        if len(calls) == 3 and not world.is_main:
            fail()
        plain(self, network)

    World.require_same_network = broken
    try:
        found = outcome(lambda: estimator.fit(X, Y))
    finally:
        World.require_same_network = plain
    kept = estimator._open_checkpoint("fit").stage("fit").n_epochs
    again, whole = fitted(estimator), fitted(model(**settings))
    return again | {"error": found["error"], "kept": kept, "whole": whole}


def dropping(world):
    """Dropout, whose masks belong to the graphs of each process."""
    seeds, encoder = [], GIN(width=16, n_layers=2, norm=None, dropout=0.5)

    class Seeds(Callback):
        def on_epoch_end(self, net, **kwargs):
            seeds.append(torch.initial_seed())

    return fitted(model(encoder=encoder, callbacks=[Seeds()])) | {"seeds": seeds}


ALONE_CANNOT = {
    "failure": lambda world: failing(world, fail),
    "interruption": lambda world: failing(world, stop),
    "other labels": other_labels,
    "late": late,
    "absent": absent,
    "unseeded": unseeded,
    "resumed": resumed,
    "dropout": dropping,
    "sam": lambda world: outcome(lambda: model(optimizer="sam").fit(X, Y)),
    "samo": lambda world: outcome(lambda: model(optimizer="samo").fit(X, Y)),
    "gate sam": lambda world: outcome(lambda: gate(optimizer="sam").fit(X, Y)),
    "modo": lambda world: outcome(lambda: model(task_weighting="modo").fit(X, Y)),
    "auxiliary": lambda world: outcome(
        lambda: model(auxiliary_tasks=["atommasking"]).fit(X, Y)
    ),
    "pretrainer": lambda world: outcome(
        lambda: GNNPretrainer(max_epochs=1, random_state=0).fit(X)
    ),
}


def attempt(case):
    """Results, or what went wrong, so that the other cases can follow."""
    try:
        return case()
    except Exception:
        return {"traceback": traceback.format_exc()}


FOLDER = []


def main(folder: Path) -> None:
    FOLDER.append(folder)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with data_parallel(cpu=True) as world:
        found = {name: attempt(case) for name, case in CASES.items()}
        found |= {
            name: attempt(lambda case=case: case(world))
            for name, case in ALONE_CANNOT.items()
        }
        found["world"] = {"rank": world.rank, "size": world.size}
    with open(folder / str(world.rank), "wb") as file:
        pickle.dump(found, file)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
