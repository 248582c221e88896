"""Means of scores over the tasks that have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from skgnn_mtl._listed import listed
from skgnn_mtl._warn import warn

from ._tables import read_scored


class Metric(NamedTuple):
    """A score per task: its map, its needs and its direction.

    Attributes
    ----------
    per_task : callable
        Maps labels, predictions and weights (n, t) to scores (t,), NaN = undefined.
    function : callable
        The public function.
    needs : str
        The labels that a task must have, for messages.
    greater_is_better : bool
        Whether a higher score is better.
    """

    per_task: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    function: Callable[..., float | np.ndarray]
    needs: str
    greater_is_better: bool


def averaged(
    metric: Metric, y_true: Any, y_pred: Any, sample_weight: Any, multioutput: Any
) -> float | np.ndarray:
    """Score each task of a table, and average as `multioutput` says."""
    scored = read_scored(y_true, y_pred, sample_weight)
    values = metric.per_task(scored.true, scored.pred, scored.weight)
    return mean_of_tasks(
        values, scored.names, multioutput, metric.function.__name__, metric.needs
    )


def mean_of_tasks(
    values: np.ndarray, names: list[str], multioutput: Any, function: str, needs: str
) -> float | np.ndarray:
    """Average the scores of the tasks (t,) as `multioutput` says; NaN = undefined.

    Warns
    -----
    UndefinedMetricWarning
        Names the undefined tasks, and what they need.
    """
    task_weights = _task_weights(multioutput, len(names))
    defined = ~np.isnan(values)
    _report_undefined(function, needs, names, defined)
    if task_weights is None:
        return values
    if not task_weights[defined].any():
        raise ValueError(
            "multioutput must have a positive weight of a defined task, but gives "
            f"weight zero to {listed(np.array(names)[defined].tolist())}."
        )
    return float(np.average(values[defined], weights=task_weights[defined]))


def _report_undefined(
    function: str, needs: str, names: list[str], defined: np.ndarray
) -> None:
    if not defined.any():
        raise ValueError(f"{function}: no task has {needs} among the scored rows.")
    if not defined.all():
        undefined = [names[k] for k in np.flatnonzero(~defined)]
        warn(
            f"{function} is undefined for {len(undefined)} of {len(defined)} tasks, "
            f"which lack {needs} among the scored rows and are left out of means: "
            f"{listed(undefined)}.",
            UndefinedMetricWarning,
        )


def _task_weights(multioutput: Any, n_tasks: int) -> np.ndarray | None:
    if isinstance(multioutput, str):
        if multioutput == "raw_values":
            return None
        if multioutput == "uniform_average":
            return np.ones(n_tasks)
        raise ValueError(
            "multioutput must be 'uniform_average', 'raw_values' or one weight per "
            f"task, but is {multioutput!r}."
        )
    weights = np.asarray(multioutput, dtype=np.float64)
    if weights.shape != (n_tasks,):
        raise ValueError(
            f"y has {n_tasks} tasks, but multioutput has shape {weights.shape}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"multioutput must be finite and not negative, but is {weights.tolist()}."
        )
    return weights


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average each column (n, t) -> (t,); NaN for a column without weight."""
    total = weight.sum(axis=0)
    mean: np.ndarray = (weight * values).sum(axis=0) / np.where(
        total > 0, total, np.nan
    )
    return mean
