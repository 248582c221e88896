"""Graph isomorphism network."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch

from ._base import get_activation
from ._checkpoint import Published
from ._stack import EdgeColumns, LayerStack


class GIN(LayerStack):
    r"""Graph isomorphism network with bond features, in the form of Hu et al. (2020).

    .. math::

        m_v = \sum_{u \in N(v)} (h_u + e_{uv}) + h_v + e_\circ, \qquad
        h_v' = W_2\,\sigma(W_1 m_v + b_1) + b_2,

    with node states :math:`h_v` of shape (width,), and the embeddings :math:`e_{uv}` of
    the bond and :math:`e_\circ` of the self-loop, which each layer has. The hidden
    layer has twice the width.

    Parameters
    ----------
    width : int, default=300
        Width of the node states.
    n_layers : int, default=5
        Rounds of message passing.
    norm : {"batch", "layer"} or None, default="batch"
        Normalisation after each layer.
    activation : {"relu", "elu", "gelu", "silu", "softplus", "tanh"}, default="relu"
        Nonlinearity; choose a smooth one to study curvature.
    dropout : float, default=0.0
        Probability that a component of a node state is dropped.

    Raises
    ------
    ValueError
        In ``build``, if a parameter does not have a valid value.

    See Also
    --------
    GCN : Graph convolution.
    GraphSAGE : Mean of the neighbours beside the node.
    GAT : Attention over the neighbours.

    References
    ----------
    .. [1] K. Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019.
    .. [2] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.encoders import GIN
    >>> GIN(width=64, norm=None)
    GIN(norm=None, width=64)
    """

    _published: ClassVar[Published] = Published(
        names={
            f"{linear}.{kind}": f"mlp.{position}.{kind}"
            for linear, position in (("expand", 0), ("contract", 2))
            for kind in ("weight", "bias")
        },
        shapes=lambda width: {
            "mlp.0.weight": (2 * width, width),
            "mlp.0.bias": (2 * width,),
            "mlp.2.weight": (width, 2 * width),
            "mlp.2.bias": (width,),
        },
    )

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
        return _GINLayer(self.width, edges, self.activation)


class _GINLayer(nn.Module):
    def __init__(self, width: int, edges: EdgeColumns, activation: str) -> None:
        super().__init__()
        self.edge_embedding = edges.embedding(width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.activation = get_activation(activation)

    def forward(
        self, h: Tensor, rows: Tensor, loop: Tensor, batch: GraphBatch
    ) -> Tensor:
        # Summed before the embedding, because it is linear and nodes are fewer.
        bonds = self.edge_embedding(batch.target.sum(rows) + loop)
        m = batch.target.transfer(h, batch.source) + h + bonds
        updated: Tensor = self.contract(self.activation(self.expand(m)))
        return updated
