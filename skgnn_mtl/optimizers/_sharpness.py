"""The base class of sharpness-aware methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skgnn_mtl._component import Component, Numbers


class SharpnessAware(Component, ABC):
    """A map from gradients to the move of the weights before the gradients of a step.

    Parameters
    ----------
    rho : float, default=0.05
        Euclidean length of the move.
    base : str or callable, default="adamw"
        Optimizer that makes the step: the name of another optimizer of the estimators,
        or a callable that makes one from (params, lr=, weight_decay=).

    Attributes
    ----------
    by_task : bool
        Whether each task has a move of its own.
    """

    by_task: ClassVar[bool]

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "rho": [Numbers(Real, 0, None, closed="left")],
        "base": [str, callable],
    }

    def __init__(
        self, rho: float = 0.05, *, base: str | Callable[..., Any] = "adamw"
    ) -> None:
        super().__init__()
        self.rho = rho
        self.base = base

    @abstractmethod
    def forward(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Compute the move.

        Parameters
        ----------
        gradients : sequence of Tensor
            Gradient of the summed losses, one tensor per parameter.

        Returns
        -------
        move : list of Tensor
            Shaped like the gradients.
        """


def of_length(direction: Sequence[Tensor], length: float) -> list[Tensor]:
    """Scale a direction to a length; a direction of zeros stays zero."""
    # In double precision, because many small squares are summed.
    norm = torch.stack([part.double().square().sum() for part in direction]).sum()
    norm = norm.sqrt()
    # A where instead of a branch, because reading the norm would wait for the device.
    scale = torch.where(norm > 0, length / norm, torch.zeros_like(norm))
    return [part * scale.to(part) for part in direction]
