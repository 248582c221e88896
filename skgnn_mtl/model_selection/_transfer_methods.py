"""Ways to learn a scarce property from molecules with other properties."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import RidgeCV
from sklearn.utils import _safe_indexing

from skgnn_mtl.encoders import Pretrained
from skgnn_mtl.estimators import GATERegressor, MultiTaskGNNRegressor

# Every network is trained alike: these are the defaults of GATERegressor.
_TRAINING: dict[str, Any] = {
    "batch_size": 256,
    "lr": 1e-3,
    "weight_decay": 1e-5,
    "gradient_clip": 1.0,
    "device": "cpu",
}
_PENALTIES = np.logspace(-4, 5, 28)


@dataclass(frozen=True)
class TransferBudget:
    """What all networks of a comparison have in common.

    Parameters
    ----------
    encoder : str or GraphEncoder
        Unfitted; each network trains a clone.
    training : dict
        Training parameters of every network.
    gate : dict
        Parameters of GATE alone.
    source_steps, target_steps : int
        Length of a training on sources, and on one target. A training on both together
        has the sum.
    """

    encoder: Any
    training: dict[str, Any]
    gate: dict[str, Any]
    source_steps: int
    target_steps: int


class SourceModels:
    """Fitted source models of one fold and seed, in memory and in a folder.

    Parameters
    ----------
    folder : Path or None
        Where they are kept for the next call.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.models: dict[str, Any] = {}
        self.data_key: str | None = None
        # Spent here so far: a method's own time is without it.
        self.seconds = 0.0

    def get(self, key: str, kind: type, fit: Callable):
        """Find a model, or fit it.

        Parameters
        ----------
        key : str
            Digest of all that it depends on.
        kind : type
            Class of the model.
        fit : callable
            Makes it.

        Returns
        -------
        model : estimator
            Fitted.
        """
        if key not in self.models:
            before, start = self.seconds, time.perf_counter()
            self.models[key] = self._load_or_fit(key, kind, fit)
            # A model that was fitted on the way is counted once.
            self.seconds = before + time.perf_counter() - start
        return self.models[key]

    def _load_or_fit(self, key: str, kind: Any, fit: Callable):
        if self.folder is None:
            return fit()
        path = self.folder / key
        if path.is_file():
            return kind.load(path)
        model = fit()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Whoever reads sees a whole file or none.
        unfinished = path.with_name(f"{key}.{os.getpid()}")
        model.save(unfinished)
        unfinished.replace(path)
        return model


@dataclass(frozen=True)
class TransferProblem:
    """Training molecules of one fold and seed; all that a method may look at.

    Parameters
    ----------
    X : GraphArray or array of shape (n, ...)
        Training molecules.
    y : DataFrame of shape (n, n_sources + n_targets)
        Their labels, of targets so many as there shall be, NaN elsewhere.
    sources, targets : list of str
        Columns of ``y``.
    budget : TransferBudget
        Encoder, training parameters and steps, the same for all methods.
    seed : int
        Seed of this run.
    models : SourceModels
        What was trained on these sources before; :meth:`source_model` is the way in.

    See Also
    --------
    compare_transfer : Makes problems, and hands them to the methods.

    Examples
    --------
    A method of your own returns something that predicts the targets from molecules:

    >>> from sklearn.dummy import DummyRegressor
    >>> def mean(problem):
    ...     rows, y = problem.labelled()
    ...     return DummyRegressor().fit(rows, y)
    """

    X: Any
    y: pd.DataFrame
    sources: list[str]
    targets: list[str]
    budget: TransferBudget
    seed: int
    models: SourceModels = field(default_factory=SourceModels, repr=False)

    def labelled(self) -> tuple[Any, pd.DataFrame]:
        """Molecules with a label of a target, and these labels.

        Returns
        -------
        X : GraphArray or array of shape (n_labelled, ...)
            Molecules.
        y : DataFrame of shape (n_labelled, n_targets)
            Labels, NaN where there is none.
        """
        rows = np.flatnonzero(self.y[self.targets].notna().any(axis=1))
        return _safe_indexing(self.X, rows), self.y[self.targets].iloc[rows]

    def regressor(self, n_rows, n_steps, **changes) -> MultiTaskGNNRegressor:
        """Make a network with one linear head a task, for so many rows and steps.

        Parameters
        ----------
        n_rows : int
            Training rows to come.
        n_steps : int
            Steps to train, rounded up to whole epochs.
        **changes : object
            Other parameters.

        Returns
        -------
        regressor : MultiTaskGNNRegressor
            Unfitted.
        """
        parameters = self._parameters(n_rows, n_steps) | changes
        return MultiTaskGNNRegressor(**parameters)

    def gate(self, n_rows, n_steps, **changes) -> GATERegressor:
        """Make a network of GATE for so many rows and steps.

        Parameters
        ----------
        n_rows : int
            Training rows to come.
        n_steps : int
            Steps to train, rounded up to whole epochs.
        **changes : object
            Other parameters.

        Returns
        -------
        regressor : GATERegressor
            Unfitted; ``add_task`` takes the steps of a target.
        """
        parameters = self._parameters(n_rows, n_steps) | self.budget.gate | changes
        parameters.setdefault("add_task_steps", self.budget.target_steps)
        return GATERegressor(**parameters)

    def _parameters(self, n_rows: int, n_steps: int) -> dict[str, Any]:
        training = _TRAINING | self.budget.training
        n_batches = ceil(n_rows / training["batch_size"])
        return {
            "encoder": _unfitted(self.budget.encoder),
            "max_epochs": ceil(n_steps / n_batches),
            "random_state": self.seed,
            **training,
        }

    def source_model(self, kind="regressor", n_steps=None, **changes):
        """Train on the sources, or take what was trained before on the same.

        Parameters
        ----------
        kind : {"regressor", "gate", "frames"}, default="regressor"
            A network with linear heads, GATE, or GATE around that network
            (``GATERegressor.from_pretrained``).
        n_steps : int, optional
            Steps, by default those of the budget.
        **changes : object
            Other parameters of the estimator.

        Returns
        -------
        model : MultiTaskGNNRegressor or GATERegressor
            Fitted, and shared: copy it before you change it.
        """
        n_steps = self.budget.source_steps if n_steps is None else n_steps
        y = self.y[self.sources]
        rows = np.flatnonzero(y.notna().any(axis=1))
        make = self.regressor if kind == "regressor" else self.gate
        model = make(len(rows), n_steps, **changes)
        settings = {k: repr(v) for k, v in model.get_params(deep=False).items()}
        key = joblib.hash((kind, settings, self._data_key()))
        return self.models.get(
            key, type(model), lambda: self._fit_sources(kind, model, rows, n_steps)
        )

    def _data_key(self) -> str:
        if self.models.data_key is None:
            labels = self.y[self.sources].to_numpy()
            what = (self.X, labels, self.sources, self.budget.encoder)
            self.models.data_key = joblib.hash(what)
        return self.models.data_key

    def _fit_sources(self, kind: str, model, rows: np.ndarray, n_steps: int):
        X, y = _safe_indexing(self.X, rows), self.y[self.sources].iloc[rows]
        if kind != "frames":
            return model.fit(X, y)
        parameters = model.get_params(deep=False)
        # The encoder of a pretrained network is its own.
        del parameters["encoder"]
        regressor = self.source_model("regressor", n_steps)
        return GATERegressor.from_pretrained(regressor, X, **parameters)


@dataclass(frozen=True)
class TransferModel:
    """What a method learned, and what it took.

    Parameters
    ----------
    predict : callable
        From molecules (n,) to predictions (n, n_targets) in units of y.
    trained_parameters, parameters : int
        Parameters trained for the targets, and all that a prediction needs.
    seconds_to_best : float
        Seconds of training until the weights that are used; NaN without epochs.
    source_seconds : float
        Seconds that the source model took, which serves all targets and sizes.

    Examples
    --------
    A method of your own that tells its cost:

    >>> from sklearn.dummy import DummyRegressor
    >>> from skgnn_mtl.model_selection import TransferModel
    >>> def mean(problem):
    ...     model = DummyRegressor().fit(*problem.labelled())
    ...     return TransferModel(model.predict, trained_parameters=1, parameters=1)
    """

    predict: Callable
    trained_parameters: float = np.nan
    parameters: float = np.nan
    seconds_to_best: float = np.nan
    source_seconds: float = 0.0


def single_task(problem: TransferProblem) -> TransferModel:
    """Train a network on the target alone."""
    X, y = problem.labelled()
    model = problem.regressor(len(y), problem.budget.target_steps).fit(X, y)
    return _network(model)


def hard_sharing(problem: TransferProblem, **changes) -> TransferModel:
    """Train one network with a linear head for each source and target."""
    return _together(problem, problem.regressor, changes)


def gate(problem: TransferProblem, **changes) -> TransferModel:
    """Train GATE on sources and targets together."""
    return _together(problem, problem.gate, changes)


def _together(problem: TransferProblem, make: Callable, changes: dict) -> TransferModel:
    y = problem.y[problem.sources + problem.targets]
    rows = np.flatnonzero(y.notna().any(axis=1))
    n_steps = problem.budget.source_steps + problem.budget.target_steps
    model = make(len(rows), n_steps, **changes)
    model.fit(_safe_indexing(problem.X, rows), y.iloc[rows])
    return _network(model, problem.targets)


def linear_probe(problem: TransferProblem) -> TransferModel:
    """Fit a ridge regression to embeddings of a network trained on the sources."""
    source = problem.source_model()
    return _ridge(problem, source, source.embed)


def source_predictions(problem: TransferProblem) -> TransferModel:
    """Fit a ridge regression to the predictions of the sources."""
    source = problem.source_model()

    def predict(X) -> np.ndarray:
        return (
            source.predict(X).reshape(-1, len(problem.sources)) / source.target_scale_
        )

    return _ridge(problem, source, predict)


def _ridge(problem: TransferProblem, source, features: Callable) -> TransferModel:
    X, y = problem.labelled()
    # Leave-one-out errors of the training rows choose the penalty. Features keep their
    # scales: divided by its spread in few rows, a rare one would be huge in others.
    model = RidgeCV(_PENALTIES).fit(features(X), y.to_numpy()[:, 0])
    n_trained = model.coef_.size + 1

    def predict(X) -> np.ndarray:
        columns = features(X)
        known = np.isfinite(columns).all(axis=1)  # invalid graphs have none
        predictions = np.full(len(columns), np.nan)
        if known.any():
            predictions[known] = model.predict(columns[known])
        return predictions

    return TransferModel(
        predict,
        n_trained,
        n_trained + _size(source.module_),
        source_seconds=_seconds(source),
    )


def fine_tuning(problem: TransferProblem) -> TransferModel:
    """Train the encoder of a network trained on the sources further on the target."""
    source = problem.source_model()
    X, y = problem.labelled()
    model = problem.regressor(
        len(y),
        problem.budget.target_steps,
        encoder=Pretrained(source.module_.encoder),
    ).fit(X, y)
    return replace(_network(model), source_seconds=_seconds(source))


def addition(
    problem: TransferProblem,
    *,
    kind: str = "gate",
    source: dict[str, Any] | None = None,
    n_unlabelled: int = 0,
    train_encoder: bool = False,
    **changes,
) -> TransferModel:
    """Add the target to GATE trained on the sources.

    Parameters
    ----------
    problem : TransferProblem
        With one target.
    kind : {"gate", "frames"}
        Source model.
    source : dict, optional
        Changes of the source model's parameters.
    n_unlabelled : int
        Molecules without a label of the target that take part.
    train_encoder : bool
        As in ``add_task``.
    **changes : object
        Changes of the parameters while the target is added.

    Returns
    -------
    model : TransferModel
        It predicts the target.
    """
    trained = problem.source_model(kind, **(source or {}))
    # What is changed of the source model does not change the addition.
    usual = problem.gate(1, problem.budget.source_steps).get_params(deep=False)
    del usual["encoder"]
    model = copy.deepcopy(trained).set_params(**usual | changes)
    name = problem.targets[0]
    labelled = problem.y[name].notna().to_numpy()
    others = np.random.default_rng(problem.seed).permutation(np.flatnonzero(~labelled))
    rows = np.sort(np.r_[np.flatnonzero(labelled), others[:n_unlabelled]])
    model.add_task(
        _safe_indexing(problem.X, rows),
        problem.y[name].iloc[rows],
        name=name,
        train_encoder=train_encoder,
    )
    new = _size(model.module_.added[-1])
    encoder = _size(model.module_.encoder) if train_encoder else 0
    return TransferModel(
        lambda X: model.predict(X)[:, [-1]],
        new + encoder,
        _size(model.module_),
        # The epochs of an addition keep no word about the best one.
        sum(record["seconds"] for record in model.addition_history_[name]),
        _seconds(trained),
    )


METHODS: dict[str, Callable[[TransferProblem], TransferModel]] = {
    "single-task": single_task,
    "hard-sharing": hard_sharing,
    "linear-probe": linear_probe,
    "source-predictions": source_predictions,
    "fine-tuning": fine_tuning,
    "gate": gate,
    "addition": addition,
    "addition-unlabelled": partial(addition, n_unlabelled=500),
}


def takes_all_targets(method: Callable) -> bool:
    """Whether one fit serves all targets; other methods are called for each."""
    # A partial is a method with some settings.
    return getattr(method, "func", method) in (hard_sharing, gate)


def fit_method(method: Callable, problem: TransferProblem):
    """Let a method learn; its model, and the seconds without those of the sources.

    Parameters
    ----------
    method : callable
        One of :data:`METHODS`, or the user's own.
    problem : TransferProblem
        What to learn.

    Returns
    -------
    model : TransferModel
        What it learned.
    seconds : float
        Of the training on the targets.
    """
    before, start = problem.models.seconds, time.perf_counter()
    model = method(problem)
    elsewhere = problem.models.seconds - before
    seconds = time.perf_counter() - start - elsewhere
    if not isinstance(model, TransferModel):
        model = TransferModel(model.predict)
    return model, seconds


def _network(model, targets=None) -> TransferModel:
    """Take a fitted network for what a method learned."""
    columns = [model.task_names_.index(name) for name in targets or model.task_names_]
    return TransferModel(
        lambda X: model.predict(X)[:, columns],
        _size(model.module_, trained=True),
        _size(model.module_),
        _seconds(model),
    )


def _size(module, *, trained: bool = False) -> int:
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if parameter.requires_grad or not trained
    )


def _seconds(model) -> float:
    """Seconds of the training until the weights that the model has."""
    return sum(record["seconds"] for record in model.history_[: model.best_epoch_])


def _unfitted(encoder):
    """Clone a part; a pretrained one keeps its source."""
    return encoder if isinstance(encoder, str) else clone(encoder)
