"""What sharing a network costs or gains each task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing

from skgnn_mtl.estimators._inputs import read_targets
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.metrics import nan_mean_absolute_error, nan_root_mean_squared_error

_METRICS = {
    "mae": nan_mean_absolute_error,
    "rmse": nan_root_mean_squared_error,
}
_SINGLE, _MULTI = "single-task", "multi-task"


@dataclass(frozen=True)
class SingleTaskComparison:
    """Errors of one multi-task model and of a single-task model for each task.

    Parameters
    ----------
    errors : DataFrame
        Tidy: one row a task, fold, seed and model, with the columns ``task``, ``fold``,
        ``seed``, ``model`` ("multi-task" or "single-task"), ``error`` in the unit of
        the task, ``n_train`` and ``n_test`` (labels of valid graphs), ``seconds`` of
        the fit.
    metric : {"mae", "rmse"}
        What ``error`` is.

    See Also
    --------
    compare_with_single_task : Makes this object.
    skgnn_mtl.inspection.SingleTaskComparisonDisplay : Draws it.

    Examples
    --------
    >>> import pandas as pd
    >>> from skgnn_mtl.model_selection import SingleTaskComparison
    >>> errors = pd.DataFrame({
    ...     "task": "Tb", "fold": [0, 1, 0, 1], "seed": 0, "n_train": 90, "n_test": 10,
    ...     "model": ["multi-task"] * 2 + ["single-task"] * 2,
    ...     "error": [9.0, 11.0, 10.0, 10.0], "seconds": 1.0,
    ... })
    >>> SingleTaskComparison(errors, "mae").delta_m
    0.0
    """

    errors: pd.DataFrame
    metric: str

    def paired(self) -> pd.DataFrame:
        """Put the two models of each task, fold and seed side by side.

        Returns
        -------
        pairs : DataFrame
            Columns ``task``, ``fold``, ``seed``, ``multi-task``, ``single-task`` and
            ``change``, the relative change of the error in percent; below 0 the
            multi-task model is better. Pairs with a missing error are left out.
        """
        keys = ["task", "fold", "seed"]
        wide = self.errors.pivot_table(
            index=keys, columns="model", values="error", sort=False
        )
        wide = wide.dropna().reset_index()
        wide.columns.name = None
        wide["change"] = 100 * (wide[_MULTI] - wide[_SINGLE]) / wide[_SINGLE]
        return wide

    def summary(self) -> pd.DataFrame:
        """Average over folds and seeds, task by task.

        Returns
        -------
        table : DataFrame
            One row a task: mean ``multi-task`` and ``single-task`` errors, mean
            relative ``change`` in percent, its ``standard_error``, the share of pairs
            in which the multi-task model wins (``wins``) and their number (``pairs``).
            The standard error is corrected for the training rows that folds share
            (Nadeau and Bengio 2003).
        """
        pairs = self.paired()
        groups = pairs.groupby("task", sort=False)
        table = groups[[_MULTI, _SINGLE, "change"]].mean()
        count = groups.size()
        table["standard_error"] = groups["change"].std(ddof=1) * np.sqrt(
            1 / count + self._overlap().reindex(table.index)
        )
        table["wins"] = groups["change"].apply(lambda change: (change < 0).mean())
        table["pairs"] = count
        return table

    def _overlap(self) -> pd.Series:
        """Test rows over training rows of each task, which folds have in common."""
        rows = self.errors[self.errors["model"] == _MULTI].groupby("task", sort=False)
        # One split has nothing in common with another.
        repeats = rows["fold"].nunique() > 1
        return (rows["n_test"].mean() / rows["n_train"].mean()).where(repeats, 0.0)

    @property
    def delta_m(self) -> float:
        """Mean over tasks of their mean relative ``change``, percent.

        Below 0 sharing gains. Where all pairs are there it is the mean of
        :func:`~skgnn_mtl.metrics.delta_m` over folds and seeds.
        """
        return float(self.summary()["change"].mean())


def compare_with_single_task(
    estimator,
    X,
    y,
    *,
    cv=None,
    groups=None,
    random_states: Sequence[int] = (0,),
    metric: str = "mae",
    n_jobs: int | None = None,
    verbose: int = 0,
) -> SingleTaskComparison:
    """Compare a multi-task model with one single-task model for each task.

    Both sides have the same architecture, hyper-parameters, epochs, folds and seeds;
    they differ in nothing but the tasks they are trained on. A single-task model sees
    the rows that have its label. Its ``task_weighting`` is "equal" and ``target_tasks``
    None, since both say nothing about a single task.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Multi-task; it is cloned.
    X : array-like of shape (n,)
        What it is fitted on. Invalid graphs are left out.
    y : DataFrame or array-like of shape (n, t)
        Labels, NaN where missing. Columns of an array are ``task_0``, ``task_1``, ...
    cv : int, splitter or iterable, default=None
        Folds; None stands for five.
    groups : array-like of shape (n,), optional
        For the splitter.
    random_states : sequence of int, default=(0,)
        Seeds; each trains all models of all folds anew.
    metric : {"mae", "rmse"}, default="mae"
        Error of a task on the labelled test rows. For a classifier of labels 0 and 1
        "mae" is the share of mistakes.
    n_jobs : int, optional
        Fits at a time.
    verbose : int, default=0
        Of joblib.

    Returns
    -------
    comparison : SingleTaskComparison
        With a tidy table of all errors, their summary and ``delta_m``.

    Raises
    ------
    ValueError
        If y has a single task or two of one name, the metric is unknown, or a seed is
        given twice.

    References
    ----------
    .. [1] T. Standley et al., "Which Tasks Should Be Learned Together in Multi-task
       Learning?", ICML 2020.
    .. [2] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 52, 239 (2003).

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.model_selection import compare_with_single_task
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    >>> model = MultiTaskGNNRegressor(max_epochs=2)
    >>> comparison = compare_with_single_task(model, X, y, cv=2)
    >>> comparison.errors.shape  # 2 tasks, 2 folds, 2 models
    (8, 8)
    """
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {sorted(_METRICS)}, got {metric!r}.")
    _check_seeds(random_states)
    table = _as_frame(X, y)
    folds = list(check_cv(cv).split(X, table, groups))
    jobs = [
        delayed(_errors)(estimator, X, table, tasks, fold, rows, seed, metric)
        for seed in random_states
        for fold, rows in enumerate(folds)
        for tasks in [list(table.columns), *([task] for task in table.columns)]
    ]
    parts = Parallel(n_jobs=n_jobs, verbose=verbose)(jobs)
    return SingleTaskComparison(pd.concat(parts, ignore_index=True), metric)


def _as_frame(X, y) -> pd.DataFrame:
    """Read labels as a table with names, without those of invalid graphs."""
    if np.prod(np.shape(y)[1:]) < 2:
        raise ValueError(
            f"y has shape {np.shape(y)}: with a single task there is nothing to "
            "compare."
        )
    values, names = read_targets(None, X, y)
    if isinstance(X, GraphArray):  # nothing is learned from what could not be read
        values = np.where(X.valid[:, None], values, np.nan)
    index = y.index if isinstance(y, pd.DataFrame) else None
    return pd.DataFrame(values, index, names)


def _check_seeds(random_states) -> None:
    if len(set(random_states)) < len(random_states):
        raise ValueError(
            f"random_states must differ, got {random_states!r}: equal ones would count "
            "one result twice."
        )


def _errors(estimator, X, table, tasks, fold, rows, seed, metric) -> pd.DataFrame:
    """Fit one model on some tasks; its test error on each of them."""
    train, test = rows
    y = table[tasks]
    if len(tasks) == 1:
        train = train[y[tasks[0]].notna().to_numpy()[train]]
    model = _twin(estimator, seed, single=len(tasks) == 1)
    start = time.perf_counter()
    model.fit(_safe_indexing(X, train), y.iloc[train])
    seconds = time.perf_counter() - start
    truth = y.to_numpy()[test]
    predictions = np.asarray(model.predict(_safe_indexing(X, test)), dtype=np.float64)
    predictions = predictions.reshape(truth.shape)
    # A graph may turn out invalid inside a pipeline; its prediction is NaN.
    scored = ~np.isnan(truth) & ~np.isnan(predictions)
    return pd.DataFrame(
        {
            "task": tasks,
            "fold": fold,
            "seed": seed,
            "model": _SINGLE if len(tasks) == 1 else _MULTI,
            "error": [
                # A fold without a label of a task has no error of it.
                _METRICS[metric](true[rows], predicted[rows]) if rows.any() else np.nan
                for true, predicted, rows in zip(
                    truth.T, predictions.T, scored.T, strict=True
                )
            ],
            "n_train": y.iloc[train].count().to_numpy(),
            "n_test": scored.sum(axis=0),
            "seconds": seconds,
        }
    )


def _twin(estimator, seed: int, *, single: bool):
    model = clone(estimator)
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    changes: dict[str, Any] = {"random_state": seed}
    if single:
        changes |= {"task_weighting": "equal", "target_tasks": None}
    known = last.get_params(deep=False)
    last.set_params(**{name: v for name, v in changes.items() if name in known})
    return model
