"""Learning-rate schedules as functions of the progress of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real

# progress in [0, 1] -> factor on the learning rate
Schedule = Callable[[float], float]


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _warmup_cosine(progress: float, warmup: float = 0.05) -> float:
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return _cosine((progress - warmup) / (1.0 - warmup))


def _noam(progress: float, warmup: float = 0.1) -> float:
    """Rise linearly from 0.1 to 1 in the warm-up, then fall exponentially to 0.1."""
    if progress < warmup:
        return 0.1 + 0.9 * progress / warmup
    factor: float = 0.1 ** ((progress - warmup) / (1.0 - warmup))
    return factor


# "plateau" is not among them, because it depends on the validation loss.
SCHEDULES: dict[str, Schedule] = {
    "constant": _constant,
    "cosine": _cosine,
    "noam": _noam,
    "warmup_cosine": _warmup_cosine,
}


def checked(schedule: Schedule) -> Schedule:
    """Let a schedule of a user fail with its name.

    Parameters
    ----------
    schedule : callable
        From the progress in [0, 1] to a factor.

    Returns
    -------
    schedule : callable
        The same. It raises TypeError if a factor is no number, and ValueError if one is
        negative, NaN or infinite.
    """

    def factor_of(progress: float) -> float:
        factor = schedule(progress)
        wanted = (
            "lr_schedule must return a factor that is a finite number of at least 0, "
            f"but returned {factor!r} at progress {progress:.3g}."
        )
        if not isinstance(factor, Real):
            raise TypeError(wanted)
        if not 0 <= factor < math.inf:
            raise ValueError(wanted)
        return float(factor)

    return factor_of
