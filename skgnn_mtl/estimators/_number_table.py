"""Errors of a numeric X that say which entry is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_SHOWN_LETTERS = 60


@contextmanager
def naming_entries_of(X: Any) -> Iterator[None]:
    """Let errors of a conversion to numbers name X, and the entry that is none.

    Parameters
    ----------
    X : object
        What is converted.

    Yields
    ------
    None
        The conversion is the body of the ``with`` block.

    Raises
    ------
    TypeError, ValueError
        Instead of an error that does not name X.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        message = str(error)
        if re.search(r"\bX\b", message):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"X must be a table of numbers{_first_other_entry(X)}: {message}"
        ) from error


def refuse_times(X: Any) -> None:
    """Refuse dates and time spans, which NumPy would turn into nanoseconds.

    Parameters
    ----------
    X : object
        A table of any kind.

    Raises
    ------
    TypeError
        If X, or a column of it, holds dates or time spans.
    """
    found: Any = getattr(X, "dtypes", getattr(X, "dtype", None))
    dtypes = np.atleast_1d(found)
    for column, dtype in enumerate(dtypes):
        if getattr(dtype, "kind", "") in ("m", "M"):
            where = f" in column {column}" if len(dtypes) > 1 else ""
            raise TypeError(
                f"X must be a table of numbers, but holds {dtype}{where}: make numbers "
                "of dates and time spans, such as days."
            )


def _first_other_entry(X: Any) -> str:
    """Find the first entry that is not a number; '' if there is none."""
    try:
        cells = np.array(X, dtype=object)
    except Exception:  # any object may be passed
        return ""
    for place, entry in np.ndenumerate(cells):
        try:
            float(entry)
        except (TypeError, ValueError, OverflowError):
            if type(entry).__name__ == "NAType":  # a gap, as NaN is
                continue
            shown = ascii(entry)
            shown = shown if len(shown) <= _SHOWN_LETTERS else f"{shown[:60]}..."
            return f", but X{list(place)} = {shown}"
    return ""
