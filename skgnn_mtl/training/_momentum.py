r"""Momentum that follows the cosine of the gradient and the running mean.

Optimizers with a running mean m of the gradients hide what a task weighting decides in
a step: with :math:`\beta = 0.9` a new direction counts for a tenth. Where it disagrees
with the mean, the memory here is shorter,

.. math:: \beta = \beta_0 + (\beta_1 - \beta_0) \frac{1 + \cos(g, m)}{2}.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# How optimizers call their running means.
_MEANS = ("exp_avg", "momentum_buffer")


def adapt_momentum(
    optimizer: torch.optim.Optimizer,
    model: Any,
    bounds: tuple[float, float],
) -> float:
    r"""Set the momentum of an optimizer's next step, after the gradients are set.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups have ``betas`` or ``momentum``; all of them change.
    model : MultiTaskModel
        The gradient of its shared parameters is compared with its running mean.
    bounds : tuple of float
        :math:`\beta_0` and :math:`\beta_1`.

    Returns
    -------
    momentum : float
        The largest before the first step.

    Raises
    ------
    ValueError
        If the optimizer has no momentum.
    """
    parts = getattr(optimizer, "parts", [optimizer])
    states = [part.state for part in parts]
    # Zeros where nothing is known, in double precision because of many small products.
    product = torch.zeros(3, dtype=torch.float64)
    for parameter in model.shared_parameters():
        mean = next(
            (m for state in states if (m := _mean(state.get(parameter))) is not None),
            None,
        )
        if parameter.grad is None or mean is None:
            continue
        g, m = parameter.grad.double(), mean.double()
        sums = torch.stack([(g * m).sum(), g.square().sum(), m.square().sum()])
        product = product.to(sums.device) + sums
    dot, squared, squares = product.tolist()
    norm = (squared * squares) ** 0.5
    cosine = max(-1.0, min(1.0, dot / norm)) if norm > 0 else 1.0
    least, most = bounds
    momentum = least + (most - least) * (1.0 + cosine) / 2.0
    for part in parts:
        for group in part.param_groups:
            _set(group, momentum, part)
    return momentum


def _mean(state: dict[str, Any] | None) -> Tensor | None:
    found = (state or {}).get
    means = [found(name) for name in _MEANS]
    return next((mean for mean in means if mean is not None), None)


def _set(group: dict[str, Any], momentum: float, optimizer: Any) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *tuple(group["betas"])[1:])
    elif "momentum" in group:
        group["momentum"] = momentum
        # So that the mean of constant gradients is the gradient, as Adam's is.
        if "dampening" in group:
            group["dampening"] = momentum
    else:
        raise ValueError(
            "adaptive_momentum needs an optimizer with betas or momentum, "
            f"but the groups of {type(optimizer).__name__} have neither. Use "
            "optimizer='adamw'."
        )
