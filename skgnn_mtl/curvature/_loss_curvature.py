"""Second derivatives of losses in their own outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def second_derivatives(loss: Callable[[Tensor], Tensor], outputs: Tensor) -> Tensor:
    """Differentiate every loss twice by its own output.

    Parameters
    ----------
    loss : callable
        Maps outputs to losses. Each loss depends only on the output of its own row and
        column.
    outputs : Tensor
        Points of the derivatives; they are detached.

    Returns
    -------
    second : Tensor
        In the shape of the outputs; 0 where there is no second derivative.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature._loss_curvature import second_derivatives
    >>> second_derivatives(torch.square, torch.tensor([[3.0, -1.0]]))
    tensor([[2., 2.]])
    """
    leaf = outputs.detach().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf).sum(), leaf, create_graph=True)
    if not first.requires_grad:
        return torch.zeros_like(leaf)
    (second,) = torch.autograd.grad(first.sum(), leaf, materialize_grads=True)
    return second
