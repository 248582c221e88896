"""From a weighting's weights to gradients: one final class per family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from skgnn_mtl.graphs import GraphBatch, Labels
from skgnn_mtl.weighting import LossWeighting

from ._distributed import ALONE, World
from ._jacobian import TaskPass
from ._model import MultiTaskModel


class Descent(ABC):
    """Weighting of the present tasks of a batch, and the gradients that follow."""

    @abstractmethod
    def backward(
        self,
        model: MultiTaskModel,
        graphs: GraphBatch,
        labels: Labels,
        result: TaskPass,
        tasks: Tensor,
        context: dict[str, Any],
    ) -> Tensor:
        """Set the gradients of all parameters for the optimizer.

        Parameters
        ----------
        model : MultiTaskModel
            The network.
        graphs, labels : GraphBatch, Labels
            The batch.
        result : TaskPass
            Its forward pass.
        tasks : Tensor of int64 of shape (t,), on the CPU
            Present tasks, at least one.
        context : dict
            Keyword arguments that the weighting's ``forward`` may name.

        Returns
        -------
        weights : Tensor of shape (t,)
            Weights of the present tasks.
        """

    def last_products(self, vector: Tensor) -> tuple[Tensor, Tensor] | None:
        """Multiply a vector (p,) with the gradients of the last evaluation.

        Parameters
        ----------
        vector : Tensor of shape (p,)
            In the shape of a gradient of the shared parameters.

        Returns
        -------
        tasks, products : Tensor of shape (t,), on the CPU
            The pooled target comes first where there is one. None if the method does
            not evaluate gradients of single tasks.
        """
        return None

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a later training needs to continue exactly."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the :meth:`state` of an earlier descent."""

    @abstractmethod
    def state_dict(self, *, keeps_rows: bool) -> dict[str, Any]:
        """Return what the next epochs of the same training depend on.

        Parameters
        ----------
        keeps_rows : bool
            Whether :meth:`last_products` is called.

        Returns
        -------
        state : dict
            Numbers and tensors in containers.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`; the weighting has gone on already."""


class LossDescent(Descent):
    """One backward pass of the weighted sum of the losses.

    Parameters
    ----------
    weighting : LossWeighting
        Maps losses to their weights.
    n_entries : int
        Number of entries of the fit; a single one has the weight 1.
    world : World, optional
        Processes that have the other graphs of each batch.
    """

    def __init__(
        self, weighting: LossWeighting, n_entries: int, world: World = ALONE
    ) -> None:
        self.weighting, self.n_entries, self.world = weighting, n_entries, world

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
        # A single entry has nothing to be weighed against.
        if self.n_entries == 1:
            weights = torch.ones_like(result.losses)
        else:
            weights = self.weighting.task_weights(**context)
        descend(result, weights, tasks)
        self.world.sum_gradients(model.parameters())
        return weights

    def state(self) -> dict[str, Any]:
        """Return nothing, because the weighting holds the state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore nothing."""

    def state_dict(self, *, keeps_rows: bool) -> dict[str, Any]:
        """Return nothing, as :meth:`state`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load nothing."""


def descend(result: TaskPass, weights: Tensor, tasks: Tensor) -> None:
    """Run one backward pass of the losses of some tasks, with their weights (t,)."""
    # Absent tasks keep the weight 0.
    spread = weights.new_zeros(len(result.losses))
    spread = spread.index_copy(0, tasks.to(weights.device), weights)
    # With the slopes as cotangents, so that no loss is differentiated a second time.
    tensors, cotangents = zip(*result.seeds(spread), strict=True)
    torch.autograd.backward(tensors, cotangents)
