"""Sharpness-aware multi-task optimisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skgnn_mtl._component import Numbers

from ._sharpness import SharpnessAware, of_length


class SAMO(SharpnessAware):
    r"""Sharpness-aware multi-task optimisation of Ban, Subramani and Ji (2025).

    Each task has its own move of the shared weights: a mixture of the gradient
    :math:`g` of the summed losses and of an estimate :math:`\hat g_t` of the task's
    gradient. For each layer l

    .. math:: d_{t,l} = (1 - \beta)\, g_l + \beta\, \|g_l\|\, \hat g_{t,l} /
        \|\hat g_{t,l}\|,

    and the gradient of task t is taken at :math:`\theta + \rho\, d_t / \|d_t\|`. The
    estimate needs two forward passes and no backward pass. With standard normal
    :math:`z_t`

    .. math:: \hat g_t = \frac{L_t(\theta + \sigma z_t) - L_t(\theta - \sigma z_t)}
        {2 \sigma}\, z_t.

    A step costs three forward passes and one backward pass per task, for every task
    weighting, and one forward and one backward pass in addition.

    Parameters
    ----------
    rho : float, default=0.05
        Euclidean length of each move.
    beta : float, default=0.1
        Share of the task's own gradient, in [0, 1].
    sigma : float, default=0.01
        Standard deviation of the weights in the estimate.
    base : str or callable, default="adamw"
        Optimizer that makes the step.

    See Also
    --------
    SAM : One move for all tasks.

    Notes
    -----
    A layer is one tensor of parameters. The heads are not moved: the paper moves the
    shared weights, and its released code moves a head by its unscaled gradient.
    Released runs on QM9 use ``rho=1e-5`` and ``beta=0.9``. All passes have the same
    dropout masks, and only the first one changes running statistics.

    References
    ----------
    .. [1] H. Ban, G. R. Subramani, K. Ji, "SAMO: A Lightweight Sharpness-Aware Approach
       for Multi-Task Optimization with Joint Global-Local Perturbation", ICCV 2025,
       arXiv:2507.07883.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.optimizers import SAMO
    >>> gradient, estimate = [torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 5.0])]
    >>> SAMO(rho=1.0, beta=0.5)(gradient, estimate)
    [tensor([0.7071, 0.7071])]
    """

    by_task: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SharpnessAware._parameter_constraints,
        "beta": [Numbers(Real, 0, 1, closed="both")],
        "sigma": [Numbers(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        rho: float = 0.05,
        *,
        beta: float = 0.1,
        sigma: float = 0.01,
        base: str | Callable[..., Any] = "adamw",
    ) -> None:
        super().__init__(rho, base=base)
        self.beta = beta
        self.sigma = sigma

    def forward(
        self, gradients: Sequence[Tensor], estimate: Sequence[Tensor] = ()
    ) -> list[Tensor]:
        """Compute the move of one task.

        Parameters
        ----------
        gradients : sequence of Tensor
            Gradient of the summed losses, one tensor per layer.
        estimate : sequence of Tensor
            Estimate of the task's own gradient, shaped alike.

        Returns
        -------
        move : list of Tensor
            Shaped like the gradients.
        """
        mixed = [
            (1.0 - self.beta) * g + self.beta * g.norm() * _unit(own)
            for g, own in zip(gradients, estimate, strict=True)
        ]
        return of_length(mixed, self.rho)


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    # A task that does not depend on a layer has no direction there.
    return vector / torch.where(norm > 0, norm, 1.0)
