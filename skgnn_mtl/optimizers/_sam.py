"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from ._sharpness import SharpnessAware, of_length


class SAM(SharpnessAware):
    r"""Sharpness-aware minimisation of Foret et al. (2021).

    With the gradient :math:`g` of the summed losses at the weights :math:`\theta`, the
    gradients of the step are those at

    .. math:: \theta + \rho\, g / \|g\|.

    The task weighting receives the losses and gradients at this point. A step costs one
    forward and one backward pass more than a plain step.

    Parameters
    ----------
    rho : float, default=0.05
        Euclidean length of the move.
    base : str or callable, default="adamw"
        Optimizer that makes the step.

    See Also
    --------
    SAMO : Moves by the gradients of all tasks and of each.

    Notes
    -----
    The move follows the *sum* of the losses for each task weighting, so that a
    weighting decides once per step. With equal weights this is the published method.
    Both passes have the same dropout masks, and only the first one changes running
    statistics. The losses in ``history_`` are those at :math:`\theta`.

    References
    ----------
    .. [1] P. Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
       Generalization", ICLR 2021, arXiv:2010.01412.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.optimizers import SAM
    >>> SAM(rho=0.5)([torch.tensor([3.0, 4.0])])
    [tensor([0.3000, 0.4000])]
    """

    by_task: ClassVar[bool] = False

    def forward(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Compute the move along the gradient, as :class:`SharpnessAware` says."""
        return of_length(gradients, self.rho)
