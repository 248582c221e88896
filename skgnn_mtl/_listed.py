"""Lists in messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

N_NAMED = 10  # items that a message shows of many


def listed(items: Iterable[Any]) -> str:
    """Write the first items and the number of the others.

    Parameters
    ----------
    items : iterable
        Names, rows or columns.

    Returns
    -------
    text : str
        Such as "'a', 'b' and 3 more".
    """
    items = list(items)
    shown = ", ".join(repr(item) for item in items[:N_NAMED])
    more = len(items) - N_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
