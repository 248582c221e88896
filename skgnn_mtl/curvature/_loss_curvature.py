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


def curvature_blocks(
    losses: Callable[[Tensor], Tensor], outputs: Tensor, n_tasks: int
) -> Tensor:
    """Differentiate the loss of each task twice by all of its own outputs.

    Parameters
    ----------
    losses : callable
        Maps outputs to losses (T,). That of a task is a sum over rows of values that
        depend on the outputs of the task in this row.
    outputs : Tensor of shape (B, k T)
        Points of the derivatives, the first output of all tasks first; they are
        detached.
    n_tasks : int
        Number of tasks T.

    Returns
    -------
    blocks : Tensor of shape (B, k, k, T)
        Symmetric in both outputs of a task; 0 where there is no second derivative.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature._loss_curvature import curvature_blocks
    >>> product = lambda outputs: outputs.prod(dim=1).sum()[None]
    >>> curvature_blocks(product, torch.tensor([[3.0, -1.0]]), 1)[0, :, :, 0]
    tensor([[0., 1.],
            [1., 0.]])
    """
    leaf = outputs.detach().requires_grad_()
    (first,) = torch.autograd.grad(losses(leaf).sum(), leaf, create_graph=True)
    n_outputs = outputs.shape[1] // n_tasks
    if not first.requires_grad:
        return leaf.new_zeros(len(leaf), n_outputs, n_outputs, n_tasks)
    rows = [
        # The sum over tasks and rows, because each has outputs of its own.
        torch.autograd.grad(
            part.sum(), leaf, retain_graph=True, materialize_grads=True
        )[0].view(len(leaf), n_outputs, n_tasks)
        for part in first.split(n_tasks, dim=1)
    ]
    return torch.stack(rows, dim=1)


def require_convex(blocks: Tensor) -> None:
    """Refuse second derivatives whose Gauss-Newton matrix says nothing.

    Parameters
    ----------
    blocks : Tensor of shape (B, k, k, T)
        From :func:`curvature_blocks`.

    Raises
    ------
    ValueError
        If all are 0, or those of several outputs have a negative direction.
    """
    if not blocks.any():
        raise ValueError(
            "The loss has no second derivative in the outputs (absolute error?), so "
            "its Gauss-Newton matrix is zero. Use matrix='hessian', or train with "
            "another loss."
        )
    if blocks.shape[1] == 1:
        return
    values = torch.linalg.eigvalsh(blocks.permute(0, 3, 1, 2))
    # Rounding leaves small ones, because logits of all classes may move together.
    if values.min() < -1e-4 * values.max():
        raise ValueError(
            "A Gauss-Newton matrix needs a loss that is convex in the outputs of a "
            "task, but this one is not (a likelihood with variances?). Use "
            "matrix='hessian', or train with another loss."
        )
