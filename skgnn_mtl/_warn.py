"""Warnings that name the responsible line of the user's code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

# Code between the user's line and the warning: this package, the tools that call its
# estimators, and what starts a thread or a worker process.
_BETWEEN = frozenset(
    {
        "skgnn_mtl",
        *("sklearn", "skorch", "torch", "joblib"),
        *("concurrent", "multiprocessing", "runpy", "threading"),
    }
)
_SAID: ContextVar[set[tuple[str, type[Warning]]] | None] = ContextVar(
    "_SAID", default=None
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and name the first line outside the package and its tools as the cause.

    Inside a pipeline or a search of scikit-learn this is the line that called them. In
    a worker process, which has no line of the user's, it is the first line outside the
    package.

    Parameters
    ----------
    message : str
        Text that says what was found, where, and what to do.
    category : type of Warning, default=UserWarning
        Class of the warning.
    """
    said = _SAID.get()
    if said is not None:
        if (message, category) in said:
            return
        said.add((message, category))
    warnings.warn(message, category, stacklevel=_level())


@contextmanager
def warnings_once() -> Iterator[None]:
    """Let :func:`warn` say each message once until the outermost context ends.

    It is for functions whose stages may find the same thing, such as a long fit.
    """
    if _SAID.get() is not None:
        yield
        return
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def _level() -> int:
    """Count the frames from :func:`warn` to the user's line, for the warning."""
    outside = None
    frame, level = sys._getframe(1), 1
    while frame is not None:
        package = _package(frame)
        if package not in _BETWEEN:
            return level
        if outside is None and package != "skgnn_mtl":
            outside = level
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]
    return outside or level


def _package(frame: FrameType) -> str:
    """Find the top-level package of the code that a frame runs."""
    spec = frame.f_globals.get("__spec__")
    # The spec first, because a module started with -m is called __main__.
    name = getattr(spec, "name", None) or frame.f_globals.get("__name__") or ""
    return name.partition(".")[0]
