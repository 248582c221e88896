"""A network's task losses as functions of its parameters, for ``curvature``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skgnn_mtl.curvature import TaskProblem
from skgnn_mtl.graphs import GraphBatch, Labels

from ._loss import Loss, task_losses
from ._model import MultiTaskModel


def network_problem(
    model: MultiTaskModel,
    batches: Sequence[tuple[GraphBatch, Labels]],
    loss: Loss,
    *,
    task_names: Sequence[str],
    parameters: Mapping[str, Tensor] | None = None,
    outputs: Callable[[GraphBatch], Tensor] | None = None,
    heads: Sequence[Sequence[str]] = (),
    info: Mapping[str, Any] | None = None,
) -> TaskProblem:
    """State the losses of a network's tasks as functions of its parameters.

    Parameters
    ----------
    model : MultiTaskModel
        The network, in evaluation mode.
    batches : sequence of (GraphBatch, Labels)
        Graphs and labels on the model's device.
    loss : callable
        Elementwise loss.
    task_names : sequence of str
        One name per task.
    parameters : dict of str to Tensor, optional
        Leaves to differentiate by; the shared parameters if not given.
    outputs : callable, optional
        Maps graphs to outputs through ``parameters``; the model if not given.
    heads : sequence of sequence of str, default=()
        Names of the parameters that belong to one task alone.
    info : dict, optional
        Records for the result.

    Returns
    -------
    problem : TaskProblem
        Losses, parameters and batches.
    """
    outputs = outputs or model.evaluate
    masses = [labels.weights.double().sum(dim=0).cpu() for _, labels in batches]
    return TaskProblem(
        outputs=lambda batch: outputs(batch[0]),
        # Means over each batch; the problem weighs the batches by their masses.
        losses=lambda values, batch: task_losses(
            values, batch[1].targets, batch[1].weights, loss
        )[0],
        parameters=shared_by_name(model) if parameters is None else parameters,
        batches=batches,
        masses=torch.stack(masses),
        task_names=tuple(task_names),
        heads=tuple(map(tuple, heads)),
        info=info,
    )


def shared_by_name(model: MultiTaskModel) -> dict[str, Tensor]:
    """Name the trainable parameters before the heads; empty if all are frozen."""
    # By identity, because tensors compare elementwise.
    shared = set(map(id, model.shared_parameters()))
    return {name: p for name, p in model.named_parameters() if id(p) in shared}
