"""The readouts: sum, mean and attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skgnn_mtl._activations import get_activation
from skgnn_mtl.graphs import GraphBatch

from ._base import Readout


class Sum(Readout):
    r"""Sum over nodes, :math:`z = \frac{1}{c} \sum_v h_v`: grows with the graph.

    Parameters
    ----------
    norm : float, default=1.0
        The constant :math:`c`. With 100 this is chemprop's "norm" aggregation.

    Examples
    --------
    >>> from skgnn_mtl.readouts import Sum
    >>> Sum(norm=100)
    Sum(norm=100)
    """

    def __init__(self, norm=1.0) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Reduce node states (n_nodes, width) to graph states (n_graphs, width)."""
        return batch.membership.sum(states) / self.norm


class Mean(Readout):
    r"""Mean over nodes, :math:`z = g(\frac{1}{n} \sum_v h_v)`.

    Parameters
    ----------
    activation : str or None, default=None
        Nonlinearity :math:`g`, "softplus" in CGCNN; None is the identity.

    Examples
    --------
    >>> from skgnn_mtl.readouts import Mean
    >>> Mean()
    Mean()
    """

    def __init__(self, activation=None) -> None:
        super().__init__()
        self.activation = activation

    def build(self, width: int) -> None:
        """Check the activation; there is nothing to learn.

        Parameters
        ----------
        width : int
            Width of the node states.
        """
        if self.activation is not None:
            get_activation(self.activation)

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Reduce node states (n_nodes, width) to graph states (n_graphs, width)."""
        mean = batch.membership.mean(states)
        return (
            mean if self.activation is None else get_activation(self.activation)(mean)
        )


class Attention(Readout):
    r"""Weighted mean over nodes, the weights learned from the states.

    For each of ``n_heads`` equal blocks of columns,
    :math:`z = \sum_v \mathrm{softmax}_v(a^T h_v)\, h_v^{\mathrm{block}}`. The vectors
    :math:`a` of shape (width,) start at zero, where the readout is the mean.

    Parameters
    ----------
    n_heads : int, default=1
        Blocks with weights of their own; it must divide the encoder's width.

    References
    ----------
    .. [1] Y. Li et al., "Gated Graph Sequence Neural Networks", ICLR 2016 (soft
       attention over nodes).

    Examples
    --------
    >>> from skgnn_mtl.readouts import Attention
    >>> Attention(n_heads=4)
    Attention(n_heads=4)
    """

    def __init__(self, n_heads=1) -> None:
        super().__init__()
        self.n_heads = n_heads

    def build(self, width: int) -> None:
        """Make the vectors that score the nodes.

        Parameters
        ----------
        width : int
            Width of the node states.

        Raises
        ------
        ValueError
            If ``n_heads`` does not divide the width.
        """
        if width % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} does not divide the encoder's width {width}."
            )
        self.vectors = nn.Parameter(torch.zeros(self.n_heads, width))

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Reduce node states (n_nodes, width) to graph states (n_graphs, width)."""
        weights = batch.membership.softmax(states @ self.vectors.t())
        blocks = states.unflatten(1, (self.n_heads, -1)) * weights[:, :, None]
        return batch.membership.sum(blocks.flatten(1))
