"""Reading what users pass to fit and predict."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.metrics._tables import column_names
from skgnn_mtl.weighting import HeldOut


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
        If X does not fit the schema of ``fit``.
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
        _refuse_strings(estimator, X)
        table = validate_data(estimator, X, dtype=np.float64, reset=reset)
        graphs = GraphArray.from_features(table)
    if reset:
        estimator.schema_ = graphs.schema
    elif graphs.schema != estimator.schema_:
        raise ValueError(
            f"X has other columns than in fit: "
            f"{estimator.schema_.difference(graphs.schema)} (fit against now). "
            "Featurize both with the same transformer."
        )
    return graphs


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
        Labels, NaN, None or ``pandas.NA`` where missing.

    Returns
    -------
    values : ndarray of float64, of the shape of y
        Labels, NaN where missing.
    task_names : list of str
        Column names, or ``task_0``, ``task_1``, ...

    Raises
    ------
    ValueError
        If y is None, has infinite entries, other dimensions or another length.
    """
    require_labels(estimator, y)
    values = check_array(
        _without_objects(y),
        ensure_2d=False,
        ensure_all_finite=False,
        dtype=np.float64,
        input_name="y",
    )
    if values.ndim > 2:
        raise ValueError(f"y must have one or two dimensions, but has {values.ndim}.")
    check_consistent_length(X, values)
    names = task_names(y, 1 if values.ndim == 1 else values.shape[1])
    infinite = np.argwhere(np.isinf(values.reshape(len(values), -1)))
    for row, task in infinite[:1].tolist():
        raise ValueError(
            f"Input y contains infinity: task {names[task]!r}, row {row}. Use NaN for "
            "a missing label."
        )
    return values, names


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
    names = column_names(y) or [f"task_{t}" for t in range(n_tasks)]
    if len(set(names)) != n_tasks:
        raise ValueError(f"Task names must differ, but the columns of y are {names}.")
    return names


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
    given = list(getattr(y, "columns", ()))
    is_named = all(isinstance(name, str) for name in given)
    made_up = list(names) == [f"task_{t}" for t in range(len(names))]
    if not given or not is_named or given == list(names):
        return y
    if sorted(given) == sorted(names):
        return y[list(names)]
    if made_up and len(given) == len(names):
        return y
    raise ValueError(
        f"y has the columns {given}, but the estimator was fitted with "
        f"{list(names)}; use the same columns."
    )


def _without_objects(y):
    """Turn frames and object arrays into float arrays, whatever marks a gap."""
    if isinstance(y, (pd.DataFrame, pd.Series)):
        y = y.to_numpy(dtype=object)
    elif hasattr(y, "to_numpy"):
        y = y.to_numpy()
    elif isinstance(y, (list, tuple)):
        y = np.asarray(y)
    if isinstance(y, np.ndarray) and y.dtype == object:
        return np.where(pd.isna(y), np.nan, y)
    return y


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


def split_validation(validation, X, y, weights, groups, labelled, seed: int):
    """Choose the rows that watch the training.

    Parameters
    ----------
    validation : float or cross-validation splitter
        Share of the labelled rows, or a splitter whose first split is used.
    X : GraphArray of shape (n_samples,)
        All rows; a splitter sees them all, as the user passed them.
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
        Labels with their gaps, in the dimensions of the user's.
    weights : ndarray of shape (n_samples, n_tasks)
        Weights of the labels; a random share is spread evenly over the patterns of
        missing labels.
    groups : array-like of shape (n_samples,) or None
        Rows of one group stay together.
    labelled : ndarray of bool of shape (n_samples,)
        Rows to choose from.
    seed : int
        Seed of a random split.

    Returns
    -------
    train_rows, valid_rows : ndarray of int
        Positions of labelled rows.

    Raises
    ------
    ValueError
        If a side is left without rows, or a splitter gives rows that there are not.
    """
    rows = np.flatnonzero(labelled)
    if hasattr(validation, "split"):
        return _first_split(validation, X, y, groups, labelled)
    if groups is not None:
        if len(np.unique(np.asarray(groups)[rows])) < 2:
            raise ValueError(
                f"groups has one value for all {len(rows)} rows with labels, which "
                "leaves none for validation: pass smaller groups, or none."
            )
        splitter = GroupShuffleSplit(1, test_size=validation, random_state=seed)
        return tuple(
            rows[part] for part in next(splitter.split(rows, groups=groups[rows]))
        )
    n, n_valid = len(rows), ceil(validation * len(rows))
    if n_valid >= n:
        raise ValueError(
            f"validation={validation} leaves none of {n} rows to train on."
        )
    # Systematic sampling along rows sorted by the pattern of their labels.
    rng = np.random.default_rng(seed)
    order = np.lexsort([rng.random(n), *(weights[rows] > 0).T])
    picked = order[((np.arange(n_valid) + rng.random()) * n / n_valid).astype(int)]
    is_valid = np.zeros(n, dtype=bool)
    is_valid[picked] = True
    # No side goes without a label of a task that has two.
    for labelled_rows in map(np.flatnonzero, (weights[rows] > 0).T):
        if len(labelled_rows) > 1 and len(set(is_valid[labelled_rows])) == 1:
            mover = rng.choice(labelled_rows)
            is_valid[mover] = not is_valid[mover]
    return rows[~is_valid], rows[is_valid]


def _first_split(splitter, X, y, groups, labelled: np.ndarray):
    """Labelled rows of the first split."""
    n = len(labelled)
    with warnings.catch_warnings():
        # They may be meant for what a weighting holds out.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        parts = next(iter(splitter.split(X, y, groups)), None)
    if parts is None:
        raise ValueError(f"validation={splitter} gives no split.")
    # A PredefinedSplit of other rows would silently leave some out.
    n_folds = len(getattr(splitter, "test_fold", range(n)))
    if n_folds != n:
        raise ValueError(f"validation={splitter} knows {n_folds} rows, but X has {n}.")
    chosen = []
    for part, purpose in zip(parts, ("train on", "watch by"), strict=True):
        part = np.asarray(part)
        if part.size and part.max() >= n:
            raise ValueError(
                f"validation={splitter} names row {part.max()}, but X has {n} rows."
            )
        chosen.append(part[labelled[part]])
        if not len(chosen[-1]):
            raise ValueError(
                f"validation={splitter} leaves no labelled row to {purpose}."
            )
    return tuple(chosen)


def hold_out(part: HeldOut, weights, groups, rows, seed: int):
    """Choose training rows that judge a task weighting.

    Parameters
    ----------
    part : HeldOut
        How many, and which.
    weights : ndarray of shape (n_samples, n_targets)
        Weights of the targets' labels, 0 where one is missing.
    groups : array-like of shape (n_samples,) or None
        Rows of one group stay together.
    rows : ndarray of int
        Training rows.
    seed : int
        Seed of a random choice.

    Returns
    -------
    train_rows, held_out_rows : ndarray of int
        Positions in increasing order; those held out have a label of a target.

    Raises
    ------
    ValueError
        If nothing is left on one side.
    """
    labelled = rows[(weights[rows] > 0).any(axis=1)]
    if len(labelled) < 2:
        raise ValueError(
            f"{len(labelled)} training rows have a label of a target, but at least 2 "
            "are needed to hold some out."
        )
    if groups is None:
        chosen = np.isin(np.arange(len(weights)), labelled)
        fraction = min(part.fraction, 1 - 1 / len(labelled))
        _, held = split_validation(fraction, None, None, weights, None, chosen, seed)
        return np.setdiff1d(rows, held), np.sort(held)
    groups = np.asarray(groups)
    order = _tail_last(groups[labelled])
    if part.split == "random":
        order = np.random.default_rng(seed).permutation(order)
    sizes = np.array([(groups[labelled] == group).sum() for group in order])
    if len(order) < 2:
        raise ValueError(
            f"All {len(labelled)} labelled training rows are of one group, "
            f"{order[0]!r}, which leaves none to hold out: pass smaller groups, or "
            "none."
        )
    # The cut moves to the border of a group, and leaves one on either side.
    fits = sizes.cumsum() <= (1 - part.fraction) * len(labelled) + 1e-9
    n_kept = int(np.clip(fits.sum(), 1, len(order) - 1))
    is_held = np.isin(groups, order[n_kept:])
    return rows[~is_held[rows]], labelled[is_held[labelled]]


def _tail_last(groups: np.ndarray) -> np.ndarray:
    """Distinct groups, large ones first, among equals those that begin late."""
    names, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    return names[np.lexsort([-first, -sizes])]
