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

from ._jacobian import fill_jacobian, flat_size, shared_parameters, task_pass
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
            _check_convex(loss, weighting)

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
    result = task_pass(model, graphs, labels, loss)
    targets, weights = (part.to(graphs.device) for part in labels[:2])
    second = second_derivatives(loss, result.outputs, targets)
    scales = (weights * second / torch.where(result.mass > 0, result.mass, 1.0)).sqrt()
    shared, n_tasks = shared_parameters(model), scales.shape[1]
    rows = scales.new_empty(n_tasks, flat_size(shared))
    chunk = 1 if rows.device.type == "cpu" else n_tasks
    squares = torch.zeros(n_tasks, dtype=torch.float64, device=rows.device)
    for _ in range(n_probes):
        signs = torch.randint(2, (len(scales), 1), generator=generator) * 2 - 1
        probe = replace(result, slopes=scales * signs.to(scales))
        fill_jacobian(rows, probe, torch.arange(n_tasks), shared, chunk)
        squares += rows.double().square().sum(dim=1)
    return squares / n_probes, result.mass.double()


def second_derivatives(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Second derivative of every entry's loss in its output, 0 where there is none."""
    leaf = outputs.detach().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf, targets).sum(), leaf, create_graph=True)
    if not first.requires_grad:
        return torch.zeros_like(leaf)
    (second,) = torch.autograd.grad(first.sum(), leaf, materialize_grads=True)
    return second


def _check_convex(loss: Loss, weighting: Curvature) -> None:
    """Refuse a loss, before the training, whose Gauss-Newton matrix says nothing."""
    grid = torch.tensor([-2.0, -0.5, -0.1, 0.1, 0.5, 2.0])
    outputs = grid.to(weighting.means.device)[:, None]
    second = second_derivatives(loss, outputs, torch.zeros_like(outputs))
    if bool((second > 0).any()) and bool((second >= 0).all()):
        return
    found = "negative" if bool((second < 0).any()) else "zero"
    raise ValueError(
        f"{weighting!r} needs a loss with a positive second derivative in the outputs, "
        f"but that of this one is {found} (loss='absolute_error'?). Use "
        "statistic='hessian_max', or another loss."
    )
