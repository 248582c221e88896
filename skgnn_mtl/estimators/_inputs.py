"""Reading what users pass to fit and predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import (
    # Private, because no public function counts rows or reads column names.
    _get_feature_names,
    _num_samples,
    check_array,
    validate_data,
)

from skgnn_mtl._listed import listed
from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray, GraphSchema
from skgnn_mtl.metrics._bounds import take_bounds
from skgnn_mtl.metrics._tables import (
    as_cells,
    as_numbers,
    as_row_weights,
    column_names,
    find_task,
    is_frame,
    made_up_names,
    name_of,
    refuse_masked,
)

from ._number_table import naming_entries_of, refuse_times


@dataclass(frozen=True)
class Inputs:
    """What ``fit`` learned about X.

    Parameters
    ----------
    schema : GraphSchema
        Columns of the graphs.
    n_features : int
        1 for graphs, else the number of columns of a numeric table.
    feature_names : ndarray of str or None
        Names of the columns of a numeric table that has them.
    """

    schema: GraphSchema
    n_features: int = 1
    feature_names: np.ndarray | None = None


def learn_graphs(estimator: Any, X: Any) -> tuple[GraphArray, Inputs]:
    """Read the X of a first fit; the estimator is not changed.

    Parameters
    ----------
    estimator : estimator
        For messages.
    X : GraphArray or array-like of shape (n_samples, n_features)
        Graphs, or a numeric table whose rows are graphs of one node.

    Returns
    -------
    graphs : GraphArray of shape (n_samples,)
        The graphs.
    inputs : Inputs
        What later calls are compared with.

    Raises
    ------
    TypeError
        If X holds strings.
    ValueError
        If X is empty, or has masked entries.
    """
    if isinstance(X, GraphArray):
        _refuse_empty(X)
        return X, Inputs(X.schema)
    _refuse_no_table(estimator, X)
    # Before check_array, because its result has no names. Not validate_data, because it
    # would write attributes on the estimator.
    names = _get_feature_names(X)
    with naming_entries_of(X):
        table = check_array(X, dtype=np.float64, estimator=estimator, input_name="X")
    graphs = GraphArray.from_features(table)
    return graphs, Inputs(graphs.schema, table.shape[1], names)


def read_graphs(estimator: Any, X: Any) -> GraphArray:
    """Read X as graphs of the columns of ``fit``.

    Parameters
    ----------
    estimator : estimator
        Fitted; its ``n_features_in_``, ``feature_names_in_`` and ``schema_`` are
        compared with X.
    X : GraphArray or array-like of shape (n_samples, n_features)
        Graphs, or a numeric table whose rows are graphs of one node.

    Returns
    -------
    graphs : GraphArray of shape (n_samples,)
        The graphs.

    Raises
    ------
    TypeError
        If X holds strings.
    ValueError
        If X does not have the columns of ``fit``, or has masked entries.
    """
    if isinstance(X, GraphArray):
        graphs = X
        _refuse_empty(graphs)
    else:
        _refuse_no_table(estimator, X)
        with naming_entries_of(X):
            table = validate_data(estimator, X, dtype=np.float64, reset=False)
        graphs = GraphArray.from_features(table)
    # Also for a table, because one of a single column has as many features as graphs.
    if graphs.schema != estimator.schema_:
        raise ValueError(
            f"X has other columns than in fit: "
            f"{estimator.schema_.difference(graphs.schema)} (fit against now). "
            "Featurize both with the same transformer."
        )
    return graphs


def _refuse_empty(graphs: GraphArray) -> None:
    if not len(graphs):
        # In scikit-learn's words, because its users know them.
        raise ValueError(
            "X is empty: found array with 0 sample(s) (shape=(0,)) while a minimum of "
            "1 is required."
        )


def _refuse_no_table(estimator: Any, X: Any) -> None:
    refuse_masked(X, "X", "fill or drop them")
    refuse_times(X)
    _refuse_strings(estimator, X)


def _refuse_strings(estimator: Any, X: Any) -> None:
    # Before check_array, because its message would be about conversion to numbers.
    first = _first_entry(X.to_numpy() if hasattr(X, "to_numpy") else X)
    if isinstance(first, str):
        # CIF has many lines, SMILES one.
        transformer = "CifToGraph()" if "\n" in first else "SmilesToGraph()"
        raise TypeError(
            f"X holds strings ({first[:40]!r} is the first), but "
            f"{type(estimator).__name__} needs graphs: put {transformer} in front, "
            f"as in make_pipeline({transformer}, ...)."
        )


def _first_entry(values: Any) -> Any:
    """Find the first entry of a list, an array or a table that is not missing."""
    if not isinstance(values, (list, tuple, np.ndarray)):
        return values
    entries = map(_first_entry, values)
    return next((entry for entry in entries if not _is_missing(entry)), None)


def _is_missing(value: Any) -> bool:
    return (
        value is None or value is pd.NA or (isinstance(value, float) and value != value)
    )


def read_targets(
    X: Any, y: Any, censored: str | None = None, name: str | None = None
) -> tuple[np.ndarray, list[str]]:
    """Read y as a table of labels with gaps.

    Parameters
    ----------
    X : sized
        Must be as long as y.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, NaN, None, ``pandas.NA`` or masked where missing.
    censored : {"raise", "drop", "bound"}, optional
        The regressors' parameter, which says what a bound such as ">100" becomes. By
        default it is no number, and the message does not name the parameter.
    name : str, optional
        Name of the only task, if it is not that of its column.

    Returns
    -------
    values : ndarray of float64 or complex128, of the shape of y
        Labels, NaN where missing. Complex if some are bounds that count: their number
        plus i for a lower bound, minus i for an upper one.
    task_names : list of str
        Column names, or ``task_0``, ``task_1``, ...

    Raises
    ------
    ValueError
        If y has other dimensions or another length, or an entry that is infinite or
        not a number, whose task and row are named.
    """
    cells = read_cells(X, y)
    n_tasks = 1 if cells.ndim == 1 else cells.shape[1]
    names = task_names(y, n_tasks) if name is None or n_tasks > 1 else [name]
    table, signs = cells.reshape(len(cells), -1), None
    if censored is not None:
        table, signs = _read_bounds(table, names, censored)
    values = as_numbers(table, names, "y")
    infinite = np.argwhere(np.isinf(values))
    # At most one turn, because the first entry is enough for a message.
    for row, task in infinite[:1].tolist():
        raise ValueError(
            f"Input y contains infinity: task {names[task]!r}, row {row}. Use NaN for "
            "a missing label."
        )
    if signs is not None:
        values = values + 1j * signs
    return values.reshape(cells.shape), names


def _read_bounds(
    table: np.ndarray, names: Sequence[str], censored: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Replace bounds (n, t) by gaps, or by their numbers beside their signs."""
    numbers, signs = take_bounds(table)
    bounds = np.argwhere(signs)
    if not len(bounds):
        return table, None
    if censored == "raise":
        row, task = bounds[0].tolist()
        raise ValueError(
            f"y must hold numbers, but has {len(bounds)} censored label(s); the first "
            f"is {table[row, task]!r} of task {names[task]!r} in row {row}. Set "
            "censored='bound' to learn that the label is beyond this number, or "
            "censored='drop' to leave such labels out."
        )
    if censored == "drop":
        numbers[signs != 0] = None
        return numbers, None
    return numbers, signs


def read_cells(X: Any, y: Any) -> np.ndarray:
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
    _check_length(X, cells)
    if not len(cells):
        # In scikit-learn's words, because its users know them.
        raise ValueError(
            f"X and y are empty: found array with 0 sample(s) (shape={cells.shape}) "
            "while a minimum of 1 is required."
        )
    if not cells.size:
        raise ValueError(f"y must have a column, but has shape {cells.shape}.")
    return cells


def _check_length(X: Any, cells: np.ndarray) -> None:
    try:
        n_rows = _num_samples(X)
    except TypeError as error:
        raise TypeError(f"X must have rows, but is {type(X).__name__}.") from error
    if n_rows != len(cells):
        # In scikit-learn's words, because its users know them.
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: X has "
            f"{n_rows} rows, but y has {len(cells)}."
        )


def require_labels(estimator: Any, y: Any) -> None:
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


def task_names(y: Any, n_tasks: int) -> list[str]:
    """List the names of tasks, made up where y does not have any.

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
    # Refused, because records and messages tell tasks apart by their names.
    if len(set(names)) != n_tasks:
        raise ValueError(f"Task names must differ, but the columns of y are {names}.")
    return names


def task_positions(tasks: Any, names: Sequence[str], parameter: str) -> list[int]:
    """Find the positions of the tasks that a parameter names.

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
    if isinstance(tasks, np.ndarray):
        tasks = np.atleast_1d(tasks)
    elif not lists_tasks(tasks, names):
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


def lists_tasks(tasks: Any, names: Sequence[str]) -> bool:
    """Tell a sequence of tasks from one task.

    Parameters
    ----------
    tasks : label of a column, int, or sequence of these
        A tuple may be one label, because columns of a MultiIndex have such labels.
    names : sequence of str
        Task names of the fit.

    Returns
    -------
    answer : bool
        True for a sequence.
    """
    if isinstance(tasks, tuple):
        return name_of(tasks) not in names
    return isinstance(tasks, (list, range, np.ndarray, pd.Index, pd.Series))


def in_task_order(y: Any, names: Sequence[str]) -> Any:
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
        # pandas by position, because its labels need not be text; polars by name.
        order = [given.index(name) for name in names]
        return y.iloc[:, order] if hasattr(y, "iloc") else y.select(list(names))
    # The fit had no names, so that positions decide.
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
    bare = [names[t] for t in np.flatnonzero(~(weights > 0).any(axis=0)).tolist()]
    if bare:
        raise ValueError(
            f"Task {listed(bare)} has no label in the {where} rows; drop it or "
            "choose another split."
        )


def require_exact(table: np.ndarray, weights: np.ndarray, names: Sequence[str]) -> None:
    """Refuse a task with bounds alone.

    Parameters
    ----------
    table : ndarray of shape (n_samples, n_tasks)
        Labels; of bounds, the imaginary part is not 0.
    weights : ndarray of shape (n_samples, n_tasks) or similar
        Weights of the labels, 0 where missing.
    names : sequence of str
        Task names.

    Raises
    ------
    ValueError
        Naming the first such task.
    """
    if not np.iscomplexobj(table):
        return
    exact = ((weights > 0) & ~np.isnan(table) & (table.imag == 0)).any(axis=0)
    for t in np.flatnonzero(~exact).tolist():
        # Any output far enough would satisfy all bounds of one side.
        raise ValueError(
            f"Task {names[t]!r} has bounds, but no exact label in the training rows: "
            "nothing says how far beyond the bounds its labels are. Drop the task, or "
            "read its bounds as numbers."
        )


def mean_and_scale(
    table: np.ndarray, weights: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation of each task over its weighted labels.

    Parameters
    ----------
    table, weights : ndarray of shape (n_samples, n_tasks)
        Labels, and their weights, 0 where one is missing.
    names : sequence of str of length n_tasks
        Names of the tasks.

    Returns
    -------
    mean, scale : ndarray of shape (n_tasks,)
        The scale of a constant task is 1.

    Raises
    ------
    ValueError
        If the squares of labels are beyond the range of floating-point numbers.
    """
    # Gaps become 0, because NaN times a weight of 0 is NaN.
    labels = np.where(weights > 0, table, 0.0)
    mass = weights.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        mean = (weights * labels).sum(axis=0) / mass
        variance = (weights * (labels - mean) ** 2).sum(axis=0) / mass
    # A constant task apart, because rounding leaves it a shift and a tiny spread.
    shown = np.where(weights > 0, table, np.nan)
    low, high = np.nanmin(shown, axis=0), np.nanmax(shown, axis=0)
    mean = np.where(low == high, low, mean)
    scale = np.where(low == high, 1.0, np.sqrt(variance))
    for t in np.flatnonzero(~((scale > 0) & np.isfinite(scale))).tolist():
        raise ValueError(
            f"Labels of task {names[t]!r} must have a standard deviation whose square "
            f"is a floating-point number, but are from {low[t]:.3g} to {high[t]:.3g}. "
            "Use another unit, or mark odd labels as missing."
        )
    return mean, scale


def read_row_weights(graphs: GraphArray, sample_weight: Any) -> np.ndarray:
    """Read the weights of rows.

    Parameters
    ----------
    graphs : GraphArray of shape (n,)
        The graphs.
    sample_weight : array-like of shape (n,) or None
        Weights of the rows.

    Returns
    -------
    weights : ndarray of float64 of shape (n,)
        At most 1; 0 where a graph is invalid.

    Raises
    ------
    ValueError
        If a weight is negative or not a finite number, or if no row counts.
    """
    weight = as_row_weights(sample_weight, len(graphs))
    # A common factor does not have a meaning, but could leave the range of float32.
    weight = weight / weight.max()
    invalid = np.flatnonzero(~graphs.valid)
    if invalid.size:
        warn(
            f"{invalid.size} invalid graphs are left out of fit, at rows "
            f"{listed(invalid.tolist())}."
        )
    if invalid.size == len(graphs):
        raise ValueError(
            f"All {invalid.size} graphs are invalid: there is nothing to fit."
        )
    return np.where(graphs.valid, weight, 0.0)
