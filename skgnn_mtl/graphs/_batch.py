"""The border between NumPy and torch: one disjoint union of graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._incidence import Incidence
from ._schema import GraphSchema


@dataclass(frozen=True)
class GraphBatch:
    """A disjoint union of graphs, nodes numbered through the whole batch.

    Parameters
    ----------
    schema : GraphSchema
        Meaning of the columns.
    n_graphs : int
        Number of graphs.
    node_codes, edge_codes : Tensor of shape (n_nodes or n_edges, n_columns)
        Categorical columns.
    node_features, edge_features, graph_features : Tensor
        Continuous columns in the schema's dtype; rows are nodes, edges, graphs.
    edge_index : Tensor of int64 of shape (2, n_edges)
        Source and target node of each directed edge.
    graph_of_node : Tensor of int64 of shape (n_nodes,)
        Graph that each node belongs to.

    See Also
    --------
    GraphArray.batch : Makes a batch.

    Examples
    --------
    >>> from skgnn_mtl import SmilesToGraph
    >>> batch = SmilesToGraph().transform(["CCO", "C"]).batch([0, 1])
    >>> batch.edge_index
    tensor([[0, 1, 1, 2],
            [1, 0, 2, 1]])
    >>> batch.graph_of_node
    tensor([0, 0, 0, 1])
    """

    schema: GraphSchema
    n_graphs: int
    node_codes: Tensor
    edge_codes: Tensor
    node_features: Tensor
    edge_features: Tensor
    graph_features: Tensor
    edge_index: Tensor
    graph_of_node: Tensor

    @classmethod
    def from_numpy(
        cls, schema: GraphSchema, n_graphs: int, columns: Mapping[str, np.ndarray]
    ) -> GraphBatch:
        """Wrap writeable NumPy columns as tensors.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns.
        n_graphs : int
            Number of graphs.
        columns : dict of str to ndarray
            One entry per tensor of the batch.

        Returns
        -------
        batch : GraphBatch
            Tensors on the CPU that share memory with ``columns``.
        """
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(values))
            for name, values in columns.items()
        }
        return cls(schema, n_graphs, **tensors)

    @classmethod
    def concatenate(cls, batches: Sequence[GraphBatch]) -> GraphBatch:
        """Join batches of the same columns, in order.

        Parameters
        ----------
        batches : sequence of GraphBatch
            At least one.

        Returns
        -------
        batch : GraphBatch
            All graphs.
        """
        # Nodes and graphs are numbered through the whole batch.
        nodes = np.cumsum([0, *(batch.n_nodes for batch in batches)]).tolist()
        graphs = np.cumsum([0, *(batch.n_graphs for batch in batches)]).tolist()
        joined: dict[str, Any] = {
            field.name: torch.cat([getattr(batch, field.name) for batch in batches])
            for field in fields(cls)
            if field.name not in ("schema", "n_graphs", "edge_index", "graph_of_node")
        }
        pairs = zip(batches, nodes[:-1], graphs[:-1], strict=True)
        shifted = [(b.edge_index + i, b.graph_of_node + k) for b, i, k in pairs]
        return cls(
            batches[0].schema,
            graphs[-1],
            edge_index=torch.cat([edges for edges, _ in shifted], dim=1),
            graph_of_node=torch.cat([owners for _, owners in shifted]),
            **joined,
        )

    def to(self, device: torch.device | str) -> GraphBatch:
        """Move all tensors to a device.

        Parameters
        ----------
        device : torch.device or str
            Device of the result.

        Returns
        -------
        batch : GraphBatch
            The batch itself if its tensors are on the device already.
        """
        if self.graph_of_node.device == torch.device(device):
            return self
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **moved)

    def with_node_codes(self, node_codes: Tensor) -> GraphBatch:
        """Replace the categorical columns of the nodes.

        Parameters
        ----------
        node_codes : Tensor of shape (n_nodes, n_columns)
            The new columns.

        Returns
        -------
        batch : GraphBatch
            A new batch that shares all other tensors.
        """
        return self._with(node_codes=node_codes)

    def with_edge_features(self, edge_features: Tensor) -> GraphBatch:
        """Replace the continuous columns of the edges.

        Parameters
        ----------
        edge_features : Tensor of shape (n_edges, n_columns)
            The new columns.

        Returns
        -------
        batch : GraphBatch
            A new batch that shares all other tensors.
        """
        return self._with(edge_features=edge_features)

    def _with(self, **columns: Any) -> GraphBatch:
        batch = replace(self, **columns)
        # Incidences are kept, because they do not depend on columns and sorting costs.
        cached = ("source", "target", "membership")
        vars(batch).update({k: v for k, v in vars(self).items() if k in cached})
        return batch

    def induced(self, kept: Tensor) -> tuple[GraphBatch, Tensor]:
        """Keep some nodes and the edges between them.

        Parameters
        ----------
        kept : Tensor of bool of shape (n_nodes,)
            True for the nodes to keep.

        Returns
        -------
        batch : GraphBatch
            The same number of graphs; some may be empty.
        position : Tensor of int64 of shape (n_nodes,)
            Position of each kept node in the new batch.
        """
        edges = kept[self.edge_index].all(dim=0)
        position = kept.cumsum(0) - 1
        batch = replace(
            self,
            node_codes=self.node_codes[kept],
            node_features=self.node_features[kept],
            graph_of_node=self.graph_of_node[kept],
            edge_codes=self.edge_codes[edges],
            edge_features=self.edge_features[edges],
            edge_index=position[self.edge_index[:, edges]],
        )
        return batch, position

    def __len__(self) -> int:
        return self.n_graphs

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return self.graph_of_node.shape[0]

    @property
    def n_edges(self) -> int:
        """Number of directed edges."""
        return self.edge_index.shape[1]

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.graph_of_node.device

    @cached_property
    def source(self) -> Incidence:
        """Edges and the nodes they leave."""
        return Incidence(self.edge_index[0], self.n_nodes)

    @cached_property
    def target(self) -> Incidence:
        """Edges and the nodes they arrive at."""
        return Incidence(self.edge_index[1], self.n_nodes)

    @cached_property
    def membership(self) -> Incidence:
        """Nodes and the graphs they belong to."""
        return Incidence(self.graph_of_node, self.n_graphs)
