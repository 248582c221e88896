"""The tasks that a display shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skgnn_mtl.estimators._inputs import task_positions


def shown_tasks(tasks: Any, names: Sequence[str]) -> list[int]:
    """Find the positions of the tasks to show.

    Parameters
    ----------
    tasks : label of a column, int, sequence of these, or None
        What the user gives; None stands for all.
    names : sequence of str of length t
        Names of the tasks.

    Returns
    -------
    positions : list of int
        One for each task to show, in the order asked for.

    Raises
    ------
    ValueError
        If there is no entry, or one is no task or may be two.
    """
    if tasks is None:
        return list(range(len(names)))
    return task_positions(tasks, names, "tasks")
