"""Optimizers with parameters of their own, for the parameter ``optimizer``.

A sharpness-aware method takes the gradients of a step at weights that are moved uphill,
and another optimizer makes the step with them. Both methods are maps from gradients to
moves, so that they can be tested on plain tensors.
"""

from ._sam import SAM
from ._samo import SAMO
from ._sharpness import SharpnessAware

__all__ = [
    "SAM",
    "SAMO",
    "SharpnessAware",
]
