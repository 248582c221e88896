"""Errors of a multi-task model, compared with those of single-task models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing

from skgnn_mtl._pipelines import last_step
from skgnn_mtl._warn import warnings_once
from skgnn_mtl.estimators._inputs import read_targets
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.metrics import nan_mean_absolute_error, nan_root_mean_squared_error
from skgnn_mtl.metrics._tables import as_cells

from ._fitting import without_tasks

_METRICS: dict[str, Callable[..., float | np.ndarray]] = {
    "mae": nan_mean_absolute_error,
    "rmse": nan_root_mean_squared_error,
}
_SINGLE, _MULTI = "single-task", "multi-task"


@dataclass(frozen=True)
class SingleTaskComparison:
    """Errors of one multi-task model and of a single-task model for each task.

    Parameters
    ----------
    errors : DataFrame of shape (n_results, 8)
        One row per task, fold, seed and model, with the columns ``task``, ``fold``,
        ``seed``, ``model`` ("multi-task" or "single-task"), ``error`` in the unit of
        the task, ``n_train`` and ``n_test`` (labels of valid graphs, without bounds),
        and ``seconds`` of the fit.
    metric : {"mae", "rmse"}
        Kind of ``error``.

    See Also
    --------
    compare_with_single_task : Makes this object.
    skgnn_mtl.inspection.SingleTaskComparisonDisplay : Draws it.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 52, 239 (2003).

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
        """Pair the errors of the two models of each task, fold and seed.

        Returns
        -------
        pairs : DataFrame
            Columns ``task``, ``fold``, ``seed``, ``multi-task``, ``single-task`` and
            ``change``, the relative change of the error in percent. The multi-task
            model is better below 0. Pairs with a missing error are left out.
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
        """Average the errors of each task over folds and seeds.

        Returns
        -------
        table : DataFrame
            One row per task: mean ``multi-task`` and ``single-task`` errors, mean
            relative ``change`` in percent, its ``standard_error``, the share of pairs
            in which the multi-task model has the smaller error (``wins``), and the
            number of pairs (``pairs``). The standard error is corrected for the
            training rows that folds share (Nadeau and Bengio 2003).
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
        """Divide the test rows of each task by its training rows, which folds share."""
        # Without the folds that lack labels of the task, which are no pairs.
        errors = self.errors[self.errors["model"] == _MULTI].dropna(subset="error")
        rows = errors.groupby("task", sort=False)
        # Zero for a single split, because it does not share rows with another.
        repeats = rows["fold"].nunique() > 1
        return (rows["n_test"].mean() / rows["n_train"].mean()).where(repeats, 0.0)

    @property
    def delta_m(self) -> float:
        """Mean over tasks of their mean relative ``change``, in percent.

        The multi-task model is better below 0. Without missing errors it is the mean of
        :func:`~skgnn_mtl.metrics.delta_m` over folds and seeds.
        """
        return float(self.summary()["change"].mean())


def compare_with_single_task(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    groups: Any = None,
    random_states: Sequence[int] = (0,),
    metric: str = "mae",
    n_jobs: int | None = None,
    verbose: int = 0,
) -> SingleTaskComparison:
    """Compare a multi-task model with one single-task model for each task.

    The models have the same architecture, hyper-parameters, epochs, folds and seeds.
    They differ only in the tasks of their training. A single-task model is trained on
    the rows that have its label. Its ``task_weighting`` is "equal" and its
    ``target_tasks`` is None, because both are meaningless for a single task.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Multi-task estimator; it is cloned.
    X : array-like of shape (n,)
        Inputs of the estimator. Invalid graphs are left out.
    y : DataFrame or array-like of shape (n, t)
        Labels, NaN where missing. Columns of an array are ``task_0``, ``task_1``, ...
        Bounds such as ">100" are given to the models, but have no error.
    cv : int, splitter or iterable, default=None
        Folds; None means five folds.
    groups : array-like of shape (n,), optional
        Groups of the rows, for the splitter.
    random_states : sequence of int, default=(0,)
        Seeds; each one trains all models of all folds.
    metric : {"mae", "rmse"}, default="mae"
        Error of a task on the labelled test rows. For a classifier of labels 0 and 1
        "mae" is the share of wrong predictions.
    n_jobs : int, optional
        Number of fits in parallel.
    verbose : int, default=0
        Verbosity of joblib.

    Returns
    -------
    comparison : SingleTaskComparison
        A table of all errors, with its summary and ``delta_m``.

    Raises
    ------
    ValueError
        If y has a single task or two tasks of one name, if the metric is unknown, if a
        seed is repeated, or if a task of a classifier has more than two classes.

    See Also
    --------
    SingleTaskComparison : Errors of both kinds of network.
    skgnn_mtl.inspection.SingleTaskComparisonDisplay : Draws the result.
    compare_models : Any models on the same folds.

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
    check_seeds(random_states)
    # Bounds are for regressors, which decide whether they learn them.
    labels, exact = as_frames(X, y, None if is_classifier(estimator) else "bound")
    _require_numbers(estimator, exact)
    folds = list(check_cv(cv).split(X, exact, groups))
    jobs = [
        delayed(_errors)(estimator, X, labels, exact, tasks, fold, rows, seed, metric)
        for seed in random_states
        for fold, rows in enumerate(folds)
        for tasks in [list(exact.columns), *([task] for task in exact.columns)]
    ]
    with warnings_once():
        parts = Parallel(n_jobs=n_jobs, verbose=verbose)(jobs)
    return SingleTaskComparison(pd.concat(parts, ignore_index=True), metric)


def as_frames(
    X: Any, y: Any, censored: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read labels for the models, and those that have an error, which bounds have not.

    Parameters
    ----------
    X : array-like of shape (n,)
        Inputs; labels of invalid graphs are left out.
    y : array-like of shape (n, t)
        Labels, NaN where missing.
    censored : {"bound"} or None
        Whether the models are given bounds; None refuses them.

    Returns
    -------
    labels, exact : DataFrame of shape (n, t)
        Labels as the models learn them, and numbers with NaN for bounds.

    Raises
    ------
    ValueError
        If there is one task only, or a bound that must not be.
    """
    values, names = read_targets(X, y, censored)
    if len(names) < 2:
        raise ValueError(
            f"y must have at least two tasks to compare, but has shape {values.shape}."
        )
    # Because models do not learn from invalid graphs.
    usable = X.valid[:, None] if isinstance(X, GraphArray) else np.True_
    index = y.index if isinstance(y, pd.DataFrame) else None
    exact = np.where(usable & (values.imag == 0), values.real, np.nan)
    labels = exact
    if values.imag.any():
        # As the user wrote them, because numbers alone do not say what is a bound.
        labels = np.where(usable, as_cells(y, "y").astype(object), np.nan)
    return pd.DataFrame(labels, index, names), pd.DataFrame(exact, index, names)


def _require_numbers(estimator: Any, table: pd.DataFrame) -> None:
    """Refuse classes whose differences mean nothing."""
    if not is_classifier(estimator):
        return
    for name, count in table.nunique().items():
        if count > 2:
            raise ValueError(
                f"Task {name!r} has {count} classes, and the difference of two of them "
                "is no error. Compare PerTaskClassifier(estimator) with the estimator "
                "by compare_models."
            )


def check_seeds(random_states: Sequence[int]) -> None:
    """Raise ValueError if seeds are equal."""
    if len(set(random_states)) < len(random_states):
        raise ValueError(
            f"random_states must differ, because equal ones would count one result "
            f"twice; got {random_states!r}."
        )


def _errors(
    estimator: Any,
    X: Any,
    labels: pd.DataFrame,
    exact: pd.DataFrame,
    tasks: list[str],
    fold: int,
    rows: tuple[np.ndarray, np.ndarray],
    seed: int,
    metric: str,
) -> pd.DataFrame:
    """Fit one model on some tasks, and compute its test error on each of them."""
    train, test = rows
    y = labels[tasks]
    if len(tasks) == 1:
        train = train[y[tasks[0]].notna().to_numpy()[train]]
    others = [name for name in labels.columns if name not in tasks]
    model = _configured(without_tasks(estimator, others), seed, len(tasks) == 1)
    start = time.perf_counter()
    model.fit(_safe_indexing(X, train), y.iloc[train])
    seconds = time.perf_counter() - start
    truth = exact[tasks].to_numpy()[test]
    predictions = np.asarray(model.predict(_safe_indexing(X, test)), dtype=np.float64)
    predictions = predictions.reshape(truth.shape)
    # Predictions may be NaN, because a pipeline finds invalid graphs only now.
    scored = ~np.isnan(truth) & ~np.isnan(predictions)
    return pd.DataFrame(
        {
            "task": tasks,
            "fold": fold,
            "seed": seed,
            "model": _SINGLE if len(tasks) == 1 else _MULTI,
            "error": [
                # NaN, because a fold may be without labels of a task.
                _METRICS[metric](true[kept], predicted[kept]) if kept.any() else np.nan
                for true, predicted, kept in zip(
                    truth.T, predictions.T, scored.T, strict=True
                )
            ],
            "n_train": exact[tasks].iloc[train].count().to_numpy(),
            "n_test": scored.sum(axis=0),
            "seconds": seconds,
        }
    )


def _configured(model: Any, seed: int, single: bool) -> Any:
    """Give a model a seed, and no parameter that a single task lacks a meaning for."""
    last = last_step(model)
    changes: dict[str, Any] = {"random_state": seed}
    if single:
        changes |= {"task_weighting": "equal", "target_tasks": None}
    names = last.get_params(deep=False)
    last.set_params(**{name: v for name, v in changes.items() if name in names})
    return model
