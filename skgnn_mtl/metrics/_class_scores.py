"""Scores of classes, per task on the labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score

from ._averaging import Metric, averaged, mean_of_tasks
from ._one_vs_rest import one_vs_rest
from ._tables import as_cells, column_names, is_frame, read_scored


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
    return _ranking_score(
        CLASSES["roc_auc"], y_true, y_score, labels, sample_weight, multioutput
    )


def nan_average_precision_score(
    y_true: ArrayLike,
    y_score: ArrayLike | Sequence[ArrayLike],
    *,
    labels: Any = None,
    sample_weight: ArrayLike | None = None,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | np.ndarray:
    r"""Compute the average precision of each task on its labelled rows.

    .. math:: AP_t = \sum_k (R_k - R_{k-1}) P_k

    with precision :math:`P_k` and recall :math:`R_k` of the second class, if the rows
    with the :math:`k` highest scores are predicted as it: the area under the
    precision-recall curve, without interpolation. It is the score to read where one
    class is rare. The classes of a task are its two labels in sorted order. With more
    than two classes it is the mean over classes of that of each against the rest.

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
        1 for a perfect order, about the share of the second class for a random one.
        The raw value of an undefined task is NaN.

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
    nan_roc_auc_score : Does not depend on the share of the classes.
    sklearn.metrics.average_precision_score : The same for one task without NaN.

    References
    ----------
    .. [1] J. Davis, M. Goadrich, "The Relationship Between Precision-Recall and ROC
       Curves", ICML 2006.

    Examples
    --------
    >>> from skgnn_mtl.metrics import nan_average_precision_score
    >>> nan = float("nan")
    >>> y_true = [[0, 1], [1, nan], [0, 0], [0, 1]]
    >>> y_score = [[0.1, 0.9], [0.8, 0.2], [0.9, 0.3], [0.7, 0.6]]
    >>> nan_average_precision_score(y_true, y_score, multioutput="raw_values")
    array([0.5, 1. ])
    """
    return _ranking_score(
        CLASSES["average_precision"],
        y_true,
        y_score,
        labels,
        sample_weight,
        multioutput,
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
    codes = common_codes(y_true, y_pred)
    metric = CLASSES["balanced_accuracy"]
    return averaged(metric, *codes, sample_weight, multioutput)


def _ranking_score(
    metric: Metric,
    y_true: Any,
    y_score: Any,
    labels: Any,
    sample_weight: Any,
    multioutput: Any,
) -> float | np.ndarray:
    """Score the order of rows for each class, and average over classes and tasks."""
    columns = one_vs_rest(y_true, y_score, labels)
    scored = read_scored(as_codes(columns.true), columns.scores, sample_weight)
    values = columns.by_task(
        metric.per_task(scored.true, scored.pred, scored.weight), np.nanmean
    )
    names = list(columns.names) or scored.names
    return mean_of_tasks(
        values, names, multioutput, metric.function.__name__, metric.needs
    )


def _ranked(
    score: Callable[..., float],
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Make the map to scores (t,) from the score of one task with two labels."""

    def per_task(true: np.ndarray, pred: np.ndarray, weight: np.ndarray) -> np.ndarray:
        values = np.full(true.shape[1], np.nan)
        for task in range(true.shape[1]):
            rows = weight[:, task] > 0
            n_labels = len(np.unique(true[rows, task]))
            if n_labels > 2:
                raise ValueError(
                    f"Column {task} must have two different labels, but has {n_labels}."
                )
            if n_labels == 2:
                values[task] = score(
                    true[rows, task] == true[rows, task].max(),
                    pred[rows, task],
                    sample_weight=weight[rows, task],
                )
        return values

    return per_task


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


def common_codes(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Replace labels and predictions by positions, if some of a task are strings."""
    true = as_cells(y_true, "y_true")
    pred = as_cells(y_pred, "y_pred")
    if true.shape != pred.shape:  # which the reader of tables refuses
        return y_true, y_pred
    both = as_codes(np.concatenate([true.astype(object), pred.astype(object)]))
    codes = np.asarray(both)[: len(true)], np.asarray(both)[len(true) :]
    named = [column_names(y) if is_frame(y) else None for y in (y_true, y_pred)]
    true, pred = (
        part if names is None else pd.DataFrame(part, columns=names)
        for part, names in zip(codes, named, strict=True)
    )
    return true, pred


def as_codes(y_true: Any) -> Any:
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


_TWO_LABELS = "two distinct labels"
CLASSES = {
    "roc_auc": Metric(_ranked(roc_auc_score), nan_roc_auc_score, _TWO_LABELS, True),
    "average_precision": Metric(
        _ranked(average_precision_score), nan_average_precision_score, _TWO_LABELS, True
    ),
    "balanced_accuracy": Metric(
        _balanced_accuracy, nan_balanced_accuracy_score, "a label", True
    ),
}
# Those of scores; the others compare predicted labels.
RANKINGS = ("roc_auc", "average_precision")
