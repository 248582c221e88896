"""Scores per task on the labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import recall_score, roc_auc_score

from skgnn_mtl._warn import warn

from ._one_vs_rest import one_vs_rest
from ._tables import as_cells, column_names, is_frame, listed, read_scored


def nan_r2_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the coefficient of determination of each task on its labelled rows.

    .. math::
        R^2_t = 1 - \frac{\sum_i m_{it} w_i (y_{it} - \hat y_{it})^2}
                         {\sum_i m_{it} w_i (y_{it} - \bar y_t)^2},
        \qquad
        \bar y_t = \frac{\sum_i m_{it} w_i y_{it}}{\sum_i m_{it} w_i}

    with :math:`m_{it} = 1` where row :math:`i` has a label of task :math:`t` and 0
    elsewhere, and row weights :math:`w_i`. Predicting the mean of the scored labels
    gives 0.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    y_pred : array-like of the shape of `y_true`
        Predictions. A row that is NaN in every task (an invalid graph) is left out,
        with a warning.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    score : float or ndarray of shape (n_tasks,)
        At most 1. The raw value of an undefined task is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a value is infinite, if a prediction is missing in some
        tasks only, or if no task is defined.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks with fewer than two distinct labels, which are left out of the
        mean.

    See Also
    --------
    sklearn.metrics.r2_score : The same for one task without NaN.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_r2_score
    >>> nan = float("nan")
    >>> y_true = [[1.0, 10.0], [2.0, nan], [3.0, 30.0]]
    >>> y_pred = [[1.0, 10.0], [2.0, 99.0], [2.0, 30.0]]
    >>> nan_r2_score(y_true, y_pred)
    0.75
    >>> nan_r2_score(y_true, y_pred, multioutput="raw_values")
    array([0.5, 1. ])
    """
    return _averaged(METRICS["r2"], y_true, y_pred, sample_weight, multioutput)


def nan_mean_absolute_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the mean absolute error of each task on its labelled rows.

    .. math::
        \mathrm{MAE}_t = \frac{\sum_i m_{it} w_i |y_{it} - \hat y_{it}|}
                              {\sum_i m_{it} w_i}

    with :math:`m_{it} = 1` where row :math:`i` has a label of task :math:`t` and 0
    elsewhere, and row weights :math:`w_i`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    y_pred : array-like of the shape of `y_true`
        Predictions. A row that is NaN in every task (an invalid graph) is left out,
        with a warning.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks, in which the largest unit dominates.
        "raw_values" gives one value per task. An array is the weights of the tasks in
        the mean.

    Returns
    -------
    error : float or ndarray of shape (n_tasks,)
        In the unit of each task. The raw value of a task without labels is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a value is infinite, if a prediction is missing in some
        tasks only, or if no task has a label.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    sklearn.metrics.mean_absolute_error : The same for one task without NaN.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_mean_absolute_error
    >>> nan = float("nan")
    >>> y_true = [[1.0, 10.0], [2.0, nan], [3.0, 30.0]]
    >>> y_pred = [[1.0, 11.0], [2.0, 99.0], [6.0, 30.0]]
    >>> nan_mean_absolute_error(y_true, y_pred, multioutput="raw_values")
    array([1. , 0.5])
    >>> nan_mean_absolute_error(y_true, y_pred, multioutput=[1, 3])
    0.625
    """
    return _averaged(METRICS["mae"], y_true, y_pred, sample_weight, multioutput)


def nan_root_mean_squared_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the root mean squared error of each task on its labelled rows.

    .. math::
        \mathrm{RMSE}_t = \sqrt{\frac{\sum_i m_{it} w_i (y_{it} - \hat y_{it})^2}
                                     {\sum_i m_{it} w_i}}

    with :math:`m_{it} = 1` where row :math:`i` has a label of task :math:`t` and 0
    elsewhere, and row weights :math:`w_i`. The root is taken before the mean over
    tasks.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    y_pred : array-like of the shape of `y_true`
        Predictions. A row that is NaN in every task (an invalid graph) is left out,
        with a warning.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks, in which the largest unit dominates.
        "raw_values" gives one value per task. An array is the weights of the tasks in
        the mean.

    Returns
    -------
    error : float or ndarray of shape (n_tasks,)
        In the unit of each task. The raw value of a task without labels is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a value is infinite, if a prediction is missing in some
        tasks only, or if no task has a label.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    sklearn.metrics.root_mean_squared_error : The same for one task without NaN.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_root_mean_squared_error
    >>> nan = float("nan")
    >>> y_true = [[0.0, 10.0], [0.0, nan]]
    >>> y_pred = [[3.0, 12.0], [3.0, 99.0]]
    >>> nan_root_mean_squared_error(y_true, y_pred, multioutput="raw_values")
    array([3., 2.])
    """
    return _averaged(METRICS["rmse"], y_true, y_pred, sample_weight, multioutput)


def nan_roc_auc_score(
    y_true: ArrayLike,
    y_score: ArrayLike | Sequence[ArrayLike],
    *,
    labels: Any = None,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    """Compute the area under the ROC curve of each task on its labelled rows.

    It is the probability that a row of the second class has a higher score than a row
    of the first class. The classes of a task are its two labels in sorted order. With
    more than two classes it is the mean over classes of the area of each against the
    rest.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels of any kind; NaN or None = unlabelled. The columns of a DataFrame name
        the tasks.
    y_score : array-like of the shape of `y_true`, or what ``predict_proba`` returns
        Scores of the second class of two: logits or probabilities. Else one array of
        shape (n_samples, n_classes) per task, in a list for a two-dimensional `y_true`.
        A row that is NaN in every task (an invalid graph) is left out, with a warning.
    labels : array-like, or list of array-like, default=None
        Labels of the columns of these arrays, such as ``classes_`` of the classifier;
        None stands for the sorted labels of each task.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    score : float or ndarray of shape (n_tasks,)
        1 for a perfect order, 0.5 for a random one. The raw value of an undefined task
        is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a score is infinite or missing in some tasks only, if a
        task has more than two labels in a table of the shape of `y_true`, or if no task
        is defined.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without rows of two classes, which are left out of the mean. A
        class without rows, or without other rows, is left out of the mean of its task.

    See Also
    --------
    sklearn.metrics.roc_auc_score : The same for one task without NaN.

    References
    ----------
    .. [1] T. Fawcett, "An Introduction to ROC Analysis", Pattern Recognition Letters
       27, 861 (2006).

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_roc_auc_score
    >>> nan = float("nan")
    >>> y_true = [[0, 1], [1, nan], [0, 0], [1, 1]]
    >>> y_score = [[0.1, 0.9], [0.8, 0.2], [0.9, 0.3], [0.7, 0.6]]
    >>> nan_roc_auc_score(y_true, y_score, multioutput="raw_values")
    array([0.5, 1. ])
    >>> proba = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]
    >>> nan_roc_auc_score(["a", "b", "c", None], proba)
    1.0
    """
    columns = one_vs_rest(y_true, y_score, labels)
    metric = METRICS["roc_auc"]
    scored = read_scored(_as_codes(columns.true), columns.scores, sample_weight)
    values = columns.by_task(
        metric.per_task(scored.true, scored.pred, scored.weight), np.nanmean
    )
    names = list(columns.names) or scored.names
    return mean_of_tasks(
        values, names, multioutput, metric.function.__name__, metric.needs
    )


def nan_balanced_accuracy_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the mean share of rows of each class that are predicted as this class.

    .. math::
        A_t = \frac{1}{K_t} \sum_k
        \frac{\sum_i w_i [y_{it} = k] [\hat y_{it} = k]}{\sum_i w_i [y_{it} = k]}

    over the :math:`K_t` classes that task :math:`t` has in its labelled rows, with row
    weights :math:`w_i`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels of any kind, of two classes or more; NaN or None = unlabelled. The
        columns of a DataFrame name the tasks.
    y_pred : array-like of the shape of `y_true`
        Predicted labels. A row that is NaN in every task (an invalid graph) is left
        out, with a warning.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    score : float or ndarray of shape (n_tasks,)
        In [0, 1]; :math:`1 / K_t` for a constant prediction. The raw value of a task
        without labels is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a prediction is missing in some tasks only, or if no task
        has a label.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    sklearn.metrics.balanced_accuracy_score : The same for one task without NaN.

    References
    ----------
    .. [1] K. Brodersen et al., "The Balanced Accuracy and Its Posterior Distribution",
       ICPR 2010.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_balanced_accuracy_score
    >>> y_true = ["low", "low", "low", "high", None]
    >>> nan_balanced_accuracy_score(y_true, ["low", "low", "high", "high", "low"])
    0.8333333333333333
    """
    codes = _common_codes(y_true, y_pred)
    metric = METRICS["balanced_accuracy"]
    return _averaged(metric, *codes, sample_weight, multioutput)


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


def _r2(true: np.ndarray, pred: np.ndarray, weight: np.ndarray) -> np.ndarray:
    labelled = weight > 0
    high = true.max(axis=0, where=labelled, initial=-np.inf)
    spread = high - true.min(axis=0, where=labelled, initial=np.inf)
    # The spread, because it tests exactly whether all labels are equal; a variance may
    # differ from zero by rounding.
    unit = np.where(spread > 0, spread, np.nan)
    # In units of the spread, because squares may underflow or overflow otherwise.
    residual = weighted_mean(((true - pred) / unit) ** 2, weight)
    centred = (true - weighted_mean(true, weight)) / unit
    r2: np.ndarray = 1.0 - residual / weighted_mean(centred**2, weight)
    return r2


def _mae(true: np.ndarray, pred: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return weighted_mean(np.abs(true - pred), weight)


def _rmse(true: np.ndarray, pred: np.ndarray, weight: np.ndarray) -> np.ndarray:
    rmse: np.ndarray = np.sqrt(weighted_mean((true - pred) ** 2, weight))
    return rmse


def _roc_auc(true: np.ndarray, pred: np.ndarray, weight: np.ndarray) -> np.ndarray:
    values = np.full(true.shape[1], np.nan)
    for task in range(true.shape[1]):
        rows = weight[:, task] > 0
        n_labels = len(np.unique(true[rows, task]))
        if n_labels > 2:
            raise ValueError(
                f"Column {task} must have two different labels, but has {n_labels}."
            )
        if n_labels == 2:
            values[task] = roc_auc_score(
                true[rows, task] == true[rows, task].max(),
                pred[rows, task],
                sample_weight=weight[rows, task],
            )
    return values


def _balanced_accuracy(
    true: np.ndarray, pred: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    values = np.full(true.shape[1], np.nan)
    for task, column in enumerate(true.T):
        rows = weight[:, task] > 0
        if rows.any():
            values[task] = recall_score(
                column[rows],
                pred[rows, task],
                labels=np.unique(column[rows]),
                average="macro",
                sample_weight=weight[rows, task],
            )
    return values


def _common_codes(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Replace labels and predictions by positions, if some of a task are strings."""
    true = as_cells(y_true, "y_true")
    pred = as_cells(y_pred, "y_pred")
    if true.shape != pred.shape:  # which the reader of tables refuses
        return y_true, y_pred
    both = _as_codes(np.concatenate([true.astype(object), pred.astype(object)]))
    codes = np.asarray(both)[: len(true)], np.asarray(both)[len(true) :]
    named = [column_names(y) if is_frame(y) else None for y in (y_true, y_pred)]
    true, pred = (
        part if names is None else pd.DataFrame(part, columns=names)
        for part, names in zip(codes, named, strict=True)
    )
    return true, pred


def _as_codes(y_true: Any) -> Any:
    """Replace labels by their positions in the sorted column, if some are strings."""
    table = as_cells(y_true, "y_true")
    if table.dtype.kind not in "OUST" or table.ndim not in (1, 2):
        return y_true
    table = table.astype(object)
    missing = pd.isna(table)
    if not any(isinstance(value, str) for value in table[~missing]):
        return y_true
    codes = np.full(table.shape, np.nan)
    for task in np.ndindex(table.shape[1:]):
        rows = ~missing[:, *task]
        # Per column, because NumPy would turn the numbers of other columns to strings.
        labels = np.array(table[:, *task][rows].tolist())
        codes[rows, *task] = np.unique(labels, return_inverse=True)[1]
    names = column_names(y_true) if is_frame(y_true) else None
    return codes if names is None else pd.DataFrame(codes, columns=names)


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average each column (n, t) -> (t,); NaN for a column without weight."""
    total = weight.sum(axis=0)
    mean: np.ndarray = (weight * values).sum(axis=0) / np.where(
        total > 0, total, np.nan
    )
    return mean


METRICS = {
    "r2": Metric(_r2, nan_r2_score, "two distinct labels", True),
    "mae": Metric(_mae, nan_mean_absolute_error, "a label", False),
    "rmse": Metric(_rmse, nan_root_mean_squared_error, "a label", False),
    "roc_auc": Metric(_roc_auc, nan_roc_auc_score, "two distinct labels", True),
    "balanced_accuracy": Metric(
        _balanced_accuracy, nan_balanced_accuracy_score, "a label", True
    ),
}


def _averaged(
    metric: Metric, y_true: Any, y_pred: Any, sample_weight: Any, multioutput: Any
) -> float | np.ndarray:
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
