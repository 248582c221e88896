"""Masked atoms, predicted from their surroundings."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import HU2020, HU2020_MASKED_ATOM, GraphSchema

from ._base import AuxiliaryTask, BatchContext, NodeEncoder


class AtomMasking(AuxiliaryTask):
    r"""Predict the elements of masked atoms: attribute masking of Hu et al. (2020).

    :math:`\lfloor rN + 1 \rfloor` of the N atoms of a molecule are masked. The encoder
    runs on the masked graph. A linear head predicts the elements of the masked atoms
    from their states of shape (width,). The loss is the mean cross entropy over masked
    atoms.

    Parameters
    ----------
    rate : float, default=0.15
        Share r of the atoms, in (0, 1].
    scaling : {"unit", "released"}, default="unit"
        "unit" divides by the chance value, the logarithm of the number of elements.

    Raises
    ------
    ValueError
        In ``build``, if the share is not in (0, 1], if the nodes do not have a
        categorical column, or if the encoder does not embed nodes separately from its
        layers (GIN, GCN, GraphSAGE, GAT, CGCNN do).

    See Also
    --------
    Denoising : Predicts noise that was added to distances.
    EdgePrediction : Tells bonded pairs of atoms from others.

    Notes
    -----
    Graphs of the preset "hu2020" have a code for masked atoms. In all other graphs a
    learned vector replaces the embedded atom, and the first column of the nodes is
    predicted. Bonds are not masked; chirality is not predicted.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **AuxiliaryTask._parameter_constraints,
        "rate": [Numbers(Real, 0, 1, closed="right")],
    }

    def __init__(self, rate: float = 0.15, *, scaling: str = "unit") -> None:
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
        super().build(schema, encoder)
        if not schema.node_columns:
            raise ValueError(
                f"AtomMasking predicts a categorical column of the nodes, but graphs "
                f"of schema {schema.name!r} do not have one."
            )
        self.n_classes = schema.node_columns[0][1]
        if schema == HU2020:
            self.n_classes -= 1  # because the code of masked atoms is not an element
            self.vector = None
        elif not hasattr(encoder.core, "embed_nodes"):
            raise ValueError(
                f"AtomMasking needs an encoder that embeds nodes separately from its "
                f"layers (GIN, GCN, GraphSAGE, GAT, CGCNN) for graphs of schema "
                f"{schema.name!r}, got {encoder!r}."
            )
        else:
            self.vector = nn.Parameter(torch.zeros(encoder.width))
        self.head = nn.Linear(encoder.width, self.n_classes)

    @property
    def chance(self) -> float:
        """Logarithm of the number of elements."""
        return math.log(self.n_classes)

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
            Mean cross entropy; None for a batch without nodes.
        """
        batch = context.batch
        if not batch.n_nodes:
            return None
        masked = self._masked(context)
        labels = batch.node_codes[masked, 0].long()
        if self.vector is None:
            codes = batch.node_codes.clone()
            codes[masked] = codes.new_tensor(HU2020_MASKED_ATOM)
            states = context.encoder(batch.with_node_codes(codes))
        else:
            embedded = context.encoder.core.embed_nodes(batch)
            embedded = torch.where(masked[:, None], self.vector, embedded)
            states = context.encoder.core.propagate(embedded, batch)
        return F.cross_entropy(self.head(states[masked]), labels)

    def _masked(self, context: BatchContext) -> Tensor:
        """Draw distinct nodes of each graph, bool (n_nodes,)."""
        graph = context.batch.graph_of_node
        first, counts = context.first_nodes()
        # One sort for the whole batch: graphs stay in order, their nodes are shuffled.
        order = (graph + context.uniform(len(graph))).argsort()
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - first[graph]
        n_masked = (self.rate * counts + 1).floor()
        masked: Tensor = rank < n_masked[graph]
        return masked
