"""Sentences about rows that cannot be used."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

_SHOWN_LETTERS = 80


class RowError(Exception):
    """A row that no value of ``on_error`` excuses: the parameters do not fit it.

    Parameters
    ----------
    position : int
        Where the row stands among those that were given.
    problem : str
        Beginning of the sentence, up to the name of the row.
    reason : str, default=""
        A clause.
    part : int, optional
        Which molecule of a row of several.
    """

    def __init__(
        self, position: int, problem: str, reason: str = "", part: int | None = None
    ) -> None:
        super().__init__(position, problem, reason, part)
        self.position, self.problem, self.reason = position, problem, reason
        self.part = part


def complete(error: RowError, first: int, rows: list[Any]) -> ValueError:
    """Name the row of an error in a chunk.

    Parameters
    ----------
    error : RowError
        With a position in the chunk.
    first : int
        Position of the chunk in ``X``.
    rows : list
        Rows of the chunk.

    Returns
    -------
    error : ValueError
        With the sentence.
    """
    place, row = str(first + error.position), rows[error.position]
    if error.part is not None:
        place, row = f"{place}, {error.part}", row[error.part]
    named = _named(place, row).rstrip(",")
    reason = f": {error.reason.rstrip('.')}" if error.reason else ""
    return ValueError(f"{error.problem} of {named}{reason}.")


def unreadable(position: int | str, row: Any, wanted: str, reason: str) -> str:
    """Say that a row cannot be read.

    Parameters
    ----------
    position : int or str
        Where the row stands in ``X``; with a comma, an entry of a row.
    row : object
        The row.
    wanted : str
        What it should have been.
    reason : str
        A clause.

    Returns
    -------
    sentence : str
        What was wanted, what was found, where.
    """
    named = _named(position, row)
    return f"Could not read {named} as {wanted}: {reason.rstrip('.')}."


def _named(position: int | str, row: Any) -> str:
    if not isinstance(row, (str, PathLike)):
        return f"X[{position}], of type {type(row).__name__},"
    text = fspath(row)
    more = "..." if len(text) > _SHOWN_LETTERS else ""
    return f"X[{position}] = {text[:_SHOWN_LETTERS]!r}{more}"
