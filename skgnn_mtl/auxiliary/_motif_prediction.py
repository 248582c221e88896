"""Functional groups, predicted from the graph state of a molecule."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._base import AuxiliaryTask, BatchContext, NodeEncoder
from ._chemistry import fragment_counts, fragment_names


class MotifPrediction(AuxiliaryTask):
    """Predict the functional groups of a molecule, after Rong et al. (2020).

    A linear head on the graph states (n_graphs, width) predicts the presence of each of
    RDKit's fragments, labels of shape (n_graphs, n_motifs). The loss is the mean
    logistic loss over graphs and fragments.

    Parameters
    ----------
    scaling : {"unit", "released"}, default="unit"
        "unit" divides the loss by its chance value log 2.

    Attributes
    ----------
    motif_names_ : list of str
        RDKit's names of the fragments.

    Raises
    ------
    ValueError
        In ``prepare``, if the identifiers of the graphs are not SMILES.

    See Also
    --------
    DescriptorPrediction : Predicts descriptors of a molecule.

    References
    ----------
    .. [1] Y. Rong et al., "Self-Supervised Graph Transformer on Large-Scale Molecular
       Data", NeurIPS 2020.

    Examples
    --------
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.auxiliary import MotifPrediction
    >>> X = SmilesToGraph().fit_transform(["CCO", "c1ccccc1"])
    >>> MotifPrediction().prepare(X).sum(axis=1)
    array([2., 1.], dtype=float32)
    """

    def __init__(self, *, scaling: str = "unit") -> None:
        super().__init__()
        self.scaling = scaling

    def prepare(self, X: GraphArray) -> np.ndarray:
        """Find the fragments of each molecule.

        Parameters
        ----------
        X : GraphArray of shape (n_graphs,)
            Training graphs.

        Returns
        -------
        columns : ndarray of float32 of shape (n_graphs, n_motifs)
            1 where the molecule has the fragment, 0 elsewhere.
        """
        names = getattr(self, "motif_names_", None) or fragment_names()
        return (fragment_counts(X, names) > 0).astype(np.float32)

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
        self.motif_names_ = fragment_names()
        self.head = nn.Linear(encoder.width, len(self.motif_names_))

    @property
    def chance(self) -> float:
        """Logistic loss of zero scores, log 2."""
        return math.log(2.0)

    def forward(self, context: BatchContext, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        context : BatchContext
            The batch and its states.
        columns : Tensor of shape (n_graphs, n_motifs)
            The labels.

        Returns
        -------
        loss : Tensor of shape ()
            Mean logistic loss.
        """
        return F.binary_cross_entropy_with_logits(self.head(context.vectors), columns)
