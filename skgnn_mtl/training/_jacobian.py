r"""Gradients of every task's loss from one forward pass.

The loss of a task is a mean of elementwise losses of its own output column, so its
slopes with respect to the outputs are one column of :math:`\delta` (n_graphs, n_tasks),
known in closed form for every task at once. Row t of the Jacobian is then the
vector-Jacobian product of the network with that column alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch, GraphDataset, GraphLoader

from ._loss import Loss, task_losses
from ._model import MultiTaskModel


@dataclass(frozen=True)
class TaskPass:
    """A forward pass, and how each loss changes with the outputs.

    Parameters
    ----------
    representation : Tensor of shape (n_graphs, width)
        Input of the heads.
    outputs : Tensor of shape (n_graphs, n_tasks)
        Predictions, with their graph.
    losses, mass : Tensor of shape (n_tasks,)
        Detached losses, and the summed label weights they are means over.
    slopes : Tensor of shape (n_graphs, n_tasks)
        Derivative of loss t with respect to output column t.
    """

    representation: Tensor
    outputs: Tensor
    losses: Tensor
    mass: Tensor
    slopes: Tensor

    def column(self, task: int) -> Tensor:
        """Slopes of one task, zero in the other columns; shaped like the outputs."""
        cotangent = torch.zeros_like(self.slopes)
        cotangent[:, task] = self.slopes[:, task]
        return cotangent


def task_pass(
    model: MultiTaskModel, graphs: GraphBatch, labels: tuple[Tensor, Tensor], loss: Loss
) -> TaskPass:
    """Run the network forward and find the slopes of the losses.

    Parameters
    ----------
    model : MultiTaskModel
        Has ``represent`` and ``heads``.
    graphs : GraphBatch
        The batch.
    labels : tuple of two Tensors of shape (n_graphs, n_tasks)
        Targets, and weights of the labels.
    loss : callable
        Elementwise loss.

    Returns
    -------
    result : TaskPass
        Everything that gradients are made of.
    """
    targets, weights = (part.to(graphs.device) for part in labels)
    z = model.represent(graphs)
    outputs = model.heads(z)
    at = outputs.detach().requires_grad_()
    losses, mass = task_losses(at, targets, weights, loss)
    (slopes,) = torch.autograd.grad(losses.sum(), at)
    return TaskPass(z, outputs, losses.detach(), mass, slopes)


def shared_parameters(model: MultiTaskModel) -> list[nn.Parameter]:
    """Trainable parameters in front of the heads, in the order of the model."""
    own = {id(parameter) for parameter in model.heads.parameters()}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in own]


def flat_size(parameters: Sequence[Tensor]) -> int:
    """Length of a gradient with respect to all parameters."""
    return sum(parameter.numel() for parameter in parameters)


def unflatten(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """View a flat gradient (p,) in the shapes of the parameters."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [v.view_as(p) for v, p in zip(parts, parameters, strict=True)]


def fill_jacobian(
    jacobian: Tensor,
    result: TaskPass,
    tasks: Tensor,
    parameters: Sequence[Tensor],
    chunk: int = 1,
) -> None:
    """Write the gradients of some tasks' losses into rows.

    Parameters
    ----------
    jacobian : Tensor of shape (t, p)
        Filled in place; row k belongs to ``tasks[k]``.
    result : TaskPass
        The forward pass; its graph is kept.
    tasks : Tensor of int64 of shape (t,), on the CPU
        Which tasks.
    parameters : sequence of Tensors
        What to differentiate by.
    chunk : int
        Tasks differentiated at a time. On a CPU one at a time is fastest; on an
        accelerator small networks are bound by the launch of kernels.
    """
    if not parameters:
        return
    if chunk > 1:
        for rows in torch.arange(len(tasks)).split(chunk):
            _fill_rows(
                jacobian[rows[0] : rows[-1] + 1], result, tasks[rows], parameters
            )
        return
    for row, task in zip(jacobian, tasks.tolist(), strict=True):
        grads = torch.autograd.grad(
            result.outputs,
            parameters,
            result.column(task),
            retain_graph=True,
            materialize_grads=True,
        )
        torch.cat([grad.reshape(-1) for grad in grads], out=row)


def _fill_rows(rows: Tensor, result: TaskPass, tasks: Tensor, parameters) -> None:
    cotangents = torch.stack([result.column(task) for task in tasks.tolist()])
    grads = torch.autograd.grad(
        result.outputs,
        parameters,
        cotangents,
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=True,
    )
    rows.zero_()
    sizes = [parameter.numel() for parameter in parameters]
    for part, grad in zip(rows.split(sizes, dim=1), grads, strict=True):
        if grad is not None:
            part.copy_(grad.reshape(len(rows), -1))


def representation_gramian(
    model: MultiTaskModel, result: TaskPass, tasks: Tensor, rows: slice = slice(None)
) -> Tensor:
    r"""Inner products of the losses' gradients with respect to the representation.

    For linear heads with rows A they are closed,
    :math:`(\delta^\top \delta) \circ (A A^\top)`: a gradient is an outer product.

    Parameters
    ----------
    model : MultiTaskModel
        Has ``heads``.
    result : TaskPass
        The forward pass.
    tasks : Tensor of int64 of shape (t,)
        Which tasks.
    rows : slice
        Graphs that count.

    Returns
    -------
    gramian : Tensor of shape (t, t)
        Inner products.
    """
    D = result.slopes[rows][:, tasks]
    if isinstance(model.heads, nn.Linear):
        A = model.heads.weight.detach()[tasks]
        return (D.t() @ D) * (A @ A.t())
    columns = [
        torch.autograd.grad(
            result.outputs,
            result.representation,
            result.column(task),
            retain_graph=True,
        )[0][rows].reshape(-1)
        for task in tasks.tolist()
    ]
    K = torch.stack(columns)
    return K @ K.t()


def dataset_jacobian(
    model: MultiTaskModel,
    data: GraphDataset,
    loss: Loss,
    *,
    device: torch.device,
    batch_size: int = 256,
) -> tuple[Tensor, Tensor]:
    """Gradients of the tasks' mean losses over a whole data set.

    Parameters
    ----------
    model : MultiTaskModel
        The network, in the mode it is to be looked at.
    data : GraphDataset
        Graphs and labels.
    loss : callable
        Elementwise loss.
    device : torch.device
        Where the network is.
    batch_size : int
        Graphs at a time; of no influence on the result in evaluation mode.

    Returns
    -------
    jacobian : Tensor of float64 of shape (n_tasks, p), on the CPU
        Row t is the gradient of task t's loss, 0 without labels.
    mass : Tensor of float64 of shape (n_tasks,)
        Summed label weights.
    """
    shared = shared_parameters(model)
    n_tasks = data.targets.shape[1]
    total = torch.zeros(n_tasks, flat_size(shared), dtype=torch.float64)
    masses = torch.zeros(n_tasks, dtype=torch.float64)
    rows = total.new_empty(total.shape, dtype=shared[0].dtype, device=device)
    for graphs, labels in GraphLoader(data, batch_size):
        result = task_pass(model, graphs.to(device), (labels[0], labels[1]), loss)
        fill_jacobian(rows, result, torch.arange(n_tasks), shared)
        mass = result.mass.cpu().double()
        total += mass[:, None] * rows.cpu().double()
        masses += mass
    return total / masses.clamp(min=1e-300)[:, None], masses
