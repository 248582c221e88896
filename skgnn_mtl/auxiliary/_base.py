"""The abstract auxiliary task: a loss of its own on the graphs of a batch.

The losses of auxiliary tasks are further entries of the vector of task losses.
Therefore every task weighting includes them. An entry starts near 1, as the loss of
standardised targets does, because a task divides its loss by ``chance``, the loss of an
uninformed prediction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor

from skgnn_mtl._component import Component
from skgnn_mtl.graphs import GraphArray, GraphBatch, GraphSchema


class NodeEncoder(Protocol):
    """The part of an encoder that auxiliary tasks need."""

    width: int

    @property
    def core(self) -> Any:
        """The encoder that computes, without any wrapper."""

    def __call__(self, batch: GraphBatch) -> Tensor:
        """Compute the node states, (n_nodes, width)."""


@dataclass(frozen=True)
class BatchContext:
    """A batch and the results of the network on it, which the tasks of y use, too.

    Parameters
    ----------
    encoder : encoder
        For tasks that need the states of other graphs, such as masked ones.
    batch : GraphBatch
        The graphs; tasks must not change it.
    nodes : Tensor of shape (n_nodes, width)
        Node states.
    vectors : Tensor of shape (n_graphs, width)
        Graph states after the readout.
    generator : torch.Generator
        Source of randomness, on the CPU, because draws must not depend on the device.

    See Also
    --------
    AuxiliaryTask : ``forward`` receives such an object.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.auxiliary import BatchContext
    >>> from skgnn_mtl.encoders import GIN
    >>> X, encoder = SmilesToGraph().transform(["CCO", "C"]), GIN(width=4)
    >>> encoder.build(X.schema)
    >>> batch = X.batch([0, 1])
    >>> nodes = encoder(batch)
    >>> vectors = batch.membership.mean(nodes)
    >>> context = BatchContext(encoder, batch, nodes, vectors, torch.Generator())
    >>> context.first_nodes()
    (tensor([0, 3]), tensor([3, 1]))
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
        """Find the first node and the number of nodes per graph, int64 (n_graphs,)."""
        counts = self.batch.membership.counts
        return counts.cumsum(0) - counts, counts


class AuxiliaryTask(Component, ABC):
    """A self-supervised or cheaply labelled task, trained together with the tasks of y.

    It maps the states of a batch, (n_nodes, width) and (n_graphs, width), to a scalar
    loss. In the unit of ``chance`` the loss starts near 1, as that of a standardised
    target.

    Attributes
    ----------
    scaling : {"unit", "released"}
        "unit" divides the loss by ``chance``. "released" keeps the loss as the code of
        the authors computes it.
    chance : float
        Loss of an uninformed prediction.

    See Also
    --------
    BatchContext : What the loss of an auxiliary task receives.
    AtomMasking : Predicts masked atoms.

    Examples
    --------
    A task of your own, which predicts the number of atoms from the graph state:

    >>> from torch import nn
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> from skgnn_mtl.auxiliary import AuxiliaryTask
    >>> class Size(AuxiliaryTask):
    ...     chance = 1.0
    ...
    ...     def build(self, schema, encoder):
    ...         super().build(schema, encoder)
    ...         self.head = nn.Linear(encoder.width, 1)
    ...
    ...     def forward(self, context, columns):
    ...         n_atoms = context.batch.membership.counts.float()
    ...         predicted = self.head(context.vectors)[:, 0]
    ...         return (predicted - n_atoms.log()).square().mean()
    >>> X = SmilesToGraph().transform(["CCO", "C", "CC", "CCN"])
    >>> model = MultiTaskGNNRegressor("gin", auxiliary_tasks=[Size()], max_epochs=1)
    >>> list(model.fit(X, [1.0, 2.0, 3.0, 4.0]).history_[0]["train_losses"])
    ['task_0', 'size']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scaling": [StrOptions({"unit", "released"})]
    }

    scaling: str = "unit"

    @property
    @abstractmethod
    def chance(self) -> float:
        """Loss of an uninformed prediction."""

    def prepare(self, X: GraphArray) -> np.ndarray:
        """Compute the columns of each graph, once per fit.

        Parameters
        ----------
        X : GraphArray of shape (n_graphs,)
            Training graphs.

        Returns
        -------
        columns : ndarray of shape (n_graphs, n_columns)
            Input of :meth:`forward`, batch by batch. By default there are no columns.
        """
        return np.empty((len(X), 0), dtype=np.float32)

    @abstractmethod
    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Check the parameters; then the head can be made.

        A task calls ``super().build(schema, encoder)`` at the beginning of its own.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder. Do not keep it, because it belongs to the model.
        """
        self.check_parameters()

    @abstractmethod
    def forward(self, context: BatchContext, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        context : BatchContext
            The batch, its states, and a source of randomness.
        columns : Tensor of shape (n_graphs, n_columns)
            Rows of the result of :meth:`prepare`.

        Returns
        -------
        loss : Tensor of shape (), or None
            Loss before scaling; None if it is not defined on this batch.
        """


def auxiliary_losses(
    tasks: Iterable[AuxiliaryTask], context: BatchContext, columns: Sequence[Tensor]
) -> list[Tensor | None]:
    """Compute the scaled losses of all tasks on a batch.

    Parameters
    ----------
    tasks : iterable of AuxiliaryTask
        Built tasks.
    context : BatchContext
        The batch and its states.
    columns : sequence of Tensor of shape (n_graphs, n_columns)
        Columns of each task.

    Returns
    -------
    losses : list of (Tensor of shape () or None)
        None for a task without a loss on this batch.
    """
    losses: list[Tensor | None] = []
    for task, values in zip(tasks, columns, strict=True):
        loss = task(context, values.to(context.batch.device))
        scaled = loss is not None and task.scaling == "unit"
        losses.append(loss / task.chance if scaled else loss)
    return losses


def auxiliary_names(tasks: Sequence[AuxiliaryTask]) -> list[str]:
    """Name tasks by their classes in lower case; number repeated names.

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
