"""Errors of any models on the same folds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from skgnn_mtl._listed import listed
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl._warn import warn, warnings_once
from skgnn_mtl.estimators._class_labels import (
    encode_labels,
    find_classes,
    read_class_labels,
)
from skgnn_mtl.estimators._inputs import read_targets
from skgnn_mtl.metrics._class_scores import RANKINGS
from skgnn_mtl.metrics._one_vs_rest import Columns, one_vs_rest
from skgnn_mtl.metrics._scorers import METRICS, class_scores
from skgnn_mtl.metrics._scores import NUMBERS
from skgnn_mtl.metrics._tables import as_cells

from ._fitting import (
    as_rows,
    errors_of,
    fit_arguments,
    fit_member,
    seeded_clone,
    take,
)
from ._folds import (
    Folds,
    class_presence,
    label_presence,
    require_groups,
    table_folds,
)
from ._model_comparison import ModelComparison


def compare_models(
    models: Mapping[str, Any] | Sequence[tuple[str, Any]],
    X: Any,
    y: Any,
    *,
    cv: Any = 5,
    n_repeats: int = 1,
    groups: Any = None,
    scoring: str | None = None,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> ModelComparison:
    """Compare any estimators on the same folds of a table with gaps.

    Parameters
    ----------
    models : dict or list of (str, estimator)
        Named regressors, or named classifiers; pipelines included. They are cloned.
    X : array-like of shape (n_samples,)
        Inputs that all models take.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, NaN where missing; columns of a DataFrame name the tasks. Bounds such as
        ">100" are given to the models, but have no error.
    cv : int, splitter or iterable, default=5
        Folds. A number stands for shuffled folds with labels (or classes) of each
        task, or with whole groups.
    n_repeats : int, default=1
        Number of times that the folds are drawn. A splitter must shuffle then, and gets
        a new ``random_state`` each time.
    groups : array-like of shape (n_samples,), default=None
        Groups of the rows, for the splitter and for the models that take them.
    scoring : {"rmse", "mae", "r2", "roc_auc", "average_precision"}, default=None
        Error of a task on its labelled test rows; "r2", "roc_auc" and
        "average_precision" count as one minus the score. None is "rmse" for regressors
        and "roc_auc" for classifiers.
    n_jobs : int, default=None
        Number of fits in parallel. Times are comparable with one only.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds, except those of a splitter with ``n_repeats=1``, which has a
        seed of its own. If it is given, the parameters named ``random_state`` of the
        models get a new seed in each fold, the same for all models.

    Returns
    -------
    comparison : ModelComparison
        All errors and times, with tests of the differences.

    Raises
    ------
    ValueError
        If names are given twice, a task has no label in the training rows of a fold,
        folds cannot be repeated, or a model refuses the rows of a fold.
    TypeError
        If regressors and classifiers are mixed.

    Warns
    -----
    UserWarning
        If a model predicts NaN for labelled rows: they are left out for all models, so
        that all errors are on the same rows. If it predicts NaN for all rows of a fold,
        its errors in this fold are missing instead.

    See Also
    --------
    compare_with_single_task : Multi-task against single-task models.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 52, 239 (2003).
    .. [2] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
       Scandinavian Journal of Statistics 6, 65 (1979).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.linear_model import Ridge
    >>> from skgnn_mtl.ensemble import PerTaskRegressor
    >>> from skgnn_mtl.model_selection import compare_models
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> y = X @ [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> y[::4, 1] = np.nan
    >>> models = {"line": Ridge(), "mean": DummyRegressor()}
    >>> models = {name: PerTaskRegressor(model) for name, model in models.items()}
    >>> comparison = compare_models(models, X, y, n_repeats=2, random_state=0)
    >>> table = comparison.differences()
    >>> table[["task", "model_a", "model_b", "n_folds"]]
         task model_a model_b  n_folds
    0  task_0    line    mean       10
    1  task_1    line    mean       10
    >>> bool((table["p_adjusted"] < 0.01).all())
    True
    """
    named = _read_models(models)
    classifier = _are_classifiers(named)
    metric = _read_scoring(scoring, classifier=classifier)
    X, y = as_rows(X), as_rows(y)
    problem = read_problem(X, y, classifier=classifier)
    require_groups(groups, len(problem.table))
    generator = check_random_state(random_state)
    runs = list(_runs(cv, n_repeats, X, y, problem.presence, groups, generator))
    seeds = generator.randint(MAX_SEED, size=len(runs)).tolist()
    arguments = fit_arguments(named, None, groups)
    jobs = [
        delayed(_fit_and_predict)(
            seeded_clone(model, seed if random_state is not None else None),
            X,
            y,
            rows,
            arguments[name],
            f"Model {name!r}, repeat {repeat}, fold {fold}",
            problem.classes,
        )
        for (repeat, fold, rows), seed in zip(runs, seeds, strict=True)
        for name, model in named.items()
    ]
    with warnings_once():
        done = Parallel(n_jobs=n_jobs)(jobs)
    parts = []
    for k, (repeat, fold, rows) in enumerate(runs):
        outcomes = dict(zip(named, done[k * len(named) :], strict=False))
        parts += _errors(outcomes, problem, rows, metric, repeat, fold)
    scores = pd.DataFrame(parts, columns=_SCORES)
    # Model by model is how they are read.
    position = scores["model"].map(list(named).index)
    order = np.argsort(position.to_numpy(), kind="stable")
    return ModelComparison(scores.iloc[order].reset_index(drop=True), metric)


_SCORES = [
    *("model", "repeat", "fold", "task", "error", "n_train", "n_test"),
    *("fit_seconds", "predict_seconds"),
]


class _Problem(NamedTuple):
    """Labels as numbers or codes (n, t), their names, and what folds must have.

    A task of more than two classes has a column (n, c) for each of them.
    """

    table: np.ndarray
    names: list[str]
    presence: pd.DataFrame
    classes: list[list[Any]] | None
    columns: np.ndarray
    owners: np.ndarray


class _Outcome(NamedTuple):
    """Predictions of the test rows of a fold, (n, c), and the time that they took."""

    predictions: np.ndarray
    fit_seconds: float
    predict_seconds: float


def _read_models(models: Any) -> dict[str, Any]:
    pairs = list(models.items() if isinstance(models, Mapping) else models)
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"The names of models must differ, but {listed(twice)} occurs twice."
        )
    if not pairs:
        raise ValueError("models must have at least one (name, estimator).")
    for name, model in pairs:
        if isinstance(model, type) or not hasattr(model, "fit"):
            raise TypeError(
                f"Model {name!r} must be an estimator with fit, but is {model!r}."
            )
    return dict(pairs)


def _are_classifiers(models: Mapping[str, Any]) -> bool:
    kinds = {name: is_classifier(model) for name, model in models.items()}
    if len(set(kinds.values())) > 1:
        classifiers = [name for name, kind in kinds.items() if kind]
        raise TypeError(
            "models must be all regressors or all classifiers, but "
            f"{listed(classifiers)} of them are classifiers."
        )
    return all(kinds.values())


def _read_scoring(scoring: str | None, *, classifier: bool) -> str:
    allowed = sorted(RANKINGS if classifier else NUMBERS)
    if scoring is None:
        return "roc_auc" if classifier else "rmse"
    if scoring not in allowed:
        raise ValueError(
            f"scoring must be None or one of {allowed}, but is {scoring!r}."
        )
    return scoring


def read_problem(X: Any, y: Any, *, classifier: bool) -> _Problem:
    """Read labels of numbers or classes, and what each fold must have of them."""
    if not classifier:
        # Bounds have no error; whether they are learned is a matter of the models.
        values, names = read_targets(X, y, "drop")
        table = values.reshape(len(values), -1)
        presence = label_presence(table, names)
        return _Problem(table, names, presence, None, table, np.arange(len(names)))
    labels, names = read_class_labels(X, y)
    cells = labels.reshape(len(labels), -1)
    classes = find_classes(cells, names, np.ones(len(cells), dtype=bool))
    codes = [
        encode_labels(column, known, name, strict=True)
        for column, known, name in zip(cells.T, classes, names, strict=True)
    ]
    table = np.column_stack(codes)
    presence = class_presence(table, names, classes)
    known = [part.tolist() for part in classes]
    zeros = [np.zeros((len(cells), len(part))) for part in known]
    columns = one_vs_rest(cells, zeros, known, known)
    assert columns.owners is not None, "the scores are arrays of classes"
    return _Problem(
        table, names, presence, known, columns.true.to_numpy(), columns.owners
    )


def _runs(
    cv: Any,
    n_repeats: int,
    X: Any,
    y: Any,
    presence: pd.DataFrame,
    groups: Any,
    generator: np.random.RandomState,
) -> Iterator[tuple[int, int, tuple[np.ndarray, np.ndarray]]]:
    """Yield repeat, fold, and rows of training and test."""
    if not isinstance(n_repeats, Integral) or n_repeats < 1:
        raise ValueError(f"n_repeats must be a positive integer, but is {n_repeats!r}.")
    for repeat in range(n_repeats):
        seed = int(generator.randint(MAX_SEED))
        drawn = cv if n_repeats == 1 else _redrawn(cv, seed)
        folds: Folds = table_folds(drawn, X, y, presence, groups, random_state=seed)
        for fold, rows in enumerate(folds):
            yield repeat, fold, rows


def _redrawn(cv: Any, seed: int) -> Any:
    """Give a splitter a seed of its own."""
    if isinstance(cv, Integral):
        return cv
    if not hasattr(cv, "random_state") or not getattr(cv, "shuffle", True):
        raise ValueError(
            f"n_repeats needs a splitter that shuffles, but cv={cv!r} would give the "
            "same folds each time. Set shuffle=True, or n_repeats=1."
        )
    drawn = deepcopy(cv)
    drawn.random_state = seed
    return drawn


def _fit_and_predict(
    model: Any,
    X: Any,
    y: Any,
    rows: tuple[np.ndarray, np.ndarray],
    arguments: Mapping[str, Any],
    name: str,
    classes: list[list[Any]] | None,
) -> _Outcome:
    train, test = rows
    start = time.perf_counter()
    fit_member(model, X, take(y, train), train, arguments, name)
    fitted = time.perf_counter()
    inputs = take(X, test)
    with errors_of(name):
        found = (
            model.predict(inputs)
            if classes is None
            else _class_scores(model, inputs, take(y, test), classes)
        )
        done = time.perf_counter()
        table = np.asarray(found, dtype=np.float64).reshape(len(test), -1)
    return _Outcome(table, fitted - start, done - fitted)


def _class_scores(model: Any, X: Any, y: Any, classes: list[list[Any]]) -> Any:
    """Predict scores in the columns of a problem, (n,) or (n, c)."""
    if max(map(len, classes)) <= 2:
        return class_scores(model, X, y)[0]
    found, labels = model.predict_proba(X), model.classes_
    if not isinstance(found, list):
        found, labels = [found], [labels]
    cells = as_cells(y, "y").reshape(-1, len(classes))
    return one_vs_rest(cells, found, labels, classes).scores


def _errors(
    outcomes: Mapping[str, _Outcome],
    problem: _Problem,
    rows: tuple[np.ndarray, np.ndarray],
    metric: str,
    repeat: int,
    fold: int,
) -> list[tuple[Any, ...]]:
    """Errors of all models in a fold, on the rows that all of them predict."""
    train, test = rows
    truth, owners = problem.columns[test], problem.owners
    known = {name: _predicted(o, truth, name) for name, o in outcomes.items()}
    # A model that predicts nothing must not hide the errors of the others.
    working = [rows for rows in known.values() if rows.any()]
    common = (
        np.logical_and.reduce(working) if working else np.zeros(len(test), dtype=bool)
    )
    _warn_of_gaps(known, truth, repeat, fold)
    n_train = (~np.isnan(problem.table[train])).sum(axis=0)
    lines = []
    for name, outcome in outcomes.items():
        scored = common[:, None] & known[name][:, None] & ~np.isnan(truth)
        values = METRICS[metric].per_task(
            np.where(scored, truth, 0.0),
            np.where(scored, outcome.predictions, 0.0),
            scored.astype(np.float64),
        )
        # The mean over the classes of a task.
        values = Columns(None, None, owners, problem.names).by_task(values, np.nanmean)
        errors = 1.0 - values if METRICS[metric].greater_is_better else values
        for t, task in enumerate(problem.names):
            counts = int(n_train[t]), int(scored[:, np.argmax(owners == t)].sum())
            times = outcome.fit_seconds, outcome.predict_seconds
            lines.append((name, repeat, fold, task, float(errors[t]), *counts, *times))
    return lines


def _predicted(outcome: _Outcome, truth: np.ndarray, name: str) -> np.ndarray:
    """Tell the rows that a model predicts."""
    if outcome.predictions.shape != truth.shape:
        raise ValueError(
            f"Model {name!r} predicts {outcome.predictions.shape[1]} column(s), but y "
            f"has {truth.shape[1]} task(s)."
        )
    known: np.ndarray = ~np.isnan(outcome.predictions).any(axis=1)
    return known


def _warn_of_gaps(
    known: Mapping[str, np.ndarray], truth: np.ndarray, repeat: int, fold: int
) -> None:
    labelled = ~np.isnan(truth).all(axis=1)
    for name, rows in known.items():
        missing = int((labelled & ~rows).sum())
        if missing:
            result = (
                "These rows are left out for all models."
                if rows.any()
                else "Its errors in this fold are missing."
            )
            warn(
                f"Model {name!r} predicts NaN in {missing} of {labelled.sum()} "
                f"labelled test rows of repeat {repeat}, fold {fold}. {result}"
            )
