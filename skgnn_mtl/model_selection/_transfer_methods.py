"""Methods that learn a scarce property from molecules with other properties."""

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

# The defaults of GATERegressor on the CPU, because all networks have the same training.
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
    """Settings that all networks of a comparison share.

    Parameters
    ----------
    encoder : str or GraphEncoder
        Unfitted encoder; each network trains a clone.
    training : dict
        Training parameters of all networks.
    gate : dict
        Parameters of GATE only.
    source_steps, target_steps : int
        Steps of a training on the sources, and on one target. A training on both has
        their sum.
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
        Folder that keeps them for the next call.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.models: dict[str, Any] = {}
        self.data_key: str | None = None
        # Seconds spent here, because they do not count as time of a method.
        self.seconds = 0.0

    def get(self, key: str, kind: type, fit: Callable[[], Any]) -> Any:
        """Find a model, or fit it.

        Parameters
        ----------
        key : str
            Digest of the data and settings of the model.
        kind : type
            Class of the model.
        fit : callable
            Fits the model.

        Returns
        -------
        model : estimator
            The fitted model.
        """
        if key not in self.models:
            before, start = self.seconds, time.perf_counter()
            self.models[key] = self._load_or_fit(key, kind, fit)
            # Set, not added, because fitting may call this method again.
            self.seconds = before + time.perf_counter() - start
        return self.models[key]

    def _load_or_fit(self, key: str, kind: Any, fit: Callable[[], Any]) -> Any:
        if self.folder is None:
            return fit()
        path = self.folder / key
        if path.is_file():
            return kind.load(path)
        model = fit()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Renamed at the end, because other processes must not read a partial file.
        unfinished = path.with_name(f"{key}.{os.getpid()}")
        model.save(unfinished)
        unfinished.replace(path)
        return model


@dataclass(frozen=True)
class TransferProblem:
    """Training molecules of one fold and seed: the whole input of a method.

    Parameters
    ----------
    X : GraphArray or array of shape (n, ...)
        Training molecules.
    y : DataFrame of shape (n, n_sources + n_targets)
        Their labels, NaN where missing or hidden.
    sources, targets : list of str
        Columns of ``y``.
    budget : TransferBudget
        Encoder, training parameters and steps, the same for all methods.
    seed : int
        Seed of this run.
    models : SourceModels
        Models that are trained on these sources; use :meth:`source_model`.

    See Also
    --------
    compare_transfer : Makes problems and passes them to the methods.

    Examples
    --------
    A method of your own returns an object that predicts the targets from molecules:

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
        """Select the molecules with a label of a target, and these labels.

        Returns
        -------
        X : GraphArray or array of shape (n_labelled, ...)
            Molecules.
        y : DataFrame of shape (n_labelled, n_targets)
            Labels, NaN where missing.
        """
        rows = np.flatnonzero(self.y[self.targets].notna().any(axis=1))
        return _safe_indexing(self.X, rows), self.y[self.targets].iloc[rows]

    def regressor(
        self, n_rows: int, n_steps: int, **changes: Any
    ) -> MultiTaskGNNRegressor:
        """Make a network with one linear head per task.

        Parameters
        ----------
        n_rows : int
            Number of training rows.
        n_steps : int
            Number of training steps, rounded up to whole epochs.
        **changes : object
            Other parameters.

        Returns
        -------
        regressor : MultiTaskGNNRegressor
            Unfitted.
        """
        parameters = self._parameters(n_rows, n_steps) | changes
        return MultiTaskGNNRegressor(**parameters)

    def gate(self, n_rows: int, n_steps: int, **changes: Any) -> GATERegressor:
        """Make a network of GATE.

        Parameters
        ----------
        n_rows : int
            Number of training rows.
        n_steps : int
            Number of training steps, rounded up to whole epochs.
        **changes : object
            Other parameters.

        Returns
        -------
        regressor : GATERegressor
            Unfitted. Its ``add_task`` has the steps of a training on a target.
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

    def source_model(
        self, kind: str = "regressor", n_steps: int | None = None, **changes: Any
    ) -> Any:
        """Train on the sources, or reuse an earlier training with equal settings.

        Parameters
        ----------
        kind : {"regressor", "gate", "frames"}, default="regressor"
            A network with linear heads, GATE, or GATE around that network
            (``GATERegressor.from_pretrained``).
        n_steps : int, optional
            Number of steps, by default that of the budget.
        **changes : object
            Other parameters of the estimator.

        Returns
        -------
        model : MultiTaskGNNRegressor or GATERegressor
            Fitted. Methods share it, so copy it before you change it.
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
            parts = (self.X, labels, self.sources, self.budget.encoder)
            self.models.data_key = str(joblib.hash(parts))
        return self.models.data_key

    def _fit_sources(
        self, kind: str, model: Any, rows: np.ndarray, n_steps: int
    ) -> Any:
        X, y = _safe_indexing(self.X, rows), self.y[self.sources].iloc[rows]
        if kind != "frames":
            return model.fit(X, y)
        parameters = model.get_params(deep=False)
        # Without it, because a pretrained network has its own encoder.
        del parameters["encoder"]
        regressor = self.source_model("regressor", n_steps)
        return GATERegressor.from_pretrained(regressor, X, **parameters)


@dataclass(frozen=True)
class TransferModel:
    """The model of a method, with its cost.

    Parameters
    ----------
    predict : callable
        Map from molecules (n,) to predictions (n, n_targets) in units of y.
    trained_parameters, parameters : int
        Number of parameters trained for the targets, and of all that a prediction
        needs.
    seconds_to_best : float
        Seconds of training until the final weights; NaN without epochs.
    source_seconds : float
        Seconds of the training of the source model, which all targets and sizes share.

    See Also
    --------
    TransferProblem : One target, its labels and its sources.
    compare_transfer : Ways to learn scarce targets beside other properties.

    Examples
    --------
    A method of your own that reports its cost:

    >>> from sklearn.dummy import DummyRegressor
    >>> from skgnn_mtl.model_selection import TransferModel
    >>> def mean(problem):
    ...     model = DummyRegressor().fit(*problem.labelled())
    ...     return TransferModel(model.predict, trained_parameters=1, parameters=1)
    """

    predict: Callable[[Any], np.ndarray]
    trained_parameters: float = np.nan
    parameters: float = np.nan
    seconds_to_best: float = np.nan
    source_seconds: float = 0.0


def single_task(problem: TransferProblem) -> TransferModel:
    """Train a network on the target alone."""
    X, y = problem.labelled()
    model = problem.regressor(len(y), problem.budget.target_steps).fit(X, y)
    return _network(model)


def hard_sharing(problem: TransferProblem, **changes: Any) -> TransferModel:
    """Train one network with a linear head for each source and target."""
    return _together(problem, problem.regressor, changes)


def gate(problem: TransferProblem, **changes: Any) -> TransferModel:
    """Train GATE on sources and targets together."""
    return _together(problem, problem.gate, changes)


def _together(
    problem: TransferProblem, make: Callable[..., Any], changes: dict[str, Any]
) -> TransferModel:
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

    def predict(X: Any) -> np.ndarray:
        predictions = source.predict(X).reshape(-1, len(problem.sources))
        standardised: np.ndarray = predictions / source.target_scale_
        return standardised

    return _ridge(problem, source, predict)


def _ridge(
    problem: TransferProblem, source: Any, features: Callable[[Any], np.ndarray]
) -> TransferModel:
    X, y = problem.labelled()
    # Leave-one-out errors of the training rows choose the penalty. Features keep their
    # scales, because a rare feature divided by its spread in few rows becomes huge.
    model = RidgeCV(_PENALTIES).fit(features(X), y.to_numpy()[:, 0])
    n_trained = model.coef_.size + 1

    def predict(X: Any) -> np.ndarray:
        columns = features(X)
        # NaN rows stay NaN, because they belong to invalid graphs.
        valid = np.isfinite(columns).all(axis=1)
        predictions = np.full(len(columns), np.nan)
        if valid.any():
            predictions[valid] = model.predict(columns[valid])
        return predictions

    return TransferModel(
        predict,
        n_trained,
        n_trained + _size(source.module_),
        source_seconds=_seconds(source),
    )


def fine_tuning(problem: TransferProblem) -> TransferModel:
    """Continue the training of a source network's encoder on the target."""
    source = problem.source_model()
    X, y = problem.labelled()
    model = problem.regressor(
        len(y),
        problem.budget.target_steps,
        encoder=Pretrained(source.module_.encoder),
    ).fit(X, y)
    return replace(_network(model), source_seconds=_seconds(source))


def adapters(problem: TransferProblem, **changes: Any) -> TransferModel:
    """Train adapters beside the frozen encoder of a source network, and a head.

    Parameters
    ----------
    problem : TransferProblem
        A problem with one target.
    **changes : object
        Changes of the parameters of ``Pretrained``.

    Returns
    -------
    model : TransferModel
        Model of the target.
    """
    source = problem.source_model()
    X, y = problem.labelled()
    encoder = Pretrained(
        source.module_.encoder, **{"adapters": "bottleneck", **changes}
    )
    n_steps = problem.budget.target_steps
    model = problem.regressor(len(y), n_steps, encoder=encoder).fit(X, y)
    return replace(_network(model), source_seconds=_seconds(source))


def addition(
    problem: TransferProblem,
    *,
    kind: str = "gate",
    source: dict[str, Any] | None = None,
    n_unlabelled: int = 0,
    train_encoder: bool = False,
    **changes: Any,
) -> TransferModel:
    """Add the target to GATE trained on the sources.

    Parameters
    ----------
    problem : TransferProblem
        A problem with one target.
    kind : {"gate", "frames"}
        Kind of the source model.
    source : dict, optional
        Changes of the parameters of the source model.
    n_unlabelled : int
        Number of further molecules without a label of the target.
    train_encoder : bool
        As in ``add_task``.
    **changes : object
        Changes of the parameters of the addition.

    Returns
    -------
    model : TransferModel
        Model of the target.
    """
    trained = problem.source_model(kind, **(source or {}))
    # The usual parameters, because changes of the source model must not apply here.
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
        # All epochs, because the history of an addition does not mark the best one.
        sum(record["seconds"] for record in model.addition_history_[name]),
        _seconds(trained),
    )


# A method returns a TransferModel, or any object with ``predict``.
TransferMethod = Callable[[TransferProblem], Any]

METHODS: dict[str, TransferMethod] = {
    "single-task": single_task,
    "hard-sharing": hard_sharing,
    "linear-probe": linear_probe,
    "source-predictions": source_predictions,
    "fine-tuning": fine_tuning,
    "adapters": adapters,
    "gate": gate,
    "addition": addition,
    "addition-unlabelled": partial(addition, n_unlabelled=500),
}


def takes_all_targets(method: TransferMethod) -> bool:
    """Whether a method fits all targets at once; other methods fit one at a time."""
    # The function of a partial, because a partial is a method with some settings.
    return getattr(method, "func", method) in (hard_sharing, gate)


def fit_method(
    method: TransferMethod, problem: TransferProblem
) -> tuple[TransferModel, float]:
    """Run a method, and measure its seconds without those of the source models.

    Parameters
    ----------
    method : callable
        One of :data:`METHODS`, or the user's own.
    problem : TransferProblem
        Input of the method.

    Returns
    -------
    model : TransferModel
        Model of the targets.
    seconds : float
        Seconds of the training on the targets.
    """
    before, start = problem.models.seconds, time.perf_counter()
    model = method(problem)
    source_seconds = problem.models.seconds - before
    seconds = time.perf_counter() - start - source_seconds
    if not isinstance(model, TransferModel):
        model = TransferModel(model.predict)
    return model, seconds


def _network(model: Any, targets: list[str] | None = None) -> TransferModel:
    """Wrap a fitted network as the model of a method."""
    columns = [model.task_names_.index(name) for name in targets or model.task_names_]
    return TransferModel(
        lambda X: model.predict(X)[:, columns],
        _size(model.module_, trained=True),
        _size(model.module_),
        _seconds(model),
    )


def _size(module: Any, *, trained: bool = False) -> int:
    """Count the parameters of a module, all of them or the trained ones."""
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if parameter.requires_grad or not trained
    )


def _seconds(model: Any) -> float:
    """Sum the seconds of the training until the final weights."""
    seconds = [record["seconds"] for record in model.history_[: model.best_epoch_]]
    return float(sum(seconds))


def _unfitted(encoder: Any) -> Any:
    """Clone an encoder; a pretrained one keeps its source."""
    return encoder if isinstance(encoder, str) else clone(encoder)
