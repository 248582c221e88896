"""The readouts: sum, mean and attention."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from skgnn_mtl._activations import ACTIVATIONS, get_activation
from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import GraphBatch

from ._base import Readout


class Sum(Readout):
    r"""Sum the node states, :math:`z = \frac{1}{c} \sum_v h_v`.

    The vectors :math:`h_v` and :math:`z` have the shape (width,). The result grows with
    the graph, as extensive properties do.

    Parameters
    ----------
    norm : float, default=1.0
        The constant :math:`c`. With 100 this is chemprop's "norm" aggregation.

    See Also
    --------
    Mean : Mean over the nodes.
    Attention : Weighted mean with learned weights.

    References
    ----------
    .. [1] K. Yang et al., "Analyzing Learned Molecular Representations for Property
       Prediction", J. Chem. Inf. Model. 59, 3370 (2019).

    Examples
    --------
    >>> from skgnn_mtl.readouts import Sum
    >>> Sum(norm=100)
    Sum(norm=100)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "norm": [Numbers(Real, 0, None, closed="neither")]
    }

    def __init__(self, norm: float = 1.0) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Reduce node states (n_nodes, width) to graph states (n_graphs, width)."""
        return batch.membership.sum(states) / self.norm


class Mean(Readout):
    r"""Average the node states, :math:`z = g(\frac{1}{n} \sum_v h_v)`.

    The vectors :math:`h_v` and :math:`z` have the shape (width,).

    Parameters
    ----------
    activation : str or None, default=None
        Nonlinearity :math:`g`, by its name in lower case: "relu", "silu", "softplus" as
        in CGCNN [1]_, and so on. None is the identity.

    Raises
    ------
    ValueError
        In ``build``, if there is no such activation.

    See Also
    --------
    Sum : Sum over the nodes.
    Attention : Weighted mean with learned weights.

    References
    ----------
    .. [1] T. Xie, J. C. Grossman, "Crystal Graph Convolutional Neural Networks for an
       Accurate and Interpretable Prediction of Material Properties", Phys. Rev. Lett.
       120, 145301 (2018).

    Examples
    --------
    >>> from skgnn_mtl.readouts import Mean
    >>> Mean()
    Mean()
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "activation": [None, StrOptions(set(ACTIVATIONS))]
    }

    def __init__(self, activation: str | None = None) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Reduce node states (n_nodes, width) to graph states (n_graphs, width)."""
        mean = batch.membership.mean(states)
        return (
            mean if self.activation is None else get_activation(self.activation)(mean)
        )


class Attention(Readout):
    r"""Average the node states with weights that are learned from them.

    For each of ``n_heads`` equal blocks of columns,
    :math:`z = \sum_v \mathrm{softmax}_v(a^T h_v)\, h_v^{\mathrm{block}}`. The vectors
    :math:`a` of shape (width,) start at zero, where the readout is the mean.

    Parameters
    ----------
    n_heads : int, default=1
        Blocks of columns, each with its own weights; must divide the encoder's width.

    Raises
    ------
    ValueError
        In ``build``, if ``n_heads`` does not divide the width.

    See Also
    --------
    Mean : Mean over the nodes.
    Sum : Sum over the nodes.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_heads": [Numbers(Integral, 1, None, closed="left")]
    }

    def __init__(self, n_heads: int = 1) -> None:
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
        super().build(width)
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
