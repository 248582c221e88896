"""Neighbourhoods of atoms, matched to the ring of atoms around them."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, ClassVar

import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional as F

from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import GraphBatch, GraphSchema, Incidence

from ._base import AuxiliaryTask, BatchContext, NodeEncoder

_POSITIVE = Numbers(Integral, 1, None, closed="left")


class ContextPrediction(AuxiliaryTask):
    r"""Match neighbourhoods to their contexts: context prediction of Hu et al. (2020).

    S are the nodes within distance k of a random root of each molecule. R is the ring
    of the nodes at distances k to k - 1 + c. The encoder on S gives the state s of the
    root. A smaller network of the same kind on R gives t, the mean over the nodes at
    distance k; both have the shape (width,). The loss separates the context of a root
    from those of other molecules:

    .. math:: \operatorname*{mean}_j \log(1 + e^{-s_j^\top t_j})
        + n\, \operatorname*{mean}_{j, j'} \log(1 + e^{s_j^\top t_{j'}}).

    Parameters
    ----------
    context_size : int, default=3
        Width c of the ring in bonds, and number of layers of the context network.
    n_negatives : int, default=1
        Number n of contexts of other molecules, the next ones of the batch.
    radius : int or None, default=None
        Distance k in bonds; None is the number of layers of the encoder.
    scaling : {"unit", "released"}, default="unit"
        "unit" divides scores by the square root of the width, and the loss by its
        chance value (1 + n) log 2.

    Raises
    ------
    ValueError
        In ``build``, if a parameter is not an integer >= 1, if the edges are not bonds,
        or if the encoder does not have ``n_layers``.

    See Also
    --------
    EdgePrediction : Tells bonded pairs of atoms from others.
    Infomax : Tells the nodes of a graph from those of others.

    Notes
    -----
    Molecules without a node at distance k from the root do not have a context. They are
    left out.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **AuxiliaryTask._parameter_constraints,
        "context_size": [_POSITIVE],
        "n_negatives": [_POSITIVE],
        "radius": [None, _POSITIVE],
    }

    def __init__(
        self,
        context_size: int = 3,
        *,
        n_negatives: int = 1,
        radius: int | None = None,
        scaling: str = "unit",
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
            The built encoder; the context network has its class and width.
        """
        super().build(schema, encoder)
        if not schema.paired_edges:
            raise ValueError(
                "ContextPrediction counts bonds between atoms, but the edges of schema "
                f"{schema.name!r} are not bonds in both directions."
            )
        core = encoder.core
        if not hasattr(core, "n_layers"):
            raise ValueError(f"ContextPrediction needs n_layers, but got {encoder!r}.")
        self.k = core.n_layers if self.radius is None else self.radius
        if self.k < 1:
            raise ValueError(
                f"ContextPrediction needs an encoder with layers, or a radius, but got "
                f"{encoder!r}."
            )
        self.network = clone(core).set_params(n_layers=self.context_size)
        self.network.build(schema)
        self.scale = encoder.width**-0.5

    @property
    def chance(self) -> float:
        """Logistic loss of zero scores, (1 + n) log 2."""
        chance: float = (1 + self.n_negatives) * math.log(2.0)
        return chance

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
            None if ``n_negatives`` or fewer molecules have a context.
        """
        batch, k = context.batch, self.k
        first, counts = context.first_nodes()
        roots = first + (context.uniform(len(counts)) * counts).long()
        distance = _distances(batch, roots[counts > 0], k - 1 + self.context_size)
        anchors = distance == k
        has_context = torch.zeros_like(counts, dtype=torch.bool)
        has_context[batch.graph_of_node[anchors]] = True
        graphs = has_context.nonzero()[:, 0]
        if len(graphs) <= self.n_negatives:
            return None
        inside = has_context[batch.graph_of_node] & (distance >= 0)
        near, position = batch.induced(inside & (distance <= k))
        s = context.encoder(near)[position[roots[graphs]]]
        ring, position = batch.induced(inside & (distance >= k))
        states = self.network(ring)[position[anchors]]
        anchored = Incidence(batch.graph_of_node[anchors], batch.n_graphs)
        t = anchored.mean(states)[graphs]
        return self._loss(s * self.scale if self.scaling == "unit" else s, t)

    def _loss(self, s: Tensor, t: Tensor) -> Tensor:
        own = F.softplus(-(s * t).sum(dim=1)).mean()
        others = [
            F.softplus((s * t.roll(-shift, dims=0)).sum(dim=1)).mean()
            for shift in range(1, self.n_negatives + 1)
        ]
        return own + torch.stack(others).sum()


def _distances(batch: GraphBatch, roots: Tensor, most: int) -> Tensor:
    """Count the bonds from the root of its graph to each node, -1 beyond ``most``."""
    distance = batch.graph_of_node.new_full((batch.n_nodes,), -1)
    distance[roots] = 0
    source, target = batch.edge_index
    for d in range(1, most + 1):
        reached = target[distance[source] == d - 1]
        new = torch.zeros_like(distance, dtype=torch.bool)
        new[reached] = True
        distance[new & (distance < 0)] = d
    return distance
