"""What all estimators share: parameters, a fitted state, and the network at work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from skgnn_mtl import training
from skgnn_mtl._archive import Target
from skgnn_mtl._callbacks import SUPPORT, Epochs, ends_callbacks, fit_task
from skgnn_mtl._component import Condition, Numbers, is_count
from skgnn_mtl._links import TEMPLATE, page_of
from skgnn_mtl._progress import is_watched
from skgnn_mtl._warn import warnings_once
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphBatch, GraphSchema
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import (
    AVERAGES,
    OPTIMIZER_NAMES,
    SCHEDULES,
    TrainingOptions,
)

from ._card import model_card
from ._checkpoint import Checkpoint, Stage
from ._compute import (
    computes,
    present_device,
    stopped_by_sigterm,
    warn_of_absent_device,
)
from ._curvature import read_spectrum_options
from ._files import load_state, on_cpu, save_state
from ._fit import fit_network
from ._fit_settings import FitData, FitSettings
from ._history import history_table
from ._inputs import learn_graphs, read_graphs
from ._network import FittedNetwork
from ._recipe import Recipe
from ._state import FittedState
from ._targets import Targets

# Conditions that the constraints of scikit-learn cannot express.
WIDTHS = Condition(
    lambda value: isinstance(value, (tuple, list)) and all(map(is_count, value)),
    "a tuple or list of integers >= 1",
)
_DEVICE = Condition(computes, "'auto' or a device of torch that computes")
_SPLITTER = Condition(
    # A string has a method of this name, too.
    lambda value: hasattr(value, "split") and not isinstance(value, (str, bytes)),
    "a splitter",
)


class BaseGNN(*SUPPORT, BaseEstimator, ABC):  # type: ignore[misc]
    """Parameters of a training, and everything that a fitted network can do.

    A subclass owns the constructor. It says what ``y`` means and how the network is
    made. All that a fit leaves is one :class:`FittedState`, which replaces the one
    before in one assignment: after an error the estimator is as it was.
    """

    # For the "?" of the representation in notebooks.
    _doc_link_module: ClassVar[str] = "skgnn_mtl"
    _doc_link_template: ClassVar[str] = TEMPLATE
    _doc_link_url_param_generator = page_of

    # Checked in fit, not in the constructor, because clone and set_params must take
    # every value as it is.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "encoder": [str, GraphEncoder],
        "readout": [str, Readout],
        "optimizer": [StrOptions(OPTIMIZER_NAMES), callable],
        "lr": [Numbers(Real, 0, None, closed="neither")],
        "weight_decay": [Numbers(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({*SCHEDULES, "plateau"}), callable],
        "gradient_clip": [None, Numbers(Real, 0, None, closed="neither")],
        "batch_size": [Numbers(Integral, 1, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Numbers(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        # Open at both ends, because 0 or 1 would leave one side without rows.
        "validation": [Numbers(Real, 0, 1, closed="neither"), _SPLITTER],
        "n_iter_no_change": [Numbers(Integral, 1, None, closed="left")],
        "weight_averaging": [None, StrOptions(set(AVERAGES))],
        "callbacks": [None, list, tuple],
        "checkpoint": [None, str, PathLike],
        "device": [_DEVICE],
        "n_threads": [None, Numbers(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": [StrOptions({"auto"}), "verbose"],
    }

    # Declared without values, because each subclass has a constructor of its own.
    encoder: Any
    readout: Any
    optimizer: Any
    lr: float
    weight_decay: float
    lr_schedule: Any
    gradient_clip: float | None
    batch_size: int
    max_epochs: int | str
    early_stopping: bool
    validation: Any
    n_iter_no_change: int
    weight_averaging: str | None
    callbacks: Any
    checkpoint: str | PathLike[str] | None
    device: str | torch.device
    n_threads: int | None
    warm_start: bool
    random_state: Any
    verbose: Any

    # -- what a subclass says ----------------------------------------------------

    @abstractmethod
    def _targets(self) -> Targets:
        """Say what y means, with nothing learned yet."""

    @abstractmethod
    def _recipe(self) -> Recipe:
        """Say how the network and its training step are made."""

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of parts behind two underscores.

        Parameters
        ----------
        **params : dict
            For instance ``task_weighting__alpha``.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter does not exist, or belongs to a part that is given by a name.
        """
        for name in params:
            part, _, own = name.partition("__")
            value = params.get(part, getattr(self, part, None))
            # scikit-learn would say that a str does not have set_params.
            if own and isinstance(value, str):
                raise ValueError(
                    f"{name} cannot be set, because {part}={value!r} is a name, which "
                    f"does not have parameters. Pass an instance as {part}."
                )
        super().set_params(**params)
        return self

    # -- fitting -----------------------------------------------------------------

    @ends_callbacks
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        *,
        resume: bool,
        partial: bool = False,
        scoring: Any = "loss",
        hessian_spectrum: Any = False,
        targets: Targets | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> FittedState:
        """Train, without a change of the estimator.

        Parameters
        ----------
        X, y, sample_weight, groups : object
            As the user passed them.
        resume : bool
            Whether to go on from the fitted state.
        partial : bool, default=False
            Whether this is a call of ``partial_fit``.
        scoring : str, callable or None, default="loss"
            Criterion of early stopping.
        hessian_spectrum : bool or dict, default=False
            Curvature to compute at the end.
        targets : Targets, optional
            In place of those that the parameters describe.
        checkpoint : Checkpoint, optional
            Of several trainings; by default that of the parameters, for this one.

        Returns
        -------
        state : FittedState
            For :meth:`_adopt`.
        """
        # Parameters first, because a wrong one must be found before the data are read.
        self._check_parameters()
        settings = self._settings(targets or self._targets())
        name, loss = type(self).__name__, settings.targets.loss_name
        # Before the training, because a wrong option must not be found at its end.
        verbose = is_watched() if self.verbose == "auto" else self.verbose
        spectrum = read_spectrum_options(hessian_spectrum, name, loss, verbose)
        # A fit that goes on needs the columns of the one before, because its network is
        # built for them; a new fit may have others.
        before = self._state if resume else None
        if before is None:
            graphs, inputs = learn_graphs(self, X)
        else:
            graphs, inputs = read_graphs(self, X), before.inputs
        data = FitData(X, y, sample_weight, groups, graphs, inputs)
        settings = replace(settings, scoring=scoring, spectrum=spectrum)
        # One epoch is not kept, because save() keeps it together with its end.
        own = None if partial or checkpoint else self._open_checkpoint("fit")
        checkpoint = checkpoint or own
        stage = checkpoint.stage("fit") if checkpoint else None
        # Once, because epochs and stages may find the same thing.
        with stopped_by_sigterm(), warnings_once():
            # States in and out, because a fit that fails must leave this estimator as
            # it was.
            state = self._trained(settings, data, before, partial, stage)
        if own and not state.interrupted:
            own.finish()
        return state

    def _trained(
        self,
        settings: FitSettings,
        data: FitData,
        before: FittedState | None,
        partial: bool,
        stage: Stage | None,
    ) -> FittedState:
        """Train, and let callbacks of scikit-learn hear of the epochs."""
        if partial:  # one epoch of a number that is not known
            return fit_network(
                settings, data, self._with, before, partial=True, stage=stage
            )
        arguments = (data.X, data.y, data.sample_weight)
        n_epochs = settings.options.n_epochs(len(data.graphs))
        made: dict[str, Any] = {}
        with fit_task(
            self, *arguments, max_subtasks=n_epochs, fitted=lambda: made
        ) as context:
            if context is None:
                return fit_network(settings, data, self._with, before, stage=stage)
            epochs = Epochs(self, context, *arguments)
            settings = replace(settings, on_epoch=epochs)
            state = fit_network(settings, data, self._with, before, stage=stage)
            epochs.close()
            # Here, because the state is swapped in only after the fit.
            made["_fitted_state"] = state
        return state

    def _open_checkpoint(self, call: str, **arguments: Any) -> Checkpoint | None:
        """Open the file of the parameter ``checkpoint``, for a call with arguments."""
        if self.checkpoint is None:
            return None
        parameters = {**self.get_params(deep=False), **arguments}
        name = f"{type(self).__name__}.{call}"
        return Checkpoint(self.checkpoint, name, parameters)

    def _adopt(self, state: FittedState, message: str | None = None) -> Self:
        """Swap a state in; tell if the user interrupted the training before its end.

        Raises
        ------
        KeyboardInterrupt
            If the state is of an interrupted training.
        """
        # One assignment, so that no interruption can leave a half.
        self.__dict__["_fitted_state"] = replace(state, interrupted=False)
        # After the assignment, because the best state so far must be kept.
        if state.interrupted:
            raise KeyboardInterrupt(
                message
                or "fit was interrupted; the estimator keeps the state reached so far."
            )
        return self

    def _with(self, state: FittedState) -> Self:
        """Make an estimator of the same parameters that is fitted with a state."""
        # Not by clone, because it would copy every parameter, also large ones.
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _fitted_state=state)
        return twin

    def _settings(self, targets: Targets) -> FitSettings:
        """Read the parameters that all estimators have."""
        return FitSettings(
            targets=targets,
            recipe=self._recipe(),
            options=self._options(),
            validation=self.validation,
            device=present_device(self.device),
            n_threads=self.n_threads,
            random_state=self.random_state,
        )

    def _options(self) -> TrainingOptions:
        """Read the parameters of the training."""
        return TrainingOptions(
            optimizer=self.optimizer,
            lr=float(self.lr),
            weight_decay=float(self.weight_decay),
            lr_schedule=self.lr_schedule,
            gradient_clip=self.gradient_clip,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            early_stopping=self.early_stopping,
            n_iter_no_change=self.n_iter_no_change,
            weight_averaging=self.weight_averaging,
            callbacks=self.callbacks,
            verbose=self.verbose,
            # A splitter's rows are the user's to keep, and a warm start validates on
            # its rows again.
            keeps_validation=hasattr(self.validation, "split") or self.warm_start,
        )

    def _check_parameters(self) -> None:
        """Refuse wrong parameters, and warn of an absent device."""
        self._validate_params()
        training.check_callbacks(self.callbacks)
        # Not in present_device, because a file is loaded without a warning.
        warn_of_absent_device(self.device)

    # -- the fitted state --------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        # scikit-learn looks for attributes that end in an underscore, but here these
        # are properties, because all of them must change in one assignment.
        return "_fitted_state" in self.__dict__

    @property
    def _goes_on(self) -> bool:
        """Whether a fit starts from the state of the last one."""
        # By its type, because the parameter has not been checked yet.
        wanted = isinstance(self.warm_start, (bool, np.bool_)) and bool(self.warm_start)
        return wanted and self.__sklearn_is_fitted__()

    @property
    def _state(self) -> FittedState:
        """What the last fit left."""
        state: FittedState | None = self.__dict__.get("_fitted_state")
        if state is None:
            # NotFittedError is an AttributeError, so that hasattr works.
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' "
                "with appropriate arguments before using this estimator."
            )
        return state

    @property
    def module_(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return self._state.module

    @property
    def targets_(self) -> Any:
        """What was learned about ``y``; the class depends on the estimator."""
        return self._state.targets

    @property
    def task_names_(self) -> list[str]:
        """Names of the tasks."""
        return list(self._state.targets.names)

    @property
    def n_tasks_(self) -> int:
        """Number of tasks."""
        return self._state.targets.n_tasks

    @property
    def history_(self) -> list[dict[str, Any]]:
        """One record per epoch."""
        return self._state.history

    def history_frame(self) -> pd.DataFrame:
        """Return ``history_`` as a table.

        Returns
        -------
        table : DataFrame of shape (n_epochs, n_records)
            With the index ``epoch``. What is recorded per task has columns such as
            "train_losses.logP"; NaN where an epoch has no such record.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        return history_table(self.history_)

    @property
    def best_epoch_(self) -> int:
        """Epoch that the weights of the network come from."""
        return self._state.best_epoch

    @property
    def schema_(self) -> GraphSchema:
        """Columns of the graphs of fit."""
        return self._state.inputs.schema

    @property
    def n_features_in_(self) -> int:
        """1 for graphs, else the number of columns of X."""
        return self._state.inputs.n_features

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Column names of a numeric X that has them."""
        names = self._state.inputs.feature_names
        if names is None:
            # An AttributeError, because scikit-learn asks for the names by getattr.
            raise AttributeError("feature_names_in_: X did not have column names.")
        return names

    def __getstate__(self) -> dict[str, Any]:
        """Pickle networks as they are on the CPU."""
        # A copy, because BaseEstimator returns the instance's own dict.
        kept: dict[str, Any] = dict(super().__getstate__())
        if "_fitted_state" in kept:
            # The machine that reads the pickle may not have this device.
            kept["_fitted_state"] = on_cpu(kept["_fitted_state"])
        return kept

    # -- the network at work -----------------------------------------------------

    def _at_rest(self) -> Self:
        """Make a view of the present state, which a fit in another thread leaves."""
        return self._with(self._state)

    def _apply(
        self, X: Any, function: Callable[[Any, GraphBatch], Tensor]
    ) -> np.ndarray:
        """Apply a function of network and batch to all valid graphs; else NaN rows."""
        fitted = self._at_rest()
        return fitted._at_work().apply(read_graphs(fitted, X), function)

    def _at_work(self) -> FittedNetwork:
        """Put the network to work; call it on a view of :meth:`_at_rest`."""
        warn_of_absent_device(self.device)
        return FittedNetwork(
            self.module_, present_device(self.device), self.batch_size, self.n_threads
        )

    def save(self, path: Target, *, description: str = "") -> None:
        """Write the fitted estimator into one file that is safe to load.

        The file is a zip archive of tensors, JSON and a text for people, with a
        checksum. A file at ``path`` is replaced as a whole: whatever happens, ``path``
        holds the old or the new one.

        Parameters
        ----------
        path : str, path-like or binary file
            The file.
        description : str, default=""
            What the model is for; stands in the text about it in the file.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter holds something that JSON cannot express, such as a
            callback or a class of your own; pickle keeps those.
        OSError
            If the file cannot be written, for instance because the disk is full.
        """
        state, kind = self._state, type(self).__name__
        # Not deep, because each part is written with its own parameters.
        parameters = self.get_params(deep=False)
        save_state(path, kind, parameters, state, model_card(self, description))

    @classmethod
    def load(cls, path: Target) -> Self:
        """Read what :meth:`save` wrote. Never executes code from the file.

        Parameters
        ----------
        path : str, path-like or binary file
            The file.

        Returns
        -------
        estimator : estimator of this class
            It predicts as the saved one, and can be trained on with ``warm_start`` or
            ``partial_fit``. Calls of the latter go on exactly as in the saved one:
            optimizer and random generator are in the file.

        Raises
        ------
        ValueError
            If the file is of something else, damaged, or of a newer version.
        """

        # By the constructor, because a file must not set anything but parameters.
        def make(**parameters: Any) -> Any:
            estimator = cls(**parameters)
            estimator._validate_params()
            return estimator

        estimator, state = load_state(path, cls.__name__, make)
        loaded: Self = estimator._adopt(state)
        return loaded
