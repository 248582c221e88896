"""Options and result of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

# Rows up to which "auto" makes the most passes, and the fewest and most passes.
_MOST_PASSES_UP_TO = 4000
_FEWEST_PASSES, _MOST_PASSES = 10, 100
# Length of the end with all rows, as a share of the epochs before it.
_END_SHARE = 1.0


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
    batch_size : int
        Graphs per step.
    max_epochs : int or "auto"
        Passes over the rows; "auto" until :meth:`for_rows`.
    early_stopping : bool
        Whether to stop after ``n_iter_no_change`` epochs without an improvement, and
        to end with all rows or to restore the best weights.
    n_iter_no_change : int
        Epochs.
    callbacks : sequence or None
        Callbacks of skorch.
    verbose : "auto", bool or int
        Whether to show a progress bar.
    weight_averaging : str or None, default=None
        One of ``AVERAGES``, or no average.
    keeps_validation : bool, default=False
        Whether rows that validate are never trained on, also after an early stop.
    """

    optimizer: Any
    lr: float
    weight_decay: float
    lr_schedule: Any
    gradient_clip: float | None
    batch_size: int
    max_epochs: Any
    early_stopping: bool
    n_iter_no_change: int
    callbacks: Sequence[Any] | None
    verbose: Any
    weight_averaging: str | None = None
    keeps_validation: bool = False

    def n_epochs(self, n_rows: int) -> int | None:
        """Give the most passes over some of so many rows; None if it depends."""
        # Few rows have as many passes as any part of them.
        known = self.max_epochs != "auto" or n_rows <= _MOST_PASSES_UP_TO
        return int(self.for_rows(n_rows).max_epochs) if known else None

    def for_rows(self, n_rows: int) -> Self:
        """Give the options of a training on so many rows, whose epochs are a number.

        "auto" is 100 passes over up to 4,000 rows. Beyond, the passes fall with the
        square root of the rows, down to 10, so that the steps rise with it.
        """
        if self.max_epochs != "auto":
            return self
        passes = round(_MOST_PASSES * math.sqrt(_MOST_PASSES_UP_TO / max(n_rows, 1)))
        return replace(self, max_epochs=min(max(passes, _FEWEST_PASSES), _MOST_PASSES))

    def n_steps(self, n_rows: int) -> int:
        """Count the steps of a training on so many rows."""
        # Batches are rounded up, because a last one that is not full is a step, too.
        return int(self.max_epochs) * math.ceil(n_rows / self.batch_size)

    @property
    def ends_with_all_rows(self) -> bool:
        """Whether the validation rows are trained on after an early stop."""
        return self.early_stopping and not self.keeps_validation

    @property
    def n_watched(self) -> int:
        """Most epochs before an end with all rows, for which the others are left."""
        return math.ceil(int(self.max_epochs) / (1 + _END_SHARE))

    def n_at_end(self, n_watched: int) -> int:
        """Count the epochs with all rows, after so many others."""
        wanted = max(1, round(_END_SHARE * n_watched))
        return min(wanted, int(self.max_epochs) - n_watched)

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
