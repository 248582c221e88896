"""The abstract encoder, and the maps from columns of a graph to numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import accumulate
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl._activations import ACTIVATIONS
from skgnn_mtl._activations import get_activation as get_activation
from skgnn_mtl._component import Component, Numbers, is_count
from skgnn_mtl.graphs import GraphArray, GraphBatch, GraphSchema


class GraphEncoder(Component, ABC):
    """Map a batch of graphs to node states of shape (n_nodes, width).

    An encoder must be equivariant to the order of the nodes and twice differentiable.
    In evaluation mode it must treat each graph of a batch on its own. It must accept a
    graph of one node without edges.

    Attributes
    ----------
    width : int
        Width of the node states; a constructor argument of every encoder.
    schema : GraphSchema or None
        The argument of ``build``; None before.
    lr_scale : float
        Factor on the learning rate of the encoder's parameters.

    See Also
    --------
    DMPNN : Directed message passing, the default for molecules.
    CGCNN : Crystal graph convolution.

    Examples
    --------
    An encoder of your own, which embeds each atom without its neighbours:

    >>> from torch import nn
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.encoders import GraphEncoder
    >>> class Atoms(GraphEncoder):
    ...     def __init__(self, width=8):
    ...         super().__init__()
    ...         self.width = width
    ...
    ...     def build(self, schema):
    ...         super().build(schema)
    ...         self.embedding = nn.Embedding(schema.node_columns[0][1], self.width)
    ...
    ...     def forward(self, batch):
    ...         return self.embedding(batch.node_codes[:, 0].long())
    >>> X = SmilesToGraph().transform(["CCO", "C"])
    >>> encoder = Atoms()
    >>> encoder.build(X.schema)
    >>> encoder(X.batch([0, 1])).shape
    torch.Size([4, 8])
    """

    width: int
    schema: GraphSchema | None = None
    lr_scale: float = 1.0

    @abstractmethod
    def build(self, schema: GraphSchema) -> None:
        """Check the parameters; then the learnable tensors can be made.

        An encoder calls ``super().build(schema)`` at the beginning of its own.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """
        self.check_parameters()
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
            One row per node.
        """

    @property
    def core(self) -> GraphEncoder:
        """The encoder that computes: itself, or the content of a wrapper."""
        return self

    def stages(self) -> list[list[nn.Module]]:
        """List the parts in the order of computation, the embedding of nodes first.

        Returns
        -------
        stages : list of list of Module
            Empty for an encoder that cannot be frozen layer by layer.
        """
        return []

    def cut(
        self, batch: GraphBatch
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
        """Cut the computation behind the rows of the nodes, for attributions.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        parts : tuple (rows, rest) or None
            The tensor ``rows`` of shape (n_nodes, n_columns) is all that the encoder
            reads from the nodes, one row per node; ``rest`` maps such rows, also
            changed ones, to the node states: ``rest(rows)`` is ``forward(batch)``. None
            for an encoder that does not offer the cut.
        """
        return None

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
            Map from the node states to one vector per graph. A callable maps
            (states, batch), as a built :class:`~skgnn_mtl.readouts.Readout` does.
        batch_size : int, default=256
            Graphs per batch.

        Returns
        -------
        embedding : ndarray of shape (n_graphs, width)
            One row per graph, NaN for an invalid one.

        Raises
        ------
        TypeError
            If X is not a GraphArray.
        ValueError
            If the encoder is not built, or was built for other columns.
        """
        if not isinstance(X, GraphArray):
            raise TypeError(
                f"X must be a GraphArray, got {type(X).__name__}; transform it with "
                "SmilesToGraph or CifToGraph first."
            )
        if not is_count(batch_size):
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
                # One batch even without rows, because it gives the result its width.
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
        """Check that the weights were made for graphs of this schema."""
        name = type(self).__name__
        if self.schema is None:
            raise ValueError(
                f"{name} does not have weights yet. Load it with from_checkpoint, or "
                "take the encoder of a fitted estimator. (In a class of your own, "
                "build must call super().build(schema).)"
            )
        difference = self.schema.structure.difference(schema.structure)
        if difference:
            raise ValueError(
                f"The weights of {name} belong to graphs of schema "
                f"{self.schema.name!r}, but these graphs differ in {difference} "
                f"(weights against graphs). Featurize "
                f'with SmilesToGraph(features="{self.schema.name}").'
            )


_READOUTS: dict[str, Callable[[Tensor, GraphBatch], Tensor]] = {
    "mean": lambda states, batch: batch.membership.mean(states),
    "sum": lambda states, batch: batch.membership.sum(states),
}


class Columns(nn.Module):
    """Expand categorical columns one-hot and append the continuous columns.

    Parameters
    ----------
    columns : tuple of (str, int)
        Names and cardinalities of the categorical columns.
    features : tuple of str
        Names of the continuous columns.
    table : tuple of tuple of float, default=()
        Row k replaces code k of the first categorical column. Its entries come first.
    """

    offsets: Tensor
    table: Tensor

    def __init__(
        self,
        columns: Sequence[tuple[str, int]],
        features: Sequence[str],
        table: Sequence[Sequence[float]] = (),
    ) -> None:
        super().__init__()
        self.has_table = bool(table)
        rows = torch.tensor(table or [[]], dtype=torch.get_default_dtype())
        self.register_buffer("table", rows, persistent=False)
        columns = columns[1:] if table else columns
        ends = [0, *accumulate(size for _, size in columns)]
        offsets = torch.tensor(ends[:-1], dtype=torch.int64)
        self.register_buffer("offsets", offsets, persistent=False)
        # From Python's numbers, because a tensor on "meta" does not have values.
        self.n_codes = ends[-1]
        self.n_features = len(features)
        # The scale of the next layer's weights follows the number of ones in a row, not
        # the width of the expansion, because all other entries are zero. The rows of a
        # table count with their mean square.
        self.n_active = len(columns) + len(features)
        if table:
            used = [row for row in table if any(row)]
            self.n_active += round(sum(x * x for row in used for x in row) / len(used))

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

        ``spare`` further columns follow the expansion; their weights start at zero.
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
    """Map rows without columns to zeros: graphs whose edges do not have columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, rows: Tensor) -> Tensor:
        return rows.new_zeros(rows.shape[0], self.width)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that accepts a training batch of a single node.

    The running statistics normalise such a row, because one row has no variance.
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


NORMS: dict[str, type[nn.Module]] = {"batch": BatchNorm, "layer": nn.LayerNorm}
# Constraints of the parameters that several encoders have.
POSITIVE = [Numbers(Integral, 1, None, closed="left")]
COMMON: dict[str, list[Any]] = {
    "width": POSITIVE,
    "n_layers": [Numbers(Integral, 0, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "norm": [None, StrOptions(set(NORMS))],
    "dropout": [Numbers(Real, 0, 1, closed="left")],
}


def make_norm(norm: str | None, width: int) -> nn.Module:
    """Make the normalisation layer that an encoder's ``norm`` names."""
    return nn.Identity() if norm is None else NORMS[norm](width)
