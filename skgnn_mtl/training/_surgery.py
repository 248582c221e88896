"""Gradient methods: Jacobian, Gramian, weights, direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl.weighting import JacobianAggregation

from ._jacobian import (
    TaskPass,
    fill_jacobian,
    flat_size,
    representation_gramian,
    shared_parameters,
    unflatten,
)
from ._model import MultiTaskModel
from ._monitor import GradientMonitor


class GradientSurgery:
    """Applies a weighting that looks at the gradients of the tasks.

    Parameters
    ----------
    weighting : GramianWeighting or JacobianAggregation
        Built for the tasks of the fit.
    n_tasks : int
        Number of tasks.
    monitor : GradientMonitor
        Is shown every Gramian.
    chunk : int, optional
        Tasks differentiated at a time; one on the CPU, all on an accelerator unless
        its memory is too small.
    """

    def __init__(
        self,
        weighting: Any,
        n_tasks: int,
        monitor: GradientMonitor,
        chunk: int | None = None,
    ) -> None:
        self.weighting, self.monitor, self.chunk = weighting, monitor, chunk
        # Between two looks at the gradients the last weights of each task are used.
        self.age, self.weights = 0, torch.ones(n_tasks, dtype=torch.float64)
        self._jacobian = self._direction = torch.empty(0)

    def apply(
        self,
        model: MultiTaskModel,
        result: TaskPass,
        tasks: Tensor,
        labels,
        known: dict,
    ) -> Tensor:
        """Put the gradients of all parameters where the optimizer looks.

        Parameters
        ----------
        model : MultiTaskModel
            Has ``heads``.
        result : TaskPass
            The forward pass.
        tasks : Tensor of int64 of shape (t,), on the CPU
            Present tasks.
        labels : tuple of two Tensors of shape (n_graphs, n_tasks), on the CPU
            Targets and weights.
        known : dict
            What the weighting may ask for.

        Returns
        -------
        weights : Tensor of shape (t,)
            Weights of the present tasks, on the CPU.
        """
        shared, weighting = shared_parameters(model), self.weighting
        J = None
        if isinstance(weighting, JacobianAggregation):
            J = self._fill(result, tasks, shared)
            weights = self._aggregate(J, known)
        elif self.age % weighting.update_every:
            weights = self.weights[tasks]
        elif weighting.gradients == "parameters":
            J = self._fill(result, tasks, shared)
            weights = self._weigh(J @ J.t(), tasks, known)
            torch.mv(J.t(), weights.to(J), out=self._direction)
        else:
            if weighting.n_splits == 1:  # a method of inner products
                self.monitor.see_labels(labels[1] > 0)
            G = self._representation_gramians(model, result, labels, tasks)
            weights = self._weigh(G, tasks, known)
        self.age += 1
        slopes = torch.zeros_like(result.slopes)
        slopes[:, tasks] = result.slopes[:, tasks] * weights.to(slopes)
        if J is None:
            _backward(result, shared, slopes)
        else:
            _assign(shared, unflatten(self._direction, shared))
        # A head follows its own loss: a weight would only be a learning rate.
        weighted = getattr(weighting, "weighted_heads", False)
        heads = [p for p in model.heads.parameters() if p.requires_grad]
        _backward(result, heads, slopes if weighted else result.slopes)
        return weights

    def _fill(self, result: TaskPass, tasks: Tensor, shared) -> Tensor:
        """Rows of the present tasks' gradients, in the buffer of the fit."""
        z = result.outputs
        shape = (z.shape[1], flat_size(shared))
        if self._jacobian.shape != shape:
            self._jacobian, self._direction = z.new_empty(shape), z.new_empty(shape[1])
        J = self._jacobian[: len(tasks)]
        chunk = self.chunk or (1 if z.device.type == "cpu" else len(tasks))
        try:
            fill_jacobian(J, result, tasks, shared, chunk)
        except torch.OutOfMemoryError:
            if chunk == 1:
                raise
            self.chunk = chunk // 2
            return self._fill(result, tasks, shared)
        return J

    def _representation_gramians(self, model, result, labels, tasks) -> Tensor:
        n_graphs, n_splits = len(labels[1]), self.weighting.n_splits
        if n_splits == 1:
            return representation_gramian(model, result, tasks)
        gramians = []
        edges = np.linspace(0, n_graphs, min(n_splits, n_graphs) + 1).astype(int)
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            part = slice(start, stop)
            # Slopes are of means over the batch; a part has a mass of its own.
            mass = labels[1][part].sum(dim=0).to(result.mass)
            ratio = (result.mass / torch.where(mass > 0, mass, torch.inf))[tasks]
            G = representation_gramian(model, result, tasks, part)
            gramians.append(G * ratio * ratio[:, None])
        return torch.stack(gramians)

    def _weigh(self, G: Tensor, tasks: Tensor, known: dict[str, Any]) -> Tensor:
        G = _finite(G)
        weights = self.weighting.task_weights(G, **known).double()
        self.weights[tasks] = weights
        self.monitor.see(G if G.ndim == 2 else G.sum(dim=0), self.weighting.report)
        return weights

    def _aggregate(self, J: Tensor, known: dict[str, Any]) -> Tensor:
        """Take the direction; give the weights that come closest to it."""
        G = _finite(J @ J.t()).double()
        self._direction.copy_(self.weighting.direction(J, **known))
        self.monitor.see(G, None)
        slopes = (J @ self._direction).cpu().double()
        return torch.linalg.pinv(G, rtol=1e-6, hermitian=True) @ slopes


def _finite(gramian: Tensor) -> Tensor:
    """Bring a Gramian to the CPU, if the network has not broken."""
    G = gramian.detach().cpu()
    if not bool(torch.isfinite(G).all()):
        raise FloatingPointError(
            "The gradients of the tasks became infinite. Lower lr, set "
            "gradient_clip=1.0, or check the scale of the continuous features."
        )
    return G


def _backward(result: TaskPass, parameters: list, slopes: Tensor) -> None:
    if not parameters:
        return
    grads = torch.autograd.grad(
        result.outputs,
        parameters,
        slopes,
        retain_graph=True,
        materialize_grads=True,
    )
    _assign(parameters, grads)


def _assign(parameters, gradients) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
