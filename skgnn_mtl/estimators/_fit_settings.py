"""What a fit is asked to do: parameters of the estimator, and data of the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import TrainingOptions

from ._curvature import SpectrumOptions
from ._inputs import Inputs
from ._recipe import Recipe
from ._state import FittedState
from ._targets import Targets


@dataclass(frozen=True)
class FitSettings:
    """What the parameters of an estimator say about a fit.

    Parameters
    ----------
    targets : Targets
        Meaning of y, with nothing learned yet.
    recipe : Recipe
        Network and step.
    options : TrainingOptions
        Options of the training.
    validation : float or cross-validation splitter
        Validation rows.
    device : torch.device
        A device that is there.
    n_threads : int or None
        Threads of torch.
    random_state : int, RandomState or None
        Source of the seed.
    scoring : str, callable or None, default="loss"
        Criterion of early stopping.
    spectrum : SpectrumOptions, optional
        Curvature to compute.
    on_epoch : callable, optional
        Called with the number of finished epochs and the state in training.
    """

    targets: Targets
    recipe: Recipe
    options: TrainingOptions
    validation: Any
    device: torch.device
    n_threads: int | None
    random_state: Any
    scoring: Any = "loss"
    spectrum: SpectrumOptions | None = None
    on_epoch: Callable[[int, FittedState], None] | None = None

    def for_one_epoch(self) -> FitSettings:
        """Give the settings of ``partial_fit``, whose last epoch is not known."""
        # "ema" alone, because "tail" must know the number of all steps.
        averages = self.options.weight_averaging == "ema"
        # A constant rate, because the other schedules need an end or validation rows.
        options = replace(
            self.options,
            lr_schedule="constant",
            max_epochs=1,
            early_stopping=False,
            weight_averaging="ema" if averages else None,
        )
        return replace(self, options=options, validation=None, spectrum=None)

    def for_rows(self, n_rows: int) -> FitSettings:
        """Give the settings of a training on so many rows."""
        return replace(self, options=self.options.for_rows(n_rows))

    @property
    def needs_validation(self) -> bool:
        """Whether some rows validate the training."""
        watches = self.options.early_stopping or self.options.watches_plateau
        # A user's splitter is always used, because its rows must never be trained on.
        return watches or hasattr(self.validation, "split")


@dataclass(frozen=True)
class FitData:
    """What the user passed to fit, and the graphs and columns that X was read as."""

    X: Any
    y: Any
    sample_weight: Any
    groups: Any
    graphs: GraphArray
    inputs: Inputs
