"""One vector of task losses, each over the labelled entries of its task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ._distributed import ALONE, World

Loss = Callable[[Tensor, Tensor], Tensor]


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square()


def _absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs()


def _huber(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.huber_loss(outputs, targets, reduction="none")


def logistic(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the logistic loss of logits, for labels 0 and 1."""
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")


# Elementwise: (outputs, standardised targets) -> losses of the same shape.
LOSSES: dict[str, Loss] = {
    "absolute_error": _absolute_error,
    "huber": _huber,
    "squared_error": _squared_error,
}


def task_losses(
    outputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    loss: Loss,
    world: World = ALONE,
) -> tuple[Tensor, Tensor]:
    r"""Compute the weighted mean loss of each task over its labelled rows.

    .. math:: L_t = \sum_i w_{it}\, \ell(o_{it}, y_{it}) / \sum_i w_{it}

    Parameters
    ----------
    outputs : Tensor of shape (n_graphs, n_tasks)
        Predictions in standardised units; a likelihood reads log-variances behind
        them, (n_graphs, 2 n_tasks), and :class:`SoftmaxLoss` a block per class.
    targets : Tensor of shape (n_graphs, n_tasks)
        Labels in standardised units.
    weights : Tensor of shape (n_graphs, n_tasks)
        Weights of the labels, 0 where one is missing.
    loss : callable
        Elementwise loss.
    world : World, optional
        Processes that have the other rows of the batch.

    Returns
    -------
    losses : Tensor of shape (n_tasks,)
        0 for a task without a label in the batch. With several processes each has the
        share of its rows, and their sum is the loss.
    mass : Tensor of shape (n_tasks,)
        Summed weights of each task.

    Raises
    ------
    ValueError
        If the loss does not return one value per entry.
    """
    try:
        values = loss(outputs, targets)
    except Exception as error:
        error.add_note(f"Raised by loss={loss!r}, for outputs and targets of a batch.")
        raise
    shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    if shape != tuple(targets.shape):
        # An average would pool the tasks, and include the entries of gaps.
        raise ValueError(
            "The loss must map outputs and targets to one value per entry, of shape "
            f"{tuple(targets.shape)}, but its result has shape {shape}; "
            'a loss of torch needs reduction="none".'
        )
    mass = world.sum(weights.sum(dim=0))
    total = (weights * values).sum(dim=0)
    # 1 in place of no labels, so that neither the loss nor its gradient is NaN.
    return total / torch.where(mass > 0, mass, 1.0), mass
