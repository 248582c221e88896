"""Targets whose columns have losses of their own, or that are absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils._param_validation import InvalidParameterError

from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import LOSSES, Loss, logistic

from ._inputs import mean_and_scale, read_targets
from ._targets import Targets

_LOSSES: dict[str, Loss] = {**LOSSES, "logistic": logistic}
CHOICES = frozenset({"auto", *_LOSSES})


@dataclass(frozen=True, kw_only=True)
class MixedTargets(Targets):
    """Columns of numbers and of two values, for pretraining; there may be none.

    Parameters
    ----------
    target_loss : str, list of str or None
        The pretrainer's parameter; None does not read ``y``.
    losses : tuple of str
        Loss of each column.
    mean, spread : ndarray of shape (n_tasks,)
        What a label is reduced by, and then divided by.
    """

    LEARNED: ClassVar[tuple[str, ...]] = (
        *Targets.LEARNED,
        *("losses", "mean", "spread"),
    )

    target_loss: Any = "auto"
    losses: tuple[str, ...] = ()
    mean: np.ndarray = field(default_factory=lambda: np.empty(0))
    spread: np.ndarray = field(default_factory=lambda: np.empty(0))

    def reads(self, y: Any) -> bool:
        """Whether ``y`` is there and wanted."""
        return y is not None and self.target_loss is not None

    def begin(
        self, graphs: GraphArray, y: Any, usable: np.ndarray
    ) -> tuple[Self, np.ndarray]:
        """Read numbers and the names of their columns, or no column."""
        if not self.reads(y):
            return self, np.empty((len(graphs), 0))
        values, names = _read_numbers(graphs, y)
        targets = replace(self, names=tuple(names), one_dimensional=values.ndim == 1)
        return targets, values.reshape(len(values), -1)

    def read(self, graphs: GraphArray, y: Any) -> np.ndarray:
        """Read numbers of the same columns; a chunk without ``y`` has gaps only."""
        if not self.reads(y):
            # Gaps only, because heads of an earlier chunk stay while auxiliary tasks
            # train.
            return np.full((len(graphs), self.n_tasks), np.nan)
        values, names = _read_numbers(graphs, y)
        if not self.names:
            raise ValueError(
                "y has labels, but the first call had none and made no heads for "
                "them: start a GNNPretrainer(Pretrained(first.encoder_))."
            )
        self.check_same(names, values.ndim)
        return values.reshape(len(values), -1)

    def learn(
        self, table: np.ndarray, weights: np.ndarray, compared: Sequence[int] = ()
    ) -> Self:
        """Learn loss and scale of each column over its labelled, weighted rows."""
        mean, spread = mean_and_scale(table, weights, self.names)
        losses = self._chosen_losses()
        for t, name in enumerate(self.names):
            values = np.unique(table[weights[:, t] > 0, t])
            if losses[t] == "auto":
                losses[t] = "logistic" if len(values) == 2 else "squared_error"
            if losses[t] == "logistic":
                low, high = _two_values(values, name)
                # 0 and 1 then come from the same formula as standardised numbers.
                mean[t], spread[t] = low, high - low
        return replace(self, losses=tuple(losses), mean=mean, spread=spread)

    def _chosen_losses(self) -> list[str]:
        chosen = self.target_loss
        if not isinstance(chosen, (list, tuple)):
            return [chosen] * self.n_tasks
        if len(chosen) != self.n_tasks or not CHOICES.issuperset(chosen):
            raise InvalidParameterError(
                f"target_loss must be one of {sorted(CHOICES)}, or a list of these "
                f"with one entry for each of the tasks {list(self.names)}. Got "
                f"{chosen!r} instead."
            )
        return list(chosen)

    def encode(self, table: np.ndarray) -> np.ndarray:
        """Standardise numbers, and bring two values to 0 and 1."""
        encoded: np.ndarray = (table - self.mean) / self.spread
        return encoded

    def weigh(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Keep the weights, but refuse a third value of a logistic loss."""
        # Here and not in learn, because later chunks pass here alone.
        for t in np.flatnonzero(np.array(self.losses) == "logistic"):
            low = self.mean[t]
            known = (low, low + self.spread[t])
            other = table[(weights[:, t] > 0) & ~np.isin(table[:, t], known), t]
            if len(other):
                raise ValueError(
                    f"Task {self.names[t]!r} has the label {other[0]:g}, but its "
                    f"logistic loss takes {known[0]:g} and {known[1]:g} only. Set "
                    "target_loss='squared_error', or one loss per task."
                )
        return weights

    @property
    def elementwise_loss(self) -> Loss:
        """The losses of the columns, side by side."""
        return _by_column(self.losses)

    @property
    def loss_name(self) -> str:
        """Names of the losses that occur."""
        return ", ".join(sorted(set(self.losses)))

    @property
    def has_widths(self) -> bool:
        """No, because the labels may be classes."""
        return False

    @property
    def n_outputs(self) -> int:
        """One, which is a number or the logit of the second of two values."""
        return 1

    @property
    def scale(self) -> np.ndarray:
        """Standard deviations, or the distance of two values."""
        return self.spread


def _read_numbers(graphs: GraphArray, y: Any) -> tuple[np.ndarray, list[str]]:
    """Read y, which in a pipeline may be the text labels of a classifier."""
    try:
        return read_targets(graphs, y)
    except ValueError as error:
        # By its words, because all errors of the reader are of one class.
        if "must hold numbers" not in str(error):
            raise
        raise ValueError(
            f"{error} GNNPretrainer reads numbers as y: encode two classes as 0 and 1, "
            "or set target_loss=None to learn from the graphs alone."
        ) from error


def _two_values(values: np.ndarray, name: str) -> tuple[float, float]:
    """Find both labels of a column, of which a chunk may hold one."""
    # A first chunk may show one class; 0 and 1 are the usual names of both.
    if len(values) == 1 and values[0] in (0.0, 1.0):
        return 0.0, 1.0
    if len(values) != 2:
        shown = ", ".join(f"{value:g}" for value in values[:5])
        raise ValueError(
            f"The logistic loss needs two labels, but task {name!r} has {len(values)}: "
            f"{shown}{', ...' * (len(values) > 5)}. Set target_loss='squared_error'."
        )
    return float(values[0]), float(values[1])


def _by_column(names: Sequence[str]) -> Loss:
    """Make the elementwise loss of outputs whose columns have different losses."""
    # A default, because there may be no column, and the step still calls the loss.
    kinds = sorted(set(names)) or ["squared_error"]
    masks = [[name == kind for name in names] for kind in kinds]

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        values = _LOSSES[kinds[0]](outputs, targets)
        for kind, mask in zip(kinds[1:], masks[1:], strict=True):
            here = torch.tensor(mask, device=outputs.device)
            values = torch.where(here, _LOSSES[kind](outputs, targets), values)
        return values

    return loss
