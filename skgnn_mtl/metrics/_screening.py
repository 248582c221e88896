"""Scores of a screening that asks for several properties at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skgnn_mtl._listed import listed

from ._tables import find_task, read_scored


@dataclass(frozen=True)
class ScreeningScores:
    """How well predicted hits are hits.

    Parameters
    ----------
    n_rows : int
        Rows with a label and a prediction of each property that is asked for.
    n_hits : int
        Rows whose labels satisfy all criteria.
    n_predicted : int
        Rows whose predictions do.
    n_found : int
        Rows that are in both.

    Attributes
    ----------
    precision : float
        Share of the predicted hits that are hits; NaN without a predicted one.
    recall : float
        Share of the hits that were predicted; NaN without a hit.
    enrichment : float
        Precision over the share of hits among all rows; 1 for a random choice.

    See Also
    --------
    nan_screening_scores : Makes this object.

    Examples
    --------
    >>> from skgnn_mtl.metrics import ScreeningScores
    >>> found = ScreeningScores(n_rows=100, n_hits=10, n_predicted=8, n_found=6)
    >>> found.precision, found.recall, round(found.enrichment, 3)
    (0.75, 0.6, 7.5)
    """

    n_rows: int
    n_hits: int
    n_predicted: int
    n_found: int

    @property
    def precision(self) -> float:
        """Share of the predicted hits that are hits."""
        return self.n_found / self.n_predicted if self.n_predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of the hits that were predicted."""
        return self.n_found / self.n_hits if self.n_hits else float("nan")

    @property
    def enrichment(self) -> float:
        """Precision over that of a random choice."""
        base = self.n_hits / self.n_rows
        return self.precision / base if base else float("nan")


def nan_screening_scores(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    criteria: Mapping[Any, tuple[float | None, float | None]],
) -> ScreeningScores:
    """Count the hits of a screening by several criteria at once.

    A row is a hit if each property is within its interval. Models that were trained
    separately make errors that have nothing to do with each other, so that among the
    rows that satisfy all criteria by their predictions many do so by an error [1]_. The
    precision shows it: it falls with the number of criteria.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, n_tasks)
        Labels. Rows that lack one that is asked for are left out, because it is not
        known whether they are hits.
    y_pred : array-like of shape (n_samples, n_tasks)
        Predictions, NaN in all tasks for an invalid row, which is left out.
    criteria : dict of task to (low, high)
        Interval of each property that is asked for, by its name or position, in the
        unit of its labels; the ends count as inside, and None is no limit.

    Returns
    -------
    scores : ScreeningScores
        Counts, and what follows from them.

    Raises
    ------
    ValueError
        If there is no criterion, if one names no task or has no limit, if low is above
        high, or if no row has all labels.

    See Also
    --------
    nan_roc_auc_score : The order of the rows by a single property.

    References
    ----------
    .. [1] arXiv:2510.23371 (2025), on the bias of models of disjoint properties.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.metrics import nan_screening_scores
    >>> y_true = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, np.nan], [3.0, 9.0]])
    >>> y_pred = np.array([[1.9, 4.0], [2.2, 6.0], [3.0, 6.0], [3.1, 4.0]])
    >>> scores = nan_screening_scores(y_true, y_pred, {0: (1.5, None), 1: (None, 7.0)})
    >>> scores
    ScreeningScores(n_rows=3, n_hits=1, n_predicted=3, n_found=1)
    """
    scored = read_scored(y_true, y_pred, None)
    columns, low, high = _intervals(criteria, scored.names)
    known = (scored.weight[:, columns] > 0).all(axis=1)
    if not known.any():
        names = [scored.names[k] for k in columns]
        raise ValueError(f"No row has a label of each of {listed(names)}: no score.")
    hits, predicted = (
        ((table[known][:, columns] >= low) & (table[known][:, columns] <= high)).all(
            axis=1
        )
        for table in (scored.true, scored.pred)
    )
    return ScreeningScores(
        n_rows=int(known.sum()),
        n_hits=int(hits.sum()),
        n_predicted=int(predicted.sum()),
        n_found=int((hits & predicted).sum()),
    )


def _intervals(
    criteria: Mapping[Any, tuple[float | None, float | None]], names: list[str]
) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Read columns and ends of the criteria, infinite where there is no limit."""
    if not isinstance(criteria, Mapping) or not criteria:
        raise ValueError(
            "criteria must be a dict that maps tasks to intervals (low, high), and not "
            f"be empty, but is {criteria!r}."
        )
    columns, low, high = [], [], []
    for task, interval in criteria.items():
        column = find_task(task, names)
        if column is None:
            raise ValueError(
                f"criteria names the task {task!r}, but y has {listed(names)}."
            )
        try:
            ends = [float("nan") if end is None else float(end) for end in interval]
            begin, end = ends
        except (TypeError, ValueError):
            raise ValueError(
                f"The criterion of task {task!r} must be a pair (low, high) of numbers "
                f"or None, but is {interval!r}."
            ) from None
        if np.isnan(ends).all() or begin > end:
            raise ValueError(
                f"The criterion of task {task!r} must have a limit, and low must not "
                f"be above high, but is {interval!r}."
            )
        columns.append(column)
        low.append(-np.inf if np.isnan(begin) else begin)
        high.append(np.inf if np.isnan(end) else end)
    return columns, np.array(low), np.array(high)
