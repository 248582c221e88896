"""Work with the members of an ensemble: arguments of fit, fits, tables of outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from skgnn_mtl._warn import warn
from skgnn_mtl.metrics._tables import listed


def as_rows(X: Any) -> Any:
    """Make something with rows that can be taken out of any container."""
    if isinstance(X, tuple):
        return list(X)
    if hasattr(X, "tocsr"):  # a sparse matrix, of which not all formats have rows
        return X.tocsr()
    if hasattr(X, "to_pylist"):  # pyarrow
        return X.to_pandas()
    return X if X is None or hasattr(X, "__getitem__") else np.asarray(X)


def take(X: Any, rows: np.ndarray | None) -> Any:
    """Take rows of any container; None stands for all of them."""
    return X if rows is None else _safe_indexing(X, rows)


def is_search(estimator: Any) -> bool:
    """Tell whether an estimator searches parameters of another one."""
    return hasattr(estimator, "cv") and hasattr(estimator, "estimator")


def keyword_of(estimator: Any, name: str) -> str | None:
    """Find the keyword under which ``fit`` takes an argument.

    Parameters
    ----------
    estimator : estimator, pipeline or search
        What is going to be fitted.
    name : {"sample_weight", "groups"}
        The argument.

    Returns
    -------
    keyword : str or None
        The name, with the step of a pipeline in front; None if the argument is not
        taken.
    """
    if has_fit_parameter(estimator, name):
        return name
    if _routing_enabled():
        routing = get_routing_for_object(estimator)
        return name if routing.consumes("fit", [name]) else None
    if hasattr(estimator, "steps"):
        step, last = estimator.steps[-1]
        inner = keyword_of(last, name) if hasattr(last, "fit") else None
        return None if inner is None else f"{step}__{inner}"
    if is_search(estimator):
        # The splitter of a search takes the groups.
        return name if name == "groups" else keyword_of(estimator.estimator, name)
    return None


def fit_arguments(
    estimators: Mapping[str, Any], sample_weight: Any, groups: Any
) -> dict[str, dict[str, Any]]:
    """Choose the arguments of ``fit`` that each estimator takes.

    Parameters
    ----------
    estimators : dict of str to estimator
        Names for the message, and the estimators.
    sample_weight, groups : array-like of shape (n,) or None
        Arguments of the ensemble.

    Returns
    -------
    arguments : dict of str to dict
        Keyword arguments of all rows for each estimator.

    Warns
    -----
    UserWarning
        Names the estimators that do not take the weights.
    """
    given = {"sample_weight": sample_weight, "groups": groups}
    arguments: dict[str, dict[str, Any]] = {name: {} for name in estimators}
    for key, value in given.items():
        if value is None:
            continue
        keywords = {name: keyword_of(e, key) for name, e in estimators.items()}
        for name, keyword in keywords.items():
            if keyword is not None:
                arguments[name][keyword] = np.asarray(value)
        deaf = [name for name, keyword in keywords.items() if keyword is None]
        if deaf and key == "sample_weight":
            warn(
                f"{listed(deaf)}: fit does not take sample_weight, so that all rows "
                "count alike there."
            )
    return arguments


def fit_member(
    member: Any,
    X: Any,
    y: Any,
    rows: np.ndarray | None,
    arguments: Mapping[str, Any],
    name: str,
) -> Any:
    """Fit one member on some rows.

    Parameters
    ----------
    member : estimator
        Is fitted in place.
    X : array-like of shape (n,)
        All inputs; workers share the arrays of large ones.
    y : array-like of shape (n_rows,) or (n_rows, t)
        Labels of the rows of the fit.
    rows : ndarray of int of shape (n_rows,) or None
        Rows of the fit, None for all.
    arguments : dict
        Further arguments of ``fit``, for all n rows.
    name : str
        Name of the member, for errors.

    Returns
    -------
    member : estimator
        The fitted member.

    Raises
    ------
    ValueError, FloatingPointError
        Those of the member, with its name in front.
    """
    arguments = {key: take(value, rows) for key, value in arguments.items()}
    try:
        return member.fit(take(X, rows), y, **arguments)
    except (ValueError, FloatingPointError) as error:
        # Exact types, because a subclass may have arguments of its own.
        if type(error) in (ValueError, FloatingPointError):
            raise type(error)(f"{name}: {error}") from error
        raise


def numbers_of(member: Any, X: Any, n_tasks: int, name: str) -> np.ndarray:
    """Predict numbers as a table (n, t).

    Parameters
    ----------
    member : estimator
        A fitted regressor.
    X : array-like of shape (n,)
        Inputs.
    n_tasks : int
        Wanted number of columns.
    name : str
        Name of the member, for errors.

    Returns
    -------
    table : ndarray of float64 of shape (n, t)
        Predictions, NaN for an invalid row.
    """
    return in_columns(member.predict(X), n_tasks, name)


def probabilities_of(
    member: Any, X: Any, classes: Sequence[np.ndarray], name: str
) -> np.ndarray:
    """Predict the probability of the last class of each task as a table (n, t).

    Parameters
    ----------
    member : estimator
        A fitted classifier with ``predict_proba``.
    X : array-like of shape (n,)
        Inputs.
    classes : list of ndarray
        One or two classes of each task, sorted.
    name : str
        Name of the member, for errors.

    Returns
    -------
    table : ndarray of float64 of shape (n, t)
        Probabilities, NaN for an invalid row. 0 for a class that the rows of the
        member did not have.
    """
    found, known = member.predict_proba(X), member.classes_
    found = found if isinstance(found, list) else [found]
    known = known if isinstance(known, list) else [known]
    if len(found) != len(classes):
        raise ValueError(
            f"{name}: predict_proba gives {len(found)} tasks, but y has {len(classes)}."
        )
    columns = []
    for table, own, wanted in zip(found, known, classes, strict=True):
        labels = np.asarray(own).tolist()
        last = np.asarray(wanted).tolist()[-1]
        # Times zero, because an invalid row must stay NaN.
        columns.append(
            table[:, labels.index(last)] if last in labels else 0.0 * table[:, 0]
        )
    return np.column_stack(columns).astype(np.float64)


def in_columns(found: Any, n_tasks: int, name: str) -> np.ndarray:
    """Read an output of a member as a table (n, t).

    Parameters
    ----------
    found : array-like of shape (n,) or (n, t)
        The output.
    n_tasks : int
        Wanted number of columns.
    name : str
        Name of the member, for errors.

    Returns
    -------
    table : ndarray of float64 of shape (n, t)
        The output.
    """
    table = np.asarray(found, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != n_tasks:
        raise ValueError(
            f"{name}: predictions have the shape {np.shape(found)}, but y has "
            f"{n_tasks} task(s). Put an estimator of one target into PerTaskRegressor "
            "or PerTaskClassifier."
        )
    return table


def mean_of(
    tables: np.ndarray, names: Sequence[str], weights: np.ndarray | None = None
) -> np.ndarray:
    """Average the predictions of members.

    Parameters
    ----------
    tables : ndarray of shape (m, n, t)
        Predictions of the members.
    names : sequence of str of length m
        Their names, for the warning.
    weights : ndarray of shape (m, t), optional
        Weights of the members for each task, which sum to 1; None for equal ones.

    Returns
    -------
    mean : ndarray of shape (n, t)
        NaN where a member of positive weight predicts NaN.

    Warns
    -----
    UserWarning
        If a member predicts NaN where another one does not.
    """
    counted = np.ones_like(tables[:, :1]) if weights is None else weights[:, None, :]
    missing, known = np.isnan(tables), ~np.isnan(tables) & (counted > 0)
    alone = (missing & (counted > 0) & known.any(axis=0)).any(axis=2)
    if alone.any():
        blamed = [name for name, rows in zip(names, alone, strict=True) if rows.any()]
        rows = np.flatnonzero(alone.any(axis=0))
        warn(
            f"{listed(blamed)}: NaN in {len(rows)} of {tables.shape[1]} rows, in which "
            f"other members predict numbers: rows {listed(rows.tolist())}. The mean is "
            "NaN there."
        )
    if weights is None:
        mean: np.ndarray = tables.mean(axis=0)
        return mean
    # A member without weight has no say, not even by NaN.
    total: np.ndarray = np.where(counted > 0, counted * tables, 0.0).sum(axis=0)
    return total


def takes_return_std(estimator: Any) -> bool:
    """Tell whether ``predict`` of an estimator or of its last step gives deviations."""
    if hasattr(estimator, "steps"):
        return takes_return_std(estimator.steps[-1][1])
    predict: Callable[..., Any] | None = getattr(estimator, "predict", None)
    return predict is not None and "return_std" in signature(predict).parameters


def require_kind(estimator: Any, *, classifier: bool, name: str) -> None:
    """Refuse a class where an instance, or a regressor where a classifier is wanted.

    Parameters
    ----------
    estimator : object
        What the user passed.
    classifier : bool
        Whether a classifier is wanted.
    name : str
        Name for the message.
    """
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise TypeError(f"{name} must be an estimator with fit, but is {estimator!r}.")
    if is_classifier(estimator) != classifier:
        wanted = "classifier" if classifier else "regressor"
        raise TypeError(
            f"{name} must be a {wanted}, but is {type(estimator).__name__}."
        )
