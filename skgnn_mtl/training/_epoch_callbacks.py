"""What the training loop does after each epoch: scores, progress, observers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from skorch import NeuralNet
from skorch.callbacks import Callback

from skgnn_mtl._progress import progress_bar

from ._records import EpochRecords


class Scorer(Callback):  # type: ignore[misc]
    """Scores the network after each epoch."""

    def __init__(self, score: Callable[[], float], epochs: EpochRecords) -> None:
        self.score, self.epochs = score, epochs

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
        self.epochs.records[-1]["valid_score"] = value
        net.history.record("valid_score", value)


class Progress(Callback):  # type: ignore[misc]
    """A progress bar over epochs."""

    def __init__(self, verbose: Any) -> None:
        self.verbose = verbose

    def on_train_begin(
        self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self._bar = progress_bar(
            self.verbose, total=net.max_epochs, desc="fit", unit="epoch"
        )

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        shown = {
            key: f"{net.history[-1, key]:.4g}"
            for key in ("train_loss", "valid_loss", "valid_score")
            if key in net.history[-1]
        }
        # Not shown here, because the bar knows when it appears.
        self._bar.set_postfix(shown, refresh=False)
        # Counted, because a training may go on behind an epoch of another process.
        self._bar.update(len(net.history) - self._bar.n)

    def on_train_end(
        self, net: NeuralNet, X: Any = None, y: Any = None, **kwargs: Any
    ) -> None:
        self._bar.close()


class Observed(Callback):  # type: ignore[misc]
    """Calls an observer before the training and after each epoch."""

    def __init__(self, observer: Callable[[int], None]) -> None:
        self.observer = observer

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        # A training that goes on has been observed at its start.
        if net.keeper is None or not net.keeper.goes_on:
            self.observer(0)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.observer(len(net.history))
