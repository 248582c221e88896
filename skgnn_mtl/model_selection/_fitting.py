"""Fits of any estimator: rows of any container, arguments that it takes, its name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble._base import _set_random_states
from sklearn.utils import _safe_indexing
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from skgnn_mtl._listed import listed
from skgnn_mtl._warn import warn


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


def without_tasks(estimator: Any, tasks: Collection[str]) -> Any:
    """Clone an estimator without the transforms of tasks that it is not to learn.

    Parameters
    ----------
    estimator : estimator or pipeline
        Its parameters named ``target_transform``, at any depth, may be dicts by task.
    tasks : collection of str
        Names that the labels do not have; a transform of these would be refused.

    Returns
    -------
    estimator : estimator or pipeline
        Not fitted.
    """
    parameters = estimator.get_params(deep=True)
    cut = {
        name: {task: own for task, own in value.items() if str(task) not in tasks}
        for name, value in parameters.items()
        if name.split("__")[-1] == "target_transform" and isinstance(value, Mapping)
    }
    return clone(estimator).set_params(**cut)


def seeded_clone(estimator: Any, seed: int | None) -> Any:
    """Clone an estimator, and seed it.

    Parameters
    ----------
    estimator : estimator
        Not changed.
    seed : int or None
        Seed of all parameters named ``random_state``, at any depth; None leaves them.

    Returns
    -------
    estimator : estimator
        The clone.
    """
    member = clone(estimator)
    if seed is not None:
        # Private, because scikit-learn has no public function that seeds nested parts.
        _set_random_states(member, np.random.RandomState(seed))
    return member


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
        return None if _is_declined(estimator, name) else name
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


def _is_declined(estimator: Any, name: str) -> bool:
    """Tell whether the user requested by routing that ``fit`` is not given it."""
    if not _routing_enabled():
        return False
    requests = getattr(get_routing_for_object(estimator), "fit", None)
    return requests is not None and requests.requests.get(name) is False


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
    with errors_of(name):
        return member.fit(take(X, rows), y, **arguments)


@contextmanager
def errors_of(name: str) -> Iterator[None]:
    """Put the name of a member in front of its errors.

    Parameters
    ----------
    name : str
        Name of the member.

    Raises
    ------
    ValueError, FloatingPointError
        Those of the member, with its name in front.
    """
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        # Exact types, because a subclass may have arguments of its own.
        if type(error) in (ValueError, FloatingPointError):
            raise type(error)(f"{name}: {error}") from error
        raise
