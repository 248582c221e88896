"""The base of GIN, GCN, GraphSAGE and GAT: embed, then normalised layers."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import HU2020, HU2020_SELF_LOOP, GraphBatch, GraphSchema

from ._base import COMMON, Columns, GraphEncoder, get_activation, make_norm
from ._checkpoint import Published, read_checkpoint


class EdgeColumns(nn.Module):
    """Expand the columns of the edges, and hold the row of a self-loop.

    Graphs of Hu et al. (2020) have codes for the self-loop. In all other graphs a spare
    column marks it.

    Parameters
    ----------
    schema : GraphSchema
        Meaning of the columns.
    """

    loop: Tensor

    def __init__(self, schema: GraphSchema) -> None:
        super().__init__()
        self.columns = Columns(schema.edge_columns, schema.edge_features)
        self.spare = int(schema != HU2020)
        loop = torch.zeros(self.columns.width + self.spare)
        if self.spare:
            loop[-1] = 1.0
        else:
            loop[torch.tensor(HU2020_SELF_LOOP) + self.columns.offsets] = 1.0
        self.register_buffer("loop", loop, persistent=False)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Expand to a matrix of shape (n_edges, width of the loop's row)."""
        rows: Tensor = self.columns(batch.edge_codes, batch.edge_features)
        return F.pad(rows, (0, self.spare)) if self.spare else rows

    def embedding(self, width: int) -> nn.Module:
        """Make the linear map that embeds rows of edges and of the loop."""
        return self.columns.linear(width, bias=False, spare=self.spare)


class LayerStack(GraphEncoder):
    """Embed nodes, then run layers of message passing as in Hu et al. (2020).

    Each layer computes ``h = norm(layer(h, edges))``, then the activation (except after
    the last layer), then dropout. Each layer has its own embedding of the edges.
    """

    n_layers: int
    norm: str | None
    activation: str
    dropout: float
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = COMMON
    # Names of the tensors of a layer in the published files.
    _published: ClassVar[Published]

    @abstractmethod
    def _make_layer(self, edges: EdgeColumns) -> nn.Module:
        """Make one layer, a map (h, edge rows, loop row, batch) -> (n_nodes, width)."""

    def build(self, schema: GraphSchema) -> None:
        """Make the learnable tensors.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """
        super().build(schema)
        self.nodes = Columns(
            schema.node_columns, schema.node_features, schema.node_table
        )
        self.edges = EdgeColumns(schema)
        self.embedding = self.nodes.linear(self.width, bias=False)
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
            One row per node.
        """
        h = self.embed_nodes(batch)
        return self.propagate(h, batch)

    def embed_nodes(self, batch: GraphBatch) -> Tensor:
        """Embed the columns of the nodes.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        embedded : Tensor of shape (n_nodes, width)
            Input of the first layer.
        """
        columns = self.nodes(batch.node_codes, batch.node_features)
        embedded: Tensor = self.embedding(columns)
        return embedded

    def propagate(self, embedded: Tensor, batch: GraphBatch) -> Tensor:
        """Run the layers on embedded nodes.

        Parameters
        ----------
        embedded : Tensor of shape (n_nodes, width)
            Result of :meth:`embed_nodes`.
        batch : GraphBatch
            The graphs.

        Returns
        -------
        states : Tensor of shape (n_nodes, width)
            One row per node.
        """
        activation = get_activation(self.activation)
        h, rows, loop = embedded, self.edges(batch), self.edges.loop
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            h = norm(layer(h, rows, loop, batch))
            h = self.drop(h if k == self.n_layers - 1 else activation(h))
        return h

    def cut(self, batch: GraphBatch) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Cut behind the embedding of the nodes.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        embedded : Tensor of shape (n_nodes, width)
            Result of :meth:`embed_nodes`.
        rest : callable
            :meth:`propagate` on this batch.
        """
        return self.embed_nodes(batch), partial(self.propagate, batch=batch)

    def stages(self) -> list[list[nn.Module]]:
        """List the embedding, then each layer with its normalisation.

        Returns
        -------
        stages : list of list of Module
            ``1 + n_layers`` entries.
        """
        pairs = zip(self.layers, self.norms, strict=True)
        return [[self.embedding], *(list(pair) for pair in pairs)]

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike[str], *, dropout: float = 0.0
    ) -> Self:
        """Read weights published by Hu et al. (2020), without executing code from them.

        Parameters
        ----------
        path : str or path-like
            A file of github.com/snap-stanford/pretrain-gnns, or a file with the same
            tensors, at the top or under the key "model".
        dropout : float, default=0.0
            Probability that a component of a node state is dropped in training; the
            files do not store it.

        Returns
        -------
        encoder : encoder of this class
            Built for graphs of ``SmilesToGraph(features="hu2020")``, in evaluation
            mode, with the sizes of the file.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If a tensor is missing, unknown or of the wrong shape, or if the file
            belongs to another architecture.
        """
        sizes, tensors = read_checkpoint(path, cls.__name__, cls._published)
        encoder = cls(**sizes)
        encoder.dropout = dropout
        encoder.build(HU2020)
        encoder.load_state_dict(tensors)
        return encoder.eval()
