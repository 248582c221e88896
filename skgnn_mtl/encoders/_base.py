"""What an encoder is, and how the columns of a graph become numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl._activations import get_activation as get_activation
from skgnn_mtl._component import Component
from skgnn_mtl.graphs import GraphArray, GraphBatch, GraphSchema


class GraphEncoder(Component, ABC):
    """A map from a batch of graphs to node states.

    Every encoder is equivariant to the order of the nodes, treats each graph of a
    batch on its own (in evaluation mode), accepts a graph of one node and no edge,
    and can be differentiated twice.

    Attributes
    ----------
    width : int
        Width of the node states; a constructor argument of every encoder.
    schema : GraphSchema or None
        What ``build`` was given; None before.
    lr_scale : float
        Factor on the learning rate of the encoder's parameters.
    """

    width: int
    schema: GraphSchema | None = None
    lr_scale: float = 1.0

    @abstractmethod
    def build(self, schema: GraphSchema) -> None:
        """Make the learnable tensors, and call ``super().build(schema)``.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """
        self.schema = schema

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

    @property
    def core(self) -> GraphEncoder:
        """The encoder that computes: itself, or what a wrapper holds."""
        return self

    def stages(self) -> list[list[nn.Module]]:
        """Give the parts in the order of computation, the embedding of nodes first.

        Returns
        -------
        stages : list of list of Module
            Empty for an encoder that cannot be frozen layer by layer.
        """
        return []

    def embed(
        self,
        X: GraphArray,
        readout: str | Callable[[Tensor, GraphBatch], Tensor] = "mean",
        *,
        batch_size: int = 256,
    ) -> np.ndarray:
        """Embed graphs with a built encoder, in evaluation mode.

        Parameters
        ----------
        X : GraphArray of shape (n_graphs,)
            Graphs of the schema that the encoder was built for.
        readout : {"mean", "sum"} or callable, default="mean"
            Makes one vector a graph; a callable maps (states, batch), as a built
            :class:`~skgnn_mtl.readouts.Readout` does.
        batch_size : int, default=256
            Graphs at a time.

        Returns
        -------
        embedding : ndarray of shape (n_graphs, width)
            One row a graph, NaN for an invalid one.

        Raises
        ------
        TypeError
            If X holds no graphs.
        ValueError
            If the encoder is not built, or was built for other columns.
        """
        if not isinstance(X, GraphArray):
            raise TypeError(
                f"X must be a GraphArray, got {type(X).__name__}: put SmilesToGraph() "
                "or CifToGraph() in front."
            )
        if not isinstance(batch_size, Integral) or int(batch_size) < 1:
            raise ValueError(f"batch_size must be an integer >= 1, got {batch_size!r}.")
        self._check_schema(X.schema)
        reduce = (
            _READOUTS.get(readout, readout) if isinstance(readout, str) else readout
        )
        if not callable(reduce):
            raise ValueError(
                f"readout must be one of {sorted(_READOUTS)} or a callable, "
                f"got {readout!r}."
            )
        rows, training = np.flatnonzero(X.valid), self.training
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        self.eval()
        try:
            with torch.inference_mode():
                parts = []
                # An empty selection still tells the width of the result.
                for start in range(0, max(len(rows), 1), batch_size):
                    batch = X.batch(rows[start : start + batch_size]).to(device)
                    parts.append(reduce(self(batch), batch).cpu())
        finally:
            self.train(training)
        values = torch.cat(parts).numpy()
        result = np.full((len(X), values.shape[1]), np.nan, dtype=values.dtype)
        result[rows] = values
        return result

    def _check_schema(self, schema: GraphSchema) -> None:
        """Refuse graphs that the weights are not made for."""
        name = type(self).__name__
        if self.schema is None:
            raise ValueError(
                f"{name} has no weights yet: load it with from_checkpoint, or take the "
                "encoder of a fitted estimator. (In a class of your own, build has to "
                "call super().build(schema).)"
            )
        if schema != self.schema:
            raise ValueError(
                f"The weights of {name} belong to graphs of schema "
                f"{self.schema.name!r}, but these have "
                f"{self.schema.difference(schema)} (weights against graphs). Featurize "
                f'with SmilesToGraph(features="{self.schema.name}").'
            )


_READOUTS: dict[str, Callable[[Tensor, GraphBatch], Tensor]] = {
    "mean": lambda states, batch: batch.membership.mean(states),
    "sum": lambda states, batch: batch.membership.sum(states),
}


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

    def linear(self, width: int, *, bias: bool = True, spare: int = 0) -> nn.Module:
        """Make a linear layer on the expansion, scaled for its sparse rows.

        ``spare`` further columns, whose weights start at zero, stand behind it.
        """
        n_columns = self.width + spare
        if not n_columns:
            return Zero(width)
        layer = nn.Linear(n_columns, width, bias=bias)
        bound = max(self.n_active, 1) ** -0.5
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound)
            layer.weight[:, self.width :] = 0.0
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


def check_counts(encoder: GraphEncoder, **least: int) -> None:
    """Refuse a parameter that is no integer, or below its least value."""
    for name, smallest in least.items():
        value = getattr(encoder, name)
        if not isinstance(value, Integral) or int(value) < smallest:
            raise ValueError(
                f"{name} must be an integer >= {smallest}, got {encoder!r}."
            )


def make_norm(norm: str | None, width: int) -> nn.Module:
    """Make the normalisation layer that an encoder's ``norm`` names."""
    layers = {"batch": BatchNorm, "layer": nn.LayerNorm}
    if norm is None:
        return nn.Identity()
    if norm not in layers:
        raise ValueError(f"norm must be one of {sorted(layers)} or None, got {norm!r}.")
    return layers[norm](width)
