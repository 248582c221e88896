"""Targets that are classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import Loss, SoftmaxLoss, logistic

from ._class_columns import class_logits, likeliest_labels
from ._class_labels import (
    class_weights,
    encode_labels,
    find_classes,
    read_class_labels,
    read_classes,
)
from ._targets import Targets


@dataclass(frozen=True, kw_only=True)
class ClassTargets(Targets):
    """Labels of two or more classes per task, with gaps.

    Parameters
    ----------
    class_weight : None, "balanced", dict or list
        The classifier's parameter.
    given : array-like, list of these, or None
        Classes that the user names, which the labels of a first call may not show.
    classes : tuple of ndarray
        The labels of each task, sorted.
    factors : ndarray of shape (n_tasks, n_classes)
        Factors of the losses of the classes; 1 behind the last class of a task.
    """

    LEARNED: ClassVar[tuple[str, ...]] = (*Targets.LEARNED, "classes", "factors")

    class_weight: Any = None
    given: Any = None
    classes: tuple[np.ndarray, ...] = ()
    factors: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def begin(
        self, graphs: GraphArray, y: Any, usable: np.ndarray
    ) -> tuple[Self, np.ndarray]:
        """Find the classes, and the position of each label among them."""
        labels, names = read_class_labels(graphs, y)
        table = labels.reshape(len(labels), -1)
        # In any case, because a task without a label must be refused.
        found = find_classes(table, names, usable)
        if self.given is not None:
            # The user's classes win, because a first chunk may not show all.
            given = [self.given] if labels.ndim == 1 else self.given
            found = read_classes(given, names)
        targets = replace(
            self,
            names=tuple(names),
            one_dimensional=labels.ndim == 1,
            classes=tuple(found),
        )
        # Labels of rows that do not count may be of no class.
        return targets, targets._positions(table, strict=self.given is not None)

    def read(self, graphs: GraphArray, y: Any) -> np.ndarray:
        """Find the positions of labels among the classes that are known."""
        labels, names = read_class_labels(graphs, y)
        self.check_same(names, labels.ndim)
        # Strict, because the network has no output for a new class.
        return self._positions(labels.reshape(len(labels), -1), strict=True)

    def _positions(self, table: np.ndarray, *, strict: bool) -> np.ndarray:
        columns = zip(table.T, self.classes, self.names, strict=True)
        return np.column_stack(
            [encode_labels(*column, strict=strict) for column in columns]
        )

    def learn(
        self, table: np.ndarray, weights: np.ndarray, compared: Sequence[int] = ()
    ) -> Self:
        """Learn the weights of the classes from the labels of the training rows."""
        alone = [
            repr(name)
            for name, column, weight in zip(self.names, table.T, weights.T, strict=True)
            if len(np.unique(column[weight > 0])) == 1
        ]
        # Not an error, because a fold of rare labels may have a single class.
        if alone:
            warn(
                f"Task {', '.join(alone)} has labels of one class only in the training "
                "rows."
            )
        # NaN equals no class, so that gaps add nothing.
        codes = range(max(self._counts))
        mass = np.stack([(weights * (table == k)).sum(axis=0) for k in codes], axis=1)
        rows = zip(self._class_weights(), self.classes, mass, strict=True)
        return replace(self, factors=np.array([class_weights(*row) for row in rows]))

    def _class_weights(self) -> list[Any]:
        """Bring the parameter into the form of one entry per task."""
        given = self.class_weight
        if not isinstance(given, list):
            # An error, because a class of the same name may mean something else in each
            # task.
            if isinstance(given, dict) and self.n_tasks > 1:
                raise ValueError(
                    "class_weight is one dict, but y has several tasks; pass a list "
                    "with one entry per task."
                )
            return [given] * self.n_tasks
        if len(given) != self.n_tasks:
            raise ValueError(
                f"class_weight has {len(given)} entries, but y has {self.n_tasks} "
                "tasks."
            )
        return given

    def encode(self, table: np.ndarray) -> np.ndarray:
        """Keep positions 0, 1, ..."""
        return table

    def decode(self, logits: np.ndarray) -> np.ndarray:
        """Turn logits (n, c) into the likeliest labels, in the dimensions of y."""
        scores = class_logits(logits, self.classes)
        return self.shaped(likeliest_labels(scores, self.classes))

    def weigh(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Multiply weights with those of the classes."""
        # Gaps as the first class, because their weights are 0.
        codes = np.nan_to_num(table).astype(int)
        weighed: np.ndarray = weights * self.factors[np.arange(self.n_tasks), codes]
        return weighed

    @property
    def elementwise_loss(self) -> Loss:
        """The logistic loss, or its form for more than two classes."""
        if self.n_outputs == 1:
            return logistic
        return SoftmaxLoss(self._counts)

    @property
    def loss_name(self) -> str:
        """There is no choice of the loss."""
        return "logistic" if self.n_outputs == 1 else "softmax"

    @property
    def n_outputs(self) -> int:
        """Those of the task with most classes; 1 for two."""
        return max(SoftmaxLoss(self._counts).n_outputs, default=1)

    @property
    def _counts(self) -> tuple[int, ...]:
        """Classes of each task; a single one is learned as the first of two."""
        return tuple(max(len(labels), 2) for labels in self.classes)

    @property
    def has_widths(self) -> bool:
        """No, because the labels are classes."""
        return False

    @property
    def scale(self) -> np.ndarray:
        """Ones, because logits have no unit."""
        return np.ones(self.n_tasks)
