"""What an encoder is, and how the columns of a graph become numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl._activations import get_activation as get_activation
from skgnn_mtl._component import Component
from skgnn_mtl.graphs import GraphBatch, GraphSchema


class GraphEncoder(Component, ABC):
    """A map from a batch of graphs to node states.

    Every encoder is equivariant to the order of the nodes, treats each graph of a
    batch on its own (in evaluation mode), accepts a graph of one node and no edge,
    and can be differentiated twice.

    Attributes
    ----------
    width : int
        Width of the node states; a constructor argument of every encoder.
    """

    width: int

    @abstractmethod
    def build(self, schema: GraphSchema) -> None:
        """Make the learnable tensors.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """

    @abstractmethod
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


class Columns(nn.Module):
    """One-hot expansion of categorical columns, continuous columns behind them.

    Parameters
    ----------
    columns : tuple of (str, int)
        Names and cardinalities of the categorical columns.
    features : tuple of str
        Names of the continuous columns.
    table : tuple of tuple of float, default=()
        Rows that stand for the codes of the first categorical column, in front.
    """

    offsets: Tensor
    table: Tensor

    def __init__(self, columns, features, table=()) -> None:
        super().__init__()
        self.has_table = bool(table)
        rows = torch.tensor(table or [[]], dtype=torch.get_default_dtype())
        self.register_buffer("table", rows, persistent=False)
        columns = columns[1:] if table else columns
        sizes = torch.tensor([size for _, size in columns], dtype=torch.int64)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.n_codes = int(sizes.sum())
        self.n_features = len(features)
        # A row has one 1 for each categorical column: this, and not the width of the
        # expansion, is what the scale of the next layer's weights has to follow. Of a
        # table it is the mean square of its rows.
        self.n_active = len(columns) + len(features)
        if table:
            self.n_active += round(
                float(rows.square().sum() / (rows != 0).any(1).sum())
            )

    @property
    def width(self) -> int:
        """Width of the expansion."""
        return self.table.shape[1] + self.n_codes + self.n_features

    def forward(self, codes: Tensor, features: Tensor) -> Tensor:
        """Expand to a matrix of shape (n_rows, width) in the features' dtype."""
        codes, parts = codes.long(), []
        if self.has_table:
            parts.append(self.table.to(features.dtype)[codes[:, 0]])
            codes = codes[:, 1:]
        hot = features.new_zeros(codes.shape[0], self.n_codes)
        parts.append(hot.scatter_(1, codes + self.offsets, 1.0))
        if self.n_features:
            parts.append(features)
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def linear(self, width: int, *, bias: bool = True) -> nn.Module:
        """Make a linear layer on the expansion, scaled for its sparse rows."""
        layer = nn.Linear(self.width, width, bias=bias) if self.width else Zero(width)
        bound = max(self.n_active, 1) ** -0.5
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound)
        return layer


class Zero(nn.Module):
    """The linear map from nothing: graphs whose edges carry no column."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, rows: Tensor) -> Tensor:
        return rows.new_zeros(rows.shape[0], self.width)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that can meet a batch of a single node while training.

    One row has no variance; it is normalised by the running statistics instead.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the columns of an array of shape (n_rows, width)."""
        if self.training and input.shape[0] > 1:
            return super().forward(input)
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            eps=self.eps,
        )


def check_width(encoder: GraphEncoder) -> None:
    """Refuse a width that no tensor can have."""
    if not isinstance(encoder.width, Integral) or encoder.width < 1:
        raise ValueError(f"width must be an integer >= 1, got {encoder!r}.")


def make_norm(norm: str | None, width: int) -> nn.Module:
    """Make the normalisation layer that an encoder's ``norm`` names."""
    layers = {"batch": BatchNorm, "layer": nn.LayerNorm}
    if norm is None:
        return nn.Identity()
    if norm not in layers:
        raise ValueError(f"norm must be one of {sorted(layers)} or None, got {norm!r}.")
    return layers[norm](width)
