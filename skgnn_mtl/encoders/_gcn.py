"""Graph convolutional network."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch

from ._checkpoint import Published
from ._stack import EdgeColumns, LayerStack

# The tensors of GCN and of GraphSAGE.
LINEAR = Published(
    names={"linear.weight": "linear.weight", "linear.bias": "linear.bias"},
    shapes=lambda width: {"linear.weight": (width, width), "linear.bias": (width,)},
)


class GCN(LayerStack):
    r"""Graph convolutional network with bond features, in the form of Hu et al. (2020).

    .. math::

        h_v' = \sum_{u \in N(v) \cup v} \frac{W h_u + b + e_{uv}}{\sqrt{d_u d_v}},

    with node states :math:`h_v` of shape (width,), where :math:`d_v` is the number of
    neighbours of v plus one for the self-loop. The self-loop has its own embedding.

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

    Raises
    ------
    ValueError
        In ``build``, if a parameter does not have a valid value.

    See Also
    --------
    GIN : Graph isomorphism network.
    GraphSAGE : Mean of the neighbours beside the node.
    GAT : Attention over the neighbours.

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

    _published: ClassVar[Published] = LINEAR

    def __init__(
        self,
        width: int = 300,
        *,
        n_layers: int = 5,
        norm: str | None = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_layers = n_layers
        self.norm = norm
        self.activation = activation
        self.dropout = dropout

    def _make_layer(self, edges: EdgeColumns) -> nn.Module:
        return _GCNLayer(self.width, edges)


class _GCNLayer(nn.Module):
    def __init__(self, width: int, edges: EdgeColumns) -> None:
        super().__init__()
        self.edge_embedding = edges.embedding(width)
        self.linear = nn.Linear(width, width)

    def forward(
        self, h: Tensor, rows: Tensor, loop: Tensor, batch: GraphBatch
    ) -> Tensor:
        # Before and after the sum, because the weight is d_u^(-1/2) d_v^(-1/2).
        scale = (batch.target.counts + 1).to(h.dtype).rsqrt()[:, None]
        x: Tensor = scale * self.linear(h)
        # Summed before the embedding, because it is linear and nodes are fewer.
        bonds = batch.target.sum(batch.source.gather(scale) * rows) + scale * loop
        neighbours = batch.target.transfer(x, batch.source)
        updated: Tensor = scale * (neighbours + x + self.edge_embedding(bonds))
        return updated
