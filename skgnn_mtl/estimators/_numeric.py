"""Targets that are numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import LOSSES, Loss

from ._inputs import mean_and_scale, read_targets
from ._targets import Targets


def _nothing() -> np.ndarray:
    return np.empty(0)


@dataclass(frozen=True, kw_only=True)
class NumericTargets(Targets):
    """Numbers with gaps, standardised per task.

    Parameters
    ----------
    loss : str or callable
        Loss of one standardised label.
    normalize : bool
        Whether to standardise.
    mean, spread : ndarray of shape (n_tasks,)
        What a label is reduced by, and then divided by.
    """

    LEARNED: ClassVar[tuple[str, ...]] = (*Targets.LEARNED, "mean", "spread")

    loss: str | Callable[..., Any] = "squared_error"
    normalize: bool = True
    mean: np.ndarray = field(default_factory=_nothing)
    spread: np.ndarray = field(default_factory=_nothing)

    def begin(
        self, graphs: GraphArray, y: Any, usable: np.ndarray
    ) -> tuple[Self, np.ndarray]:
        """Read numbers and the names of their columns."""
        values, names = read_targets(graphs, y)
        targets = replace(self, names=tuple(names), one_dimensional=values.ndim == 1)
        return targets, values.reshape(len(values), -1)

    def read(self, graphs: GraphArray, y: Any) -> np.ndarray:
        """Read numbers of the same columns."""
        values, names = read_targets(graphs, y)
        self.check_same(names, values.ndim)
        return values.reshape(len(values), -1)

    def learn(
        self, table: np.ndarray, weights: np.ndarray, compared: Sequence[int] = ()
    ) -> Self:
        """Learn mean and standard deviation of each task."""
        mean, spread = mean_and_scale(table, weights)
        if self.normalize:
            return replace(self, mean=mean, spread=spread)
        odd = [t for t in compared if not 0.1 <= spread[t] <= 10]
        if odd:
            named = ", ".join(f"{self.names[t]!r} ({spread[t]:.3g})" for t in odd)
            warn(
                "task_weighting compares auxiliary gradients with those of the "
                f"targets, whose standard deviations are far from 1: {named}. Set "
                "normalize_targets=True."
            )
        return replace(self, mean=np.zeros_like(mean), spread=np.ones_like(spread))

    def encode(self, table: np.ndarray) -> np.ndarray:
        """Standardise labels (n, t)."""
        encoded: np.ndarray = (table - self.mean) / self.spread
        return encoded

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Turn outputs (n, t) into predictions in the units and dimensions of y."""
        return self.shaped(outputs * self.spread + self.mean)

    def weigh(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Keep the weights."""
        return weights

    @property
    def elementwise_loss(self) -> Loss:
        """The loss by name, or the user's own."""
        # The type first, because a callable need not be hashable.
        return LOSSES[self.loss] if isinstance(self.loss, str) else self.loss

    @property
    def loss_name(self) -> str:
        """Name of the loss; a function of the user has none."""
        return self.loss if isinstance(self.loss, str) else "callable"

    @property
    def scale(self) -> np.ndarray:
        """Standard deviations, or ones."""
        return self.spread
