"""The training loop: the only file that uses skorch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from skgnn_mtl.graphs import BatchDataset, GraphLoader

from ._averaging import WeightAverage
from ._optimizers import by_name, optimizer_arguments
from ._options import TrainingOptions, TrainingResult
from ._protocol import Step, StepRecord
from ._schedule import SCHEDULES

_LARGER_IS_BETTER = {"mode": "max", "threshold_mode": "abs"}


def train(
    model: nn.Module,
    step: Step,
    train_set: BatchDataset,
    valid_set: BatchDataset | None,
    *,
    task_names: Sequence[str],
    watched: np.ndarray,
    options: TrainingOptions,
    device: torch.device,
    generator: torch.Generator,
    optimizer_state: dict[str, Any] | None = None,
    scorer: Callable[[], float] | None = None,
    observer: Callable[[int], None] | None = None,
    all_rows: Callable[[], BatchDataset] | None = None,
) -> TrainingResult:
    """Train a model in place.

    Parameters
    ----------
    model : torch.nn.Module
        Maps a batch to standardised predictions (n_graphs, n_tasks).
    step : Step
        Losses and their weighting.
    train_set, valid_set : BatchDataset
        Rows to train on and, if given, rows to validate on.
    task_names : sequence of str
        Keys of the records; names of auxiliary tasks come last.
    watched : ndarray of int
        Tasks whose mean validation loss early stopping and "plateau" watch, unless
        there is a scorer.
    options : TrainingOptions
        Options of the training.
    device : torch.device
        Device of the model.
    generator : torch.Generator
        Source of the batch orders.
    optimizer_state : dict, optional
        State of the optimizers of an earlier training that this one continues.
    scorer : callable, optional
        Called after each epoch. Early stopping and "plateau" watch its result instead
        of the validation loss. Larger is better.
    observer : callable, optional
        Called with the number of finished epochs, at the start and after each.
    all_rows : callable, optional
        Makes the rows to train on after an early stop, if these are others.

    Returns
    -------
    result : TrainingResult
        One record per epoch. ``interrupted`` is True if the user stopped the training;
        the model then holds the best state so far.

    Raises
    ------
    FloatingPointError
        If the loss or the predictions become infinite or NaN.
    ValueError
        If no batch has anything to learn from, or if a score is not a finite number.
    """
    recorder = _Recorder(list(task_names), watched)
    n_batches = len(GraphLoader(train_set, options.batch_size))
    watching = _watching(scorer is not None, options, n_batches)
    callbacks = _callbacks(recorder, scorer, watching, options)
    if observer is not None:
        callbacks.append(_Observed(observer))
    average = None
    if options.weight_averaging is not None:
        n_steps = options.max_epochs * n_batches
        average = WeightAverage(model, options.weight_averaging, n_steps)
    net = _net(model, step, valid_set, callbacks, options, device, generator)
    net.average, net.watching = average, watching
    # Here, because an earlier state needs an optimizer to be loaded into.
    net.initialize()
    kind = type(net.optimizer_).__name__
    if optimizer_state is not None and optimizer_state["kind"] == kind:
        # Only the moments continue, because rate and decay are those of the options.
        groups = net.optimizer_.state_dict()["param_groups"]
        net.optimizer_.load_state_dict(
            {"state": optimizer_state["state"], "param_groups": groups}
        )
    if optimizer_state is not None:
        # For any optimizer, because the weighting has a state of its own.
        step.restore(optimizer_state["step"])
        if average is not None and optimizer_state["average"] is not None:
            average.restore(optimizer_state["average"])
    result = TrainingResult(history=recorder.records)
    n_watched = options.max_epochs if all_rows is None else options.n_watched
    # Not net.fit, which would initialise the network and the optimizer again.
    net.notify("on_train_begin", X=train_set, y=None)
    try:
        with suppress(_StoppedEarly):
            net.fit_loop(train_set, epochs=n_watched)
        if all_rows is not None:
            _end(net, all_rows(), options, recorder)
    except KeyboardInterrupt:
        # A user's EarlyStopping raises the same exception as Ctrl-C.
        result.interrupted = not _users_early_stopping(net)
    if average is not None:
        # Before the best epoch is restored, which has its own average.
        average.enter(model)
    try:
        net.notify("on_train_end", X=train_set, y=None)
    except KeyboardInterrupt:  # from a callback, when the training is complete
        result.interrupted = True
    result.best_epoch = _best_epoch(net, len(recorder.records))
    result.optimizer_state = {
        "kind": kind,
        "state": net.optimizer_.state_dict()["state"],
        "step": step.state(),
        "average": None if average is None else average.state(),
    }
    # Before the check, because the warnings may explain its error.
    step.end_fit()
    _check_finite(model, train_set, device, options.advice)
    return result


def _end(
    net: _Net, all_rows: BatchDataset, options: TrainingOptions, recorder: _Recorder
) -> None:
    """Train on the validation rows, too, while the rates fall to zero."""
    n_watched = len(recorder.records)
    n_epochs = options.n_at_end(n_watched)
    if not n_epochs:
        return
    n_steps = n_epochs * len(GraphLoader(all_rows, options.batch_size))
    # Nothing chooses an epoch any more, because these rows are no longer unseen.
    passive = [entry for entry in net.callbacks_ if entry[1] not in net.watching]
    # First, as the schedule was before the callbacks of the user.
    net.callbacks_ = [("fall", _Fall(net.optimizer_, n_steps)), *passive]
    if net.average is not None:
        net.average.restart(n_steps)
    try:
        net.fit_loop(all_rows, epochs=n_epochs)
    finally:
        # For callbacks only, because these are losses of rows that are trained on.
        for record in recorder.records[n_watched:]:
            for key in ("valid_loss", "valid_losses", "valid_score"):
                record.pop(key, None)


class _Net(NeuralNet):  # type: ignore[misc]
    """skorch's loop around a step: losses per task in, gradients out."""

    def __init__(
        self, module: nn.Module, *args: Any, step: Step, **kwargs: Any
    ) -> None:
        self.step = step
        self.average: WeightAverage | None = None
        # Schedule and early stopping, which may watch the validation rows.
        self.watching: list[Callback] = []
        self.stops = False
        # The step computes the losses, but skorch requires a criterion.
        super().__init__(module, *args, criterion=nn.Identity, **kwargs)

    @property
    def _default_callbacks(self) -> list[Any]:
        return []

    def notify(self, method_name: str, **kwargs: Any) -> None:
        super().notify(method_name, **kwargs)
        # Here, because all callbacks see the last epoch.
        if self.stops and method_name == "on_epoch_end":
            self.stops = False
            raise _StoppedEarly

    def on_batch_begin(
        self, net: NeuralNet, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Add nothing to skorch's history, whose rows per batch would need memory."""

    def run_single_epoch(
        self,
        iterator: Iterable[Any] | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Any]],
        **fit_params: Any,
    ) -> None:
        """Run the batches; skorch's own loop waits for the device in each of them."""
        average = self.average if training else None
        if average is not None:
            average.leave(self.module_)
        for batch in iterator or ():
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            if average is not None:
                average.update(self.module_)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        if average is not None:
            average.enter(self.module_)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        graphs, labels = batch
        record = self.step.backward(self.module_, graphs.to(self.device), labels)
        # For callbacks only, because the gradients are set at this point.
        loss = (record.weights * record.losses).sum()
        return {"loss": loss, "y_pred": None, "record": record}

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        step: dict[str, Any] = super().train_step(batch, **fit_params)
        # The optimizer has made its step at this point.
        if self.step.follows_up:
            graphs, labels = batch
            graphs = graphs.to(self.device)
            self.step.after_step(self.module_, graphs, labels, step["record"])
        return step

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(False)
        graphs, labels = batch
        with torch.no_grad():
            losses, mass = self.step.losses(
                self.module_, graphs.to(self.device), labels
            )
        # Validation losses are not weighed.
        weights = torch.zeros_like(losses)
        record = StepRecord(losses, mass, weights, labels.present)
        return {"loss": losses.sum(), "y_pred": None, "record": record}


class _Recorder(Callback):  # type: ignore[misc]
    """Writes one record per epoch, with the losses and weights of every task."""

    def __init__(self, task_names: list[str], watched: np.ndarray) -> None:
        self.task_names, self.watched = task_names, watched
        self.records: list[dict[str, Any]] = []

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self._started = time.perf_counter()
        # The last group holds the heads, so the encoder's own rate does not count.
        self._lr = net.optimizer_.param_groups[-1]["lr"]
        self._sums: dict[bool, list[StepRecord]] = {True: [], False: []}

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Any = None,
        training: bool = False,
        record: Any = None,
        **kwargs: Any,
    ) -> None:
        # Tensors, because numbers would make the loop wait for the device.
        self._sums[training].append(record)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        record: dict[str, Any] = {
            "epoch": len(self.records) + 1,
            "lr": self._lr,
        }
        for prefix, training in (("train", True), ("valid", False)):
            if not self._sums[training]:
                continue
            values, labelled = _means(self._sums[training])
            if not training:
                # Early stopping compares the watched tasks only.
                labelled &= np.isin(np.arange(len(values)), self.watched)
            if not labelled.any():
                raise ValueError(
                    f"No batch of the {prefix} rows had anything to learn from: "
                    f"{self.task_names[: len(values)]} lack labels, or need larger "
                    "batches or other graphs."
                )
            record[f"{prefix}_loss"] = float(values[labelled].mean())
            record[f"{prefix}_losses"] = self._by_task(values)
            # Callbacks of skorch read its own history, also those of a user.
            net.history.record(f"{prefix}_loss", record[f"{prefix}_loss"])
            if training:
                record |= self._weights(self._sums[True])
                summary = net.step.end_epoch(values)
                record |= {key: self._named(v) for key, v in summary.items()}
        record["seconds"] = time.perf_counter() - self._started
        self._sums = {True: [], False: []}
        self.records.append(record)

    def _weights(self, steps: list[StepRecord]) -> dict[str, Any]:
        """Compute mean and spread of each task's weight over its labelled batches."""
        weights = torch.stack([step.weights for step in steps]).double().cpu().numpy()
        present = torch.stack([step.present for step in steps]).numpy()
        # At least 1, so that a task without labels has the mean 0.
        counts = np.maximum(present.sum(axis=0), 1)
        mean = (weights * present).sum(axis=0) / counts
        variance = ((weights - mean) ** 2 * present).sum(axis=0) / counts
        return {
            "task_weights": self._by_task(mean),
            "task_weights_std": self._by_task(np.sqrt(variance)),
            "absent_share": float(1.0 - present.mean()),
            "absent_shares": self._by_task(1.0 - present.mean(axis=0)),
        }

    def _named(self, value: Any) -> Any:
        """Replace positions of tasks among the keys of a dict by their names."""
        if not isinstance(value, dict):
            return value
        return {
            self.task_names[key] if isinstance(key, int) else key: entry
            for key, entry in value.items()
        }

    def _by_task(self, values: np.ndarray) -> dict[str, float]:
        # Cut, because validation has no auxiliary tasks, whose names come last.
        names = self.task_names[: len(values)]
        return dict(zip(names, values.tolist(), strict=True))


def _means(steps: list[StepRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Average each task's loss over batches by labels; tell which tasks have any."""
    losses = torch.stack([step.losses for step in steps]).double()
    mass = torch.stack([step.mass for step in steps]).double()
    total = mass.sum(dim=0)
    # 0 / 0 marks a task without labels by NaN.
    mean = (losses * mass).sum(dim=0) / total
    return mean.cpu().numpy(), (total > 0).cpu().numpy()


class _Scorer(Callback):  # type: ignore[misc]
    """Scores the network after each epoch."""

    def __init__(self, score: Callable[[], float], recorder: _Recorder) -> None:
        self.score, self.recorder = score, recorder

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            if len(net.history) > 1:  # because later epochs repeat the warnings
                warnings.simplefilter("ignore")
            try:
                value = float(self.score())
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"The validation rows cannot be scored: {error} Choose others with "
                    "validation=, or pass scoring='loss', None (the estimator's own "
                    "score) or a scorer of skgnn_mtl.metrics; these accept missing "
                    "labels. A callable takes (estimator, X, y), with sample_weight "
                    "where fit has it, and returns a number."
                ) from error
        if not np.isfinite(value):
            raise ValueError(
                f"scoring gave {value} for the validation rows in epoch "
                f"{len(net.history)}, which cannot be compared with other epochs."
            )
        self.recorder.records[-1]["valid_score"] = value
        net.history.record("valid_score", value)


class _Progress(Callback):  # type: ignore[misc]
    """A progress bar over epochs."""

    def on_train_begin(
        self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self._bar = tqdm(total=net.max_epochs, desc="fit", unit="epoch")

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        shown = {
            key: f"{net.history[-1, key]:.4g}"
            for key in ("train_loss", "valid_loss", "valid_score")
            if key in net.history[-1]
        }
        self._bar.set_postfix(shown)
        self._bar.update()

    def on_train_end(
        self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self._bar.close()


class _Observed(Callback):  # type: ignore[misc]
    """Calls an observer before the training and after each epoch."""

    def __init__(self, observer: Callable[[int], None]) -> None:
        self.observer = observer

    def on_train_begin(
        self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self.observer(0)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.observer(len(net.history))


class _StoppedEarly(Exception):
    """The training stopped by itself."""


class _PatientStopping(EarlyStopping):  # type: ignore[misc]
    """Early stopping with an exception of its own, unlike Ctrl-C."""

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        try:
            super().on_epoch_end(net, **kwargs)
        except KeyboardInterrupt:
            # skorch raises KeyboardInterrupt itself; with fewer misses it is the user.
            if self.misses_ < self.patience:
                raise
            net.stops = True


class _Fall(Callback):  # type: ignore[misc]
    """Lets the rates fall to zero in equal steps."""

    def __init__(self, optimizer: torch.optim.Optimizer, n_steps: int) -> None:
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.n_steps, self.k = n_steps, 0

    def on_batch_end(
        self, net: NeuralNet, training: bool = False, **kwargs: Any
    ) -> None:
        if not training:
            return
        self.k += 1
        for group, rate in zip(net.optimizer_.param_groups, self.rates, strict=True):
            group["lr"] = rate * (1.0 - self.k / self.n_steps)


class _FiniteLoss(Callback):  # type: ignore[misc]
    """Stops a training whose loss became NaN or infinite."""

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if not np.isfinite(net.history[-1, "train_loss"]):
            raise FloatingPointError(
                f"The training loss became {net.history[-1, 'train_loss']} in epoch "
                f"{len(net.history)}. {self.advice}. Check the scale of the "
                "continuous features, too."
            )


def _check_finite(
    model: Any, data: BatchDataset, device: torch.device, advice: str
) -> None:
    """Raise FloatingPointError if the step after the last loss broke the model."""
    # A few rows, because weights that are not finite break all predictions.
    graphs, _ = data.__getitems__(np.arange(min(len(data), 16)))
    with torch.inference_mode():
        graphs = graphs.to(device)
        outputs = model.eval()(graphs)
        if not outputs.shape[1]:  # because self-supervised models have no heads
            outputs = model.embed(graphs)
    if not bool(torch.isfinite(outputs).all()):
        raise FloatingPointError(
            f"The predictions became infinite in the last step of an epoch. {advice}."
        )


def check_callbacks(callbacks: Sequence[Any] | None) -> None:
    """Check that skorch can call every callback.

    Parameters
    ----------
    callbacks : sequence or None
        Callbacks of skorch, classes of these, or pairs of a name and one of these.

    Raises
    ------
    TypeError
        If an entry is not a callback; the message names it.
    """
    for k, entry in enumerate(callbacks or ()):
        named = isinstance(entry, (tuple, list)) and len(entry) == 2
        part = entry[1] if named and isinstance(entry[0], str) else entry
        cls = part if isinstance(part, type) else type(part)
        if part is not None and not issubclass(cls, Callback):
            raise TypeError(
                "callbacks must hold callbacks of skorch, or pairs of a name and a "
                f"callback, but entry {k} is {entry!r}. Derive its class from "
                "skorch.callbacks.Callback."
            )


def _net(
    model: nn.Module,
    step: Step,
    valid_set: BatchDataset | None,
    callbacks: list[Any],
    options: TrainingOptions,
    device: torch.device,
    generator: torch.Generator,
) -> _Net:
    return _Net(
        model,
        step=step,
        **optimizer_arguments(model, options, device),
        max_epochs=options.max_epochs,
        batch_size=options.batch_size,
        iterator_train=GraphLoader,
        iterator_train__shuffle=True,
        iterator_train__generator=generator,
        iterator_valid=GraphLoader,
        train_split=None if valid_set is None else predefined_split(valid_set),
        callbacks=callbacks,
        device=device,
        verbose=0,
    )


def _callbacks(
    recorder: _Recorder,
    scorer: Callable[[], float] | None,
    watching: list[Callback],
    options: TrainingOptions,
) -> list[Any]:
    # The recorder is first, because the others read its entries.
    callbacks: list[Any] = [recorder, _FiniteLoss(options.advice)]
    if scorer is not None:
        callbacks.append(_Scorer(scorer, recorder))
    if options.gradient_clip is not None:
        callbacks.append(GradientNormClipping(options.gradient_clip))
    # After the scorer, whose entries they read.
    callbacks += watching
    if options.verbose:
        callbacks.append(_Progress())
    return callbacks + list(options.callbacks or ())


def _watching(scored: bool, options: TrainingOptions, n_batches: int) -> list[Callback]:
    """Make the schedule of the learning rate, and early stopping."""
    watched = "valid_score" if scored else "valid_loss"
    callbacks: list[Callback] = [_scheduler(options, n_batches, watched)]
    if options.early_stopping:
        callbacks.append(
            _PatientStopping(
                watched,
                lower_is_better=not scored,
                patience=options.n_iter_no_change,
                threshold=0,
                load_best=True,
            )
        )
    return callbacks


def _scheduler(options: TrainingOptions, n_batches: int, watched: str) -> LRScheduler:
    if options.watches_plateau:
        return LRScheduler(
            ReduceLROnPlateau,
            monitor=watched,
            # Absolute, because a share of a zero or negative score has no meaning.
            **({} if watched == "valid_loss" else _LARGER_IS_BETTER),
            factor=0.5,
            # Half of that of early stopping, so that a lower rate is tried before it.
            patience=max(1, options.n_iter_no_change // 2),
        )
    schedule = by_name(SCHEDULES, options.lr_schedule)
    n_steps = max(1, options.max_epochs * n_batches)
    return LRScheduler(
        LambdaLR,
        lr_lambda=lambda k: schedule(min(k / n_steps, 1.0)),
        step_every="batch",
        event_name=None,
    )


def _early_stopping(net: _Net) -> list[EarlyStopping]:
    return [part for _, part in net.callbacks_ if isinstance(part, EarlyStopping)]


def _users_early_stopping(net: _Net) -> bool:
    return any(part.misses_ >= part.patience for part in _early_stopping(net))


def _best_epoch(net: _Net, n_epochs: int) -> int:
    best = [part.best_epoch_ for part in _early_stopping(net) if part.load_best]
    # The last, because a user's callback runs after early_stopping and loads its own.
    return best[-1] if best else n_epochs
