r"""Curvature of the tasks at some batches, for a weighting that wants it.

The trace of a task's Gauss-Newton matrix needs no more than the vector-Jacobian
products of a training step: with signs :math:`\epsilon` drawn for the graphs and
:math:`D_t = \mathrm{diag}(w_{it}\, \ell''_{it} / \sum_j w_{jt})`,

.. math:: \mathbb{E}\, |J_t^\top D_t^{1/2} \epsilon|^2
    = \mathrm{tr}\, J_t^\top D_t J_t = \mathrm{tr}\, C_t.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from skgnn_mtl.graphs import GraphBatch
from skgnn_mtl.weighting import Curvature

from ._jacobian import fill_jacobian, flat_size, task_pass
from ._loss import Loss
from ._model import MultiTaskModel
from ._replay import evaluating

Batches = list[tuple[GraphBatch, tuple[Tensor, Tensor]]]
# (statistic, model, loss, batches, vectors or None) -> largest eigenvalue of each task
# (n_tasks,), NaN without labels, and eigenvectors (n_tasks, P) to begin with next time.
Eigenvalues = Callable[
    [str, MultiTaskModel, Loss, Batches, Tensor | None], tuple[Tensor, Tensor]
]


class CurvatureProbe:
    """Shows a weighting the tasks' curvature every k steps; holds its weights between.

    Parameters
    ----------
    weighting : Curvature
        Built for the tasks of the fit.
    loss : callable
        Elementwise loss.
    generator : torch.Generator, optional
        Randomness of the probes.
    eigenvalues : callable, optional
        Finds largest eigenvalues; handed in by who knows how.

    Raises
    ------
    ValueError
        If the Gauss-Newton matrix of this loss is zero or not semi-definite.
    """

    def __init__(
        self,
        weighting: Curvature,
        loss: Loss,
        generator: torch.Generator | None = None,
        eigenvalues: Eigenvalues | None = None,
    ) -> None:
        if weighting.statistic != "ggn_trace" and eigenvalues is None:
            raise ValueError(
                f"Nothing was handed in that finds the eigenvalues for {weighting!r}."
            )
        self.weighting, self.loss, self.generator = weighting, loss, generator
        self.eigenvalues = eigenvalues
        self.weights = weighting.weights()
        self.vectors: Tensor | None = None
        # Counted here as well: a look at the device's counter would wait for it.
        self._n_steps = int(weighting.n_steps)
        self._batches: deque[Any] = deque(maxlen=int(weighting.n_batches))
        if weighting.statistic != "hessian_max":
            check_convex(loss, weighting, weighting.means.device)

    def see(self, model: MultiTaskModel, graphs: GraphBatch, labels) -> None:
        """Note a batch; look at the latest ones if it is time.

        Parameters
        ----------
        model : MultiTaskModel
            The network before the step.
        graphs : GraphBatch
            The batch, on the model's device.
        labels : tuple of two Tensors of shape (n_graphs, n_tasks)
            Targets, and weights of the labels.
        """
        self._batches.append((graphs, labels))
        if self._n_steps and self._n_steps % self.weighting.update_every == 0:
            with evaluating(model):
                values = self._statistics(model, list(self._batches))
            tasks = values.isfinite().nonzero()[:, 0]
            self.weighting(values[tasks], tasks)
            self.weights = self.weighting.weights()
        self._n_steps += 1
        self.weighting.n_steps += 1

    def _statistics(self, model: MultiTaskModel, batches: Batches) -> Tensor:
        """Curvature of each task (n_tasks,), NaN for one without a label."""
        name = self.weighting.statistic
        if self.eigenvalues is not None and name != "ggn_trace":
            values, self.vectors = self.eigenvalues(
                name, model, self.loss, batches, self.vectors
            )
            return values
        traces = [
            gauss_newton_traces(
                model, *batch, self.loss, self.weighting.n_probes, self.generator
            )
            for batch in batches
        ]
        values, masses = (torch.stack(part) for part in zip(*traces, strict=True))
        # Of no task without a label: 0 / 0.
        return (values * masses).sum(dim=0) / masses.sum(dim=0)


def gauss_newton_traces(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: tuple[Tensor, Tensor],
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
    labels : tuple of two Tensors of shape (n_graphs, n_tasks)
        Targets, and weights of the labels.
    loss : callable
        Elementwise loss.
    n_probes : int
        Samples, each the same signs for all tasks.
    generator : torch.Generator, optional
        Where the signs come from.

    Returns
    -------
    traces : Tensor of float64 of shape (n_tasks,)
        Means over the samples, in the shared parameters; 0 without labels.
    masses : Tensor of float64 of shape (n_tasks,)
        Summed weights of the labels.
    """
    tasks = torch.arange(labels[0].shape[1])
    probes = _OutputProbes(model, graphs, labels, loss, tasks, generator)
    samples = [probes.draw().double().square().sum(dim=1) for _ in range(n_probes)]
    return torch.stack(samples).mean(dim=0), probes.mass.double()


def gauss_newton_diagonals(
    model: MultiTaskModel,
    graphs: GraphBatch,
    labels: tuple[Tensor, Tensor],
    loss: Loss,
    tasks: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Estimate the diagonal of tasks' Gauss-Newton matrices at one batch, unbiasedly.

    One sample; the network is looked at in evaluation mode, and left as it was.

    Parameters
    ----------
    model : MultiTaskModel
        The network.
    graphs : GraphBatch
        The batch.
    labels : tuple of two Tensors of shape (n_graphs, n_tasks)
        Targets, and weights of the labels.
    loss : callable
        Elementwise loss.
    tasks : Tensor of int64 of shape (t,), on the CPU
        Which tasks, each with a label.
    generator : torch.Generator, optional
        Where the signs come from.

    Returns
    -------
    diagonals : Tensor of shape (t, p)
        In the shared parameters; not negative.

    Raises
    ------
    ValueError
        If an auxiliary task is among them, which has no outputs.
    """
    if len(tasks) and int(tasks.max()) >= labels[0].shape[1]:
        raise ValueError(
            "Auxiliary tasks have no outputs, and so no Gauss-Newton matrix: fit "
            "without auxiliary_tasks, or use another task_weighting."
        )
    with evaluating(model):
        probes = _OutputProbes(model, graphs, labels, loss, tasks, generator)
        return probes.draw().square_()


class _OutputProbes:
    r"""Samples :math:`J_t^\top D_t^{1/2} \epsilon` (t, p) at one batch.

    Their squares are those of the diagonal of :math:`C_t`, and sum to its trace.
    """

    def __init__(self, model, graphs, labels, loss: Loss, tasks, generator) -> None:
        self.result = task_pass(model, graphs, labels, loss)
        targets, weights = (part.to(graphs.device) for part in labels[:2])
        second = second_derivatives(loss, self.result.outputs, targets)
        self.mass = self.result.mass
        self.scales = weights * second / torch.where(self.mass > 0, self.mass, 1.0)
        self.scales = self.scales.sqrt()
        self.shared, self.tasks = model.shared_parameters(), tasks
        self.generator = generator
        self.rows = self.scales.new_empty(len(tasks), flat_size(self.shared))

    def draw(self) -> Tensor:
        """Draw one sample, with the same signs for all tasks, into a common buffer."""
        size = (len(self.scales), 1)
        signs = torch.randint(2, size, generator=self.generator) * 2 - 1
        probe = replace(self.result, slopes=self.scales * signs.to(self.scales))
        chunk = 1 if self.rows.device.type == "cpu" else len(self.tasks)
        fill_jacobian(self.rows, probe, self.tasks, self.shared, chunk)
        return self.rows


def second_derivatives(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Second derivative of every entry's loss in its output, 0 where there is none."""
    leaf = outputs.detach().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf, targets).sum(), leaf, create_graph=True)
    if not first.requires_grad:
        return torch.zeros_like(leaf)
    (second,) = torch.autograd.grad(first.sum(), leaf, materialize_grads=True)
    return second


def check_convex(loss: Loss, weighting: Any, device: torch.device) -> None:
    """Refuse a loss, before the training, whose Gauss-Newton matrix says nothing."""
    grid = torch.tensor([-2.0, -0.5, -0.1, 0.1, 0.5, 2.0], device=device)
    outputs = grid[:, None]
    second = second_derivatives(loss, outputs, torch.zeros_like(outputs))
    if bool((second > 0).any()) and bool((second >= 0).all()):
        return
    found = "negative" if bool((second < 0).any()) else "zero"
    cure = "Use another loss."
    if isinstance(weighting, Curvature):
        cure = "Use statistic='hessian_max', or another loss."
    raise ValueError(
        f"{weighting!r} needs a loss with a positive second derivative in the outputs, "
        f"but that of this one is {found} (loss='absolute_error'?). {cure}"
    )
