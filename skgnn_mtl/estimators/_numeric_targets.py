"""Targets that are numbers."""

from __future__ import annotations

import numpy as np

from skgnn_mtl.training import LOSSES, Loss

from ._inputs import mean_and_scale, read_targets


class NumericTargetsMixin:
    """Numbers with gaps, standardised task by task.

    For estimators with the parameters ``loss`` and ``normalize_targets``.
    """

    loss: object
    normalize_targets: bool
    target_mean_: np.ndarray
    target_scale_: np.ndarray

    def _read_labels(self, graphs, y, sample_weight, resume, classes):
        return read_targets(self, graphs, y)

    def _as_given(self, table: np.ndarray) -> np.ndarray:
        return table

    def _elementwise_loss(self) -> Loss:
        return LOSSES.get(self.loss) or self.loss

    def _weigh_classes(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return weights

    def _scales(self, table: np.ndarray, weights: np.ndarray):
        """Mean and scale of each task over its labelled, weighted rows."""
        if self.normalize_targets:
            return mean_and_scale(table, weights)
        return np.zeros(table.shape[1]), np.ones(table.shape[1])

    def _learn_targets(self, table: np.ndarray, weights: np.ndarray) -> None:
        self.target_mean_, self.target_scale_ = self._scales(table, weights)

    def _encode_targets(self, table: np.ndarray) -> np.ndarray:
        return (table - self.target_mean_) / self.target_scale_
