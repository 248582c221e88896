"""Training rows that are kept out, so that they can judge a task weighting."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple


class HeldOut(NamedTuple):
    """Which training rows judge a method, and how often.

    Parameters
    ----------
    every : int
        Steps between two looks; 0 if the rows are only kept out.
    fraction : float
        Share of the training rows.
    split : {"tail", "random"}
        "tail" takes the smallest groups, "random" any.
    """

    every: int
    fraction: float
    split: str


def check_held_out(part: Any) -> None:
    """Refuse values that a method's every, fraction and split cannot have.

    Parameters
    ----------
    part : TaskWeighting
        The method.

    Raises
    ------
    ValueError
        Naming the parameter.
    """
    if not isinstance(part.every, Integral) or part.every < 1:
        raise ValueError(f"every must be an integer >= 1, got {part!r}.")
    if not isinstance(part.fraction, Real) or not 0 < float(part.fraction) < 1:
        raise ValueError(f"fraction must lie in (0, 1), got {part!r}.")
    if part.split not in ("tail", "random"):
        raise ValueError(f"split must be 'tail' or 'random', got {part!r}.")
