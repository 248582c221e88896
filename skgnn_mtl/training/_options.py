"""Options and result of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingOptions:
    """Options of a training; the estimators explain the parameters of these names.

    Parameters
    ----------
    optimizer : str or callable
        Name of an entry of ``OPTIMIZERS``, or a constructor of an optimizer.
    lr, weight_decay : float
        Learning rate per step, and decay of the parameters.
    lr_schedule : str or callable
        Maps the progress of the fit, in [0, 1], to a factor on ``lr``; "plateau"
        halves the rate where the validation stalls.
    gradient_clip : float or None
        Largest norm of the gradient of all parameters.
    batch_size, max_epochs : int
        Graphs per step, and passes over the rows.
    early_stopping : bool
        Whether to stop after ``n_iter_no_change`` epochs without an improvement.
    n_iter_no_change : int
        Epochs.
    callbacks : sequence or None
        Callbacks of skorch.
    verbose : int
        Whether to show a progress bar.
    weight_averaging : str or None, default=None
        One of ``AVERAGES``, or no average.
    """

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
    weight_averaging: str | None = None

    @property
    def watches_plateau(self) -> bool:
        """Whether the learning rate follows the validation loss or score."""
        # The type first, because a callable may not be comparable with a string.
        return isinstance(self.lr_schedule, str) and self.lr_schedule == "plateau"

    @property
    def advice(self) -> str:
        """Advice for a training that diverges."""
        if self.gradient_clip is None or self.gradient_clip > 1.0:
            return "Lower lr, or set gradient_clip=1.0"
        return "Lower lr or gradient_clip"


@dataclass
class TrainingResult:
    """Result of a training: records, and the state that a continuation needs.

    Parameters
    ----------
    history : list of dict, of length n_epochs
        One record per epoch; its losses and weights are dicts by task.
    best_epoch : int
        Epoch of the weights that the model has, counted from 1.
    optimizer_state : dict or None
        States of the optimizers, for :func:`train`.
    interrupted : bool
        Whether the user stopped the training.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    optimizer_state: dict[str, Any] | None = None
    interrupted: bool = False
