"""Scores of predicted probabilities of classes, per task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._averaging import mean_of_tasks, weighted_mean
from ._class_scores import as_codes
from ._one_vs_rest import Columns, one_vs_rest
from ._tables import Scored, read_scored


def nan_log_loss(
    y_true: ArrayLike,
    y_proba: ArrayLike | Sequence[ArrayLike],
    *,
    labels: Any = None,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the mean negative log-likelihood of the classes of each task.

    .. math::
        L_t = -\frac{1}{\sum_i m_{it} w_i} \sum_i m_{it} w_i
        \left(c_{it} \log p_{it} + (1 - c_{it}) \log (1 - p_{it})\right)

    with the probability :math:`p` of the second class, :math:`c_{it} = 1` for a label
    of the second class and 0 for the first, :math:`m_{it} = 1` where row :math:`i` has
    a label of task :math:`t` and 0 elsewhere, and row weights :math:`w_i`. With more
    than two classes it is the mean of :math:`-\log p` of the true class.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels: 0 and 1, or any two values per task in sorted order; NaN or None =
        unlabelled. The columns of a DataFrame name the tasks.
    y_proba : array-like of the shape of `y_true`, or what ``predict_proba`` returns
        Probabilities of the second class of two. Else one array of shape
        (n_samples, n_classes) per task, in a list for a two-dimensional `y_true`. A row
        that is NaN in every task (an invalid graph) is left out, with a warning.
    labels : array-like, or list of array-like, default=None
        Labels of the columns of these arrays, such as ``classes_`` of the classifier;
        None stands for the sorted labels of each task. A label without a column has the
        probability 0.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows, at least 0. A row of weight zero counts as unlabelled.
    multioutput : str or array-like of shape (n_tasks,), default="uniform_average"
        "uniform_average" is the mean over tasks. "raw_values" gives one value per task.
        An array is the weights of the tasks in the mean.

    Returns
    -------
    loss : float or ndarray of shape (n_tasks,)
        In nats, at least 0. Probabilities are cut to the precision of float64 away from
        0 and 1. The raw value of an undefined task is NaN.

    Raises
    ------
    ValueError
        If shapes differ, if a probability is outside of [0, 1] or missing in some
        tasks only, if a task has more than two labels in a table of the shape of
        `y_true`, or if no task is defined.

    Warns
    -----
    UndefinedMetricWarning
        Names the tasks without a label, or with a single one that is neither 0 nor 1.

    See Also
    --------
    sklearn.metrics.log_loss : The same for one task without NaN.

    References
    ----------
    .. [1] T. Gneiting, A. Raftery, "Strictly Proper Scoring Rules, Prediction, and
       Estimation", J. Am. Stat. Assoc. 102, 359 (2007).

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_log_loss
    >>> nan = float("nan")
    >>> round(nan_log_loss([1, 0, nan], [0.5, 0.5, 0.9]), 4)
    0.6931
    """
    columns = one_vs_rest(y_true, y_proba, labels)
    scored = _read_classes(columns.true, columns.scores, sample_weight)
    # As scikit-learn, because the logarithm of 0 would make all means infinite.
    tiny = np.finfo(np.float64).eps
    p = np.clip(scored.pred, tiny, 1 - tiny)
    # Not of the other classes, if these have columns of their own.
    others = np.where(columns.several, 0.0, np.log1p(-p))
    losses = -np.where(scored.true == 1, np.log(p), others)
    return _mean(nan_log_loss, losses, scored, multioutput, columns, np.sum)


def nan_brier_score(
    y_true: ArrayLike,
    y_proba: ArrayLike | Sequence[ArrayLike],
    *,
    labels: Any = None,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the Brier score, the mean squared error of the probability, per task.

    .. math::
        B_t = \sum_i m_{it} w_i (p_{it} - c_{it})^2 / \sum_i m_{it} w_i

    with the symbols of :func:`nan_log_loss`. With more than two classes it is the sum
    of this over classes, each against the rest.

    Parameters
    ----------
    y_true, y_proba, labels, sample_weight, multioutput : object
        As for :func:`nan_log_loss`.

    Returns
    -------
    score : float or ndarray of shape (n_tasks,)
        In [0, 1], or [0, 2] for more than two classes; lower is better. 0.25 for a
        probability of one half. The raw value of an undefined task is NaN.

    Raises
    ------
    ValueError
        As :func:`nan_log_loss`.

    Warns
    -----
    UndefinedMetricWarning
        As :func:`nan_log_loss`.

    See Also
    --------
    sklearn.metrics.brier_score_loss : The same for one task without NaN.

    References
    ----------
    .. [1] G. Brier, "Verification of Forecasts Expressed in Terms of Probability",
       Monthly Weather Review 78, 1 (1950).

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_brier_score
    >>> nan_brier_score([[1, 0], [0, float("nan")]], [[0.5, 0.0], [0.5, 0.3]])
    0.125
    """
    columns = one_vs_rest(y_true, y_proba, labels)
    scored = _read_classes(columns.true, columns.scores, sample_weight)
    squares = (scored.pred - scored.true) ** 2
    return _mean(nan_brier_score, squares, scored, multioutput, columns, np.sum)


def nan_expected_calibration_error(
    y_true: ArrayLike,
    y_proba: ArrayLike | Sequence[ArrayLike],
    *,
    n_bins: int = 10,
    labels: Any = None,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the expected calibration error of each task [1]_.

    .. math::
        \mathrm{ECE}_t = \sum_b \frac{W_b}{W}
        \left| \langle p \rangle_b - \langle c \rangle_b \right|

    over `n_bins` bins of equal width in the probability p of the second class, with
    weighted means over the labelled rows of a bin and their total weight :math:`W_b`.
    With more than two classes it is the mean over classes, each against the rest.

    Parameters
    ----------
    y_true, y_proba : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels and probabilities, as for :func:`nan_log_loss`.
    n_bins : int, default=10
        Bins of [0, 1]. Empty bins do not count.
    labels, sample_weight, multioutput : object
        As for :func:`nan_log_loss`.

    Returns
    -------
    error : float or ndarray of shape (n_tasks,)
        In [0, 1]. The raw value of an undefined task is NaN.

    Raises
    ------
    ValueError
        As :func:`nan_log_loss`, or if `n_bins` is not a positive integer.

    Warns
    -----
    UndefinedMetricWarning
        As :func:`nan_log_loss`.

    See Also
    --------
    nan_brier_score : Squared error of probabilities.
    nan_log_loss : Logarithmic loss of probabilities.

    Notes
    -----
    With few labels per bin the frequencies scatter, so that true probabilities do not
    give 0. Compare methods on the same rows and bins.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural
       Networks", ICML 2017.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_expected_calibration_error
    >>> nan_expected_calibration_error([1, 0, 1, 0], [0.75, 0.75, 0.75, 0.75])
    0.25
    """
    check_bins(n_bins)
    columns = one_vs_rest(y_true, y_proba, labels)
    scored = _read_classes(columns.true, columns.scores, sample_weight)
    total = scored.weight.sum(axis=0)
    bins = np.minimum((scored.pred * n_bins).astype(int), int(n_bins) - 1)
    gaps = scored.weight * (scored.pred - scored.true)
    error = sum(np.abs((gaps * (bins == b)).sum(axis=0)) for b in range(int(n_bins)))
    # Spread over the rows, so that the mean below divides by the weights.
    losses = np.broadcast_to(error / np.where(total > 0, total, 1.0), gaps.shape)
    function = nan_expected_calibration_error
    return _mean(function, losses, scored, multioutput, columns, np.mean)


def check_bins(n_bins: Any) -> None:
    """Refuse a number of bins that is not a positive integer."""
    is_whole = isinstance(n_bins, Real) and float(n_bins).is_integer()
    if isinstance(n_bins, bool) or not is_whole or n_bins < 1:
        raise ValueError(f"n_bins must be a positive integer, but is {n_bins!r}.")


def _read_classes(y_true: Any, y_proba: Any, sample_weight: Any) -> Scored:
    """Read labels as 0 and 1; a task whose classes are not known loses its weights."""
    codes = as_codes(y_true)
    scored = read_scored(codes, y_proba, sample_weight, "y_proba")
    outside = np.argwhere((scored.pred < 0) | (scored.pred > 1))
    for row, task in outside[:1].tolist():
        raise ValueError(
            f"y_proba must be in [0, 1], but is {scored.pred[row, task]} in row "
            f"{np.flatnonzero(scored.rows)[row]} of task {scored.names[task]!r}. "
            "Logits become probabilities by scipy.special.expit."
        )
    true, weight = scored.true.copy(), scored.weight.copy()
    for task, rows in enumerate((weight > 0).T):
        labels = np.unique(true[rows, task])
        if len(labels) > 2:
            raise ValueError(
                f"Task {scored.names[task]!r} must have two different labels, but has "
                f"{len(labels)}."
            )
        # Not of codes, because those of text are positions among the labels present.
        if codes is y_true and set(labels) <= {0.0, 1.0}:
            continue
        true[:, task] = true[:, task] == labels[-1]
        # One label alone does not tell which class it is.
        weight[:, task] *= len(labels) == 2
    return scored._replace(true=true, weight=weight)


def _mean(
    function: Callable[..., Any],
    losses: np.ndarray,
    scored: Scored,
    multioutput: Any,
    columns: Columns,
    combine: Callable[..., Any],
) -> float | np.ndarray:
    values = columns.by_task(weighted_mean(losses, scored.weight), combine)
    names = list(columns.names) or scored.names
    needs = "a label 0 or 1, or two different labels,"
    return mean_of_tasks(values, names, multioutput, function.__name__, needs)
