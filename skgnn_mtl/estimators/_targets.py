"""What ``y`` means to an estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import Loss

from ._inputs import in_task_order, read_cells, task_names


@dataclass(frozen=True, kw_only=True)
class Targets(ABC):
    """Everything that depends on the meaning of ``y``, as a value that never changes.

    ``begin`` and ``learn`` return targets with more fields set. An estimator keeps the
    last of them as ``targets_``, from which curvature, gradients and files are made.

    Parameters
    ----------
    names : tuple of str
        Names of the tasks; empty before :meth:`begin`.
    one_dimensional : bool
        Whether ``y`` was, so that predictions are.
    """

    # Fields that are learned from y; the others are parameters of the estimator.
    LEARNED: ClassVar[tuple[str, ...]] = ("names", "one_dimensional")

    names: tuple[str, ...] = ()
    one_dimensional: bool = False

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.names)

    @property
    def learned(self) -> dict[str, Any]:
        """What was learned from ``y``, for files and for a fit that goes on."""
        return {name: getattr(self, name) for name in self.LEARNED}

    def with_learned(self, learned: Mapping[str, Any]) -> Self:
        """Return targets of these parameters with what others have learned."""
        return replace(self, **learned)

    @abstractmethod
    def begin(
        self, graphs: GraphArray, y: Any, usable: np.ndarray
    ) -> tuple[Self, np.ndarray]:
        """Read the ``y`` of a first fit.

        Parameters
        ----------
        graphs : GraphArray of shape (n,)
            The graphs, which ``y`` must be as long as.
        y : array-like of shape (n,) or (n, t)
            Labels, NaN where missing.
        usable : ndarray of bool of shape (n,)
            Rows whose labels count.

        Returns
        -------
        targets : Targets
            With names, dimensions and classes.
        table : ndarray of float64 of shape (n, t)
            Labels as numbers, NaN where missing.

        Raises
        ------
        ValueError
            If ``y`` has another length, more than two dimensions or entries that are
            no labels; the message names task and row.
        """

    @abstractmethod
    def read(self, graphs: GraphArray, y: Any) -> np.ndarray:
        """Read labels of the tasks that are known, for a fit that goes on.

        Parameters
        ----------
        graphs : GraphArray of shape (n,)
            The graphs.
        y : array-like of shape (n,) or (n, t)
            Labels of the same tasks.

        Returns
        -------
        table : ndarray of float64 of shape (n, t)
            As from :meth:`begin`.

        Raises
        ------
        ValueError
            If ``y`` has other columns, dimensions or classes.
        """

    @abstractmethod
    def learn(
        self, table: np.ndarray, weights: np.ndarray, compared: Sequence[int] = ()
    ) -> Self:
        """Learn scales or class weights.

        Parameters
        ----------
        table, weights : ndarray of shape (n, t)
            Labels of the training rows, and their weights, 0 where one is missing.
        compared : sequence of int, default=()
            Tasks whose gradients the task weighting compares by their lengths, so that
            their units matter.

        Returns
        -------
        targets : Targets
            Ready for :meth:`encode`.
        """

    @abstractmethod
    def encode(self, table: np.ndarray) -> np.ndarray:
        """Turn labels (n, t) into what the network predicts."""

    @abstractmethod
    def weigh(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Turn weights (n, t) of labels into weights of their losses."""

    @property
    @abstractmethod
    def elementwise_loss(self) -> Loss:
        """Loss of outputs and encoded labels (n, t), of shape (n, t)."""

    @property
    @abstractmethod
    def loss_name(self) -> str:
        """Name of the loss, for records."""

    @property
    @abstractmethod
    def n_outputs(self) -> int:
        """Predictions of the network per task."""

    @property
    @abstractmethod
    def scale(self) -> np.ndarray:
        """Units of ``y`` per unit of the outputs, shape (t,)."""

    @property
    @abstractmethod
    def has_widths(self) -> bool:
        """Whether errors of predictions are normal, so that a fit learns widths."""

    def shaped(self, table: np.ndarray) -> np.ndarray:
        """Give a table (n, t) the dimensions of ``y``."""
        return table[:, 0] if self.one_dimensional else table

    def read_in_order(self, graphs: GraphArray, y: Any) -> np.ndarray:
        """Read labels of a table whose columns may have another order.

        Raises
        ------
        ValueError
            If it has other columns.
        """
        # Before reading, because an array of labels has lost the names of its columns.
        y = in_task_order(y, self.names)
        cells = read_cells(graphs, y)
        names = task_names(y, cells[:1].size)
        if len(names) != self.n_tasks:
            raise ValueError(
                f"y has {len(names)} columns, but the estimator was fitted with the "
                f"{self.n_tasks} tasks {list(self.names)}."
            )
        # Names of an array are made up, and its dimensions do not matter here.
        given = {"names": tuple(names), "one_dimensional": cells.ndim == 1}
        return self.with_learned(given).read(graphs, y)

    def check_same(self, names: Sequence[str], n_dimensions: int) -> None:
        """Refuse other tasks than those that are known.

        Raises
        ------
        ValueError
            Naming both.
        """
        # Dimensions, too, because predictions have those of the first y.
        fitted = 1 if self.one_dimensional else 2
        if tuple(names) != self.names or n_dimensions != fitted:
            raise ValueError(
                f"y has {n_dimensions} dimension(s) and the tasks {list(names)}, but "
                f"the estimator was fitted with {fitted} and {list(self.names)}; use "
                "the same columns, or fit anew."
            )
