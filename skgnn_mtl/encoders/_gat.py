"""Graph attention network."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphBatch, Incidence

from ._base import COMMON, POSITIVE
from ._checkpoint import Published
from ._stack import EdgeColumns, LayerStack


class GAT(LayerStack):
    r"""Graph attention network with bond features, in the form of Hu et al. (2020).

    For each head, over the edges and the self-loop that arrive at v,

    .. math::

        m_{uv} = W h_u + b + e_{uv}, \quad
        s_{uv} = \mathrm{LeakyReLU}_{0.2}(a_1^T (W h_v + b) + a_2^T m_{uv}), \quad
        h_v' = \sum_u \frac{e^{s_{uv} - M_v}}
        {\sum_{u'} e^{s_{u'v} - M_v} + 10^{-16}}\, m_{uv}, \quad
        M_v = \max(0, \max_u s_{uv}),

    with states, messages and vectors :math:`h, m, a` of shape (width,). The result is
    the mean over the heads, each of full width.

    Parameters
    ----------
    width : int, default=300
        Width of the node states and of each head.
    n_layers : int, default=5
        Rounds of message passing.
    n_heads : int, default=2
        Attention heads.
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
    GraphSAGE : Mean of the neighbours beside the node.

    Notes
    -----
    The weights of a node do not sum to one where all its scores are very negative. The
    library of 2019 that trained the published weights computes the same.

    References
    ----------
    .. [1] P. Velickovic et al., "Graph Attention Networks", ICLR 2018.
    .. [2] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.encoders import GAT
    >>> GAT(n_heads=4)
    GAT(n_heads=4)
    """

    _published: ClassVar[Published] = Published(
        names={
            "linear.weight": "weight_linear.weight",
            "linear.bias": "weight_linear.bias",
            "bias": "bias",
        },
        shapes=lambda width: {
            "weight_linear.weight": (2 * width, width),
            "weight_linear.bias": (2 * width,),
            "att": (1, 2, 2 * width),
            "bias": (width,),
        },
        n_heads=2,
    )

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **COMMON,
        "n_heads": POSITIVE,
    }

    def __init__(
        self,
        width: int = 300,
        *,
        n_layers: int = 5,
        n_heads: int = 2,
        norm: str | None = "batch",
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.norm = norm
        self.activation = activation
        self.dropout = dropout

    def _make_layer(self, edges: EdgeColumns) -> nn.Module:
        return _GATLayer(self.width, self.n_heads, edges)


class _GATLayer(nn.Module):
    def __init__(self, width: int, n_heads: int, edges: EdgeColumns) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.linear = nn.Linear(width, n_heads * width)
        self.edge_embedding = edges.embedding(n_heads * width)
        self.att_target = nn.Parameter(torch.empty(n_heads, width))
        self.att_message = nn.Parameter(torch.empty(n_heads, width))
        nn.init.xavier_uniform_(self.att_target)
        nn.init.xavier_uniform_(self.att_message)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(
        self, h: Tensor, rows: Tensor, loop: Tensor, batch: GraphBatch
    ) -> Tensor:
        x, bonds = self.linear(h), self.edge_embedding(rows)
        messages = torch.cat(
            [batch.source.gather(x) + bonds, x + self.edge_embedding(loop)]
        )
        nodes = torch.arange(batch.n_nodes, device=h.device)
        target = Incidence(torch.cat([batch.target.owner, nodes]), batch.n_nodes)
        scores = target.gather(self._project(x, self.att_target))
        scores = scores + self._project(messages, self.att_message)
        # The shift and the floor of the class's formula, as in the published weights.
        alpha = target.softmax(F.leaky_relu(scores, 0.2), least_shift=0.0, floor=1e-16)
        weighted = alpha[:, :, None] * self._by_head(messages)
        out = self._by_head(target.sum(weighted.flatten(1)))
        return out.mean(dim=1) + self.bias

    def _by_head(self, x: Tensor) -> Tensor:
        blocks: Tensor = x.unflatten(1, (self.n_heads, -1))
        return blocks

    def _project(self, x: Tensor, vectors: Tensor) -> Tensor:
        return (self._by_head(x) * vectors).sum(dim=-1)
