"""Task weightings: maps from the tasks' losses to the direction of a step.

A method is tested on plain vectors, since it knows nothing else. Two tasks with losses
2 and 1: ``Equal`` gives the weights (1, 1), ``ScaleInvariant`` (1/2, 1).
"""

from ._base import LossWeighting, TaskWeighting
from ._equal import Equal
from ._fixed import Fixed
from ._scale_invariant import ScaleInvariant
from ._uncertainty import Uncertainty

__all__ = [
    "Equal",
    "Fixed",
    "LossWeighting",
    "ScaleInvariant",
    "TaskWeighting",
    "Uncertainty",
]
