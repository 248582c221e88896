r"""Gradients of every task's loss from one forward pass.

The loss of a task is a mean of losses of its own output columns, usually one. Its
slopes with respect to the outputs are therefore these columns of :math:`\delta`
(n_graphs, k n_tasks), and one pass gives the columns of all tasks. Row t of the
Jacobian is then the vector-Jacobian product of the network with its columns alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from skgnn_mtl._flat import pull_back, pull_back_rows
from skgnn_mtl._gram import gram
from skgnn_mtl.auxiliary import BatchContext, auxiliary_losses
from skgnn_mtl.graphs import GraphBatch, Labels

from ._distributed import ALONE, World
from ._loss import Loss, task_losses
from ._model import MultiTaskModel
from ._replay import frozen_statistics

Seed = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class TaskPass:
    """A forward pass, and the slopes of each loss with respect to the outputs.

    Parameters
    ----------
    representation : Tensor of shape (n_graphs, width)
        Input of the heads.
    outputs : Tensor of shape (n_graphs, k n_tasks)
        Standardised predictions, with their graph; k is above 1 for logits of more than
        two classes, and 2 for a likelihood, whose log-variances are behind.
    losses, mass : Tensor of shape (n_tasks + n_auxiliary,)
        Detached losses, and the summed label weights that they are means over.
    slopes : Tensor of shape (n_graphs, k n_tasks)
        Derivative of loss t with respect to the output columns of task t. With several
        processes, of the loss of the whole batch, for the graphs of this process.
    n_tasks : int
        Number of tasks of y.
    auxiliary : list of (Tensor or None)
        Losses of auxiliary tasks, with their graph; None for an absent one. Their
        positions follow those of the columns of the outputs.
    head_weights : Tensor of shape (k n_tasks, width), optional
        Weights of linear heads in this pass, which may be at moved parameters.
    own : dict of int to TaskPass
        Passes that the entries of single tasks were taken from, by their positions.
    """

    representation: Tensor
    outputs: Tensor
    losses: Tensor
    mass: Tensor
    slopes: Tensor
    n_tasks: int
    auxiliary: Sequence[Tensor | None] = ()
    head_weights: Tensor | None = None
    own: Mapping[int, TaskPass] = field(default_factory=dict)

    def column(self, task: int) -> Tensor:
        """Select the slopes of one task; the other columns are zero."""
        cotangent = torch.zeros_like(self.slopes)
        own = slice(task, None, self.n_tasks)
        cotangent[:, own] = self.slopes[:, own]
        return cotangent

    def weighted(self, weights: Tensor) -> Tensor:
        """Multiply the slopes of each task by its weight (n_tasks,)."""
        n_columns = self.slopes.shape[1] // max(self.n_tasks, 1)
        return self.slopes * weights.to(self.slopes).repeat(n_columns)

    def among(self, mask: Tensor) -> TaskPass:
        """Keep the slopes of some graphs, by a mask (n_graphs,) of 0 and 1."""
        own = {task: each.among(mask) for task, each in self.own.items()}
        return replace(self, slopes=self.slopes * mask[:, None], own=own)

    def seed(self, task: int) -> Seed:
        """Return the tensor and the cotangent that give a task's gradient."""
        # Of its own pass, because the joined outputs would reach all the others.
        if task in self.own:
            return self.own[task].seed(task)
        n_tasks = self.n_tasks
        if task < n_tasks:
            return self.outputs, self.column(task)
        loss = self.auxiliary[task - n_tasks]
        assert loss is not None, "an absent task has no gradient"
        return loss, torch.ones_like(loss)

    def seeds(self, weights: Tensor) -> list[Seed]:
        """Return tensors and cotangents that give the gradient of a weighted sum.

        Parameters
        ----------
        weights : Tensor of shape (n_tasks + n_auxiliary,)
            Weights of all tasks.

        Returns
        -------
        seeds : list of pairs of Tensors
            Tensors, and their cotangents.
        """
        n_tasks = self.n_tasks
        weights = weights.to(self.slopes)
        # Without a task of y the outputs have no columns to differentiate.
        plain = [(self.outputs, self.weighted(weights[:n_tasks]))] if n_tasks else []
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
    world: World = ALONE,
) -> TaskPass:
    """Run the network forward and find the slopes of the losses.

    Parameters
    ----------
    model : MultiTaskModel
        The network.
    graphs : GraphBatch
        The batch.
    labels : Labels
        Targets and weights (n_graphs, n_tasks), and the columns of auxiliary tasks.
    loss : callable
        Elementwise loss.
    draws : torch.Generator, optional
        Randomness of the auxiliary tasks; None omits them.
    world : World, optional
        Processes that have the other graphs of the batch.

    Returns
    -------
    result : TaskPass
        Outputs, losses and slopes.
    """
    z, outputs, extra = forward_pass(model, graphs, labels, draws)
    labels = labels.to(graphs.device)
    # A leaf of its own, so that the slopes do not walk through the network.
    at = outputs.detach().requires_grad_()
    losses, mass = task_losses(at, labels.targets, labels.weights, loss, world)
    # One gradient of the sum, because a loss depends on its own column alone.
    (slopes,) = torch.autograd.grad(losses.sum(), at)
    losses = world.sum(losses)
    # The loss of an auxiliary task counts by the graphs of its batch.
    counts = [mass.new_tensor(0.0 if x is None else len(graphs)) for x in extra]
    mass = torch.cat([mass, *(count[None] for count in counts)])
    losses = with_auxiliary(losses, extra)
    linear = isinstance(model.heads, nn.Linear)
    return TaskPass(
        z,
        outputs,
        losses,
        mass,
        slopes,
        labels.n_tasks,
        extra,
        model.head_weights().detach() if linear else None,
    )


def forward_pass(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: Labels,
    draws: torch.Generator | None,
) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
    """Run the network on a batch, and its auxiliary tasks if ``draws`` is given.

    Returns the input of the heads, their outputs, and the losses of the auxiliary
    tasks. The passes of these do not change the statistics of batch normalisation.
    """
    nodes = model.encoder(graphs)
    vectors = model.readout(nodes, graphs)
    z = model.trunk(model.features(vectors, graphs))
    if draws is None or not len(model.auxiliary):
        return z, model.read(z), []
    context = BatchContext(model.encoder, graphs, nodes, vectors, draws)
    # Auxiliary tasks may mask the graphs, which must not change the statistics.
    with frozen_statistics(model):
        extra = auxiliary_losses(model.tasks(), context, labels.columns)
    return z, model.read(z), extra


def batch_losses(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: Labels,
    loss: Loss,
    draws: torch.Generator | None,
    world: World = ALONE,
) -> Tensor:
    """Compute the detached losses (n_entries,) of a batch, 0 for absent ones."""
    _, outputs, extra = forward_pass(model, graphs, labels, draws)
    labels = labels.to(graphs.device)
    losses, _ = task_losses(outputs, labels.targets, labels.weights, loss, world)
    return with_auxiliary(world.sum(losses), extra)


def auxiliary_pass(
    model: MultiTaskModel, graphs: GraphBatch, labels: Labels, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Compute the detached losses of the auxiliary tasks, and the graphs of each."""
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
    """Compute the weights that pool the losses of the target tasks.

    Parameters
    ----------
    mass : Tensor of shape (n_entries,)
        Summed label weights of all entries.
    tasks : Tensor of int64 of shape (t,)
        Positions of the present entries.
    targets : sequence of int or None
        Positions of the targets; None stands for all.
    pool : {"labels", "tasks"}
        Weights of the targets: their labels, or equal.

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
    # Clamped, so that a batch without a target gives zeros.
    return anchor / anchor.sum().clamp(min=1e-300)


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
        Positions of the tasks, in the order of the rows.
    parameters : sequence of Tensors
        Tensors to differentiate by.
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
        seeds[0] = (result.outputs, result.weighted(pool))
    # Losses of auxiliary tasks are not columns of the outputs; vmap covers the others.
    columns = [cotangent for tensor, cotangent in seeds if tensor is result.outputs]
    n_done = len(columns) if chunk > 1 else 0
    for start in range(0, n_done, chunk):
        _fill_rows(jacobian, result, columns, slice(start, start + chunk), parameters)
    for row, seed in zip(jacobian[n_done:], seeds[n_done:], strict=True):
        tensor, cotangent = seed
        parts = pull_back([tensor], parameters, [cotangent])
        # Into the row, without a temporary of p numbers.
        torch.cat([part.reshape(-1) for part in parts], out=row)


def _fill_rows(
    jacobian: Tensor,
    result: TaskPass,
    columns: list[Tensor],
    where: slice,
    parameters: Sequence[Tensor],
) -> None:
    rows, cotangents = jacobian[: len(columns)][where], torch.stack(columns[where])
    parts = pull_back_rows([result.outputs], parameters, [cotangents], len(rows))
    # Because parameters without a derivative are skipped below.
    rows.zero_()
    sizes = [parameter.numel() for parameter in parameters]
    for row, part in zip(rows.split(sizes, dim=1), parts, strict=True):
        if part is not None:
            row.copy_(part.reshape(len(rows), -1))


def representation_gramian(
    result: TaskPass, tasks: Tensor, rows: slice = slice(None)
) -> Tensor:
    r"""Compute the Gramian of the losses' gradients at the representation.

    For linear heads with rows A it is :math:`(\delta^\top \delta) \circ (A A^\top)`,
    because a gradient is an outer product.

    Parameters
    ----------
    result : TaskPass
        The forward pass.
    tasks : Tensor of int64 of shape (t,)
        Positions of the tasks.
    rows : slice
        Graphs that count.

    Returns
    -------
    gramian : Tensor of float64 of shape (t, t)
        Inner products.
    """
    D = result.slopes[rows]
    # In closed form where that is possible, because it needs no backward pass.
    if result.head_weights is not None:
        A = result.head_weights
        # The columns of a task add up, because its loss reads all of them.
        n_columns, n_tasks = len(A) // result.n_tasks, result.n_tasks
        own = tasks + n_tasks * torch.arange(n_columns)[:, None]
        own = own.flatten().to(A.device)
        found = gram(D[:, own].t()) * gram(A[own])
        return found.view(n_columns, len(tasks), n_columns, len(tasks)).sum(dim=(0, 2))
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
