"""The frame that GIN, GCN and GAT share: embed, then normalised layers."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch, GraphSchema

from ._base import Columns, GraphEncoder, check_width, get_activation, make_norm


class LayerStack(GraphEncoder):
    """Embedded nodes, then layers of message passing as in Hu et al. (2020).

    ``h = norm(layer(h, edges))``, followed by the activation except after the last
    layer, and by dropout. Every layer has its own embedding of the edges.
    """

    n_layers: int
    norm: str | None
    activation: str
    dropout: float

    @abstractmethod
    def _make_layer(self, edges: Columns) -> nn.Module:
        """Make one layer, a map (h, edge rows, batch) -> (n_nodes, width)."""

    def build(self, schema: GraphSchema) -> None:
        """Make the learnable tensors.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """
        check_width(self)
        get_activation(self.activation)
        self.nodes = Columns(
            schema.node_columns, schema.node_features, schema.node_table
        )
        self.edges = Columns(schema.edge_columns, schema.edge_features)
        self.embedding = self.nodes.linear(self.width)
        self.layers = nn.ModuleList(
            self._make_layer(self.edges) for _ in range(self.n_layers)
        )
        self.norms = nn.ModuleList(
            make_norm(self.norm, self.width) for _ in range(self.n_layers)
        )
        self.drop = nn.Dropout(self.dropout)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Compute the node states.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        states : Tensor of shape (n_nodes, width)
            One row a node.
        """
        activation = get_activation(self.activation)
        h = self.embedding(self.nodes(batch.node_codes, batch.node_features))
        edge_rows = self.edges(batch.edge_codes, batch.edge_features)
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            h = norm(layer(h, edge_rows, batch))
            h = self.drop(h if k == self.n_layers - 1 else activation(h))
        return h
