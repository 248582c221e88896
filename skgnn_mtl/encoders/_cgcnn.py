"""Crystal graph convolutional neural network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import GraphBatch, GraphSchema

from ._base import COMMON, Columns, GraphEncoder, Zero, get_activation, make_norm

# Name of the edge column that is a distance.
DISTANCE = "distance"


class CGCNN(GraphEncoder):
    r"""Crystal graph convolutional network of Xie and Grossman (2018).

    Each layer adds to an atom i the gated messages of its neighbours j,

    .. math::

        z^f_{ij} &= B_f(W_f\,[v_i, v_j, u_{ij}] + b_f), \quad
        z^s_{ij} = B_s(W_s\,[v_i, v_j, u_{ij}] + b_s), \\
        v_i' &= g\Big(v_i + B\big(\textstyle\bigoplus_{j} \sigma(z^f_{ij}) \odot
        g(z^s_{ij})\big)\Big),

    with states :math:`v` of shape (width,), the logistic function :math:`\sigma`, the
    softplus :math:`g`, batch normalisations :math:`B_f, B_s` over edges and :math:`B`
    over atoms, and the sum or the mean :math:`\bigoplus` over the edges arriving at i.
    The network expands the distance d of an edge, in Å, to Gaussians
    :math:`u_k = \exp(-((d - \mu_k) / s)^2)` with centres :math:`\mu_k = 0, s, 2s, ...`
    up to ``max_distance``.

    Parameters
    ----------
    width : int, default=64
        Width of the node states.
    n_layers : int, default=3
        Convolutions.
    aggregation : {"sum", "mean"}, default="sum"
        Reduction over the neighbours. The paper sums over exactly 12 neighbours. Where
        whole shells are kept, their number varies, and the sum depends on it; see
        Notes.
    max_distance, step : float, default=8.0, 0.2
        Last centre of the Gaussians, and the distance between two centres, which is
        also their width; in Å.
    norm : {"batch", "layer"} or None, default="batch"
        Normalisation of the messages and of their reduction.
    activation : {"softplus", "elu", "gelu", "relu", "silu", "tanh"}, default="softplus"
        The nonlinearity :math:`g`.
    dropout : float, default=0.0
        Probability that a component of a node state is dropped.

    Raises
    ------
    ValueError
        In ``build``, if a parameter does not have a valid value.

    See Also
    --------
    skgnn_mtl.CifToGraph : Makes the graphs.
    skgnn_mtl.MultiTaskGNNRegressor.from_cgcnn : Reads published weights.

    Notes
    -----
    The mean does not depend on the number of neighbours; on elastic moduli its errors
    were larger than those of the sum (page "Measured figures"). Both give the same
    prediction for all descriptions of a crystal.

    Each linear map is applied to its three parts separately. The part of an atom is
    computed once, not once per edge, which gives the same result at a third of the
    cost. Other edge columns enter u after the Gaussians.

    References
    ----------
    .. [1] T. Xie, J. C. Grossman, "Crystal Graph Convolutional Neural Networks for an
       Accurate and Interpretable Prediction of Material Properties", Phys. Rev. Lett.
       120, 145301 (2018).

    Examples
    --------
    >>> from skgnn_mtl.encoders import CGCNN
    >>> CGCNN(n_layers=4, aggregation="mean")
    CGCNN(aggregation='mean', n_layers=4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **COMMON,
        "aggregation": [StrOptions({"mean", "sum"})],
        "max_distance": [Numbers(Real, 0, None, closed="neither")],
        "step": [Numbers(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        width: int = 64,
        *,
        n_layers: int = 3,
        aggregation: str = "sum",
        max_distance: float = 8.0,
        step: float = 0.2,
        norm: str | None = "batch",
        activation: str = "softplus",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_layers = n_layers
        self.aggregation = aggregation
        self.max_distance = max_distance
        self.step = step
        self.norm = norm
        self.activation = activation
        self.dropout = dropout

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
        self.edges = DistanceColumns(schema, self.max_distance, self.step)
        self.embedding = self.nodes.linear(self.width)
        self.layers = nn.ModuleList(
            _Convolution(self, self.edges.width) for _ in range(self.n_layers)
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
        return self.propagate(self.embed_nodes(batch), batch)

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
        v, u = embedded, self.edges(batch)
        for layer in self.layers:
            v = self.drop(layer(v, u, batch))
        return v

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


class DistanceColumns(nn.Module):
    """Expand the edge columns, the column "distance" to Gaussians.

    Parameters
    ----------
    schema : GraphSchema
        Meaning of the columns.
    max_distance, step : float
        Last centre, and distance between two centres, in Å.
    """

    centers: Tensor

    def __init__(self, schema: GraphSchema, max_distance: float, step: float) -> None:
        super().__init__()
        if step > max_distance:
            raise ValueError(
                f"step must be at most max_distance={max_distance}, got {step}."
            )
        names = schema.edge_features
        self.step = step
        self.position = names.index(DISTANCE) if DISTANCE in names else None
        self.others = [k for k, name in enumerate(names) if name != DISTANCE]
        self.columns = Columns(schema.edge_columns, [names[k] for k in self.others])
        n_centers = 0 if self.position is None else round(max_distance / step) + 1
        centers = torch.arange(n_centers, dtype=torch.get_default_dtype()) * step
        self.register_buffer("centers", centers, persistent=False)

    @property
    def width(self) -> int:
        """Width of the expansion."""
        return len(self.centers) + self.columns.width

    def forward(self, batch: GraphBatch) -> Tensor:
        """Expand to a matrix of shape (n_edges, width)."""
        others = batch.edge_features[:, self.others]
        rows: Tensor = self.columns(batch.edge_codes, others)
        if self.position is None:
            return rows
        distance = batch.edge_features[:, self.position, None]
        # In place, because this is the largest array of the network.
        gaussians = (distance - self.centers).div_(self.step).square_().neg_().exp_()
        return torch.cat([gaussians, rows], dim=1) if rows.shape[1] else gaussians


class _Convolution(nn.Module):
    def __init__(self, encoder: CGCNN, edge_width: int) -> None:
        super().__init__()
        self.gate = _EdgeMap(encoder, edge_width)
        self.core = _EdgeMap(encoder, edge_width)
        self.norm = make_norm(encoder.norm, encoder.width)
        self.activation = get_activation(encoder.activation)
        self.aggregation = encoder.aggregation

    def forward(self, v: Tensor, u: Tensor, batch: GraphBatch) -> Tensor:
        gate = torch.sigmoid(self.gate(v, u, batch))
        messages = gate * self.activation(self.core(v, u, batch))
        reduce = batch.target.sum if self.aggregation == "sum" else batch.target.mean
        return self.activation(v + self.norm(reduce(messages)))


class _EdgeMap(nn.Module):
    """Normalised linear map of [v_i, v_j, u_ij], one row per edge."""

    def __init__(self, encoder: CGCNN, edge_width: int) -> None:
        super().__init__()
        width = encoder.width
        # The range of one linear layer on all three parts, because the paper has one.
        bound = (2 * width + edge_width) ** -0.5
        self.center = _uniform(nn.Linear(width, width), bound)
        self.neighbor = _uniform(nn.Linear(width, width, bias=False), bound)
        self.edge: nn.Module = Zero(width)
        if edge_width:
            self.edge = _uniform(nn.Linear(edge_width, width, bias=False), bound)
        self.norm = make_norm(encoder.norm, width)

    def forward(self, v: Tensor, u: Tensor, batch: GraphBatch) -> Tensor:
        z: Tensor = self.edge(u)
        # In place, because a further array of this size costs time and memory.
        z += batch.target.gather(self.center(v))
        z += batch.source.gather(self.neighbor(v))
        normalised: Tensor = self.norm(z)
        return normalised


def _uniform(layer: nn.Linear, bound: float) -> nn.Linear:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound)
    return layer
