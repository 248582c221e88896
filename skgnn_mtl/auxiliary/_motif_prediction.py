"""Functional groups guessed from the vector of a molecule."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._base import AuxiliaryTask, NodeEncoder, PlainPass
from ._chemistry import fragment_counts, fragment_names


class MotifPrediction(AuxiliaryTask):
    """Motif prediction of Rong et al. (2020): which functional groups are there.

    A linear head on the graph vectors; the labels are the presence of each of RDKit's
    fragments, the loss is the mean logistic loss over graphs and fragments.

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
        In a fit, if the identifiers of the graphs are not SMILES.

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

    def __init__(self, *, scaling="unit") -> None:
        super().__init__()
        self.scaling = scaling

    def prepare(self, X: GraphArray) -> np.ndarray:
        """Look which fragments are there.

        Parameters
        ----------
        X : GraphArray of shape (n_graphs,)
            Training graphs.

        Returns
        -------
        columns : ndarray of float32 of shape (n_graphs, n_motifs)
            0 and 1.
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
        self.motif_names_ = fragment_names()
        self.head = nn.Linear(encoder.width, len(self.motif_names_))

    @property
    def chance(self) -> float:
        """A coin."""
        return math.log(2.0)

    def forward(self, seen: PlainPass, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        seen : PlainPass
            The batch and its states.
        columns : Tensor of shape (n_graphs, n_motifs)
            The labels.

        Returns
        -------
        loss : Tensor of shape ()
            Mean logistic loss.
        """
        return F.binary_cross_entropy_with_logits(self.head(seen.vectors), columns)
