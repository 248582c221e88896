"""Scores of numbers, per task on the labelled rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._averaging import Metric, averaged, weighted_mean


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
    return averaged(NUMBERS["r2"], y_true, y_pred, sample_weight, multioutput)


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
    return averaged(NUMBERS["mae"], y_true, y_pred, sample_weight, multioutput)


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
    return averaged(NUMBERS["rmse"], y_true, y_pred, sample_weight, multioutput)


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


NUMBERS = {
    "r2": Metric(_r2, nan_r2_score, "two distinct labels", True),
    "mae": Metric(_mae, nan_mean_absolute_error, "a label", False),
    "rmse": Metric(_rmse, nan_root_mean_squared_error, "a label", False),
}
