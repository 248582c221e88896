"""Targets that are numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skgnn_mtl._warn import warn
from skgnn_mtl.training import LOSSES, Loss

from ._inputs import mean_and_scale, read_targets


class NumericTargetsMixin:
    """Numbers with gaps, standardised task by task.

    For estimators with the parameters ``loss`` and ``normalize_targets``.
    """

    loss: Any
    normalize_targets: bool
    n_tasks_: int
    task_names_: list[str]
    auxiliary_tasks: Any
    task_weighting: Any
    _resolve_weighting: Callable
    _watched_tasks: Callable
    target_mean_: np.ndarray
    target_scale_: np.ndarray

    def _read_labels(self, graphs, y, sample_weight, resume, classes):
        return read_targets(self, graphs, y)

    def _as_given(self, table: np.ndarray) -> np.ndarray:
        return table

    def _elementwise_loss(self) -> Loss:
        # A callable need not be hashable.
        return LOSSES[self.loss] if isinstance(self.loss, str) else self.loss

    def _weigh_classes(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return weights

    def _scales(self, table: np.ndarray, weights: np.ndarray):
        """Mean and scale of each task over its labelled, weighted rows."""
        if self.normalize_targets:
            return mean_and_scale(table, weights)
        return np.zeros(table.shape[1]), np.ones(table.shape[1])

    def _learn_targets(self, table: np.ndarray, weights: np.ndarray) -> None:
        self.target_mean_, self.target_scale_ = self._scales(table, weights)
        if not self.normalize_targets:
            self._warn_of_scales(mean_and_scale(table, weights)[1])

    def _warn_of_scales(self, scale: np.ndarray) -> None:
        """Warn of units that a method which compares gradients would see."""
        if self.n_tasks_ + len(self.auxiliary_tasks) == 1:
            return
        if not self._resolve_weighting().compares_norms:
            return
        odd = [t for t in self._watched_tasks().tolist() if not 0.1 <= scale[t] <= 10]
        if odd:
            named = ", ".join(f"{self.task_names_[t]!r} ({scale[t]:.3g})" for t in odd)
            warn(
                f"task_weighting={self.task_weighting!r} compares auxiliary gradients "
                "with those of the targets, whose standard deviations are far from 1: "
                f"{named}. Set normalize_targets=True.",
            )

    def _encode_targets(self, table: np.ndarray) -> np.ndarray:
        return (table - self.target_mean_) / self.target_scale_
