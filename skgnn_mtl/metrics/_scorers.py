"""Scorer objects for ``scoring=``, over all tasks or for one task.

They are objects, because scikit-learn's own scorers refuse NaN in ``y`` and its list of
names cannot be extended. Errors are negated, because scikit-learn maximises.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning

# Because multi-metric scoring shares predictions among subclasses of this class only.
from sklearn.metrics._scorer import _BaseScorer, _Scorer

from skgnn_mtl._listed import listed
from skgnn_mtl._warn import warn

from ._class_scores import (
    CLASSES,
    RANKINGS,
    as_codes,
    common_codes,
    nan_average_precision_score,
    nan_balanced_accuracy_score,
    nan_roc_auc_score,
)
from ._one_vs_rest import Columns, one_vs_rest
from ._scores import (
    NUMBERS,
    nan_mean_absolute_error,
    nan_r2_score,
    nan_root_mean_squared_error,
)
from ._tables import (
    as_cells,
    column_names,
    find_task,
    is_frame,
    made_up_names,
    name_of,
    read_scored,
)

METRICS = {**NUMBERS, **CLASSES}


class TableScorer(_Scorer):  # type: ignore[misc]
    """Score predictions of a table, whose columns must be the fitted tasks."""

    def _score(
        self,
        method_caller: Callable[..., Any],
        estimator: Any,
        X: Any,
        y_true: Any,
        **kwargs: Any,
    ) -> float:
        require_columns(y_true, estimator)
        value: float = super()._score(method_caller, estimator, X, y_true, **kwargs)
        return value


nan_r2_scorer = TableScorer(nan_r2_score, 1, {}, "predict")
neg_nan_mean_absolute_error_scorer = TableScorer(
    nan_mean_absolute_error, -1, {}, "predict"
)
neg_nan_root_mean_squared_error_scorer = TableScorer(
    nan_root_mean_squared_error, -1, {}, "predict"
)


class OutputScorer(_BaseScorer):  # type: ignore[misc]
    """Score outputs beside ``predict(X)``, whose columns must be the fitted tasks."""

    def _score(
        self,
        method_caller: Callable[..., Any],
        estimator: Any,
        X: Any,
        y_true: Any,
        **kwargs: Any,
    ) -> float:
        require_columns(y_true, estimator)
        # Not by the caller, because it cannot pass on return_std.
        return float(self._sign * self._value(estimator, X, y_true, **kwargs))

    @abstractmethod
    def _value(self, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        """Compute the metric, before its sign."""


class RankingScorer(OutputScorer):
    """Score logits of two classes, or else probabilities of the classes of a task."""

    def _value(self, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        scores, labels = class_scores(estimator, X, y_true)
        value: float = self._score_func(y_true, scores, labels=labels, **kwargs)
        return value


def class_scores(
    estimator: Any, X: Any, y_true: Any, *, logits: bool = True
) -> tuple[Any, Any]:
    """Predict scores of the classes of each task.

    Parameters
    ----------
    estimator : classifier
        Fitted.
    X : array-like
        Inputs.
    y_true : array-like of shape (n,) or (n, t)
        Labels.
    logits : bool, default=True
        Whether to give logits of two classes, if the estimator has them, because they
        order rows to which it gives the probability 1.

    Returns
    -------
    scores : ndarray of shape (n,) or (n, t), or list
        Of the second class of each task; what ``predict_proba`` returns, if a task has
        more than two classes or labels.
    labels : ndarray, list of ndarray, or None
        Then the classes of the estimator.
    """
    cells = as_cells(y_true, "y")
    # Also by the labels, because the training rows may have lacked a class.
    several = pd.DataFrame(cells.reshape(len(cells), -1)).nunique().max() > 2
    if not hasattr(estimator, "predict_proba"):
        return estimator.decision_function(X), None
    if logits and not several and hasattr(estimator, "decision_function"):
        scores = estimator.decision_function(X)
        # Not of more classes, whose logits are known but for a constant of each row.
        if scores.ndim == 1 or scores.shape == cells.shape:
            return scores, None
    found = estimator.predict_proba(X)
    if isinstance(found, list):
        if not several and all(task.shape[1] <= 2 for task in found):
            return np.column_stack([task[:, -1] for task in found]), None
        return found, list(estimator.classes_)
    # A table with the shape of y has one column per task, else classes of one task.
    if found.shape == cells.shape:
        return found, None
    if not several and found.shape[1] <= 2:
        return found[:, -1], None
    return found, estimator.classes_


_RESPONSE_METHODS = "decision_function", "predict_proba"
nan_roc_auc_scorer = RankingScorer(nan_roc_auc_score, 1, {}, _RESPONSE_METHODS)
nan_average_precision_scorer = RankingScorer(
    nan_average_precision_score, 1, {}, _RESPONSE_METHODS
)
nan_balanced_accuracy_scorer = TableScorer(
    nan_balanced_accuracy_score, 1, {}, "predict"
)


def task_scorer(
    metric: str, task: int | str, *, task_names: Sequence[str] | None = None
) -> _BaseScorer:
    """Make a scorer of one task, for ``scoring=``.

    Parameters
    ----------
    metric : {"r2", "mae", "rmse", "roc_auc", "average_precision", "balanced_accuracy"}
        The score; "mae" and "rmse" are negated, so that higher is better.
    task : int, str or other label
        Position of the task among the columns of ``y``, or its name. The scorer
        searches for a name in the columns of a DataFrame ``y``, else in ``task_names_``
        of the estimator (of the last step of a pipeline), else in `task_names`.
    task_names : sequence of str, default=None
        Names of all columns of ``y``, for an array ``y`` and an estimator without
        names.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``, in the unit of the
        task, for ``y`` of shape (n_samples, n_tasks). NaN, with an
        ``UndefinedMetricWarning``, if the score is not defined on the scored rows.

    Raises
    ------
    ValueError
        If `metric` is unknown. The scorer raises it if y does not have the task.

    See Also
    --------
    per_task_scorers : Scorers of all tasks at once.

    Notes
    -----
    ``set_score_request`` changes a scorer in place. With metadata routing, use
    ``task_scorer(...).set_score_request(sample_weight=True)``. Make a ``copy.deepcopy``
    first of a ready-made scorer, such as ``nan_r2_scorer``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from skgnn_mtl.metrics import task_scorer
    >>> X, y = np.zeros((2, 1)), np.array([[0.0, 10.0], [2.0, 30.0]])
    >>> model = DummyRegressor().fit(X, y)
    >>> task_scorer("mae", 1)(model, X, y)
    -10.0
    """
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {sorted(METRICS)}, but is {metric!r}.")
    names = None if task_names is None else list(map(name_of, task_names))
    return TaskScorer(metric, task, names)


def per_task_scorers(
    task_names: Sequence[str], metric: str = "mae"
) -> dict[str, _BaseScorer]:
    """Make one scorer per task, for ``scoring=`` of ``cross_validate`` and searches.

    The model predicts once for all scorers.

    Parameters
    ----------
    task_names : sequence of str
        Names of the columns of ``y``, for instance ``y.columns``. Some of the columns
        are enough if ``y`` is a DataFrame.
    metric : str, default="mae"
        The score, as in :func:`task_scorer`. The values of "mae" and "rmse" are negated
        errors in the unit of the task, because scikit-learn maximises.

    Returns
    -------
    scorers : dict of str to callable
        ``{"mae_<task>": scorer, ...}``, in the order of `task_names`, for ``y`` of
        shape (n_samples, n_tasks).

    Raises
    ------
    ValueError
        If `task_names` is one string, if two tasks have the same name, or if `metric`
        is unknown.

    See Also
    --------
    task_scorer : Scorer of one task.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.model_selection import cross_validate
    >>> from skgnn_mtl.metrics import per_task_scorers
    >>> X, y = np.zeros((4, 1)), np.array([[0.0, 1], [0, 1], [2, 1], [2, 5]])
    >>> result = cross_validate(DummyRegressor(), X, y, cv=2,
    ...                         scoring=per_task_scorers(["gap", "dipole"]))
    >>> result["test_mae_gap"]
    array([-2., -2.])
    >>> result["test_mae_dipole"]
    array([-2., -2.])
    """
    names = list(map(name_of, task_names))
    if isinstance(task_names, str):
        raise ValueError(f"task_names is one string; pass a list: [{task_names!r}].")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Task names must differ, but {listed(twice)} occurs twice.")
    return {
        f"{metric}_{name}": task_scorer(metric, name, task_names=names)
        for name in names
    }


class TaskScorer(_BaseScorer):  # type: ignore[misc]
    """Score one column of ``y``; made by :func:`task_scorer`.

    Parameters
    ----------
    metric : {"r2", "mae", "rmse", "roc_auc", "average_precision", "balanced_accuracy"}
        The score.
    task : int or str
        Position or name.
    task_names : list of str or None
        Names of all columns, if neither y nor the estimator has names.
    """

    def __init__(
        self, metric: str, task: int | str, task_names: list[str] | None
    ) -> None:
        function = METRICS[metric].function
        sign = 1 if METRICS[metric].greater_is_better else -1
        super().__init__(function, sign, {"task": task})
        self._metric = metric
        self._task = task
        self._task_names = task_names

    def __repr__(self) -> str:
        return f"task_scorer({self._metric!r}, {self._task!r})"

    def _score(
        self,
        method_caller: Callable[..., Any],
        estimator: Any,
        X: Any,
        y_true: Any,
        **kwargs: Any,
    ) -> float:
        columns = self._columns(method_caller, estimator, X, y_true)
        scored = read_scored(columns.true, columns.scores, kwargs.get("sample_weight"))
        n_tasks = len(columns.names or scored.names)
        k = self._position(y_true, estimator, n_tasks)
        own = np.arange(n_tasks) if columns.owners is None else columns.owners
        values = METRICS[self._metric].per_task(
            scored.true[:, own == k],
            scored.pred[:, own == k],
            scored.weight[:, own == k],
        )
        value = np.nan if np.isnan(values).all() else np.nanmean(values)
        if value != value:
            warn(
                f"{self._score_func.__name__} of task {self._task!r} is NaN: it lacks "
                f"{METRICS[self._metric].needs} among the scored rows.",
                UndefinedMetricWarning,
            )
        return float(self._sign * value)

    def _columns(
        self,
        method_caller: Callable[..., Any],
        estimator: Any,
        X: Any,
        y_true: Any,
    ) -> Columns:
        """Predict what the metric compares with labels."""
        if self._metric in RANKINGS:
            scores, labels = class_scores(estimator, X, y_true)
            columns = one_vs_rest(y_true, scores, labels)
            return columns._replace(true=as_codes(columns.true))
        predicted = method_caller(estimator, "predict", X)
        if self._metric == "balanced_accuracy":
            return Columns(*common_codes(y_true, predicted))
        return Columns(y_true, predicted)

    def _position(self, y_true: Any, estimator: Any, n_tasks: int) -> int:
        names = self._names(y_true, estimator)
        task = self._task
        is_position = isinstance(task, Integral)
        if names is None and not is_position:
            raise ValueError(
                f"Task {self._task!r} cannot be found: neither y nor the estimator "
                "names its tasks; pass task_names= or the position of the task."
            )
        if names is None:
            names = made_up_names(n_tasks)
        if names.count(name_of(self._task)) > 1:
            raise ValueError(f"Two columns of y have the name {self._task!r}.")
        found = find_task(task, names) if len(names) == n_tasks else None
        if found is None or (isinstance(task, Integral) and task < 0):
            raise ValueError(
                f"Task {self._task!r} cannot be found: y has {n_tasks} column(s), and "
                f"the task names are {listed(names)}."
            )
        return found

    def _names(self, y_true: Any, estimator: Any) -> list[str] | None:
        require_columns(y_true, estimator)
        return column_names(y_true) or fitted_task_names(estimator) or self._task_names


def fitted_task_names(estimator: Any) -> list[str]:
    """Find ``task_names_`` of an estimator, a pipeline's last step, a search's best."""
    while not hasattr(estimator, "task_names_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return []
    return list(estimator.task_names_)


def require_columns(y_true: Any, estimator: Any) -> None:
    """Refuse a frame whose columns are not the tasks of the fitted estimator.

    Parameters
    ----------
    y_true : array-like
        Labels. Their predictions are arrays, so that another order of columns would
        pair a task with another one.
    estimator : estimator
        Fitted.

    Raises
    ------
    ValueError
        If the names differ, or their order does.
    """
    columns = column_names(y_true) if is_frame(y_true) else []
    fitted = fitted_task_names(estimator)
    # Positions decide where the fit did not have names.
    if columns and fitted not in ([], columns, made_up_names(len(columns))):
        raise ValueError(
            f"The columns of y ({listed(columns)}) differ from the tasks of the "
            f"fitted estimator ({listed(fitted)}); use the same columns in this order."
        )


def with_method(estimator: Any, X: Any, method: str) -> tuple[Any, Any]:
    """Find the estimator that has a method, and X as it receives it.

    A pipeline and a search pass on no method that scikit-learn does not know.

    Parameters
    ----------
    estimator : estimator
        It, the last step of a pipeline or the best of a search has the method.
    X : array-like
        Inputs of `estimator`.
    method : str
        Name of the method.

    Returns
    -------
    estimator : estimator
        It has the method.
    X : array-like
        After the other steps of the pipeline.

    Raises
    ------
    TypeError
        If none of them has the method.
    """
    while not hasattr(estimator, method):
        within = inside(estimator, X)
        if within is None:
            raise TypeError(f"{type(estimator).__name__} does not have {method}(X).")
        estimator, X = within
    return estimator, X


def inside(estimator: Any, X: Any) -> tuple[Any, Any] | None:
    """Go into a pipeline or a search.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : array-like
        Its inputs.

    Returns
    -------
    within : tuple of (estimator, X) or None
        The last step or the best estimator, and X as it receives it; None for other
        estimators.
    """
    if hasattr(estimator, "best_estimator_"):
        return estimator.best_estimator_, X
    if hasattr(estimator, "steps"):
        # Not with one step, because an empty pipeline does not transform.
        X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        return estimator.steps[-1][1], X
    return None
