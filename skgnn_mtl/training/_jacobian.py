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

from skgnn_mtl._gram import gram
from skgnn_mtl.auxiliary import PlainPass, auxiliary_losses
from skgnn_mtl.graphs import GraphBatch, GraphDataset, GraphLoader

from ._loss import Labels, Loss, task_losses
from ._model import MultiTaskModel
from ._replay import frozen_statistics

Seed = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TaskPass:
    """A forward pass, and how each loss changes with the outputs.

    Parameters
    ----------
    representation : Tensor of shape (n_graphs, width)
        Input of the heads.
    outputs : Tensor of shape (n_graphs, n_tasks)
        Predictions, with their graph.
    losses, mass : Tensor of shape (n_tasks + n_auxiliary,)
        Detached losses, and the summed label weights they are means over.
    slopes : Tensor of shape (n_graphs, n_tasks)
        Derivative of loss t with respect to output column t.
    auxiliary : list of (Tensor or None)
        Losses of auxiliary tasks, with their graph; None for an absent one. They count
        as tasks behind the columns of the outputs.
    """

    representation: Tensor
    outputs: Tensor
    losses: Tensor
    mass: Tensor
    slopes: Tensor
    auxiliary: Sequence[Tensor | None] = ()

    def column(self, task: int) -> Tensor:
        """Slopes of one task, zero in the other columns; shaped like the outputs."""
        cotangent = torch.zeros_like(self.slopes)
        cotangent[:, task] = self.slopes[:, task]
        return cotangent

    def seed(self, task: int) -> Seed:
        """Where the gradient of a task's loss begins."""
        n_tasks = self.slopes.shape[1]
        if task < n_tasks:
            return self.outputs, self.column(task)
        loss = self.auxiliary[task - n_tasks]
        assert loss is not None, "an absent task has no gradient"
        return loss, torch.ones_like(loss)

    def seeds(self, weights: Tensor) -> list[Seed]:
        """Where the gradient of a weighted sum of all losses begins.

        Parameters
        ----------
        weights : Tensor of shape (n_tasks + n_auxiliary,)
            Weights of all tasks.

        Returns
        -------
        seeds : list of pairs of Tensors
            Tensors, and their cotangents.
        """
        n_tasks = self.slopes.shape[1]
        weights = weights.to(self.slopes)
        # Without a task of y the heads need no way back.
        plain = [(self.outputs, self.slopes * weights[:n_tasks])] if n_tasks else []
        return plain + [
            (loss, weight)
            for loss, weight in zip(self.auxiliary, weights[n_tasks:], strict=True)
            if loss is not None
        ]


def task_pass(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: Labels,
    loss: Loss,
    draws: torch.Generator | None = None,
) -> TaskPass:
    """Run the network forward and find the slopes of the losses.

    Parameters
    ----------
    model : MultiTaskModel
        The network.
    graphs : GraphBatch
        The batch.
    labels : tuple of Tensors of shape (n_graphs, n_tasks)
        Targets and weights of the labels; then the columns of auxiliary tasks.
    loss : callable
        Elementwise loss.
    draws : torch.Generator, optional
        Randomness of the auxiliary tasks, which are left out without it.

    Returns
    -------
    result : TaskPass
        Everything that gradients are made of.
    """
    z, outputs, extra = forward_pass(model, graphs, labels, draws)
    targets, weights = (part.to(graphs.device) for part in labels[:2])
    at = outputs.detach().requires_grad_()
    losses, mass = task_losses(at, targets, weights, loss)
    (slopes,) = torch.autograd.grad(losses.sum(), at)
    counts = [mass.new_tensor(0.0 if x is None else len(graphs)) for x in extra]
    mass = torch.cat([mass, *(count[None] for count in counts)])
    return TaskPass(z, outputs, with_auxiliary(losses, extra), mass, slopes, extra)


def forward_pass(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: Labels,
    draws: torch.Generator | None,
) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
    """Run the network on a batch, and its auxiliary tasks if ``draws`` is given.

    Returns the input of the heads, their outputs, and the losses of the auxiliary
    tasks, whose passes leave the statistics of batch normalisation alone.
    """
    nodes = model.encoder(graphs)
    vectors = model.readout(nodes, graphs)
    z = model.trunk(vectors)
    if draws is None or not len(model.auxiliary):
        return z, model.heads(z), []
    seen = PlainPass(model.encoder, graphs, nodes, vectors, draws)
    with frozen_statistics(model):
        extra = auxiliary_losses(model.tasks(), seen, labels[2:])
    return z, model.heads(z), extra


def auxiliary_pass(
    model: MultiTaskModel, graphs: GraphBatch, labels: Labels, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Detached losses (n_auxiliary,) of the auxiliary tasks alone, and their graphs."""
    z, _, extra = forward_pass(model, graphs, labels, draws)
    counts = [0.0 if x is None else len(graphs) for x in extra]
    return with_auxiliary(z.new_zeros(0), extra), z.new_tensor(counts)


def with_auxiliary(losses: Tensor, extra: Sequence[Tensor | None]) -> Tensor:
    """Append the losses of auxiliary tasks, 0 for absent ones; detached."""
    zero = losses.new_zeros(1)
    values = [zero if x is None else x.detach().to(losses)[None] for x in extra]
    return torch.cat([losses.detach(), *values])


def pooling(
    mass: Tensor, tasks: Tensor, targets: Sequence[int] | None, pool: str
) -> Tensor:
    """Weights that pool the losses of the target tasks.

    Parameters
    ----------
    mass : Tensor of shape (n_entries,)
        Summed label weights of all entries.
    tasks : Tensor of int64 of shape (t,)
        Present ones.
    targets : sequence of int or None
        Positions of the targets; None stands for all.
    pool : {"labels", "tasks"}
        What they are weighted by.

    Returns
    -------
    anchor : Tensor of float64 of shape (t,), on the CPU
        Sums to 1; 0 for auxiliary tasks, and everywhere if no target is present.
    """
    rows = tasks.cpu()
    anchor = mass.detach().cpu().double()[rows]
    if pool == "tasks":
        anchor = (anchor > 0).double()
    if targets is not None:
        anchor *= torch.isin(rows, torch.as_tensor(targets))
    return anchor / anchor.sum().clamp(min=1e-300)


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
    pool: Tensor | None = None,
) -> None:
    """Write the gradients of some tasks' losses into rows.

    Parameters
    ----------
    jacobian : Tensor of shape (t, p)
        Filled in place; row k belongs to ``tasks[k]``.
    result : TaskPass
        The forward pass; its graph is kept.
    tasks : Tensor of int64 of shape (t,), on the CPU
        Which tasks, in order.
    parameters : sequence of Tensors
        What to differentiate by.
    chunk : int
        Tasks differentiated at a time. On a CPU one at a time is fastest; on an
        accelerator small networks are bound by the launch of kernels.
    pool : Tensor of shape (n_tasks,), optional
        Row 0 is the sum of the losses with these weights in place of ``tasks[0]``.
    """
    if not parameters:
        return
    seeds = [result.seed(task) for task in tasks.tolist()]
    if pool is not None:
        seeds[0] = (result.outputs, result.slopes * pool.to(result.slopes))
    columns = [cotangent for tensor, cotangent in seeds if tensor is result.outputs]
    n_done = len(columns) if chunk > 1 else 0
    for start in range(0, n_done, chunk):
        _fill_rows(jacobian, result, columns, slice(start, start + chunk), parameters)
    for row, seed in zip(jacobian[n_done:], seeds[n_done:], strict=True):
        grads = gradients([seed], parameters)
        torch.cat([grad.reshape(-1) for grad in grads], out=row)


def gradients(seeds: Sequence[Seed], parameters: Sequence[Tensor]) -> Sequence[Tensor]:
    """Differentiate, and keep the graph; zeros where nothing depends."""
    tensors, cotangents = zip(*seeds, strict=True)
    return torch.autograd.grad(
        tensors, parameters, cotangents, retain_graph=True, materialize_grads=True
    )


def _fill_rows(jacobian, result: TaskPass, columns, where: slice, parameters) -> None:
    rows, cotangents = jacobian[: len(columns)][where], torch.stack(columns[where])
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
    gramian : Tensor of float64 of shape (t, t)
        Inner products.
    """
    D = result.slopes[rows][:, tasks]
    if isinstance(model.heads, nn.Linear):
        A = model.heads.weight.detach()[tasks]
        return gram(D.t()) * gram(A)
    columns = [
        torch.autograd.grad(
            result.outputs,
            result.representation,
            result.column(task),
            retain_graph=True,
        )[0][rows].reshape(-1)
        for task in tasks.tolist()
    ]
    return gram(torch.stack(columns))


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
    shared = model.shared_parameters()
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
