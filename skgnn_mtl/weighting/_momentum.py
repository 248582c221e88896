"""The option ``adaptive_momentum`` of gradient methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

AdaptiveMomentum = bool | Sequence[float]
# Bounds that True stands for; the upper one is the momentum of Adam.
_BOUNDS = (0.5, 0.9)


def momentum_bounds(weighting: Any) -> tuple[float, float] | None:
    """Read the smallest and the largest momentum; NaN stands for what is wrong."""
    # With a default, because only gradient methods have this option.
    value = getattr(weighting, "adaptive_momentum", False)
    if isinstance(value, (bool, np.bool_)):  # the latter from a grid in an array
        return _BOUNDS if value else None
    try:
        least, most = (float(bound) for bound in value)
    except (TypeError, ValueError):
        return float("nan"), float("nan")
    return least, most


def check_momentum(weighting: Any) -> None:
    """Raise ValueError if the option does not give two bounds in [0, 1)."""
    bounds = momentum_bounds(weighting)
    if bounds is not None and not 0.0 <= bounds[0] <= bounds[1] < 1.0:
        raise ValueError(
            "adaptive_momentum must be False, True or two increasing numbers in "
            f"[0, 1), got {weighting!r}."
        )
