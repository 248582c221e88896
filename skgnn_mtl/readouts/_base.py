"""The abstract readout."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from skgnn_mtl._component import Component
from skgnn_mtl.graphs import GraphBatch


class Readout(Component, ABC):
    """Reduce the states of a graph's nodes to one vector, in any order of the nodes.

    See Also
    --------
    Sum : Sum over the nodes.
    Mean : Mean over the nodes.
    Attention : Weighted mean with learned weights.

    Examples
    --------
    A readout of your own, the largest entry of each column:

    >>> import torch
    >>> from skgnn_mtl.readouts import Readout
    >>> class Max(Readout):
    ...     def forward(self, states, batch):
    ...         index = batch.graph_of_node[:, None].expand_as(states)
    ...         zeros = states.new_zeros(batch.n_graphs, states.shape[1])
    ...         return zeros.scatter_reduce(
    ...             0, index, states, "amax", include_self=False
    ...         )
    >>> Max()
    Max()
    """

    def build(self, width: int) -> None:
        """Check the parameters; then the learnable tensors can be made, if any.

        A readout with tensors calls ``super().build(width)`` before it makes them.

        Parameters
        ----------
        width : int
            Width of the node states.
        """
        self.check_parameters()

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
            One row per graph.
        """
