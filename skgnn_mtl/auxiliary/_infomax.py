"""Nodes matched to the summary of their own graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphSchema

from ._base import AuxiliaryTask, NodeEncoder, PlainPass


class Infomax(AuxiliaryTask):
    r"""Deep graph infomax of Velickovic et al. (2019), as used by Hu et al. (2020).

    A node should score high with its own graph's summary and low with that of the next
    graph of the batch:

    .. math::

        q(v, G) = \mathrm{sigmoid}\Bigl(\operatorname*{mean}_{u \in G} h_u\Bigr)^\top
        W h_v, \qquad
        \operatorname*{mean}_v \log(1 + e^{-q(v, G_v)})
        + \operatorname*{mean}_v \log(1 + e^{q(v, G_v')}).

    Parameters
    ----------
    scaling : {"unit", "released"}, default="unit"
        "unit" divides the loss by its chance value 2 log 2.

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

    def __init__(self, *, scaling="unit") -> None:
        super().__init__()
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the matrix W.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        bound = encoder.width**-0.5
        weight = torch.empty(encoder.width, encoder.width).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)

    @property
    def chance(self) -> float:
        """Two coins."""
        return 2.0 * math.log(2.0)

    def forward(self, seen: PlainPass, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        seen : PlainPass
            The batch, its states, and a source of randomness.
        columns : Tensor of shape (n_graphs, 0)
            Not used.

        Returns
        -------
        loss : Tensor of shape (), or None
            The sum of both means; None for a single graph, which has no other.
        """
        batch = seen.batch
        if batch.n_graphs < 2 or not batch.n_nodes:
            return None
        summary = torch.sigmoid(batch.membership.mean(seen.nodes)) @ self.weight
        own = batch.membership.gather(summary)
        other = batch.membership.gather(summary.roll(-1, dims=0))
        matched, foreign = ((s * seen.nodes).sum(dim=1) for s in (own, other))
        return F.softplus(-matched).mean() + F.softplus(foreign).mean()
