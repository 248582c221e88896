"""What a readout is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from skgnn_mtl._component import Component
from skgnn_mtl.graphs import GraphBatch


class Readout(Component, ABC):
    """A map from the states of a graph's nodes to one vector, in any node order."""

    def build(self, width: int) -> None:
        """Make the learnable tensors, if there are any.

        Parameters
        ----------
        width : int
            Width of the node states.
        """

    @abstractmethod
    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Reduce node states to graph states.

        Parameters
        ----------
        states : Tensor of shape (n_nodes, width)
            The node states.
        batch : GraphBatch
            Their graphs.

        Returns
        -------
        graph_states : Tensor of shape (n_graphs, width)
            One row a graph.
        """
