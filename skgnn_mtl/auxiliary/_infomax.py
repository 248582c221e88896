"""Nodes, matched to the summary of their own graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphSchema

from ._base import AuxiliaryTask, BatchContext, NodeEncoder


class Infomax(AuxiliaryTask):
    r"""Match nodes to the summary of their graph: deep graph infomax.

    The loss is that of Velickovic et al. (2019), in the form of Hu et al. (2020). It
    favours a high score q of a node with the summary of its own graph G. It favours a
    low score with the summary of the next graph G' of the batch:

    .. math::

        q(v, G) = \mathrm{sigmoid}\Bigl(\operatorname*{mean}_{u \in G} h_u\Bigr)^\top
        W h_v, \qquad
        \operatorname*{mean}_v \log(1 + e^{-q(v, G_v)})
        + \operatorname*{mean}_v \log(1 + e^{q(v, G_v')}).

    with node states :math:`h` of shape (width,) and a matrix W of shape (width, width).

    Parameters
    ----------
    scaling : {"unit", "released"}, default="unit"
        "unit" divides the loss by its chance value 2 log 2.

    See Also
    --------
    ContextPrediction : Tells the surroundings of an atom from those of others.

    References
    ----------
    .. [1] P. Velickovic et al., "Deep Graph Infomax", ICLR 2019.
    .. [2] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import Infomax
    >>> Infomax()
    Infomax()
    """

    def __init__(self, *, scaling: str = "unit") -> None:
        super().__init__()
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the matrix W of shape (width, width).

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        super().build(schema, encoder)
        bound = encoder.width**-0.5
        weight = torch.empty(encoder.width, encoder.width).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)

    @property
    def chance(self) -> float:
        """Logistic loss of zero scores on both means, 2 log 2."""
        return 2.0 * math.log(2.0)

    def forward(self, context: BatchContext, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        context : BatchContext
            The batch, its states, and a source of randomness.
        columns : Tensor of shape (n_graphs, 0)
            Not used.

        Returns
        -------
        loss : Tensor of shape (), or None
            Sum of both means; None for a single graph, which does not have a next one.
        """
        batch = context.batch
        if batch.n_graphs < 2 or not batch.n_nodes:
            return None
        summary = torch.sigmoid(batch.membership.mean(context.nodes)) @ self.weight
        own = batch.membership.gather(summary)
        other = batch.membership.gather(summary.roll(-1, dims=0))
        matched, foreign = ((s * context.nodes).sum(dim=1) for s in (own, other))
        return F.softplus(-matched).mean() + F.softplus(foreign).mean()
