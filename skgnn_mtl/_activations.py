"""The nonlinearities that parameters name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


def get_activation(name: str) -> Activation:
    """Find the elementwise function that an ``activation`` names.

    Parameters
    ----------
    name : str
        A key of :data:`ACTIVATIONS`.

    Returns
    -------
    activation : callable
        Maps a tensor to a tensor of the same shape.

    Raises
    ------
    ValueError
        If there is no such name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {sorted(ACTIVATIONS)}, got {name!r}."
        )
    return ACTIVATIONS[name]


def derivative(activation: Activation, x: Tensor) -> Tensor:
    """Differentiate an elementwise function.

    Parameters
    ----------
    activation : callable
        Maps a tensor to a tensor of the same shape, entry by entry.
    x : Tensor
        Points of the derivatives; inference tensors, too.

    Returns
    -------
    slopes : Tensor
        In the shape of ``x``, without a graph.
    """
    # Outside of inference mode, where nothing can be differentiated.
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        (slopes,) = torch.autograd.grad(activation(leaf).sum(), leaf)
    return slopes
