"""GraphSAGE: means over neighbourhoods, rows of length one."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch

from ._checkpoint import Published
from ._gcn import LINEAR
from ._stack import EdgeColumns, LayerStack


class GraphSAGE(LayerStack):
    r"""GraphSAGE with bond features, in the form of Hu et al. (2020).

    .. math::

        a_v = \frac{1}{d_v} \sum_{u \in N(v) \cup v} (W h_u + b + e_{uv}), \qquad
        h_v' = a_v / \max(\|a_v\|, 10^{-12}),

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
    GCN : Graph convolution.
    GIN : Graph isomorphism network.
    GAT : Attention over the neighbours.

    References
    ----------
    .. [1] W. Hamilton et al., "Inductive Representation Learning on Large Graphs",
       NeurIPS 2017.
    .. [2] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.encoders import GraphSAGE
    >>> GraphSAGE(n_layers=3)
    GraphSAGE(n_layers=3)
    """

    _published: ClassVar[Published] = replace(LINEAR, unit_rows=True)

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
        return _SAGELayer(self.width, edges)


class _SAGELayer(nn.Module):
    def __init__(self, width: int, edges: EdgeColumns) -> None:
        super().__init__()
        self.edge_embedding = edges.embedding(width)
        self.linear = nn.Linear(width, width)

    def forward(
        self, h: Tensor, rows: Tensor, loop: Tensor, batch: GraphBatch
    ) -> Tensor:
        x = self.linear(h)
        # Summed before the embedding, because it is linear and nodes are fewer.
        bonds = self.edge_embedding(batch.target.sum(rows) + loop)
        a: Tensor = batch.target.transfer(x, batch.source) + x + bonds
        a = a / (batch.target.counts + 1).to(a.dtype)[:, None]
        norms: Tensor = a.norm(dim=1, keepdim=True)
        return a / norms.clamp(min=1e-12)
