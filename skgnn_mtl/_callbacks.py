"""Callbacks of scikit-learn, where the installed version has them (from 1.9)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import chain, repeat
from typing import Any, TypeVar, cast

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    CallbackSupportMixin = with_callbacks = None

# Bases of a class that can be given callbacks.
SUPPORT: tuple[type, ...] = (CallbackSupportMixin,) if CallbackSupportMixin else ()

# A function, its arguments and its keyword arguments.
Job = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Method = TypeVar("Method", bound=Callable[..., Any])


def ends_callbacks(method: Method) -> Method:
    """Let callbacks of a fit be torn down when a method ends, also by an error.

    Parameters
    ----------
    method : method
        It may call :func:`fit_task`.

    Returns
    -------
    method : method
        The decorated one.
    """
    if with_callbacks is None:
        return method
    heard = with_callbacks(method)

    @wraps(method)
    def if_heard(self: Any, *arguments: Any, **keywords: Any) -> Any:
        # Not always heard, because a warning finds the user's line through the frames
        # between them.
        chosen = heard if has_callbacks(self) else method
        return chosen(self, *arguments, **keywords)

    return cast("Method", if_heard)


def fit_of_members(
    n_members: Callable[[Any, Any], int | None] = lambda ensemble, y: 0,
) -> Callable[[Method], Method]:
    """Make a decorator of ``fit(X, y, ...)`` that lets callbacks hear of it.

    A fit that fails leaves the estimator as it was.

    Parameters
    ----------
    n_members : callable, default=0
        Gives the number of tasks of :func:`in_tasks`, from the estimator and y; None
        if it is not known before.

    Returns
    -------
    decorator : callable
        Of a method.
    """

    def decorated(fit: Method) -> Method:
        @wraps(fit)
        def with_task(
            self: Any, X: Any, y: Any = None, *others: Any, **keywords: Any
        ) -> Any:
            weight = keywords.get("sample_weight", next(iter(others), None))
            task = fit_task(self, X, y, weight, max_subtasks=n_members(self, y))
            with task, unchanged_by_errors(self):
                return fit(self, X, y, *others, **keywords)

        return cast("Method", ends_callbacks(with_task))

    return decorated


@contextmanager
def unchanged_by_errors(estimator: Any) -> Iterator[None]:
    """Give an estimator back its attributes if an error or interrupt ends a fit.

    Parameters
    ----------
    estimator : estimator
        Its attributes are assigned in the fit, and not changed in place.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


# A fit without parts that a callback could be told of.
one_task: Callable[[Method], Method] = fit_of_members()


def has_callbacks(estimator: Any) -> bool:
    """Tell whether a callback was set on an estimator, or on one around it.

    Parameters
    ----------
    estimator : estimator
        Any.

    Returns
    -------
    answer : bool
        False with a scikit-learn that has no callbacks.
    """
    has_support = hasattr(estimator, "_init_callback_context")
    return has_support and bool(getattr(estimator, "_skl_callbacks", None))


@contextmanager
def fit_task(
    estimator: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    max_subtasks: int | None = 0,
    fitted: Callable[[], dict[str, Any]] = dict,
) -> Iterator[Any]:
    """Tell callbacks that a fit begins and ends; call it in a method with callbacks.

    Parameters
    ----------
    estimator : estimator
        The one that is fitted.
    X, y, sample_weight : object
        Arguments of the fit.
    max_subtasks : int or None, default=0
        Number of tasks in it, if it is known.
    fitted : callable, default=dict
        Gives the attributes of the fitted estimator that it does not have yet.

    Yields
    ------
    context : CallbackContext or None
        None without callbacks.
    """
    if not has_callbacks(estimator):
        yield None
        return
    data = {"X": X, "y": y, "metadata": _metadata(sample_weight)}
    context = estimator._init_callback_context(max_subtasks=max_subtasks)
    context.call_on_fit_task_begin(estimator=estimator, **data)
    yield context
    context.call_on_fit_task_end(
        estimator=estimator, reconstruction_attributes=fitted, **data
    )


def in_tasks(
    ensemble: Any, jobs: Iterable[Job], names: Iterable[str] = ()
) -> list[Job]:
    """Let each job be a task in the fit of an ensemble.

    Parameters
    ----------
    ensemble : estimator
        Whose fit it is, decorated by :func:`fit_of_members`. Jobs stay as they are if
        it does not have callbacks.
    jobs : iterable of (function, arguments, keywords)
        What ``joblib.delayed`` makes; the first arguments are the member, which the
        function fits, X and y.
    names : iterable of str, default=()
        Names of the first tasks; the others are members.

    Returns
    -------
    jobs : list of (function, arguments, keywords)
        They return the same.
    """
    context = getattr(ensemble, "_callback_fit_ctx", None)
    if context is None:
        return list(jobs)
    named = chain(names, repeat("member"))
    return [
        (_in_task, (ensemble, context.subcontext(name), function, *arguments), keywords)
        for name, (function, arguments, keywords) in zip(named, jobs, strict=False)
    ]


def _in_task(
    ensemble: Any,
    context: Any,
    function: Callable[..., Any],
    member: Any,
    X: Any,
    y: Any,
    *others: Any,
    **keywords: Any,
) -> Any:
    with context.propagate_callback_context(member):
        context.call_on_fit_task_begin(estimator=ensemble, X=X, y=y)
        result = function(member, X, y, *others, **keywords)
        context.call_on_fit_task_end(estimator=ensemble, X=X, y=y)
    return result


class Epochs:
    """A task for each epoch of a network's fit.

    Parameters
    ----------
    estimator : estimator
        The one that is fitted.
    context : CallbackContext
        Of the fit.
    X, y, sample_weight : object
        Arguments of the fit.
    """

    def __init__(
        self, estimator: Any, context: Any, X: Any, y: Any, sample_weight: Any
    ) -> None:
        self.estimator, self.context = estimator, context
        self.data = {"X": X, "y": y, "metadata": _metadata(sample_weight)}
        self.open: Any = None

    def __call__(self, n_finished: int, state: Any) -> None:
        """End the task of an epoch, and begin the next.

        Parameters
        ----------
        n_finished : int
            Epochs that are over; 0 at the start.
        state : FittedState
            Of the training; its network is copied if a callback asks for it.
        """
        if n_finished:
            # A training that goes on from a file has no start.
            epoch = self.open or self._begin()
            epoch.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=lambda: _reconstructed(state),
                **self.data,
            )
        self.open = None
        most = self.context.max_subtasks
        if most is None or n_finished < most:
            self.open = self._begin()

    def close(self) -> None:
        """End the task of an epoch that was never reached, after an early stop."""
        if self.open is not None:
            self.open.call_on_fit_task_end(estimator=self.estimator)
            self.open = None

    def _begin(self) -> Any:
        epoch = self.context.subcontext(task_name="epoch")
        return epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)


def _reconstructed(state: Any) -> dict[str, Any]:
    # Copied, because the training goes on with this network.
    return {"_fitted_state": copy.deepcopy(state)}


def _metadata(sample_weight: Any) -> dict[str, Any] | None:
    return None if sample_weight is None else {"sample_weight": sample_weight}
