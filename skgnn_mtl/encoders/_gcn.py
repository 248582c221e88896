"""Graph convolutional network."""

from __future__ import annotations

from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch

from ._base import Columns
from ._stack import LayerStack


class GCN(LayerStack):
    r"""Graph convolutional network with bond features, in the form of Hu et al. (2020).

    .. math::

        h_v' = \sum_{u \in N(v) \cup v} \frac{W h_u + b + e_{uv}}{\sqrt{d_u d_v}},

    where :math:`d_v` is the number of neighbours of v plus one, for the self-loop.

    Parameters
    ----------
    width : int, default=300
        Width of the node states.
    n_layers : int, default=5
        Rounds of message passing.
    norm : {"batch", "layer"} or None, default="batch"
        Normalisation after each layer.
    activation : {"relu", "elu", "gelu", "silu", "softplus", "tanh"}, default="relu"
        Nonlinearity.
    dropout : float, default=0.0
        Probability that a component of a node state is dropped.

    References
    ----------
    .. [1] T. Kipf, M. Welling, "Semi-Supervised Classification with Graph
       Convolutional Networks", ICLR 2017.
    .. [2] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.encoders import GCN
    >>> GCN(n_layers=3)
    GCN(n_layers=3)
    """

    def __init__(
        self, width=300, *, n_layers=5, norm="batch", activation="relu", dropout=0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.n_layers = n_layers
        self.norm = norm
        self.activation = activation
        self.dropout = dropout

    def _make_layer(self, edges: Columns) -> nn.Module:
        return _GCNLayer(self.width, edges)


class _GCNLayer(nn.Module):
    def __init__(self, width: int, edges: Columns) -> None:
        super().__init__()
        self.edge_embedding = edges.linear(width, bias=False)
        self.linear = nn.Linear(width, width)
        self.loop = nn.Parameter(self.linear.bias.detach().clone().zero_())

    def forward(self, h: Tensor, edge_rows: Tensor, batch: GraphBatch) -> Tensor:
        # d^(-1/2) is applied on either side of the sum over neighbours.
        scale = (batch.target.counts + 1).to(h.dtype).rsqrt()[:, None]
        x = scale * self.linear(h)
        bonds = self.edge_embedding(
            batch.target.sum(batch.source.gather(scale) * edge_rows)
        )
        neighbours = batch.target.sum(batch.source.gather(x))
        return scale * (neighbours + bonds + x + scale * self.loop)
