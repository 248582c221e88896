"""The training loop, by skorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from skgnn_mtl.graphs import BatchDataset, GraphLoader

from ._averaging import WeightAverage
from ._common_statistics import common_statistics
from ._distributed import ALONE, World, is_main
from ._epoch_callbacks import Observed, Progress, Scorer
from ._faults import broken, check_predictions, explained, require_finite_weights
from ._keeper import Keeper, load_training_state, training_state
from ._momentum import adapt_momentum
from ._optimizers import by_name, optimizer_arguments, sharpen
from ._options import TrainingOptions, TrainingResult
from ._protocol import Step, StepRecord
from ._records import EpochRecords
from ._schedule import SCHEDULES, checked

# Attributes of skorch's early stopping that change.
_OF_STOPPING = ("misses_", "dynamic_threshold_", "best_epoch_", "best_model_weights_")
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
    observer: Any = None,
    all_rows: Callable[[], BatchDataset] | None = None,
    keeper: Keeper | None = None,
    world: World = ALONE,
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
        Called with the number of finished epochs, at the start and after each. With a
        keeper it has a ``state_dict`` and a ``load_state_dict``.
    all_rows : callable, optional
        Makes the rows to train on after an early stop, if these are others.
    keeper : Keeper, optional
        Keeps the state of the training after each epoch. With a state from before the
        training goes on behind its last epoch, and ends bit for bit as if it had never
        stopped.
    world : World, optional
        Processes that train the same model, each on its part of each batch.

    Returns
    -------
    result : TrainingResult
        One record per epoch. ``interrupted`` is True if the user stopped the training;
        the model then holds the best state so far.

    Raises
    ------
    FloatingPointError
        If a loss, a gradient or a prediction becomes infinite or NaN.
    MemoryError
        If a step needs more memory than the device has.
    ValueError
        If no batch has anything to learn from, or if a score is not a finite number.
    """
    sharpen(step, options.optimizer)
    epochs = EpochRecords(task_names, watched)
    n_batches = len(GraphLoader(train_set, options.batch_size))
    watching = _watching(scorer is not None, options, n_batches)
    callbacks = _callbacks(epochs, scorer, watching, options)
    if observer is not None:
        callbacks.append(Observed(observer))
    average = None
    if options.weight_averaging is not None:
        n_steps = options.max_epochs * n_batches
        average = WeightAverage(model, options.weight_averaging, n_steps)
    net = _net(model, step, valid_set, callbacks, options, device, generator, world)
    net.average, net.watching, net.epochs = average, watching, epochs
    net.generator, net.observer, net.keeper = generator, observer, keeper
    # Here, because an earlier state needs an optimizer to be loaded into.
    try:
        net.initialize()
    except Exception as error:
        error.add_note(f"Raised for optimizer={options.optimizer!r} or by a callback.")
        raise
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
            average.restore(optimizer_state["average"], device)
    result = TrainingResult(history=epochs.records)
    # Not net.fit, which would initialise the network and the optimizer again.
    net.notify("on_train_begin", X=train_set, y=None)
    # After the callbacks have begun, because they begin with a state of their own.
    net.go_on()
    world.part_ways(len(epochs.records))
    try:
        with explained(net, options), common_statistics(model, world):
            _watched(net, train_set, options, ends=all_rows is not None)
            if all_rows is not None:
                _end(net, all_rows(), options)
        # Before the best epoch is restored, because this is what goes on.
        net.keep(final=True)
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
    result.best_epoch = _best_epoch(net, len(epochs.records))
    result.optimizer_state = {
        "kind": kind,
        "state": net.optimizer_.state_dict()["state"],
        "step": step.state(),
        "average": None if average is None else average.state(),
    }
    # Before the check, because the warnings may explain its error.
    step.end_fit()
    check_predictions(model, train_set, device, options.advice)
    return result


def _watched(
    net: _Net, train_set: BatchDataset, options: TrainingOptions, ends: bool
) -> None:
    """Train until an early stop, or until the epochs are over that are not the end."""
    if net.stopped or net.fall is not None:
        return
    n_epochs = options.n_watched if ends else int(options.max_epochs)
    with suppress(_StoppedEarly):
        net.fit_loop(train_set, epochs=n_epochs - len(net.epochs.records))


def _end(net: _Net, all_rows: BatchDataset, options: TrainingOptions) -> None:
    """Train on the validation rows, too, while the rates fall to zero."""
    records = net.epochs.records
    # Known before, if this training goes on behind an epoch of its end.
    n_watched = len(records) if net.fall is None else int(net.n_watched or 0)
    n_epochs = options.n_at_end(n_watched)
    if not n_epochs:
        return
    if net.fall is None:
        n_steps = n_epochs * len(GraphLoader(all_rows, options.batch_size))
        rates = [group["lr"] for group in net.optimizer_.param_groups]
        net.n_watched = n_watched
        net.begin_fall(rates, n_steps)
        if net.average is not None:
            net.average.restart(n_steps)
    # Nothing chooses an epoch any more, because these rows are no longer unseen.
    passive = [entry for entry in net.callbacks_ if entry[1] not in net.watching]
    # First, as the schedule was before the callbacks of the user.
    net.callbacks_ = [("fall", net.fall), *passive]
    try:
        net.fit_loop(all_rows, epochs=n_watched + n_epochs - len(records))
    finally:
        # For callbacks only, because these are losses of rows that are trained on.
        for record in records[n_watched:]:
            for key in ("valid_loss", "valid_losses", "valid_score"):
                record.pop(key, None)


class _Net(NeuralNet):  # type: ignore[misc]
    """skorch's loop around a step: losses per task in, gradients out."""

    def __init__(
        self, module: nn.Module, *args: Any, step: Step, world: World, **kwargs: Any
    ) -> None:
        self.step, self.world = step, world
        self.average: WeightAverage | None = None
        # Schedule and early stopping, which may watch the validation rows.
        self.watching: list[Callback] = []
        self.stopped = False
        # The end with all rows, and the epochs before it, once it has begun.
        self.fall: _Fall | None = None
        self.n_watched: int | None = None
        self.keeper: Keeper | None = None
        self.n_kept = 0
        # The step computes the losses, but skorch requires a criterion.
        super().__init__(module, *args, criterion=nn.Identity, **kwargs)

    @property
    def _default_callbacks(self) -> list[Any]:
        return []

    def notify(self, method_name: str, **kwargs: Any) -> None:
        super().notify(method_name, **kwargs)
        if method_name != "on_epoch_end":
            return
        # Here, because all callbacks see the last epoch.
        self.keep(final=False)
        if self.stopped and self.fall is None:
            raise _StoppedEarly

    def go_on(self) -> None:
        """Load the state of an earlier process, if the keeper has one."""
        if self.keeper is not None:
            self.keeper.restore(partial(load_training_state, self))
            self.n_kept = len(self.epochs.records)

    def begin_fall(self, rates: list[float], n_steps: int, k: int = 0) -> None:
        """Begin the end with all rows, or go on behind its step k."""
        self.fall = _Fall(rates, n_steps, k)

    def keep(self, final: bool) -> None:
        """Offer the state to the keeper, unless it has that of this epoch."""
        n_epochs = len(self.epochs.records)
        if self.keeper is None or n_epochs == self.n_kept:
            return
        if self.keeper.keep(partial(training_state, self), final):
            self.n_kept = n_epochs

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
        # Here, because the optimizer's step has called this function and reads it next.
        if self.step.momentum is not None:
            adapt_momentum(self.optimizer_, self.module_, self.step.momentum)
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
    """Writes one record per epoch; stops a training whose loss became infinite."""

    def __init__(self, epochs: EpochRecords, advice: str) -> None:
        self.epochs, self.advice = epochs, advice

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        # The last group holds the heads, so the encoder's own rate does not count.
        self.epochs.begin(net.optimizer_.param_groups[-1]["lr"])

    def on_batch_end(
        self,
        net: NeuralNet,
        batch: Any = None,
        training: bool = False,
        record: Any = None,
        **kwargs: Any,
    ) -> None:
        self.epochs.add(record, training)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        record, tasks = self.epochs.end(net.step.end_epoch)
        for key in ("train_loss", "valid_loss"):
            if key in record:
                # Callbacks of skorch read its own history, also those of a user.
                net.history.record(key, record[key])
        epoch = len(net.history)
        if tasks:
            advice = f"{self.advice}, and check the labels and features of these rows"
            raise FloatingPointError(broken("The training loss", tasks, epoch, advice))
        # Before the state is kept, because it must be one that can go on.
        require_finite_weights(net.module_, epoch, self.advice)
        net.world.require_same_network(net.module_)


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
            net.stopped = True

    def state_dict(self) -> dict[str, Any]:
        """Return what skorch keeps between two epochs."""
        return {name: getattr(self, name) for name in _OF_STOPPING}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        for name in _OF_STOPPING:
            setattr(self, name, state[name])


class _Schedule(LRScheduler):  # type: ignore[misc]
    """A schedule that goes on where another process left it."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state of torch's scheduler."""
        state: dict[str, Any] = self.lr_scheduler_.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        self.lr_scheduler_.load_state_dict(state)


class _Fall(Callback):  # type: ignore[misc]
    """Lets the rates fall to zero in equal steps."""

    def __init__(self, rates: list[float], n_steps: int, k: int = 0) -> None:
        self.rates, self.n_steps, self.k = rates, n_steps, k

    def state_dict(self) -> dict[str, Any]:
        """Return the arguments that make it again."""
        return {"rates": self.rates, "n_steps": self.n_steps, "k": self.k}

    def on_batch_end(
        self, net: NeuralNet, training: bool = False, **kwargs: Any
    ) -> None:
        if not training:
            return
        self.k += 1
        for group, rate in zip(net.optimizer_.param_groups, self.rates, strict=True):
            group["lr"] = rate * (1.0 - self.k / self.n_steps)


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
    world: World,
) -> _Net:
    return _Net(
        model,
        step=step,
        world=world,
        **optimizer_arguments(model, options, device),
        max_epochs=options.max_epochs,
        batch_size=options.batch_size,
        iterator_train=GraphLoader,
        iterator_train__shuffle=True,
        iterator_train__generator=generator,
        iterator_train__part=(world.rank, world.size),
        iterator_valid=GraphLoader,
        iterator_valid__part=(world.rank, world.size),
        train_split=None if valid_set is None else predefined_split(valid_set),
        callbacks=callbacks,
        device=device,
        verbose=0,
    )


def _callbacks(
    epochs: EpochRecords,
    scorer: Callable[[], float] | None,
    watching: list[Callback],
    options: TrainingOptions,
) -> list[Any]:
    # The recorder is first, because the others read its entries.
    callbacks: list[Any] = [_Recorder(epochs, options.advice)]
    if scorer is not None:
        callbacks.append(Scorer(scorer, epochs))
    if options.gradient_clip is not None:
        callbacks.append(GradientNormClipping(options.gradient_clip))
    # After the scorer, whose entries they read.
    callbacks += watching
    if options.verbose and is_main():
        callbacks.append(Progress(options.verbose))
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


def _scheduler(options: TrainingOptions, n_batches: int, watched: str) -> _Schedule:
    if options.watches_plateau:
        return _Schedule(
            ReduceLROnPlateau,
            monitor=watched,
            # Absolute, because a share of a zero or negative score has no meaning.
            **({} if watched == "valid_loss" else _LARGER_IS_BETTER),
            factor=0.5,
            # Half of that of early stopping, so that a lower rate is tried before it.
            patience=max(1, options.n_iter_no_change // 2),
        )
    schedule = checked(by_name(SCHEDULES, options.lr_schedule))
    n_steps = max(1, options.max_epochs * n_batches)
    return _Schedule(
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
