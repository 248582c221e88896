"""Neighbourhoods matched to the ring of atoms around them."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphBatch, GraphSchema

from ._base import AuxiliaryTask, NodeEncoder, PlainPass


class ContextPrediction(AuxiliaryTask):
    r"""Context prediction of Hu et al. (2020).

    Around a random root of each molecule, S are the nodes within distance k, and R the
    ring of those k to k - 1 + c away. The encoder on S gives the state s of the root;
    a smaller network of the same kind on R gives t, the mean over the nodes exactly k
    away. A root should know its own context from those of other molecules:

    .. math:: \operatorname*{mean}_j \log(1 + e^{-s_j^\top t_j})
        + n\, \operatorname*{mean}_{j, j'} \log(1 + e^{s_j^\top t_{j'}}).

    Parameters
    ----------
    context_size : int, default=3
        Width c of the ring, and layers of the context network.
    n_negatives : int, default=1
        Contexts n of other molecules, the next ones of the batch.
    radius : int or None, default=None
        Distance k; the number of layers of the encoder if None.
    scaling : {"unit", "released"}, default="unit"
        "unit" divides scores by the root of the width, and the loss by its chance value
        (1 + n) log 2.

    Raises
    ------
    ValueError
        In ``build``, if a parameter is no integer >= 1, if the edges are no bonds, or
        if the encoder has no ``n_layers``.

    Notes
    -----
    Molecules without a node k away from the root have no context and are left out.

    References
    ----------
    .. [1] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import ContextPrediction
    >>> ContextPrediction(context_size=2)
    ContextPrediction(context_size=2)
    """

    def __init__(
        self, context_size=3, *, n_negatives=1, radius=None, scaling="unit"
    ) -> None:
        super().__init__()
        self.context_size = context_size
        self.n_negatives = n_negatives
        self.radius = radius
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the context network.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder, whose class and width the network has.
        """
        if not schema.paired_edges:
            raise ValueError(
                "ContextPrediction counts bonds between atoms, but the edges of schema "
                f"{schema.name!r} are not bonds in both directions."
            )
        core = encoder.core
        if not hasattr(core, "n_layers"):
            raise ValueError(f"ContextPrediction needs n_layers, but got {encoder!r}.")
        self.k = core.n_layers if self.radius is None else self.radius
        for value in (self.context_size, self.n_negatives, self.k):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(
                    "context_size, n_negatives and radius must be integers >= 1, got "
                    f"{self!r}."
                )
        self.network = clone(core).set_params(n_layers=self.context_size)
        self.network.build(schema)
        self.scale = encoder.width**-0.5

    @property
    def chance(self) -> float:
        """A coin for each context."""
        return (1 + self.n_negatives) * math.log(2.0)

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
            None if no more than ``n_negatives`` molecules have a context.
        """
        batch, k = seen.batch, self.k
        first, counts = seen.first_nodes()
        roots = first + (seen.uniform(len(counts)) * counts).long()
        distance = _distances(batch, roots[counts > 0], k - 1 + self.context_size)
        anchors = distance == k
        has_context = torch.zeros_like(counts, dtype=torch.bool)
        has_context[batch.graph_of_node[anchors]] = True
        graphs = has_context.nonzero()[:, 0]
        if len(graphs) <= self.n_negatives:
            return None
        inside = has_context[batch.graph_of_node] & (distance >= 0)
        near, position = batch.induced(inside & (distance <= k))
        s = seen.encoder(near)[position[roots[graphs]]]
        ring, position = batch.induced(inside & (distance >= k))
        states, where = self.network(ring), position[anchors]
        sums = s.new_zeros(len(counts), s.shape[1])
        owner = batch.graph_of_node[anchors]
        sums = sums.index_add(0, owner, states[where])[graphs]
        t = sums / torch.bincount(owner, minlength=len(counts))[graphs, None]
        return self._loss(s * self.scale if self._unit else s, t)

    def _loss(self, s: Tensor, t: Tensor) -> Tensor:
        own = F.softplus(-(s * t).sum(dim=1)).mean()
        others = [
            F.softplus((s * t.roll(-shift, dims=0)).sum(dim=1)).mean()
            for shift in range(1, self.n_negatives + 1)
        ]
        return own + torch.stack(others).sum()


def _distances(batch: GraphBatch, roots: Tensor, most: int) -> Tensor:
    """Distance of each node from its graph's root, -1 beyond ``most``, (n_nodes,)."""
    distance = batch.graph_of_node.new_full((batch.n_nodes,), -1)
    distance[roots] = 0
    source, target = batch.edge_index
    for d in range(1, most + 1):
        reached = target[distance[source] == d - 1]
        new = torch.zeros_like(distance, dtype=torch.bool)
        new[reached] = True
        distance[new & (distance < 0)] = d
    return distance
