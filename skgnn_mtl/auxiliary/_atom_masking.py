"""Atoms masked, and guessed from their surroundings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import HU2020, HU2020_MASKED_ATOM, GraphSchema

from ._base import AuxiliaryTask, NodeEncoder, PlainPass, check_share


class AtomMasking(AuxiliaryTask):
    r"""Attribute masking of Hu et al. (2020), for atoms.

    Of the N atoms of a molecule :math:`\lfloor rN + 1 \rfloor` are masked; the encoder
    runs on the masked graph, and a linear head guesses the masked atoms' element from
    their states. The loss is the mean cross entropy over masked atoms.

    Parameters
    ----------
    rate : float, default=0.15
        Share r.
    scaling : {"unit", "released"}, default="unit"
        "unit" divides by the chance value, the logarithm of the number of elements.

    Raises
    ------
    ValueError
        In ``build``, if the graphs' nodes have no categorical column, or if the encoder
        does not embed nodes apart from its layers (GIN, GCN, GraphSAGE, GAT, CGCNN do).

    Notes
    -----
    Graphs of the preset "hu2020" have a code for masked atoms; in all others a learned
    vector takes the place of the embedded atom, and the first column of the nodes is
    guessed. Bonds are not masked, chirality is not guessed.

    References
    ----------
    .. [1] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import AtomMasking
    >>> AtomMasking(rate=0.25)
    AtomMasking(rate=0.25)
    """

    def __init__(self, rate=0.15, *, scaling="unit") -> None:
        super().__init__()
        self.rate = rate
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the head.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        check_share(self, "rate")
        if not schema.node_columns:
            raise ValueError(
                f"AtomMasking guesses a categorical column of the nodes, but graphs of "
                f"schema {schema.name!r} have none."
            )
        self.n_classes = schema.node_columns[0][1]
        if schema == HU2020:
            self.n_classes -= 1  # a masked atom is never the answer
            self.vector = None
        elif not hasattr(encoder.core, "embed_nodes"):
            raise ValueError(
                f"AtomMasking needs an encoder that embeds nodes apart from its layers "
                f"(GIN, GCN, GraphSAGE, GAT, CGCNN) for graphs of schema "
                f"{schema.name!r}, got {encoder!r}."
            )
        else:
            self.vector = nn.Parameter(torch.zeros(encoder.width))
        self.head = nn.Linear(encoder.width, self.n_classes)

    @property
    def chance(self) -> float:
        """Logarithm of the number of elements."""
        return math.log(self.n_classes)

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
            Mean cross entropy; None without a node.
        """
        batch = seen.batch
        if not batch.n_nodes:
            return None
        masked = self._masked(seen)
        labels = batch.node_codes[masked, 0].long()
        if self.vector is None:
            codes = batch.node_codes.clone()
            codes[masked] = codes.new_tensor(HU2020_MASKED_ATOM)
            states = seen.encoder(batch.with_node_codes(codes))
        else:
            embedded = seen.encoder.core.embed_nodes(batch)
            embedded = torch.where(masked[:, None], self.vector, embedded)
            states = seen.encoder.core.propagate(embedded, batch)
        return F.cross_entropy(self.head(states[masked]), labels)

    def _masked(self, seen: PlainPass) -> Tensor:
        """Draw distinct nodes of each graph: those that come first in a random order.

        Returns a mask of shape (n_nodes,).
        """
        graph = seen.batch.graph_of_node
        first, counts = seen.first_nodes()
        order = (graph + seen.uniform(len(graph))).argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - first[graph]
        n_masked = (self.rate * counts + 1).floor()
        return rank < n_masked[graph]
