"""Records of the epochs of a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ._protocol import StepRecord


class EpochRecords:
    """One record per epoch, with the losses and weights of every task.

    Parameters
    ----------
    task_names : sequence of str
        Keys of the records; names of auxiliary tasks come last.
    watched : ndarray of int
        Tasks whose mean validation loss is compared.

    Attributes
    ----------
    records : list of dict
        One per finished epoch.
    """

    def __init__(self, task_names: Sequence[str], watched: np.ndarray) -> None:
        self.task_names, self.watched = list(task_names), watched
        self.records: list[dict[str, Any]] = []

    def begin(self, lr: float) -> None:
        """Begin an epoch, at this learning rate."""
        self._started, self._lr = time.perf_counter(), lr
        self._sums: dict[bool, list[StepRecord]] = {True: [], False: []}

    def add(self, record: StepRecord, training: bool) -> None:
        """Add a batch of the training or of the validation."""
        # Tensors, because numbers would make the loop wait for the device.
        self._sums[training].append(record)

    def end(
        self, summarise: Callable[[np.ndarray], dict[str, Any]]
    ) -> tuple[dict[str, Any], list[str]]:
        """Finish an epoch.

        Parameters
        ----------
        summarise : callable
            Maps the mean training losses (n_entries,) to further entries.

        Returns
        -------
        record : dict
            The record of the epoch.
        broken : list of str
            Tasks whose training loss is NaN or infinite.

        Raises
        ------
        ValueError
            If no batch had anything to learn from.
        """
        record: dict[str, Any] = {"epoch": len(self.records) + 1, "lr": self._lr}
        broken: list[str] = []
        for prefix, training in (("train", True), ("valid", False)):
            if not self._sums[training]:
                continue
            values, labelled = _means(self._sums[training])
            if not training:
                # Early stopping compares the watched tasks only.
                labelled &= np.isin(np.arange(len(values)), self.watched)
            if not labelled.any():
                raise ValueError(
                    f"No batch of the {prefix} rows had anything to learn from: "
                    f"{self.task_names[: len(values)]} lack labels, or need larger "
                    "batches or other graphs."
                )
            record[f"{prefix}_loss"] = float(values[labelled].mean())
            record[f"{prefix}_losses"] = self._by_task(values)
            if training:
                bad = np.flatnonzero(labelled & ~np.isfinite(values))
                broken = [self.task_names[k] for k in bad]
                record |= self._weights(self._sums[True])
                summary = summarise(values)
                record |= {key: self._named(v) for key, v in summary.items()}
        record["seconds"] = time.perf_counter() - self._started
        self._sums = {True: [], False: []}
        self.records.append(record)
        return record, broken

    def _weights(self, steps: list[StepRecord]) -> dict[str, Any]:
        """Compute mean and spread of each task's weight over its labelled batches."""
        weights = torch.stack([step.weights for step in steps]).double().cpu().numpy()
        present = torch.stack([step.present for step in steps]).numpy()
        # At least 1, so that a task without labels has the mean 0.
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
        """Replace positions of tasks among the keys of a dict by their names."""
        if not isinstance(value, dict):
            return value
        return {
            self.task_names[key] if isinstance(key, int) else key: entry
            for key, entry in value.items()
        }

    def _by_task(self, values: np.ndarray) -> dict[str, float]:
        # Cut, because validation has no auxiliary tasks, whose names come last.
        names = self.task_names[: len(values)]
        return dict(zip(names, values.tolist(), strict=True))


def _means(steps: list[StepRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Average each task's loss over batches by labels; tell which tasks have any."""
    losses = torch.stack([step.losses for step in steps]).double()
    mass = torch.stack([step.mass for step in steps]).double()
    total = mass.sum(dim=0)
    # 0 / 0 marks a task without labels by NaN.
    mean = (losses * mass).sum(dim=0) / total
    return mean.cpu().numpy(), (total > 0).cpu().numpy()
