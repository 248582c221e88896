"""Gradient methods: Jacobian, Gramian, weights, direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._gram import gram
from skgnn_mtl.weighting import JacobianAggregation, wants

from ._jacobian import (
    TaskPass,
    fill_jacobian,
    flat_size,
    gradients,
    representation_gramian,
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
        # Between two looks at the gradients the last weights of each task are used, and
        # the last factor of the pooled targets: each batch pools those it has.
        self.age, self.weights = 0, torch.ones(n_tasks, dtype=torch.float64)
        self.factor = 1.0
        self._jacobian, self._direction = torch.empty(0, 0), torch.empty(0)
        # Rows of the last look and their tasks, for methods that judge it later.
        self._looks_back = wants(weighting, "lookback")
        self._spare, self._last = torch.empty(0, 0), torch.empty(0, dtype=torch.int64)

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
        shared, weighting = model.shared_parameters(), self.weighting
        J = None
        if isinstance(weighting, JacobianAggregation):
            J = self._fill(result, tasks, shared)
            weights = self._aggregate(J, known)
        elif self.age % weighting.update_every:
            weights = self._kept(tasks, known["anchor"])
        elif weighting.gradients == "parameters" and known["anchor"] is not None:
            weights = self._look_from_target(result, tasks, shared, known)
            J = self._jacobian
        elif weighting.gradients == "parameters":
            J = self._fill(result, tasks, shared)
            weights = self._weigh(gram(J), tasks, known)
            torch.mv(J.t(), weights.to(J), out=self._direction)
        else:
            if weighting.n_splits == 1:  # a method of inner products
                self.monitor.see_labels(labels[1] > 0)
            G = self._representation_gramians(model, result, labels, tasks)
            weights = self._weigh(G, tasks, known)
        self.age += 1
        spread = torch.zeros_like(self.weights)
        spread[tasks] = weights.double()
        if J is None:
            _backward(result, shared, spread)
        else:
            _assign(shared, unflatten(self._direction, shared))
        # A head follows its own loss: a weight would only be a learning rate.
        weighted = getattr(weighting, "weighted_heads", False)
        own = spread if weighted else torch.ones_like(spread)
        _backward(result, model.head_parameters(), own)
        return weights

    def _look_from_target(self, result: TaskPass, tasks, shared, known) -> Tensor:
        """Weigh with one row for all targets: each costs no pass of its own."""
        anchor = known["anchor"].double()
        aimed = anchor > 0.0
        rows = torch.cat([tasks[aimed][:1], tasks[~aimed]])
        pool = None
        if bool(aimed.any()):
            pool = torch.zeros(result.slopes.shape[1], dtype=torch.float64)
            pool[tasks[aimed]] = anchor[aimed]
        if self._looks_back:
            self._jacobian, self._spare = self._spare, self._jacobian
        J = self._fill(result, rows, shared, pool)
        first = torch.zeros(len(rows), dtype=torch.float64)
        first[: int(pool is not None)] = 1.0
        losses = known["losses"].cpu().double()
        pooled = torch.cat([(anchor @ losses)[None], losses[~aimed]])
        found = self._weigh(
            gram(J),
            None,
            known
            | {
                "tasks": rows,
                "anchor": first,
                "losses": pooled[-len(rows) :],
                "lookback": self._lookback(J, rows) if pool is not None else None,
            },
        )
        torch.mv(J.t(), found.to(J), out=self._direction)
        # Without a target the first row is none: nothing to look back at.
        self._last = rows if pool is not None else rows[:0]
        weights = torch.zeros_like(anchor)
        if pool is not None:
            weights[aimed] = found[0] * anchor[aimed]
        weights[~aimed] = found[-int((~aimed).sum()) :] if not aimed.all() else 0.0
        self._keep(weights, tasks, anchor)
        return weights

    def state(self) -> dict[str, Any]:
        """Give what a later training needs to keep the weights of the last look."""
        return {"age": self.age, "weights": self.weights, "factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the :meth:`state` of an earlier surgery."""
        self.age, self.weights = state["age"], state["weights"]
        self.factor = state["factor"]

    def _keep(self, weights: Tensor, tasks: Tensor, anchor: Tensor | None) -> None:
        self.weights[tasks] = weights
        if anchor is not None and bool((anchor > 0.0).any()):
            self.factor = float(weights[anchor > 0.0].sum())

    def _kept(self, tasks: Tensor, anchor: Tensor | None) -> Tensor:
        weights = self.weights[tasks]
        if anchor is None:
            return weights
        return torch.where(anchor > 0.0, self.factor * anchor, weights)

    def last_products(self, vector: Tensor) -> tuple[Tensor, Tensor] | None:
        """Products of a vector (p,) with the gradients of the last look.

        Parameters
        ----------
        vector : Tensor of shape (p,)
            Of the size of a gradient.

        Returns
        -------
        tasks, products : Tensor of shape (t,), on the CPU
            The pooled target first; None if there was no look at one.
        """
        if not len(self._last):
            return None
        return self._last, (self._jacobian[: len(self._last)] @ vector).cpu().double()

    def _lookback(self, J: Tensor, rows: Tensor) -> Tensor | None:
        """Products of the target's gradient with the rows of the last look.

        The first row of each look is the target; NaN stands for other rows that the
        last look did not have.
        """
        if not self._looks_back or not len(self._last):
            return None
        products = (self._spare[: len(self._last)] @ J[0]).cpu().double()
        known = dict(zip(self._last[1:].tolist(), products[1:].tolist(), strict=True))
        others = [known.get(task, float("nan")) for task in rows[1:].tolist()]
        return torch.tensor([float(products[0]), *others], dtype=torch.float64)

    def _fill(self, result: TaskPass, tasks: Tensor, shared, pool=None) -> Tensor:
        """Rows of the present tasks' gradients, in the buffer of the fit."""
        z, size = result.outputs, flat_size(shared)
        if len(self._jacobian) < len(tasks) or self._jacobian.shape[1] != size:
            self._jacobian = z.new_empty(len(tasks), size)
            self._direction = z.new_empty(size)
        J = self._jacobian[: len(tasks)]
        chunk = self.chunk or (1 if z.device.type == "cpu" else len(tasks))
        try:
            fill_jacobian(J, result, tasks, shared, chunk, pool)
        except torch.OutOfMemoryError:
            if chunk == 1:
                raise
            self.chunk = chunk // 2
            return self._fill(result, tasks, shared, pool)
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
            ratio = result.mass / torch.where(mass > 0, mass, torch.inf)
            G = representation_gramian(model, result, tasks, part)
            ratio = ratio[tasks].to(G)
            gramians.append(G * ratio * ratio[:, None])
        return torch.stack(gramians)

    def _weigh(self, G: Tensor, tasks: Tensor | None, known: dict[str, Any]) -> Tensor:
        G = _finite(G)
        if known["anchor"] is not None and G.ndim == 2:
            self.monitor.see_auxiliaries(G, known["anchor"], known["tasks"])
        weights = self.weighting.task_weights(G, **known).double()
        if tasks is not None:
            self._keep(weights, tasks, known["anchor"])
        self.monitor.see(G if G.ndim == 2 else G.sum(dim=0), self.weighting.report)
        return weights

    def _aggregate(self, J: Tensor, known: dict[str, Any]) -> Tensor:
        """Take the direction; give the weights that come closest to it."""
        G = _finite(gram(J))
        self._direction.copy_(self.weighting.direction(J, **known))
        self.monitor.see(G, None)
        slopes = (J @ self._direction).cpu().double()
        return torch.linalg.pinv(G, rtol=1e-6, hermitian=True) @ slopes


def _finite(gramian: Tensor) -> Tensor:
    """Bring a Gramian to the CPU, if the network has not broken."""
    G = gramian.cpu()
    if not bool(torch.isfinite(G).all()):
        raise FloatingPointError(
            "The gradients of the tasks became infinite. Lower lr, set "
            "gradient_clip=1.0, or check the scale of the continuous features."
        )
    return G


def _backward(result: TaskPass, parameters: list, weights: Tensor) -> None:
    if parameters:
        _assign(parameters, gradients(result.seeds(weights), parameters))


def _assign(parameters, found) -> None:
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
