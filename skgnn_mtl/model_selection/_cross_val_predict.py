"""Predictions out of fold, of tasks with gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skgnn_mtl.estimators._class_labels import find_classes, read_class_labels
from skgnn_mtl.estimators._inputs import read_cells
from skgnn_mtl.metrics._one_vs_rest import class_columns

from ._folds import require_partition, splitter_folds

_METHODS = ("predict", "predict_proba", "decision_function", "predict_logits")


def cross_val_predict_with_gaps(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    groups: ArrayLike | None = None,
    method: str = "predict",
    params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> np.ndarray | list[np.ndarray]:
    """Predict each row by a model that was fitted without its fold.

    scikit-learn's ``cross_val_predict`` refuses missing class labels and gives one
    array for each task. This function takes tables with gaps and gives one array in
    the shape of ``y``, which the scores of :mod:`skgnn_mtl.metrics` take as it is.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Regressor or classifier; it is cloned for each fold.
    X : array-like of shape (n,)
        What it is fitted on: graphs, or the strings of a pipeline.
    y : DataFrame or array-like of shape (n,) or (n, t)
        Labels, NaN or None where missing. A row without any label is predicted, too.
    cv : int, splitter or iterable, default=None
        Folds, of which each row is in one; None stands for five without shuffling. An
        integer never stratifies, since gaps have no class.
    groups : array-like of shape (n,), optional
        For the splitter.
    method : {"predict", "predict_proba", "decision_function", "predict_logits"}, \
default="predict"
        What is asked of the models. "predict_proba" gives the probability of the second
        of the two classes of a task, in sorted order of its labels in ``y``, also
        where the training rows of a fold have one class only. Where a task has more
        classes, it gives those of all classes.
    params : dict, optional
        Arguments of ``fit``, such as ``{"sample_weight": w}``; those of length n are
        split along with X.
    n_jobs : int, optional
        Fits at a time.
    verbose : int, default=0
        Of joblib.

    Returns
    -------
    predictions : ndarray of the shape of y, or list of ndarray
        Row i belongs to row i of X, whatever its index. NaN for an invalid graph.
        Probabilities of more than two classes have the form of ``predict_proba``: one
        array (n, n_classes) per task, in a list for a two-dimensional ``y``. Columns
        are the labels of ``y``, sorted.

    Raises
    ------
    ValueError
        If a row is tested in no fold or in two, the method is unknown or does not give
        one column for each task, the estimator refuses the rows of a fold, or logits
        are asked of a task of more than two classes.

    See Also
    --------
    skgnn_mtl.metrics.nan_roc_auc_score : A score of such probabilities.
    LabelPresenceKFold : Folds in which each task has labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNClassifier
    >>> from skgnn_mtl.model_selection import cross_val_predict_with_gaps
    >>> X = np.random.default_rng(0).normal(size=(20, 3))
    >>> y = (X[:, :2] > 0).astype(float)
    >>> y[3, 1] = np.nan
    >>> model = MultiTaskGNNClassifier(max_epochs=2, random_state=0)
    >>> p = cross_val_predict_with_gaps(model, X, y, cv=2, method="predict_proba")
    >>> p.shape
    (20, 2)
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}.")
    shape = read_cells(X, y).shape
    X, y = (list(part) if isinstance(part, tuple) else part for part in (X, y))
    folds = splitter_folds(cv, X, y, groups, shape[0])
    require_partition(folds, shape[0])
    order = np.concatenate([test for _, test in folds])
    classes = [] if method == "predict" else _classes(X, y)
    if method in ("decision_function", "predict_logits"):
        _require_two_classes(classes)
    parts = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(_fit_and_predict)(
            clone(estimator), X, y, rows, method, dict(params or {}), classes
        )
        for rows in folds
    )
    if method == "predict_proba" and any(len(labels) > 2 for _, labels in classes):
        tasks = [
            np.concatenate(each)[np.argsort(order)] for each in zip(*parts, strict=True)
        ]
        return tasks if len(shape) == 2 else tasks[0]
    if method == "predict_proba":
        parts = [np.column_stack([table[:, -1] for table in part]) for part in parts]
    tables = [
        _in_columns(part, len(test), shape)
        for part, (_, test) in zip(parts, folds, strict=True)
    ]
    predictions: np.ndarray = np.concatenate(tables)[np.argsort(order)].reshape(shape)
    return predictions


def _classes(X: Any, y: Any) -> list[tuple[str, list[Any]]]:
    """Name and classes of each task, over all rows."""
    labels, names = read_class_labels(X, y)
    table = labels.reshape(len(labels), -1)
    found = find_classes(table, names, np.ones(len(table), dtype=bool))
    return [(name, part.tolist()) for name, part in zip(names, found, strict=True)]


def _require_two_classes(classes: Sequence[tuple[str, list[Any]]]) -> None:
    for name, labels in classes:
        if len(labels) > 2:
            raise ValueError(
                f"Task {name!r} has {len(labels)} classes, but logits have one column "
                "for each task: use method='predict_proba'."
            )


def _fit_and_predict(
    model: Any,
    X: Any,
    y: Any,
    rows: tuple[np.ndarray, np.ndarray],
    method: str,
    params: dict[str, Any],
    classes: Sequence[tuple[str, list[Any]]],
) -> Any:
    train, test = rows
    fit_params = _check_method_params(X, params, indices=train)
    model.fit(_safe_indexing(X, train), _safe_indexing(y, train), **fit_params)
    found = getattr(model, method)(_safe_indexing(X, test))
    if method == "predict":
        return found
    # A list with an entry for each task, or the only one as it is.
    known = model.classes_ if isinstance(model.classes_, list) else [model.classes_]
    known = [np.asarray(part).tolist() for part in known]
    if method == "predict_proba":
        tables = found if isinstance(found, list) else [found]
        columns = zip(tables, known, classes, strict=True)
        return [
            # The training rows of this fold may lack a class.
            np.column_stack(class_columns(table, own, labels))
            for table, own, (_, labels) in columns
        ]
    for part, (name, both) in zip(known, classes, strict=True):
        if part != both:
            raise ValueError(
                f"The training rows of a fold have the classes {part} of task "
                f"{name!r}, not {both}: choose another cv, or predict_proba."
            )
    return found


def _in_columns(found: Any, n: int, shape: tuple[int, ...]) -> np.ndarray:
    table = np.asarray(found)
    n_tasks = int(np.prod(shape[1:]))
    if table.shape not in ((n, n_tasks), (n,) if n_tasks == 1 else ()):
        raise ValueError(
            f"The estimator gave an array of shape {table.shape} for {n} rows of "
            f"{n_tasks} tasks; one column for each task was wanted."
        )
    return table.reshape(n, n_tasks)
