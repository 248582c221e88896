"""What all estimators share: parameters, and training on what was read."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    InvalidParameterError,
    StrOptions,
)
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    column_or_1d,
)

from skgnn_mtl._activations import ACTIVATIONS
from skgnn_mtl._component import Numbers, is_count
from skgnn_mtl._seeds import MAX_SEED, torch_stream
from skgnn_mtl._warn import warn, warnings_once
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphArray, GraphDataset
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import (
    OPTIMIZERS,
    SCHEDULES,
    HeldOutRows,
    Loss,
    Step,
    TrainingOptions,
    TrainingStep,
    check_callbacks,
    recalibrate,
    train,
)
from skgnn_mtl.weighting import HeldOut, HeldOutWeighting, TaskWeighting

from ._curvature import CurvatureMixin, check_options
from ._inputs import check_labels, read_graphs, refuse_masked, task_positions
from ._persistence import PersistenceMixin
from ._splits import hold_out, split_validation


class BaseMultiTaskGNN(CurvatureMixin, PersistenceMixin, ABC):
    """Training of a multi-task graph network.

    Subclasses own the constructor and the meaning of the targets.
    """

    _parameter_constraints: ClassVar[dict] = {
        "encoder": [str, GraphEncoder],
        "readout": [str, Readout],
        "head_hidden_dims": [tuple, list],
        "head_activation": [StrOptions(set(ACTIVATIONS))],
        "task_weighting": [str, TaskWeighting, callable],
        "target_tasks": [None, str, Integral, list, tuple, np.ndarray],
        "auxiliary_tasks": [list, tuple],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [Numbers(Real, 0, None, closed="neither")],
        "weight_decay": [Numbers(Real, 0, None, closed="left")],
        "lr_schedule": [StrOptions({*SCHEDULES, "plateau"}), callable],
        "gradient_clip": [None, Numbers(Real, 0, None, closed="neither")],
        "batch_size": [Numbers(Integral, 1, None, closed="left")],
        "max_epochs": [Numbers(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
        "validation": [Numbers(Real, 0, 1, closed="neither"), HasMethods("split")],
        "n_iter_no_change": [Numbers(Integral, 1, None, closed="left")],
        "hessian_spectrum": ["boolean", dict],
        "callbacks": [None, list, tuple],
        "device": [str, torch.device],
        "n_threads": [None, Numbers(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    history_: list[dict]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_")

    @property
    def _learns_from_unlabelled(self) -> bool:
        """Whether rows without any label take part in the training."""
        return len(self.auxiliary_tasks) > 0

    # -- fitting ------------------------------------------------------------------

    def _fit(
        self, X, y, sample_weight, groups, *, resume: bool, partial: bool, classes=None
    ) -> None:
        """Train; with ``resume`` go on from the fitted state.

        An error leaves the estimator as it was. An interruption of the training keeps
        the best state that it reached.
        """
        # A training that goes on changes these in place.
        parts = ("module_", "task_weighting_", "_optimizer_state") if resume else ()
        with self._unchanged_by_errors(parts), warnings_once():
            interrupted = self._fit_rows(
                X, y, sample_weight, groups, resume, partial, classes
            )
        if interrupted:
            raise KeyboardInterrupt(
                "fit was interrupted; the estimator keeps the state reached so far."
            )

    @contextmanager
    def _unchanged_by_errors(self, parts: Sequence[str] = ()) -> Iterator[None]:
        """Run something after whose errors the estimator is as it was before.

        Attributes named in ``parts`` may be changed in place, and are copied before.
        """
        before = dict(self.__dict__)
        own = {name: before[name] for name in parts if name in before}
        before |= copy.deepcopy(own)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit_rows(self, X, y, sample_weight, groups, resume, partial, classes) -> bool:
        self._check_parameters()
        graphs = read_graphs(self, X, reset=not resume)
        values, names = self._read_labels(graphs, y, sample_weight, resume, classes)
        row_weights = self._row_weights(graphs, values, sample_weight)
        missing = np.isnan(values.reshape(len(values), -1))
        weights = np.where(missing, 0.0, row_weights[:, None])
        if resume:
            self._check_same_tasks(values, names)
        else:
            self._one_dimensional = values.ndim == 1
            self.task_names_, self.n_tasks_ = names, len(names)
            check_labels(weights, names, "training")
        if groups is not None:
            refuse_masked(groups, "groups", "give each row a group")
            groups = column_or_1d(groups)
            check_consistent_length(graphs, groups)
        table = values.reshape(len(values), -1)
        labelled = (weights > 0).any(axis=1)
        if self._learns_from_unlabelled:
            labelled = row_weights > 0
        if not labelled.any():
            raise ValueError("No row of X has a label: there is nothing to fit.")
        watched = self._watched_tasks()
        with self._seeded(partial=partial) as seed:
            if not resume or self._split_seed is None:
                self._split_seed = seed
            split_seed = self._split_seed
            rows, valid_rows = np.flatnonzero(labelled), None
            if not partial and self._needs_validation():
                rows, valid_rows = self._split(
                    graphs,
                    values,
                    weights,
                    groups,
                    labelled,
                    watched,
                    resume,
                    split_seed,
                )
            if not resume:
                self._learn_targets(table[rows], weights[rows])
                self._build()
                self._warn_of_frozen_encoder()
                if getattr(self.module_.encoder, "recalibrate", False):
                    recalibrate(
                        self.module_.encoder, _chosen(graphs, rows), self._device()
                    )
            rows, held_out = self._hold_out(weights, groups, rows, watched, split_seed)
            targets = self._encode_targets(table)
            weights = self._weigh_classes(table, weights)
            train_set = self._training_set(
                _chosen(graphs, rows), targets[rows], weights[rows], row_weights[rows]
            )
            valid_set = valid_rows
            if valid_rows is not None:
                valid_set = self._validation_set(
                    *(part[valid_rows] for part in (graphs, targets, weights))
                )
            scorer = self._validation_scorer(X, y, sample_weight, valid_rows)
            held_out_rows = None
            if held_out is not None:
                parts = (part[held_out] for part in (graphs, targets, weights))
                held_out_rows = HeldOutRows(
                    train_set, GraphDataset(*parts), int(self.batch_size), seed
                )
            self._forget_spectra()
            spectra = self._spectrum_recorder(graphs, rows, values, seed, partial)
            interrupted = self._train(
                train_set,
                valid_set,
                watched,
                seed,
                held_out_rows,
                resume=resume,
                partial=partial,
                scorer=scorer,
                observer=spectra,
            )
            if spectra is not None and not interrupted:
                try:
                    self.hessian_spectrum_ = spectra.compute()
                except KeyboardInterrupt:  # the network is trained, and is kept
                    return True
                if spectra.epochs:
                    self.hessian_spectrum_path_ = spectra.path
            return interrupted

    def _auxiliary_columns(self, graphs: GraphArray) -> list[np.ndarray]:
        """Let the auxiliary tasks look at the training graphs, once."""
        return [task.prepare(graphs) for task in self.module_.tasks()]

    @abstractmethod
    def _read_labels(
        self, graphs: GraphArray, y, sample_weight, resume: bool, classes
    ) -> tuple[np.ndarray, list[str]]:
        """Read y as numbers in its own shape, NaN where unlabelled, and task names."""

    @abstractmethod
    def _as_given(self, table: np.ndarray) -> np.ndarray:
        """Turn what was read (n, t) into labels as users write them."""

    @abstractmethod
    def _learn_targets(self, table: np.ndarray, weights: np.ndarray) -> None:
        """Learn from the labels (n, t) of the training rows and their weights."""

    @abstractmethod
    def _encode_targets(self, table: np.ndarray) -> np.ndarray:
        """Bring labels (n, t) to what the network is to give."""

    @abstractmethod
    def _weigh_classes(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weights (n, t) of the labels in the losses."""

    @abstractmethod
    def _elementwise_loss(self) -> Loss:
        """Give the loss of one output and one target."""

    def _check_parameters(self) -> None:
        """Check what scikit-learn's constraints cannot express, too."""
        self._validate_params()
        name = type(self).__name__
        for width in self.head_hidden_dims:
            if not is_count(width):
                raise InvalidParameterError(
                    f"The 'head_hidden_dims' parameter of {name} must hold integers "
                    f">= 1. Got {self.head_hidden_dims!r} instead."
                )
        if isinstance(self.validation, str):
            raise InvalidParameterError(
                f"The 'validation' parameter of {name} must be a float in (0, 1) or a "
                f"splitter. Got {self.validation!r} instead."
            )
        check_options(self.hessian_spectrum, name, getattr(self, "loss", None))
        check_callbacks(self.callbacks)
        try:
            device = self._requested_device()
        except RuntimeError as error:
            raise InvalidParameterError(
                f"The 'device' parameter of {name} must be 'auto' or a device of "
                f"torch. Got {self.device!r} instead."
            ) from error
        if device.type == "meta":
            raise InvalidParameterError(
                f"The 'device' parameter of {name} must be a device that computes. "
                f"Got {self.device!r} instead."
            )
        if device != self._device():
            self._warn_of_absent_device()

    def _training_set(self, graphs, targets, weights, row_weights) -> GraphDataset:
        """Give the training step what it wants to know about each row."""
        return GraphDataset(graphs, targets, weights, self._auxiliary_columns(graphs))

    def _validation_set(self, graphs, targets, weights) -> GraphDataset:
        # Auxiliary tasks are watched only where there are no others.
        columns = () if self.n_tasks_ else self._auxiliary_columns(graphs)
        return GraphDataset(graphs, targets, weights, columns)

    def _validation_scorer(
        self, X, y, sample_weight, rows: np.ndarray | None
    ) -> Callable[[], float] | None:
        """Score, on the rows that watch, of the network as it is when called."""
        if rows is None or (isinstance(self.scoring, str) and self.scoring == "loss"):
            return None
        scorer, weights = check_scoring(self, self.scoring), {}
        if sample_weight is not None:
            weights["sample_weight"] = np.asarray(sample_weight)[rows]
        X, y = _safe_indexing(X, rows), _safe_indexing(y, rows)
        return lambda: scorer(self, X, y, **weights)

    def _row_weights(self, graphs: GraphArray, values, sample_weight) -> np.ndarray:
        """Weight of each row (n,): 0 if its graph is invalid."""
        refuse_masked(sample_weight, "sample_weight", "fill them with 0")
        weight = _check_sample_weight(
            sample_weight, values, dtype=np.float64, ensure_non_negative=True
        )
        if not weight.any():
            raise ValueError("All sample weights are zero: there is nothing to fit.")
        # A common factor has no meaning, but could leave the range of float32.
        weight = weight / weight.max()
        invalid = np.flatnonzero(~graphs.valid)
        if invalid.size:
            warn(
                f"{invalid.size} invalid graphs are left out of fit, at rows "
                f"{_enumerate(invalid)}.",
            )
        if invalid.size == len(graphs):
            raise ValueError(
                f"All {invalid.size} graphs are invalid: there is nothing to fit."
            )
        return np.where(graphs.valid, weight, 0.0)

    def _check_same_tasks(self, values: np.ndarray, names: list[str]) -> None:
        fitted = 1 if self._one_dimensional else 2
        if names != self.task_names_ or values.ndim != fitted:
            raise ValueError(
                f"y has {values.ndim} dimension(s) and the tasks {names}, but the "
                f"estimator was fitted with {fitted} and {self.task_names_}; use the "
                "same columns, or fit anew."
            )

    @contextmanager
    def _seeded(self, *, partial: bool) -> Iterator[int]:
        """Run inside a forked torch generator, with one seed drawn for this call."""
        if not partial:
            self.__dict__.pop("_random_state", None)
        # A copy: a call that fails leaves the generator where it was.
        source = copy.deepcopy(self._random_state)
        source = source or check_random_state(self.random_state)
        seed = int(source.randint(MAX_SEED))
        if partial:
            # The next call goes on with this generator.
            self._random_state = source
        with self._seeded_with(seed):
            yield seed

    def _split(
        self, graphs, values, weights, groups, labelled, watched, resume, seed: int
    ):
        """Labelled rows to train on, and labelled rows that watch."""
        rows, valid_rows = split_validation(
            self.validation,
            graphs,
            values,
            weights,
            groups,
            labelled,
            seed,
            names=self.task_names_,
            watched=watched if self.n_tasks_ else [],
            held_out=self._held_out_part(watched, resume),
        )
        check_labels(weights[rows], self.task_names_, "inner training")
        if self.n_tasks_:
            names = [self.task_names_[task] for task in watched]
            check_labels(weights[valid_rows][:, watched], names, "validation")
        return rows, valid_rows

    def _hold_out(self, weights, groups, rows, watched, seed: int):
        """Split the training rows into those of the steps and those held out."""
        part = self._held_out_part(watched, resume=True)
        self.__dict__.pop("held_out_rows_", None)
        if part is None:
            return rows, None
        rows, self.held_out_rows_ = hold_out(
            part, weights, groups, rows, seed, names=self.task_names_, targets=watched
        )
        return rows, self.held_out_rows_

    def _held_out_part(self, watched, resume: bool) -> HeldOut | None:
        """Ask the weighting what it holds out: nothing where all tasks are targets."""
        weighting: Any = self.task_weighting_ if resume else self._resolve_weighting()
        all_targets = self.n_tasks_ + len(self.auxiliary_tasks) == len(watched)
        if all_targets or not isinstance(weighting, HeldOutWeighting):
            return None
        return weighting.held_out

    def _train(
        self,
        train_set,
        valid_set,
        watched,
        seed,
        held_out_rows: HeldOutRows | None,
        *,
        resume: bool,
        partial: bool,
        scorer: Callable[[], float] | None = None,
        observer: Callable[[int], None] | None = None,
    ) -> bool:
        """Train the module in place; True if the user interrupted."""
        # A continuation, or a single epoch, has no beginning to rise from.
        n_rows = 0 if resume or partial else len(train_set)
        step = self._step(watched, seed, n_rows)
        if held_out_rows is not None and isinstance(step, TrainingStep):
            step.hold_out(held_out_rows)
        result = train(
            self.module_,
            step,
            train_set,
            valid_set,
            task_names=self.task_names_ + self.auxiliary_names_,
            watched=watched,
            options=self._options(partial=partial),
            device=self._device(),
            generator=torch_stream(seed, "batches"),
            optimizer_state=self._optimizer_state if partial and resume else None,
            scorer=scorer,
            observer=observer,
        )
        self._keep(result, resume=resume, partial=partial)
        return result.interrupted

    def _step(self, targets: np.ndarray, seed: int, n_rows: int) -> Step:
        """Make the training step; ``n_rows`` is 0 in a continuation."""
        all_targets = self.target_tasks is None and not self.auxiliary_names_
        return TrainingStep(
            self.task_weighting_,
            self._elementwise_loss(),
            self.n_tasks_ + len(self.auxiliary_names_),
            # Of their own, so that all weightings see the same batches and masks.
            generator=torch_stream(seed, "weighting"),
            draws=torch_stream(seed, "auxiliary tasks"),
            targets=None if all_targets else targets.tolist(),
        )

    def _keep(self, result, *, resume: bool, partial: bool) -> None:
        """Store what outlives a training; only partial_fit needs the optimizer."""
        earlier = self.history_ if resume else []
        for k, record in enumerate(result.history):
            record["epoch"] = len(earlier) + k + 1
        self.history_ = earlier + result.history
        self._warn_of_absent_tasks(result.history)
        self.best_epoch_ = len(earlier) + result.best_epoch
        last = self.history_[-1]["task_weights"] if self.history_ else {}
        names = self.task_names_ + self.auxiliary_names_
        weights = np.array([last.get(name, 1.0) for name in names])
        # Gradient methods may give negative weights: keep their signs.
        self.task_weights_ = weights / (abs(weights.mean()) or 1.0)
        self.__dict__.pop("_optimizer_state", None)
        if partial:
            self._optimizer_state = result.optimizer_state

    def _warn_of_absent_tasks(self, history: list[dict]) -> None:
        """Tell of auxiliary tasks that no batch had anything for."""
        absent = [
            name
            for name in self.auxiliary_names_
            if all(record["absent_shares"][name] == 1.0 for record in history)
        ]
        if absent and history:
            warn(
                f"Auxiliary task {', '.join(absent)} was in no batch: the graphs have "
                "nothing for it, such as a context beyond its radius. Leave it out, or "
                "change its parameters.",
            )

    def _warn_of_frozen_encoder(self) -> None:
        if self.auxiliary_names_ and not self.module_.shared_parameters():
            warn(
                "All parameters that tasks share are frozen: auxiliary tasks cannot "
                "change the predictions. Set freeze=False or a number of layers in "
                "Pretrained, or leave them out.",
            )

    def _needs_validation(self) -> bool:
        return (
            self.early_stopping
            or self._options(partial=False).watches_plateau
            or hasattr(self.validation, "split")
        )

    def _options(self, *, partial: bool) -> TrainingOptions:
        return TrainingOptions(
            optimizer=self.optimizer,
            lr=float(self.lr),
            weight_decay=float(self.weight_decay),
            # A schedule runs over a whole fit; partial_fit does not know its end.
            lr_schedule="constant" if partial else self.lr_schedule,
            gradient_clip=self.gradient_clip,
            batch_size=self.batch_size,
            max_epochs=1 if partial else self.max_epochs,
            early_stopping=self.early_stopping and not partial,
            n_iter_no_change=self.n_iter_no_change,
            callbacks=self.callbacks,
            verbose=int(self.verbose),
        )

    def _watched_tasks(self) -> np.ndarray:
        """Positions of the target tasks, or of the auxiliary ones if y has none."""
        if self.target_tasks is None:
            return np.arange(self.n_tasks_ or len(self.auxiliary_tasks))
        return np.unique(
            task_positions(self.target_tasks, self.task_names_, "target_tasks")
        )


def _chosen(graphs: GraphArray, rows: np.ndarray) -> GraphArray:
    """Take rows, in order; all of them without a copy, which memory may not hold."""
    return graphs if len(rows) == len(graphs) else graphs[rows]


def _enumerate(rows: np.ndarray, most: int = 10) -> str:
    shown = ", ".join(map(str, rows[:most]))
    return shown + (", ..." if rows.size > most else "")
