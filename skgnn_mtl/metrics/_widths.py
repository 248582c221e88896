"""Scores of predicted widths, per task: intervals and standard deviations."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import rankdata

from skgnn_mtl._listed import listed

from ._averaging import mean_of_tasks, weighted_mean
from ._probabilities import check_bins
from ._tables import (
    Scored,
    as_table,
    column_names,
    is_frame,
    read_scored,
)

# Labels that a bin must have, or else there are fewer bins.
SMALLEST_BIN = 10


def nan_interval_coverage(
    y_true: ArrayLike,
    interval: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the share of the labels of each task that lie in their intervals.

    .. math::
        C_t = \frac{\sum_i m_{it} w_i\, [l_{it} \le y_{it} \le u_{it}]}
                   {\sum_i m_{it} w_i}

    with :math:`m_{it} = 1` where row :math:`i` has a label of task :math:`t` and 0
    elsewhere, and row weights :math:`w_i`.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    interval : array-like of shape (n_samples, 2) or (n_samples, n_tasks, 2)
        Lower and upper ends; the first shape is that of a single task. The lower end
        may be minus infinity and the upper one infinity. A row that is NaN in every
        task (an invalid graph) is left out, with a warning.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    coverage : float or ndarray of shape (n_tasks,)
        In [0, 1]; best if it is the coverage that the intervals were made for. The raw
        value of a task without labels is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a lower end is above its upper end or both are the same
        infinity, if an end is missing in some tasks only, or if no task has a label.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    nan_interval_width : A coverage is worth more with narrow intervals.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_interval_coverage
    >>> nan_interval_coverage([1.0, 2.0, float("nan"), 4.0],
    ...                       [[0, 2], [1, 3], [2, 4], [4.5, 6]])
    0.666...
    """
    ends = _read_interval(y_true, interval, sample_weight)
    true, weight = ends.scored.true, ends.scored.weight
    inside = (ends.low <= true) & (true <= ends.high)
    values = weighted_mean(inside.astype(np.float64), weight)
    return _mean(nan_interval_coverage, values, ends.scored, multioutput)


def nan_interval_width(
    y_true: ArrayLike,
    interval: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the mean width of the intervals of each task, on its labelled rows.

    .. math:: W_t = \sum_i m_{it} w_i (u_{it} - l_{it}) / \sum_i m_{it} w_i

    with :math:`m_{it} = 1` where row :math:`i` has a label of task :math:`t` and 0
    elsewhere, and row weights :math:`w_i`. These are the rows of
    :func:`nan_interval_coverage`, so that both describe the same predictions.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, which choose the rows; NaN, or a bound such as ">100", = unlabelled. The
        columns of a DataFrame name the tasks.
    interval : array-like of shape (n_samples, 2) or (n_samples, n_tasks, 2)
        Lower and upper ends, as for :func:`nan_interval_coverage`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks, in which the largest unit dominates.
        "raw_values" gives one value per task. An array is the weights of the tasks in
        the mean.

    Returns
    -------
    width : float or ndarray of shape (n_tasks,)
        In the unit of each task; infinite if an interval of a labelled row is. The raw
        value of a task without labels is NaN.

    Raises
    ------
    ValueError
        As :func:`nan_interval_coverage`.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    nan_interval_coverage : Share of labels inside of intervals.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_interval_width
    >>> nan_interval_width([1.0, float("nan"), 4.0], [[0, 2], [0, 9], [4, 5]])
    1.5
    """
    ends = _read_interval(y_true, interval, sample_weight)
    weight = ends.scored.weight
    # Widths of labelled rows alone, because infinity times a weight of 0 is NaN.
    values = weighted_mean(np.where(weight > 0, ends.high - ends.low, 0.0), weight)
    return _mean(nan_interval_width, values, ends.scored, multioutput)


def nan_gaussian_nll(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    y_std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the mean negative log-likelihood of the labels of each task.

    .. math::
        \mathrm{NLL}_t = \frac{1}{\sum_i m_{it} w_i} \sum_i m_{it} w_i\, \tfrac12
        \left(\log 2 \pi \sigma_{it}^2
              + \frac{(y_{it} - \mu_{it})^2}{\sigma_{it}^2}\right)

    of the normal distribution with mean :math:`\mu` and standard deviation
    :math:`\sigma`, with :math:`m_{it} = 1` where row :math:`i` has a label of task
    :math:`t` and 0 elsewhere, and row weights :math:`w_i`. It judges means and widths
    together: no other width has a lower expected value than the true one.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    y_pred : array-like of the shape of `y_true`
        Means. A row that is NaN in every task (an invalid graph) is left out, with a
        warning.
    y_std : array-like of the shape of `y_true`
        Standard deviations, above 0, in the units of the labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    loss : float or ndarray of shape (n_tasks,)
        In nats; it depends on the unit of the task. The raw value of a task without
        labels is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a standard deviation is not above 0, if a value is infinite
        or missing in some tasks only, or if no task has a label.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    nan_calibration_error : Widths against errors, in bins.
    nan_interval_coverage : Share of labels inside of intervals.

    References
    ----------
    .. [1] T. Gneiting, A. Raftery, "Strictly Proper Scoring Rules, Prediction, and
       Estimation", J. Am. Stat. Assoc. 102, 359 (2007).

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_gaussian_nll
    >>> round(nan_gaussian_nll([1.0, 3.0], [1.0, 2.0], [1.0, 1.0]), 4)
    1.1689
    """
    scored, std = read_std(y_true, y_pred, y_std, sample_weight)
    # The square of the ratio, because a tiny variance underflows.
    z = (scored.true - scored.pred) / std
    losses = 0.5 * np.log(2 * np.pi) + np.log(std) + 0.5 * z**2
    values = weighted_mean(losses, scored.weight)
    return _mean(nan_gaussian_nll, values, scored, multioutput)


def nan_calibration_error(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    y_std: ArrayLike,
    *,
    n_bins: int = 10,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the expected normalised calibration error of each task [1]_.

    The labelled rows are sorted by their standard deviation and divided into bins of
    equal counts (they differ by one at most). Then

    .. math::
        \mathrm{ENCE}_t = \frac1B \sum_b
        \frac{|\mathrm{RMV}_b - \mathrm{RMSE}_b|}{\mathrm{RMV}_b}, \qquad
        \mathrm{RMV}_b^2 = \langle \sigma^2 \rangle_b, \quad
        \mathrm{RMSE}_b^2 = \langle (y - \mu)^2 \rangle_b

    with weighted means over the rows of a bin.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    y_pred : array-like of the shape of `y_true`
        Means. A row that is NaN in every task (an invalid graph) is left out, with a
        warning.
    y_std : array-like of the shape of `y_true`
        Standard deviations, above 0, in the units of the labels.
    n_bins : int, default=10
        Bins per task. A task with fewer than 10 labels per bin has fewer bins, but at
        least one.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    error : float or ndarray of shape (n_tasks,)
        At least 0, without a unit. The raw value of a task without labels is NaN.

    Raises
    ------
    ValueError
        As :func:`nan_gaussian_nll`, or if `n_bins` is not a positive integer.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without labels, which are left out of the mean.

    See Also
    --------
    nan_gaussian_nll : Likelihood of labels under predicted widths.
    nan_error_rank_correlation : Whether widths rank the errors.

    Notes
    -----
    The true width does not give 0: with m labels per bin, normal errors give about
    :math:`0.56 / \sqrt m`. Compare methods on the same rows and bins.

    References
    ----------
    .. [1] D. Levi, L. Gispan, N. Giladi, E. Fetaya, "Evaluating and Calibrating
       Uncertainty Prediction in Regression Tasks", Sensors 22, 5540 (2022).

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_calibration_error
    >>> nan_calibration_error([0.0, 0.0, 0.0], [2.0, -2.0, 2.0], [1.0, 1.0, 1.0])
    1.0
    """
    check_bins(n_bins)
    scored, std = read_std(y_true, y_pred, y_std, sample_weight)
    values = np.full(len(scored.names), np.nan)
    for k in range(len(values)):
        bins = error_by_width(scored, std, k, int(n_bins))
        if len(bins):
            width, error = bins.T
            values[k] = np.mean(np.abs(width - error) / width)
    return _mean(nan_calibration_error, values, scored, multioutput)


def nan_error_rank_correlation(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    y_std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute Spearman's rank correlation of errors and widths, for each task.

    It is the correlation of the ranks of :math:`|y_{it} - \mu_{it}|` and of
    :math:`\sigma_{it}` over the labelled rows of the task; equal values have the mean
    of their ranks. It tells whether a larger width means a larger error, whatever the
    scale of the widths.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", = unlabelled. The columns of a DataFrame
        name the tasks.
    y_pred : array-like of the shape of `y_true`
        Means. A row that is NaN in every task (an invalid graph) is left out, with a
        warning.
    y_std : array-like of the shape of `y_true`
        Standard deviations, above 0, or any other positive measure of doubt.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in the correlation, at least 0; ranks do not depend on them.
        A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    correlation : float or ndarray of shape (n_tasks,)
        In [-1, 1]; 0 for widths that say nothing. Even the true widths of normal errors
        stay far below 1. The raw value of an undefined task is NaN.

    Raises
    ------
    ValueError
        As :func:`nan_gaussian_nll`, or if no task is defined.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks whose widths or errors are all equal, such as those of a
        constant width, which are left out of the mean.

    See Also
    --------
    scipy.stats.spearmanr : The same for one task without weights.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_error_rank_correlation
    >>> nan_error_rank_correlation([0.0, 0.0, 0.0], [0.1, -0.5, 2.0], [1.0, 3.0, 2.0])
    0.5
    """
    scored, std = read_std(y_true, y_pred, y_std, sample_weight)
    errors = np.abs(scored.true - scored.pred)
    values = np.array(
        [
            _rank_correlation(errors[rows, k], std[rows, k], scored.weight[rows, k])
            for k, rows in enumerate((scored.weight > 0).T)
        ]
    )
    needs = "two different errors and widths"
    return _mean(nan_error_rank_correlation, values, scored, multioutput, needs)


def _rank_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    """Correlate the ranks of two columns (n,); NaN if one is constant."""
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    covariance = np.cov(rankdata(a), rankdata(b), aweights=weight, ddof=0)
    scale = np.sqrt(covariance[0, 0] * covariance[1, 1])
    # Clipped, because rounding may pass 1.
    return float(np.clip(covariance[0, 1] / scale, -1.0, 1.0))


def error_by_width(
    scored: Scored, std: np.ndarray, task: int, n_bins: int
) -> np.ndarray:
    """Compute the mean width and error (root mean squares) in bins of the width.

    Parameters
    ----------
    scored : Scored
        Labels, predictions and weights (n_rows, n_tasks).
    std : ndarray of shape (n_rows, n_tasks)
        Standard deviations.
    task : int
        Position of the task.
    n_bins : int
        Bins, if each has at least 10 labels.

    Returns
    -------
    bins : ndarray of shape (n_bins, 2)
        Width and error of each bin, from narrow to wide; empty without labels.
    """
    rows = np.flatnonzero(scored.weight[:, task] > 0)
    if not len(rows):
        return np.empty((0, 2))
    rows = rows[np.argsort(std[rows, task], kind="stable")]
    error = scored.true[:, task] - scored.pred[:, task]
    squares = np.column_stack([std[:, task], error]) ** 2
    weight = scored.weight[:, [task]]
    n_bins = max(1, min(n_bins, len(rows) // SMALLEST_BIN))
    return np.sqrt(
        [weighted_mean(squares[b], weight[b]) for b in np.array_split(rows, n_bins)]
    )


def check_coverage(coverage: Any) -> float:
    """Read a coverage.

    Parameters
    ----------
    coverage : float
        What the user gives.

    Returns
    -------
    coverage : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If it is something else.
    """
    # Not as a float, because an integer may be too large for one.
    if not (isinstance(coverage, Real) and 0 < coverage < 1):  # type: ignore[operator]
        raise ValueError(
            f"coverage must be between 0 and 1, such as 0.9, but is {coverage!r}."
        )
    return float(coverage)


def half_width(coverage: float) -> float:
    """Compute half the width of the central interval of a standard normal distribution.

    Parameters
    ----------
    coverage : float
        Probability of the interval, between 0 and 1.

    Returns
    -------
    half : float
        1.645 for 0.9.

    Raises
    ------
    ValueError
        If the coverage is something else.
    """
    return float(ndtri((1 + check_coverage(coverage)) / 2))


class _Ends(NamedTuple):
    """Ends of intervals (n_rows, n_tasks), with the labels of the same rows."""

    scored: Scored
    low: np.ndarray
    high: np.ndarray


def _read_interval(y_true: Any, interval: Any, sample_weight: Any) -> _Ends:
    """Check intervals against labels, and leave out the rows without one."""
    ends = np.asarray(interval, dtype=np.float64)
    shape = np.shape(y_true)
    n_tasks = shape[1] if len(shape) == 2 else 1
    if ends.ndim == 2 and n_tasks == 1:
        ends = ends[:, None]
    if ends.shape != (len(ends), n_tasks, 2) or len(ends) != shape[0]:
        raise ValueError(
            f"interval must have shape {(shape[0], n_tasks, 2)}, of rows, tasks and "
            f"two ends, because y_true has shape {shape}, but has shape "
            f"{np.shape(interval)}."
        )
    low, high = ends[..., 0], ends[..., 1]
    # Only what is missing, because predictions must be finite, and ends need not.
    gaps = np.where(np.isnan(low), np.nan, 0.0)
    scored = read_scored(y_true, gaps, sample_weight, "interval")
    in_order = (low <= high) & (low < np.inf) & (high > -np.inf)
    _check_everywhere(
        in_order | np.isnan(low) & np.isnan(high),
        scored.names,
        lambda row, task: (
            "interval must have two ends, the lower one first, but is "
            f"{ends[row, task].tolist()}"
        ),
    )
    return _Ends(scored, low[scored.rows], high[scored.rows])


def read_std(
    y_true: Any, y_pred: Any, y_std: Any, sample_weight: Any
) -> tuple[Scored, np.ndarray]:
    """Check standard deviations against means and labels; as :func:`read_scored`."""
    scored = read_scored(y_true, y_pred, sample_weight)
    # Other names, such as "logP std", tell nothing.
    columns = column_names(y_std) if is_frame(y_std) else []
    pairs = zip(columns, scored.names, strict=False)
    if any(own != task and own in scored.names for own, task in pairs):
        raise ValueError(
            f"The columns of y_std ({listed(columns)}) are in another order than the "
            f"tasks ({listed(scored.names)}); put them into one order."
        )
    std = as_table(y_std, "y_std", scored.names)
    if std.shape != (len(scored.rows), len(scored.names)):
        raise ValueError(
            f"y_std has shape {np.shape(y_std)}, but y_pred has shape "
            f"{np.shape(y_pred)}; both need one row per sample and one column per task."
        )
    _check_everywhere(
        ((std > 0) & np.isfinite(std)) | ~scored.rows[:, None],
        scored.names,
        lambda row, task: f"y_std must be above 0 and finite, but is {std[row, task]}",
    )
    return scored, std[scored.rows]


def _check_everywhere(
    good: np.ndarray, names: list[str], found: Callable[[int, int], str]
) -> None:
    """Raise an error that names the first entry (n, t) that is not good."""
    # At most one turn, because the first entry is enough for a message.
    for row, task in np.argwhere(~good)[:1].tolist():
        raise ValueError(f"{found(row, task)} in row {row} of task {names[task]!r}.")


def _mean(
    function: Callable[..., Any],
    values: np.ndarray,
    scored: Scored,
    multioutput: Any,
    needs: str = "a label",
) -> float | np.ndarray:
    name = function.__name__
    return mean_of_tasks(values, scored.names, multioutput, name, needs)
