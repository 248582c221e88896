"""Scorer objects for ``scoring=``, over all tasks or for one.

scikit-learn's own scorers refuse NaN in ``y``, and the names that ``scoring=`` knows
cannot be extended, hence objects. Errors are negated, since scikit-learn maximises.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer

# The cache of predictions in multi-metric scoring serves subclasses of this class only.
from sklearn.metrics._scorer import _BaseScorer

from ._scores import (
    METRICS,
    _as_codes,
    nan_mean_absolute_error,
    nan_r2_score,
    nan_roc_auc_score,
    nan_root_mean_squared_error,
)
from ._tables import column_names, listed, read_scored

nan_r2_scorer = make_scorer(nan_r2_score)
neg_nan_mean_absolute_error_scorer = make_scorer(
    nan_mean_absolute_error, greater_is_better=False
)
neg_nan_root_mean_squared_error_scorer = make_scorer(
    nan_root_mean_squared_error, greater_is_better=False
)


class RocAucScorer(_BaseScorer):
    """Scorer that asks for logits, or else for probabilities of the second class."""

    def _score(
        self, method_caller: Callable, estimator: Any, X: Any, y_true: Any, **kwargs
    ) -> float:
        return self._score_func(y_true, second_class(estimator, X, y_true), **kwargs)


def second_class(estimator: Any, X: Any, y_true: Any) -> np.ndarray:
    """Scores of the second class of each task, (n,) or (n, t)."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(X)
    found = estimator.predict_proba(X)
    if isinstance(found, list):
        return np.column_stack([task[:, -1] for task in found])
    # Of several tasks, a table has one column each, and of one task two classes.
    return found if found.shape == np.shape(y_true) else found[:, -1]


nan_roc_auc_scorer = RocAucScorer(
    nan_roc_auc_score, 1, {}, ("decision_function", "predict_proba")
)


def task_scorer(
    metric: str, task: int | str, *, task_names: Sequence[str] | None = None
) -> _BaseScorer:
    """Scorer of one task, for ``scoring=``.

    Parameters
    ----------
    metric : {"r2", "mae", "rmse", "roc_auc"}
        The score; "mae" and "rmse" are negated, so that more is better.
    task : int or str
        Position of the task among the columns of ``y``, or its name. A name is looked
        up in the columns of ``y`` where that is a DataFrame, else in ``task_names_`` of
        the estimator (of the last step of a pipeline), else in `task_names`.
    task_names : sequence of str, default=None
        Names of all columns of ``y``, for an array ``y`` and an estimator that keeps no
        names.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``. NaN, with an
        ``UndefinedMetricWarning``, where the task is undefined on the scored rows.

    Raises
    ------
    ValueError
        If `metric` is unknown. The scorer raises it if the task is not found.

    See Also
    --------
    per_task_scorers : Scorers of all tasks at once.

    Notes
    -----
    ``set_score_request`` changes a scorer in place; with metadata routing take
    ``task_scorer(...).set_score_request(sample_weight=True)``, and of the scorers that
    this module exports ready-made a ``copy.deepcopy`` first.

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
    names = None if task_names is None else [str(name) for name in task_names]
    return TaskScorer(metric, task, names)


def per_task_scorers(
    task_names: Sequence[str], metric: str = "mae"
) -> dict[str, _BaseScorer]:
    """One scorer a task, for the ``scoring=`` of ``cross_validate`` and searches.

    The model predicts once for all of them.

    Parameters
    ----------
    task_names : sequence of str
        Names of the columns of ``y``, for instance ``y.columns``. Where ``y`` is a
        DataFrame, a part of its columns is enough.
    metric : {"mae", "rmse", "r2", "roc_auc"}, default="mae"
        The score; the values of "mae" and "rmse" are negated errors, since
        scikit-learn maximises.

    Returns
    -------
    scorers : dict of str to callable
        ``{"mae_<task>": scorer, ...}``, in the order of `task_names`.

    Raises
    ------
    ValueError
        If two tasks have the same name, or `metric` is unknown.

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
    names = [str(name) for name in task_names]
    if isinstance(task_names, str):
        raise ValueError(f"task_names is one string; pass a list: [{task_names!r}].")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Task names must differ, but {listed(twice)} occurs twice.")
    return {
        f"{metric}_{name}": task_scorer(metric, name, task_names=names)
        for name in names
    }


class TaskScorer(_BaseScorer):
    """Scorer of one column of ``y``; made by :func:`task_scorer`.

    Parameters
    ----------
    metric : {"r2", "mae", "rmse", "roc_auc"}
        The score.
    task : int or str
        Position or name.
    task_names : list of str or None
        Names of all columns, as a last resort.
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
        self, method_caller: Callable, estimator: Any, X: Any, y_true: Any, **kwargs
    ) -> float:
        if self._metric == "roc_auc":
            y_true, y_pred = _as_codes(y_true), second_class(estimator, X, y_true)
        else:
            y_pred = method_caller(estimator, "predict", X)
        scored = read_scored(y_true, y_pred, kwargs.get("sample_weight"))
        k = self._position(y_true, estimator, len(scored.names))
        column = slice(k, k + 1)
        value = METRICS[self._metric].per_task(
            scored.true[:, column], scored.pred[:, column], scored.weight[:, column]
        )[0]
        if value != value:
            warnings.warn(
                f"{self._score_func.__name__} of task {self._task!r} is NaN: it lacks "
                f"{METRICS[self._metric].needs} among the scored rows.",
                UndefinedMetricWarning,
                stacklevel=2,
            )
        return float(self._sign * value)

    def _position(self, y_true: Any, estimator: Any, n_tasks: int) -> int:
        names = self._names(y_true, estimator)
        if isinstance(self._task, str):
            if names is None:
                raise ValueError(
                    f"Task {self._task!r} cannot be found: neither y nor the estimator "
                    "names its tasks; pass task_names= or the position of the task."
                )
            if self._task not in names or len(names) != n_tasks:
                raise ValueError(
                    f"Task {self._task!r} was asked for, but y has {n_tasks} column(s) "
                    f"and the known names are {listed(names)}."
                )
            return names.index(self._task)
        if not 0 <= self._task < n_tasks:
            raise ValueError(
                f"Task {self._task} was asked for, but y has {n_tasks} column(s)."
            )
        return int(self._task)

    def _names(self, y_true: Any, estimator: Any) -> list[str] | None:
        columns, fitted = column_names(y_true), fitted_task_names(estimator)
        if columns and fitted and columns != fitted:
            raise ValueError(
                f"The columns of y ({listed(columns)}) differ from the tasks that the "
                f"estimator was fitted on ({listed(fitted)})."
            )
        return columns or fitted or self._task_names


def fitted_task_names(estimator: Any) -> list[str]:
    """Find ``task_names_`` on an estimator, a pipeline's last step, a search's best."""
    while not hasattr(estimator, "task_names_"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return []
    return [str(name) for name in estimator.task_names_]
