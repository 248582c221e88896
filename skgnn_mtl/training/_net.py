"""The training loop: the only file that knows skorch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from tqdm.auto import tqdm

from skgnn_mtl.graphs import GraphDataset, GraphLoader

from ._gate_addition import CachedDataset
from ._gate_step import AlignmentStep
from ._schedule import SCHEDULES
from ._step import StepRecord, TrainingStep

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
_LARGER_IS_BETTER = {"mode": "max", "threshold_mode": "abs"}


@dataclass
class TrainingOptions:
    """How to train; the estimators' parameters of the same names explain each."""

    optimizer: Any
    lr: float
    weight_decay: float
    lr_schedule: Any
    gradient_clip: float | None
    batch_size: int
    max_epochs: int
    early_stopping: bool
    n_iter_no_change: int
    callbacks: Sequence[Any] | None
    verbose: int


@dataclass
class TrainingResult:
    """What is left of a training: records, and what a continuation needs."""

    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    optimizer_state: dict | None = None
    interrupted: bool = False


def train(
    model: nn.Module,
    step: TrainingStep | AlignmentStep,
    train_set: GraphDataset | CachedDataset,
    valid_set: GraphDataset | CachedDataset | None,
    *,
    task_names: Sequence[str],
    watched: np.ndarray,
    options: TrainingOptions,
    device: torch.device,
    generator: torch.Generator,
    optimizer_state: dict | None = None,
    scorer: Callable[[], float] | None = None,
    observer: Callable[[int], None] | None = None,
) -> TrainingResult:
    """Train a model in place.

    Parameters
    ----------
    model : torch.nn.Module
        Maps a batch to standardised predictions (n_graphs, n_tasks).
    step : TrainingStep or AlignmentStep
        Losses and their weighting.
    train_set, valid_set : GraphDataset or CachedDataset
        What to train on and, if given, what to watch.
    task_names : sequence of str
        Keys of the records; names of auxiliary tasks come last.
    watched : ndarray of int
        Tasks whose mean validation loss early stopping and "plateau" watch, unless
        there is a scorer.
    options : TrainingOptions
        How to train.
    device : torch.device
        Where.
    generator : torch.Generator
        Source of the batch orders.
    optimizer_state : dict, optional
        State of the optimizers of an earlier training that this one continues.
    scorer : callable, optional
        Called after each epoch; gives what early stopping and "plateau" watch instead
        of the validation loss. Larger is better.
    observer : callable, optional
        Called with the number of finished epochs, at the start and after each.

    Returns
    -------
    result : TrainingResult
        One record an epoch; ``interrupted`` if the user stopped the training, in
        which case the model holds the best state so far.
    """
    recorder = _Recorder(list(task_names), watched)
    n_batches = len(GraphLoader(train_set, options.batch_size))
    callbacks = _callbacks(recorder, scorer, options, n_batches)
    if observer is not None:
        callbacks.append(_Observed(observer))
    net = _net(model, step, train_set, valid_set, callbacks, options, device, generator)
    net.initialize()
    kind = type(net.optimizer_).__name__
    if optimizer_state is not None and optimizer_state["kind"] == kind:
        # The moments go on; rate and decay are those of the options.
        groups = net.optimizer_.state_dict()["param_groups"]
        net.optimizer_.load_state_dict(
            {"state": optimizer_state["state"], "param_groups": groups}
        )
    if optimizer_state is not None:
        step.restore(optimizer_state["step"])
    result = TrainingResult(history=recorder.records)
    net.notify("on_train_begin", X=train_set, y=None)
    try:
        net.fit_loop(train_set, epochs=options.max_epochs)
    except KeyboardInterrupt:
        result.interrupted = not _stopped_early(net)
    net.notify("on_train_end", X=train_set, y=None)
    result.best_epoch = _best_epoch(net, len(recorder.records))
    result.optimizer_state = {
        "kind": kind,
        "state": net.optimizer_.state_dict()["state"],
        "step": step.state(),
    }
    step.end_fit()
    _check_finite(model, train_set, device)
    return result


class _Net(NeuralNet):
    """skorch's loop around our step: per-task losses in, gradients out."""

    def __init__(
        self, module, *args, step: TrainingStep | AlignmentStep, **kwargs
    ) -> None:
        self.step = step
        # The step computes the losses; skorch still wants a criterion to hold.
        super().__init__(module, *args, criterion=nn.Identity, **kwargs)

    @property
    def _default_callbacks(self):
        return []

    def train_step_single(self, batch, **fit_params):
        self._set_training(True)
        graphs, labels = batch
        record = self.step.backward(self.module_, graphs.to(self.device), labels)
        loss = (record.weights * record.losses).sum()
        return {"loss": loss, "y_pred": None, "record": record}

    def train_step(self, batch, **fit_params):
        step = super().train_step(batch, **fit_params)
        if isinstance(self.step, TrainingStep) and self.step.follows_up:
            graphs, labels = batch
            graphs = graphs.to(self.device)
            self.step.after_step(self.module_, graphs, labels, step["record"])
        return step

    def validation_step(self, batch, **fit_params):
        self._set_training(False)
        graphs, labels = batch
        with torch.no_grad():
            losses, mass = self.step.losses(
                self.module_, graphs.to(self.device), labels
            )
        present = (labels[1] > 0).any(dim=0)
        record = StepRecord(losses, mass, torch.zeros_like(losses), present)
        return {"loss": losses.sum(), "y_pred": None, "record": record}


class _Recorder(Callback):
    """Write one record an epoch, with the losses and weights of every task."""

    def __init__(self, task_names: list[str], watched: np.ndarray) -> None:
        self.task_names, self.watched = task_names, watched
        self.records: list[dict] = []

    def on_epoch_begin(self, net, **kwargs):
        self._started = time.perf_counter()
        # The last group holds the heads, whatever the encoder's own rate.
        self._lr = net.optimizer_.param_groups[-1]["lr"]
        self._sums: dict[bool, list[StepRecord]] = {True: [], False: []}

    def on_batch_end(self, net, batch=None, training=False, record=None, **kwargs):
        self._sums[training].append(record)

    def on_epoch_end(self, net, **kwargs):
        record: dict[str, Any] = {
            "epoch": len(self.records) + 1,
            "lr": self._lr,
        }
        for prefix, training in (("train", True), ("valid", False)):
            if not self._sums[training]:
                continue
            values, labelled = _means(self._sums[training])
            if not training:
                labelled &= np.isin(np.arange(len(values)), self.watched)
            if not labelled.any():
                raise ValueError(
                    f"No batch of the {prefix} rows had anything to learn from: "
                    f"{self.task_names[: len(values)]} lack labels, or need larger "
                    "batches or other graphs."
                )
            record[f"{prefix}_loss"] = float(values[labelled].mean())
            record[f"{prefix}_losses"] = self._by_task(values)
            net.history.record(f"{prefix}_loss", record[f"{prefix}_loss"])
            if training:
                record |= self._weights(self._sums[True])
                summary = net.step.end_epoch(values)
                record |= {key: self._named(v) for key, v in summary.items()}
        record["seconds"] = time.perf_counter() - self._started
        self._sums = {True: [], False: []}
        self.records.append(record)
        # skorch keeps a row a batch, which would outgrow the model.
        net.history[-1]["batches"].clear()

    def _weights(self, steps: list[StepRecord]) -> dict[str, Any]:
        """Mean and spread of each task's weight over the batches that have it."""
        weights = torch.stack([step.weights for step in steps]).double().cpu().numpy()
        present = torch.stack([step.present for step in steps]).numpy()
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
        """Name the entries of a dict by position."""
        if not isinstance(value, dict):
            return value
        return {
            self.task_names[key] if isinstance(key, int) else key: entry
            for key, entry in value.items()
        }

    def _by_task(self, values: np.ndarray) -> dict[str, float]:
        # Validation knows no auxiliary tasks, which stand behind the others.
        names = self.task_names[: len(values)]
        return dict(zip(names, values.tolist(), strict=True))


def _means(steps: list[StepRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss of each task over batches, weighted by labels, and who has any."""
    losses = torch.stack([step.losses for step in steps]).double()
    mass = torch.stack([step.mass for step in steps]).double()
    total = mass.sum(dim=0)
    mean = (losses * mass).sum(dim=0) / total
    return mean.cpu().numpy(), (total > 0).cpu().numpy()


class _Scorer(Callback):
    """Score the network after each epoch."""

    def __init__(self, score: Callable[[], float], recorder: _Recorder) -> None:
        self.score, self.recorder = score, recorder

    def on_epoch_end(self, net, **kwargs):
        with warnings.catch_warnings():
            if len(net.history) > 1:  # what it warns of once does not change
                warnings.simplefilter("ignore")
            try:
                value = float(self.score())
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"The validation rows cannot be scored: {error} Choose others with "
                    "validation=, or pass scoring='loss', None (the estimator's own "
                    "score) or a scorer of skgnn_mtl.metrics; these know missing "
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


class _Progress(Callback):
    """A progress bar over epochs."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self._bar = tqdm(total=net.max_epochs, desc="fit", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        shown = {
            key: f"{net.history[-1, key]:.4g}"
            for key in ("train_loss", "valid_loss", "valid_score")
            if key in net.history[-1]
        }
        self._bar.set_postfix(shown)
        self._bar.update()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self._bar.close()


class _Observed(Callback):
    """Show the network to somebody before the training and after each epoch."""

    def __init__(self, observer: Callable[[int], None]) -> None:
        self.observer = observer

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.observer(0)

    def on_epoch_end(self, net, **kwargs):
        self.observer(len(net.history))


class _FiniteLoss(Callback):
    """Stop a training whose loss is no number any more."""

    def on_epoch_end(self, net, **kwargs):
        if not np.isfinite(net.history[-1, "train_loss"]):
            raise FloatingPointError(
                f"The training loss became {net.history[-1, 'train_loss']} in epoch "
                f"{len(net.history)}. Lower lr, set gradient_clip=1.0, or check the "
                "scale of the continuous features."
            )


def _check_finite(
    model: Any, data: GraphDataset | CachedDataset, device: torch.device
) -> None:
    """Refuse a model that its last step, after the last loss, has broken."""
    graphs, _ = data.__getitems__(np.arange(min(len(data), 16)))
    with torch.inference_mode():
        graphs = graphs.to(device)
        outputs = model.eval()(graphs)
        if not outputs.shape[1]:  # self-supervised
            outputs = model.embed(graphs)
    if not bool(torch.isfinite(outputs).all()):
        raise FloatingPointError(
            "The predictions became infinite in the last step of an epoch. Lower lr or "
            "set gradient_clip=1.0."
        )


def _net(model, step, train_set, valid_set, callbacks, options, device, generator):
    return _Net(
        model,
        step=step,
        optimizer=OPTIMIZERS.get(options.optimizer, options.optimizer),
        optimizer__lr=options.lr,
        optimizer__weight_decay=options.weight_decay,
        **_encoder_group(model, options.lr),
        # One kernel for all tensors; the classes named by strings all have it.
        **(
            {"optimizer__fused": True}
            if options.optimizer in OPTIMIZERS and device.type in ("cpu", "cuda")
            else {}
        ),
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


def _encoder_group(model: nn.Module, lr: float) -> dict[str, Any]:
    """Give the encoder's parameters the learning rate that it asks for."""
    # A task that is added to frozen sources has no encoder to train.
    scale = getattr(getattr(model, "encoder", None), "lr_scale", 1.0)
    if scale == 1.0:
        return {}
    return {"optimizer__param_groups": [("encoder.*", {"lr": lr * scale})]}


def _callbacks(
    recorder: _Recorder,
    scorer: Callable[[], float] | None,
    options: TrainingOptions,
    n_batches: int,
) -> list:
    callbacks: list[Callback] = [recorder, _FiniteLoss()]
    watched = "valid_loss"
    if scorer is not None:
        callbacks.append(_Scorer(scorer, recorder))
        watched = "valid_score"
    if options.gradient_clip is not None:
        callbacks.append(GradientNormClipping(options.gradient_clip))
    callbacks.append(_scheduler(options, n_batches, watched))
    if options.early_stopping:
        callbacks.append(
            EarlyStopping(
                watched,
                lower_is_better=watched == "valid_loss",
                patience=options.n_iter_no_change,
                threshold=0,
                load_best=True,
            )
        )
    if options.verbose:
        callbacks.append(_Progress())
    return callbacks + list(options.callbacks or ())


def _scheduler(options: TrainingOptions, n_batches: int, watched: str) -> LRScheduler:
    if options.lr_schedule == "plateau":
        return LRScheduler(
            ReduceLROnPlateau,
            monitor=watched,
            # A score may be zero or negative: shares of it mean nothing.
            **({} if watched == "valid_loss" else _LARGER_IS_BETTER),
            factor=0.5,
            patience=max(1, options.n_iter_no_change // 2),
        )
    schedule = SCHEDULES.get(options.lr_schedule, options.lr_schedule)
    n_steps = max(1, options.max_epochs * n_batches)
    return LRScheduler(
        LambdaLR,
        lr_lambda=lambda k: schedule(min(k / n_steps, 1.0)),
        step_every="batch",
        event_name=None,
    )


def _early_stopping(net: _Net) -> list[EarlyStopping]:
    return [part for _, part in net.callbacks_ if isinstance(part, EarlyStopping)]


def _stopped_early(net: _Net) -> bool:
    # skorch's early stopping raises the KeyboardInterrupt that a user would.
    return any(part.misses_ >= part.patience for part in _early_stopping(net))


def _best_epoch(net: _Net, n_epochs: int) -> int:
    best = [part.best_epoch_ for part in _early_stopping(net) if part.load_best]
    return best[-1] if best else n_epochs
