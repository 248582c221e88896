"""Protocol between the training loop and the step of any method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from skgnn_mtl.graphs import Labels
from skgnn_mtl.optimizers import SharpnessAware


@dataclass(frozen=True)
class StepRecord:
    """Losses and weights of a step; tensors of shape (n_entries,), detached.

    Entries are the tasks, followed by the auxiliary tasks.

    Parameters
    ----------
    losses, mass : Tensor
        Losses, and the summed label weights that they are means over.
    weights : Tensor
        Weights of the tasks, 0 for absent ones.
    present : Tensor of bool, on the CPU
        Tasks with a label in the batch.
    """

    losses: Tensor
    mass: Tensor
    weights: Tensor
    present: Tensor


class Step(ABC):
    """Map from a batch to the gradients that the optimizer uses.

    A batch has labels of shape (n_graphs, n_tasks). A step has one loss per entry,
    shape (n_entries,): the tasks, followed by the auxiliary tasks.

    Attributes
    ----------
    follows_up : bool
        Whether :meth:`after_step` does anything.
    momentum : tuple of float or None
        Smallest and largest share of the optimizer's running mean of gradients, if it
        follows the cosine of both in each step.
    """

    follows_up: bool = False
    momentum: tuple[float, float] | None = None

    @abstractmethod
    def sharpen(self, method: SharpnessAware) -> None:
        """Take the gradients at weights that a method moves, from now on.

        Parameters
        ----------
        method : SharpnessAware
            Decides the moves.

        Raises
        ------
        ValueError
            If the step cannot have the moves of this method.
        """

    @abstractmethod
    def losses(self, model: Any, graphs: Any, labels: Labels) -> tuple[Tensor, Tensor]:
        """Compute the losses that validation rows are compared by.

        Parameters
        ----------
        model : torch.nn.Module
            The network, in evaluation mode.
        graphs : GraphBatch or another batch of the model
            On the model's device.
        labels : Labels
            Targets, weights and columns of the batch.

        Returns
        -------
        losses, mass : Tensor of shape (n_entries,)
            Losses, and the summed label weights that they are means over.
        """

    @abstractmethod
    def backward(self, model: Any, graphs: Any, labels: Labels) -> StepRecord:
        """Set the gradients of all parameters for the optimizer.

        Parameters
        ----------
        model : torch.nn.Module
            The network, in training mode.
        graphs : GraphBatch or another batch of the model
            On the model's device.
        labels : Labels
            Targets, weights and columns of the batch, on the CPU.

        Returns
        -------
        record : StepRecord
            Losses and weights of the step.
        """

    @abstractmethod
    def after_step(
        self, model: Any, graphs: Any, labels: Labels, record: StepRecord
    ) -> None:
        """Learn from what the optimizer's step has changed.

        Parameters
        ----------
        model, graphs, labels : object
            Those of :meth:`backward`.
        record : StepRecord
            Result of :meth:`backward`.
        """

    @abstractmethod
    def end_epoch(self, mean_losses: np.ndarray) -> dict[str, Any]:
        """Finish an epoch, and return its records.

        Parameters
        ----------
        mean_losses : ndarray of float64 of shape (n_entries,)
            Mean training losses, NaN without labels.

        Returns
        -------
        summary : dict
            Further entries of the epoch's record; a dict whose keys are positions of
            tasks receives their names.
        """

    @abstractmethod
    def end_fit(self) -> None:
        """Warn once of failures in the steps of the fit."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the tensors and numbers that a continuation of the training needs."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the :meth:`state` of an earlier step of the same class."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epochs of the same training depend on.

        That is more than :meth:`state`, because another training has generators and
        counts of its own.

        Returns
        -------
        state : dict
            Numbers, strings and tensors in containers.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the epoch in which a :meth:`state_dict` was taken.

        Parameters
        ----------
        state : dict
            Of a step with the same arguments.
        """
