r"""Curvature of the tasks at the latest batches, for a weighting that asks for it.

The vector-Jacobian products of a training step are enough to estimate the trace of a
task's Gauss-Newton matrix. With signs :math:`\epsilon` drawn for the graphs and
:math:`D_t = \mathrm{diag}(w_{it}\, \ell''_{it} / \sum_j w_{jt})`,

.. math:: \mathbb{E}\, |J_t^\top D_t^{1/2} \epsilon|^2
    = \mathrm{tr}\, J_t^\top D_t J_t = \mathrm{tr}\, C_t.
"""

from __future__ import annotations

from collections import deque
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from skgnn_mtl._flat import flat_size
from skgnn_mtl.curvature import leading_eigenpairs, second_derivatives
from skgnn_mtl.graphs import GraphBatch, Labels
from skgnn_mtl.weighting import CurvatureWeighting, TaskWeighting

from ._descent import Descent, descend
from ._distributed import ALONE, World, gathered
from ._jacobian import TaskPass, fill_jacobian, task_pass
from ._likelihood import GaussianNLL
from ._loss import Loss
from ._model import MultiTaskModel
from ._problem import network_problem, shared_by_name
from ._replay import evaluating
from ._softmax import SoftmaxLoss


class CurvatureDescent(Descent):
    """Descent with weights that a weighting derives from curvature every k steps.

    Parameters
    ----------
    weighting : CurvatureWeighting
        Built for the tasks of the fit.
    loss : callable
        Elementwise loss.
    generator : torch.Generator, optional
        Randomness of the probes.
    world : World, optional
        Processes that have the other graphs of each batch.

    Raises
    ------
    ValueError
        If the Gauss-Newton matrix of this loss is zero or not semi-definite.
    """

    def __init__(
        self,
        weighting: CurvatureWeighting,
        loss: Loss,
        generator: torch.Generator | None = None,
        world: World = ALONE,
    ) -> None:
        self.weighting, self.loss, self.generator = weighting, loss, generator
        self.world = world
        self.weights = weighting.weights()
        self.vectors: Tensor | None = None
        # Counted here as well, because reading the device's counter would wait for it.
        self._n_steps = int(weighting.n_steps)
        self._batches: deque[tuple[GraphBatch, Labels]] = deque(
            maxlen=int(weighting.n_batches)
        )
        if weighting.statistic != "hessian_max":
            cure = "Use statistic='hessian_max', or another loss."
            check_convex(loss, weighting, cure=cure, device=self.weights.device)

    def backward(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        result: TaskPass,
        tasks: Tensor,
        context: dict[str, Any],
    ) -> Tensor:
        """Set the gradients of all parameters, and return the weights (t,)."""
        # Before the evaluation, so that the current batch is among the latest.
        # The whole batch in each process, because matrices are not sums that can be
        # weighed later, and few steps evaluate them.
        self._batches.append(gathered(self.world, graphs, labels))
        if self._n_steps and self._n_steps % self.weighting.update_every == 0:
            with evaluating(model):
                values = self._statistics(model)
            measured = values.isfinite().nonzero()[:, 0]
            # Only measured tasks, so that the others keep their means.
            self.weighting(values[measured], measured)
            self.weights = self.weighting.weights()
        self._n_steps += 1
        self.weighting.n_steps += 1
        weights = self.weights[tasks.to(self.weights.device)].to(result.losses)
        descend(result, weights, tasks)
        self.world.sum_gradients(model.parameters())
        return weights

    def _statistics(self, model: MultiTaskModel) -> Tensor:
        """Compute the curvature of each task (n_tasks,), NaN without a label."""
        if self.weighting.statistic != "ggn_trace":
            return self._largest_eigenvalues(model)
        traces = [
            gauss_newton_traces(
                model, *batch, self.loss, self.weighting.n_probes, self.generator
            )
            for batch in self._batches
        ]
        values, masses = (torch.stack(part) for part in zip(*traces, strict=True))
        # 0 / 0 marks a task without a label by NaN.
        return (values * masses).sum(dim=0) / masses.sum(dim=0)

    def _largest_eigenvalues(self, model: MultiTaskModel) -> Tensor:
        # The loader leaves labels on the CPU.
        batches = [(graphs, x.to(graphs.device)) for graphs, x in self._batches]
        n_tasks = batches[0][1].n_tasks
        if not shared_by_name(model):  # because all layers before the heads are frozen
            return torch.zeros(n_tasks, dtype=torch.float64)
        names = list(map(str, range(n_tasks)))
        problem = network_problem(model, batches, self.loss, task_names=names)
        matrix = self.weighting.statistic.removesuffix("_max")
        # From the last eigenvectors, because they change little between evaluations.
        values, self.vectors = leading_eigenpairs(
            problem, matrix=matrix, vectors=self.vectors
        )
        return values

    def state(self) -> dict[str, Any]:
        """Return the eigenvectors that the next evaluation begins at."""
        return {"vectors": self.vectors}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the :meth:`state` of an earlier descent."""
        self.vectors = state["vectors"]

    def state_dict(self, *, keeps_rows: bool) -> dict[str, Any]:
        """Return what the next epochs depend on, as :class:`Descent` says."""
        return {**self.state(), "batches": [_packed(*pair) for pair in self._batches]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        device = self.weighting.n_steps.device
        self.vectors = state["vectors"]
        if self.vectors is not None:
            self.vectors = self.vectors.to(device)
        self.weights = self.weighting.weights()
        self._n_steps = int(self.weighting.n_steps)
        for columns, tables in state["batches"]:
            self._batches.append(_unpacked(columns, tables, device))


def _packed(graphs: GraphBatch, labels: Labels) -> list[Any]:
    """Express a batch in containers of numbers and tensors."""
    columns = {item.name: getattr(graphs, item.name) for item in fields(graphs)}
    tables: list[Any] = [labels.targets, labels.weights, *labels.columns]
    # As pairs of real numbers, because files of tensors lack complex ones.
    pairs = [torch.view_as_real(t) if t.is_complex() else t for t in tables]
    return [columns, pairs]


def _unpacked(
    columns: dict[str, Any], tables: list[Tensor], device: torch.device
) -> tuple[GraphBatch, Labels]:
    """Make the batch of :func:`_packed`, with its graphs on a device."""
    targets, weights, *others = tables
    if targets.ndim == 3:
        targets = torch.view_as_complex(targets)
    graphs = GraphBatch(**columns).to(device)
    return graphs, Labels(targets, weights, tuple(others))


def gauss_newton_traces(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: Labels,
    loss: Loss,
    n_probes: int = 1,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Estimate the trace of each task's Gauss-Newton matrix at one batch, unbiasedly.

    Parameters
    ----------
    model : MultiTaskModel
        The network, in evaluation mode.
    graphs : GraphBatch
        The batch.
    labels : Labels
        Targets and weights (n_graphs, n_tasks).
    loss : callable
        Elementwise loss.
    n_probes : int
        Samples; each uses the same signs for all tasks.
    generator : torch.Generator, optional
        Source of the signs.

    Returns
    -------
    traces : Tensor of float64 of shape (n_tasks,)
        Means over the samples, in the shared parameters; 0 without labels.
    masses : Tensor of float64 of shape (n_tasks,)
        Summed weights of the labels.
    """
    tasks = torch.arange(labels.n_tasks)
    probes = _OutputProbes(model, graphs, labels, loss, tasks, generator)
    # In double precision, because p small squares are summed.
    samples = [probes.draw().double().square().sum(dim=1) for _ in range(n_probes)]
    return torch.stack(samples).mean(dim=0), probes.mass.double()


def gauss_newton_diagonals(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: Labels,
    loss: Loss,
    tasks: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate the diagonal of tasks' Gauss-Newton matrices at one batch, unbiasedly.

    It is one sample, in evaluation mode. The network does not change.

    Parameters
    ----------
    model : MultiTaskModel
        The network.
    graphs : GraphBatch
        The batch.
    labels : Labels
        Targets and weights (n_graphs, n_tasks).
    loss : callable
        Elementwise loss.
    tasks : Tensor of int64 of shape (t,), on the CPU
        Positions of the tasks, each with a label.
    generator : torch.Generator, optional
        Source of the signs.

    Returns
    -------
    diagonals : Tensor of shape (t, p)
        In the shared parameters; not negative.

    Raises
    ------
    ValueError
        If an auxiliary task is among them, because it does not have outputs.
    """
    if len(tasks) and int(tasks.max()) >= labels.n_tasks:
        raise ValueError(
            "Auxiliary tasks have no outputs, and so no Gauss-Newton matrix: fit "
            "without auxiliary_tasks, or use another task_weighting."
        )
    with evaluating(model):
        probes = _OutputProbes(model, graphs, labels, loss, tasks, generator)
        return probes.draw().square_()


class _OutputProbes:
    r"""Samples :math:`J_t^\top D_t^{1/2} \epsilon` (t, p) at one batch.

    Their squares estimate the diagonal of :math:`C_t`, and sum to its trace.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        loss: Loss,
        tasks: Tensor,
        generator: torch.Generator | None,
    ) -> None:
        self.result, self.loss = task_pass(model, graphs, labels, loss), loss
        labels = labels.to(graphs.device)
        self.mass = self.result.mass
        # 1 in place of no labels, because 0 / 0 would make the whole row NaN.
        mass = torch.where(self.mass > 0, self.mass, 1.0)
        if isinstance(loss, SoftmaxLoss):
            n_columns = self.result.slopes.shape[1] // labels.n_tasks
            self.scales = (labels.weights / mass).sqrt().repeat(1, n_columns)
        else:
            second = second_derivatives(
                lambda outputs: loss(outputs, labels.targets), self.result.outputs
            )
            self.scales = (labels.weights * second / mass).sqrt()
        self.shared, self.tasks = model.shared_parameters(), tasks
        self.generator = generator
        self.rows = self.scales.new_empty(len(tasks), flat_size(self.shared))

    def draw(self) -> Tensor:
        """Draw one sample, with the same signs for all tasks, into a common buffer."""
        # The same signs for all tasks cost one draw, and each task stays unbiased.
        size = (len(self.scales), 1)
        signs = torch.randint(2, size, generator=self.generator) * 2 - 1
        slopes = self.scales * signs.to(self.scales)
        if isinstance(self.loss, SoftmaxLoss):
            # Roots of the matrices of several outputs, because D is not diagonal.
            slopes *= self.loss.draw_slopes(self.result.outputs, self.generator)
        probe = replace(self.result, slopes=slopes)
        chunk = 1 if self.rows.device.type == "cpu" else len(self.tasks)
        fill_jacobian(self.rows, probe, self.tasks, self.shared, chunk)
        return self.rows


def check_convex(
    loss: Loss,
    weighting: TaskWeighting,
    *,
    cure: str,
    device: torch.device | None = None,
) -> None:
    """Check before the training that the Gauss-Newton matrix of a loss is useful.

    Parameters
    ----------
    loss : callable
        Elementwise loss.
    weighting : TaskWeighting
        Named in the message.
    cure : str
        Advice for the message.
    device : torch.device, optional
        Device of the check.

    Raises
    ------
    ValueError
        If the second derivative is zero everywhere, or negative somewhere.
    """
    if isinstance(loss, SoftmaxLoss):  # which is convex, and has several outputs
        return
    if isinstance(loss, GaussianNLL):
        raise ValueError(
            f"{weighting!r} needs a loss with one output per task, but a likelihood "
            f"has two. {cure}"
        )
    # Both sides of zero and of the corner of the Huber loss at 1.
    grid = torch.tensor([-2.0, -0.5, -0.1, 0.1, 0.5, 2.0], device=device)
    outputs = grid[:, None]
    zeros = torch.zeros_like(outputs)
    second = second_derivatives(lambda values: loss(values, zeros), outputs)
    if bool((second > 0).any()) and bool((second >= 0).all()):
        return
    found = "negative" if bool((second < 0).any()) else "zero"
    raise ValueError(
        f"{weighting!r} needs a loss with a positive second derivative in the outputs, "
        f"but that of this one is {found} (is it absolute_error?). {cure}"
    )
