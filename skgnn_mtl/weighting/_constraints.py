"""Constraints on the parameters of task weightings."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from skgnn_mtl._component import Component, Condition, Numbers

# Entries of ``_parameter_constraints``. Infinity is in none of them.
FINITE = Numbers(Real, None, None, closed="neither")
POSITIVE = Numbers(Real, 0, None, closed="neither")
NOT_NEGATIVE = Numbers(Real, 0, None, closed="left")
# The share of the past in a moving mean.
MEMORY = Numbers(Real, 0, 1, closed="left")


def check_choice(weighting: Component, name: str, choices: tuple[Any, ...]) -> None:
    """Raise ValueError if a parameter is not one of some strings, or None."""
    value = getattr(weighting, name)
    # Not by ``in`` alone, because arrays compare entry by entry.
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {weighting!r}.")


def check_count(weighting: Component, name: str) -> None:
    """Raise ValueError if a parameter is not an integer of at least 1."""
    value = getattr(weighting, name)
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer >= 1, got {weighting!r}.")


def _are_numbers(value: Any) -> bool:
    if isinstance(value, (str, bytes, bool, Mapping)) or value is None:
        return False
    try:
        return np.asarray(value, dtype=np.float64).ndim <= 1
    except Exception:  # any object may be passed
        return False


def _are_finite(value: Any) -> bool:
    return _are_numbers(value) and bool(np.isfinite(np.asarray(value, float)).all())


def _is_pair_around_one(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and _are_numbers(value)
        and bool(0 <= value[0] <= 1 <= value[1])
    )


NUMBERS = Condition(_are_numbers, "a number, or one number per task")
FINITE_NUMBERS = Condition(_are_finite, "a finite number, or one per task")
PAIR_AROUND_ONE = Condition(_is_pair_around_one, "two numbers around 1")
