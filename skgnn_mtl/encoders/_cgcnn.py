"""Crystal graph convolutional neural network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch, GraphSchema

from ._base import Columns, GraphEncoder, Zero, check_counts, get_activation, make_norm

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
    The edge carries its distance d in Å, expanded where the network computes:
    :math:`u_k = \exp(-((d - \mu_k) / s)^2)` with centres :math:`\mu_k = 0, s, 2s, ...`
    up to ``max_distance``.

    Parameters
    ----------
    width : int, default=64
        Width of the node states.
    n_layers : int, default=3
        Convolutions.
    aggregation : {"sum", "mean"}, default="sum"
        How the messages of the neighbours are combined. The paper sums over exactly 12;
        where whole shells are kept the number of neighbours varies, and becomes a
        feature of the sum. It is one of the crystal, and it helps: see Notes.
    max_distance, step : float, default=8.0, 0.2
        Last centre of the Gaussians and the distance between two, which is also their
        width; in Å.
    norm : {"batch", "layer"} or None, default="batch"
        Normalisation of the messages and of what they amount to.
    activation : {"softplus", "elu", "gelu", "relu", "silu", "tanh"}, default="softplus"
        The nonlinearity :math:`g`.
    dropout : float, default=0.0
        Probability that a component of a node state is dropped.

    Raises
    ------
    ValueError
        In ``build``, if a parameter is no possible value.

    See Also
    --------
    skgnn_mtl.CifToGraph : Makes the graphs.
    skgnn_mtl.MultiTaskGNNRegressor.from_cgcnn : Reads published weights.

    Notes
    -----
    The mean forgets how many neighbours there are; on elastic moduli its errors were
    larger than those of the sum (page "Measured figures"). Both give one prediction for
    all descriptions of a crystal.

    The maps are applied to their three parts apart: an atom's share is computed once,
    not for each of its edges, which is the same at a third of the cost. Other edge
    columns, and those of graphs without distances, enter u beside the Gaussians.

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

    def __init__(
        self,
        width=64,
        *,
        n_layers=3,
        aggregation="sum",
        max_distance=8.0,
        step=0.2,
        norm="batch",
        activation="softplus",
        dropout=0.0,
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
        check_counts(self, width=1, n_layers=0)
        super().build(schema)
        get_activation(self.activation)
        if self.aggregation not in ("mean", "sum"):
            raise ValueError(
                f"aggregation must be 'mean' or 'sum', got {self.aggregation!r}."
            )
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
            One row a node.
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
            What the first layer receives.
        """
        return self.embedding(self.nodes(batch.node_codes, batch.node_features))

    def propagate(self, embedded: Tensor, batch: GraphBatch) -> Tensor:
        """Run the layers on embedded nodes.

        Parameters
        ----------
        embedded : Tensor of shape (n_nodes, width)
            What :meth:`embed_nodes` gives.
        batch : GraphBatch
            The graphs.

        Returns
        -------
        states : Tensor of shape (n_nodes, width)
            One row a node.
        """
        v, u = embedded, self.edges(batch)
        for layer in self.layers:
            v = self.drop(layer(v, u, batch))
        return v


class DistanceColumns(nn.Module):
    """Edge columns, with Gaussians in place of the column "distance".

    Parameters
    ----------
    schema : GraphSchema
        Meaning of the columns.
    max_distance, step : float
        Last centre and distance of the centres, in Å.
    """

    centers: Tensor

    def __init__(self, schema: GraphSchema, max_distance: float, step: float) -> None:
        super().__init__()
        if not 0 < step <= max_distance:
            raise ValueError(
                f"step must lie between 0 and max_distance={max_distance}, got {step}."
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
        rows = self.columns(batch.edge_codes, batch.edge_features[:, self.others])
        if self.position is None:
            return rows
        distance = batch.edge_features[:, self.position, None]
        # The largest array of the network: one piece of memory does.
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
        combine = getattr(batch.target, self.aggregation)
        return self.activation(v + self.norm(combine(messages)))


class _EdgeMap(nn.Module):
    """Normalised linear map of [v_i, v_j, u_ij], one row an edge."""

    def __init__(self, encoder: CGCNN, edge_width: int) -> None:
        super().__init__()
        width = encoder.width
        # As one linear layer on all three would be initialised.
        bound = (2 * width + edge_width) ** -0.5
        self.center = _uniform(nn.Linear(width, width), bound)
        self.neighbor = _uniform(nn.Linear(width, width, bias=False), bound)
        self.edge: nn.Module = Zero(width)
        if edge_width:
            self.edge = _uniform(nn.Linear(edge_width, width, bias=False), bound)
        self.norm = make_norm(encoder.norm, width)

    def forward(self, v: Tensor, u: Tensor, batch: GraphBatch) -> Tensor:
        z = self.edge(u)
        z += batch.target.gather(self.center(v))
        z += batch.source.gather(self.neighbor(v))
        return self.norm(z)


def _uniform(layer: nn.Linear, bound: float) -> nn.Linear:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound)
    return layer
