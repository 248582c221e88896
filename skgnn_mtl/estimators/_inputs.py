"""Reading what users pass to fit and predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_consistent_length, validate_data

from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.metrics._tables import (
    as_cells,
    as_numbers,
    column_names,
    find_task,
    is_frame,
    made_up_names,
    name_of,
    refuse_masked,
)


def read_graphs(estimator, X, *, reset: bool) -> GraphArray:
    """Read X as graphs and keep, or check, what ``fit`` learned about it.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_``, ``feature_names_in_`` and ``schema_`` are set
        (``reset=True``) or compared with.
    X : GraphArray or array-like of shape (n_samples, n_features)
        Graphs, or a numeric table whose rows are graphs of one node.
    reset : bool
        True in ``fit``.

    Returns
    -------
    graphs : GraphArray of shape (n_samples,)
        The graphs.

    Raises
    ------
    TypeError
        If X holds strings.
    ValueError
        If X does not fit the schema of ``fit``, has graph features, which no network
        reads, or masked entries.
    """
    if isinstance(X, GraphArray):
        graphs = X
        if reset:
            estimator.n_features_in_ = 1
            estimator.__dict__.pop("feature_names_in_", None)
        if not len(graphs):
            raise ValueError(
                "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is "
                "required."
            )
    else:
        refuse_masked(X, "X", "fill or drop them")
        _refuse_strings(estimator, X)
        table = validate_data(estimator, X, dtype=np.float64, reset=reset)
        graphs = GraphArray.from_features(table)
    _refuse_graph_features(graphs)
    if reset:
        estimator.schema_ = graphs.schema
    elif graphs.schema != estimator.schema_:
        raise ValueError(
            f"X has other columns than in fit: "
            f"{estimator.schema_.difference(graphs.schema)} (fit against now). "
            "Featurize both with the same transformer."
        )
    return graphs


def _refuse_graph_features(graphs: GraphArray) -> None:
    if graphs.schema.graph_features:
        raise ValueError(
            f"X has the graph features {list(graphs.schema.graph_features)}, but the "
            "networks read features of nodes and edges only. Make X without "
            "graph_features."
        )


def _refuse_strings(estimator, X) -> None:
    first = _first_entry(X.to_numpy() if hasattr(X, "to_numpy") else X)
    if isinstance(first, str):
        # CIF has many lines, SMILES one.
        transformer = "CifToGraph()" if "\n" in first else "SmilesToGraph()"
        raise TypeError(
            f"X holds strings ({first[:40]!r} is the first), but "
            f"{type(estimator).__name__} needs graphs: put {transformer} in front, "
            f"as in make_pipeline({transformer}, ...)."
        )


def _first_entry(values):
    """First entry of a list, an array or a table that is not missing."""
    if not isinstance(values, (list, tuple, np.ndarray)):
        return values
    entries = map(_first_entry, values)
    return next((entry for entry in entries if not _is_missing(entry)), None)


def _is_missing(value) -> bool:
    return (
        value is None or value is pd.NA or (isinstance(value, float) and value != value)
    )


def read_targets(estimator, X, y) -> tuple[np.ndarray, list[str]]:
    """Read y as a table of labels with gaps.

    Parameters
    ----------
    estimator : estimator
        For the message.
    X : sized
        Must be as long as y.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, NaN, None, ``pandas.NA`` or masked where missing.

    Returns
    -------
    values : ndarray of float64, of the shape of y
        Labels, NaN where missing.
    task_names : list of str
        Column names, or ``task_0``, ``task_1``, ...

    Raises
    ------
    ValueError
        If y is None, has other dimensions or another length, or an entry that is
        infinite or not a number, whose task and row are named.
    """
    require_labels(estimator, y)
    cells = read_cells(X, y)
    names = task_names(y, 1 if cells.ndim == 1 else cells.shape[1])
    values = as_numbers(cells.reshape(len(cells), -1), names, "y")
    infinite = np.argwhere(np.isinf(values))
    for row, task in infinite[:1].tolist():
        raise ValueError(
            f"Input y contains infinity: task {names[task]!r}, row {row}. Use NaN for "
            "a missing label."
        )
    return values.reshape(cells.shape), names


def read_cells(X, y) -> np.ndarray:
    """Read y as an array of one or two dimensions, with a row for each row of X.

    Parameters
    ----------
    X : sized
        Must be as long as y.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels of any kind.

    Returns
    -------
    cells : ndarray of the shape of y
        Labels; NaN, None or ``pandas.NA`` where missing or masked.

    Raises
    ------
    ValueError
        If y has other dimensions, another length or no column.
    """
    cells = as_cells(y, "y")
    if cells.ndim not in (1, 2):
        raise ValueError(f"y must have one or two dimensions, but has {cells.ndim}.")
    check_consistent_length(X, cells)
    if not cells.size:
        raise ValueError(f"y must have a column, but has shape {cells.shape}.")
    return cells


def require_labels(estimator, y) -> None:
    """Refuse a y that was not passed.

    Parameters
    ----------
    estimator : estimator
        For the message.
    y : array-like or None
        Labels.

    Raises
    ------
    ValueError
        If y is None.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )


def task_names(y, n_tasks: int) -> list[str]:
    """Names of tasks, made up where y has none.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels.
    n_tasks : int
        Number of tasks.

    Returns
    -------
    names : list of str
        Column names, or ``task_0``, ``task_1``, ...

    Raises
    ------
    ValueError
        If two columns have one name.
    """
    names = column_names(y) or made_up_names(n_tasks)
    if len(set(names)) != n_tasks:
        raise ValueError(f"Task names must differ, but the columns of y are {names}.")
    return names


def task_positions(tasks, names: Sequence[str], parameter: str) -> list[int]:
    """Positions of the tasks that a parameter names.

    Parameters
    ----------
    tasks : label of a column, int, or sequence of these
        A position, or the label of a column of any type; a tuple may be one label.
    names : sequence of str
        Task names of the fit.
    parameter : str
        Its name, for the message.

    Returns
    -------
    positions : list of int
        One for each entry, in order.

    Raises
    ------
    ValueError
        If there is no entry, or one is no task or may be two.
    """
    is_list = isinstance(tasks, (list, tuple, np.ndarray, pd.Index))
    if not is_list or (isinstance(tasks, tuple) and name_of(tasks) in names):
        tasks = [tasks]
    if not len(tasks):
        raise ValueError(f"{parameter} is empty; None stands for all tasks.")
    positions = []
    for task in tasks:
        position = find_task(task, names)
        if position is None:
            raise ValueError(
                f"{parameter} names {task!r}, but the tasks are {list(names)}."
            )
        positions.append(position)
    return positions


def in_task_order(y, names: Sequence[str]):
    """Bring the columns of a table into the order of the tasks.

    Parameters
    ----------
    y : array-like
        Labels.
    names : sequence of str
        Task names of the fit.

    Returns
    -------
    y : array-like
        As it was, unless it is a table of other order.

    Raises
    ------
    ValueError
        If both have names, and these differ.
    """
    given = column_names(y) if is_frame(y) else []
    if not given or given == list(names):
        return y
    if sorted(given) == sorted(names):
        order = [given.index(name) for name in names]
        return y.iloc[:, order] if hasattr(y, "iloc") else y.select(list(names))
    if list(names) == made_up_names(len(names)) and len(given) == len(names):
        return y
    raise ValueError(
        f"y has the columns {given}, but the estimator was fitted with "
        f"{list(names)}; use the same columns."
    )


def check_labels(weights: np.ndarray, names: Sequence[str], where: str) -> None:
    """Refuse a task without a single label.

    Parameters
    ----------
    weights : ndarray of shape (n_samples, n_tasks)
        Weights of the labels, 0 where missing.
    names : sequence of str
        Task names.
    where : str
        Which rows these are, for the message.

    Raises
    ------
    ValueError
        Naming the tasks that have no label.
    """
    bare = [repr(names[t]) for t in np.flatnonzero(~(weights > 0).any(axis=0)).tolist()]
    if bare:
        raise ValueError(
            f"Task {', '.join(bare)} has no label in the {where} rows; drop it or "
            "choose another split."
        )


def mean_and_scale(table: np.ndarray, weights: np.ndarray):
    """Mean and standard deviation of each task over its labelled, weighted rows.

    Parameters
    ----------
    table, weights : ndarray of shape (n_samples, n_tasks)
        Labels, and their weights, 0 where one is missing.

    Returns
    -------
    mean, scale : ndarray of shape (n_tasks,)
        The scale of a constant task is 1.
    """
    labels = np.where(weights > 0, table, 0.0)
    mass = weights.sum(axis=0)
    mean = (weights * labels).sum(axis=0) / mass
    variance = (weights * (labels - mean) ** 2).sum(axis=0) / mass
    # Rounding would leave a constant task with a tiny spread.
    shown = np.where(weights > 0, table, np.nan)
    constant = np.nanmax(shown, axis=0) == np.nanmin(shown, axis=0)
    return mean, np.where(constant, 1.0, np.sqrt(variance))
