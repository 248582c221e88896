"""Bonds, distinguished from pairs of atoms without a bond."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphSchema

from ._base import AuxiliaryTask, BatchContext, NodeEncoder


class EdgePrediction(AuxiliaryTask):
    r"""Distinguish bonds from other pairs of atoms, after Hu et al. (2020).

    The score of a pair of nodes is the inner product of their states of shape (width,).
    The loss favours high scores of bonds and low scores of other pairs of the same
    molecule:

    .. math:: \operatorname*{mean}_{\mathrm{bonds}} \log(1 + e^{-h_u^\top h_v})
        + \operatorname*{mean}_{\mathrm{others}} \log(1 + e^{h_a^\top h_b}).

    A molecule of M bonds contributes the first M of 10 M random pairs that are two
    different nodes, not a bond, and not drawn before. Small molecules have fewer pairs.

    Parameters
    ----------
    scaling : {"unit", "released"}, default="unit"
        "unit" divides scores by the square root of the width, and the loss by its
        chance value 2 log 2.

    Raises
    ------
    ValueError
        In ``build``, if the edges are not bonds in both directions.

    See Also
    --------
    AtomMasking : Predicts masked atoms.
    ContextPrediction : Tells the surroundings of an atom from those of others.

    References
    ----------
    .. [1] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.
    .. [2] W. Hamilton et al., "Inductive Representation Learning on Large Graphs",
       NeurIPS 2017.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import EdgePrediction
    >>> EdgePrediction()
    EdgePrediction()
    """

    def __init__(self, *, scaling: str = "unit") -> None:
        super().__init__()
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Check that edges come in pairs; this task does not have a head.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        super().build(schema, encoder)
        if not schema.paired_edges:
            raise ValueError(
                "EdgePrediction needs graphs of bonds, but the edges of schema "
                f"{schema.name!r} are not bonds in both directions."
            )
        self.scale = encoder.width**-0.5

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
            Sum of both means; one of them if the batch does not have the other kind of
            pair; None if it has neither.
        """
        pairs = [(-1.0, context.batch.edge_index[:, ::2]), (1.0, _others(context))]
        means = [
            F.softplus(sign * self._scores(context.nodes, *ends)).mean()
            for sign, ends in pairs
            if ends.shape[1]
        ]
        return torch.stack(means).sum() if means else None

    def _scores(self, nodes: Tensor, u: Tensor, v: Tensor) -> Tensor:
        scores = (nodes[u] * nodes[v]).sum(dim=1)
        return scores * self.scale if self.scaling == "unit" else scores


def _others(context: BatchContext) -> Tensor:
    """Draw pairs of nodes of one graph without an edge, (2, n_pairs)."""
    batch = context.batch
    first, counts = context.first_nodes()
    edges = batch.edge_index
    # Five draws per directed edge are ten per bond, in the order of the graphs.
    n_edges = torch.bincount(batch.graph_of_node[edges[0]], minlength=batch.n_graphs)
    graph = torch.repeat_interleave(
        torch.arange(len(n_edges), device=edges.device), 5 * n_edges
    )
    draws = (context.uniform(2, len(graph)) * counts[graph]).long() + first[graph]
    code = draws[0] * batch.n_nodes + draws[1]
    bonds = edges[0] * batch.n_nodes + edges[1]
    kept = (draws[0] != draws[1]) & ~torch.isin(code, bonds) & _is_new(code)
    so_far = kept.long().cumsum(0)
    before = 5 * n_edges.cumsum(0) - 5 * n_edges  # draws of earlier graphs
    earlier = F.pad(so_far, (1, 0))[before]
    kept &= so_far - earlier[graph] <= n_edges[graph] // 2
    return draws[:, kept]


def _is_new(code: Tensor) -> Tensor:
    """Mark the first occurrence of each value, bool (n,)."""
    ordered, order = code.sort(stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return torch.empty_like(new).index_copy_(0, order, new)
