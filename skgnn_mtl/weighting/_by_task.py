"""Numbers that a user gives for the tasks, by position or by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def by_task(
    weighting: Any, values: Any, n_tasks: int, task_names: Sequence[str] | None
) -> np.ndarray:
    """Read one weight per task.

    Parameters
    ----------
    weighting : TaskWeighting
        Named in the messages.
    values : array-like of shape (n_tasks,), dict of str to float, or None
        Weights by position or by name.
    n_tasks : int
        Number of tasks of the fit.
    task_names : sequence of str or None
        Their names; needed if the weights are a dict.

    Returns
    -------
    weights : ndarray of float64 of shape (n_tasks,)
        Finite, none negative and not all zero.

    Raises
    ------
    ValueError
        If the weights do not fit the tasks.
    """
    if isinstance(values, Mapping):
        values = _in_order(values, task_names)
    weights = np.asarray([] if values is None else values, dtype=np.float64)
    if weights.shape != (n_tasks,):
        raise ValueError(
            f"There are {n_tasks} tasks (columns of y and auxiliary tasks), but "
            f"{weights.size} weights were given: {weighting!r}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            "Weights must be finite, none negative and not all zero, got "
            f"{weighting!r}."
        )
    return weights


def one_per_task(weighting: Any, name: str, n_tasks: int) -> Tensor:
    """Read a parameter that is one number, or one per task.

    Parameters
    ----------
    weighting : TaskWeighting
        Has the parameter.
    name : str
        Its name.
    n_tasks : int
        Number of tasks of the fit.

    Returns
    -------
    values : Tensor of float64 of shape (n_tasks,)
        A new tensor.

    Raises
    ------
    ValueError
        If there are several numbers, but not one per task.
    """
    values = np.asarray(getattr(weighting, name), dtype=np.float64)
    if values.shape not in ((), (n_tasks,)):
        raise ValueError(
            f"There are {n_tasks} tasks (columns of y and auxiliary tasks), but {name} "
            f"has {values.size} numbers: {weighting!r}."
        )
    return torch.from_numpy(np.broadcast_to(values, n_tasks).copy())


def _in_order(
    weights: Mapping[str, float], task_names: Sequence[str] | None
) -> list[float]:
    names = list(task_names or ())
    if set(weights) != set(names):
        raise ValueError(
            f"The weights name the tasks {sorted(weights)}, but the tasks are {names}."
        )
    return [weights[name] for name in names]
