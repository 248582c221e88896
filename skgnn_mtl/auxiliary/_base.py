"""What an auxiliary task is: a loss of its own on the graphs of a batch.

The losses of auxiliary tasks are further entries of the vector of task losses, so every
task weighting takes them in. An entry starts near 1, as standardised targets do: a task
divides its loss by ``chance``, the value that an uninformed guess gets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._component import Component
from skgnn_mtl.graphs import GraphArray, GraphBatch, GraphSchema


class NodeEncoder(Protocol):
    """What auxiliary tasks need of an encoder: node states, and the encoder itself."""

    width: int

    @property
    def core(self) -> Any:
        """The encoder that computes, out of any wrapper."""

    def __call__(self, batch: GraphBatch) -> Tensor:
        """Node states, (n_nodes, width)."""


@dataclass(frozen=True)
class PlainPass:
    """The pass through the network that the tasks of y use.

    Parameters
    ----------
    encoder : encoder
        To be run on other graphs, if a task wants to.
    batch : GraphBatch
        The graphs; never changed.
    nodes : Tensor of shape (n_nodes, width)
        Node states.
    vectors : Tensor of shape (n_graphs, width)
        Graph states behind the readout.
    generator : torch.Generator
        Randomness, on the CPU.
    """

    encoder: NodeEncoder
    batch: GraphBatch
    nodes: Tensor
    vectors: Tensor
    generator: torch.Generator

    def uniform(self, *shape: int) -> Tensor:
        """Draw from [0, 1), in float64, on the device of the batch."""
        values = torch.rand(*shape, generator=self.generator, dtype=torch.float64)
        return values.to(self.batch.device)

    def normal(self, *shape: int) -> Tensor:
        """Draw from the standard normal, in float64, on the device of the batch."""
        values = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return values.to(self.batch.device)

    def first_nodes(self) -> tuple[Tensor, Tensor]:
        """First node and number of nodes of each graph, int64 (n_graphs,)."""
        counts = self.batch.membership.counts
        return counts.cumsum(0) - counts, counts


class AuxiliaryTask(Component, ABC):
    """A self-supervised or cheaply labelled task, trained beside the tasks of y.

    Attributes
    ----------
    scaling : {"unit", "released"}
        "released" leaves the loss as the authors of the methods compute it.
    chance : float
        Loss of an uninformed guess.
    """

    scaling: str = "unit"

    @property
    @abstractmethod
    def chance(self) -> float:
        """Loss of an uninformed guess."""

    def prepare(self, X: GraphArray) -> np.ndarray:
        """Compute, once a fit, what is to be known of each graph.

        Parameters
        ----------
        X : GraphArray of shape (n_graphs,)
            Training graphs.

        Returns
        -------
        columns : ndarray of shape (n_graphs, n_columns)
            Handed to :meth:`forward` batch by batch; without columns by default.
        """
        return np.empty((len(X), 0), dtype=np.float32)

    @abstractmethod
    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the head.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder; not to be kept.
        """

    @abstractmethod
    def forward(self, seen: PlainPass, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        seen : PlainPass
            The batch, its states, and a source of randomness.
        columns : Tensor of shape (n_graphs, n_columns)
            What :meth:`prepare` gave for these graphs.

        Returns
        -------
        loss : Tensor of shape (), or None
            Before scaling; None if the batch has nothing to learn from.
        """

    @property
    def _unit(self) -> bool:
        if self.scaling not in ("unit", "released"):
            raise ValueError(f"scaling must be 'unit' or 'released', got {self!r}.")
        return self.scaling == "unit"


def auxiliary_losses(
    tasks: Iterable[AuxiliaryTask], seen: PlainPass, columns: Sequence[Tensor]
) -> list[Tensor | None]:
    """Losses of all tasks on a batch, brought to scale.

    Parameters
    ----------
    tasks : iterable of AuxiliaryTask
        Built.
    seen : PlainPass
        The batch and its states.
    columns : sequence of Tensor
        What each task knows of the graphs.

    Returns
    -------
    losses : list of (Tensor of shape () or None)
        None for a task that the batch lacks.
    """
    losses: list[Tensor | None] = []
    for task, values in zip(tasks, columns, strict=True):
        loss = task(seen, values.to(seen.batch.device))
        scaled = loss is not None and task._unit
        losses.append(loss / task.chance if scaled else loss)
    return losses


def auxiliary_names(tasks: Sequence[AuxiliaryTask]) -> list[str]:
    """Name tasks by their classes in lower case, repeats by number.

    Parameters
    ----------
    tasks : sequence of AuxiliaryTask
        The tasks.

    Returns
    -------
    names : list of str
        For instance ``["atommasking", "atommasking_2"]``.
    """
    names: list[str] = []
    for k, task in enumerate(tasks):
        name = type(task).__name__.lower()
        n = 1 + sum(type(other) is type(task) for other in tasks[:k])
        names.append(name if n == 1 else f"{name}_{n}")
    return names


def check_share(task: AuxiliaryTask, name: str) -> None:
    """Refuse a share outside (0, 1]."""
    value = getattr(task, name)
    if not 0.0 < value <= 1.0:
        raise ValueError(f"{name} must lie in (0, 1], got {task!r}.")
