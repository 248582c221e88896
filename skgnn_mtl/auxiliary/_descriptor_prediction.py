"""Descriptors as cheap targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._base import AuxiliaryTask, NodeEncoder, PlainPass
from ._chemistry import descriptors

_NAMES = (
    "MolWt",
    "MolLogP",
    "MolMR",
    "TPSA",
    "LabuteASA",
    "NumHDonors",
    "NumHAcceptors",
    "NumRotatableBonds",
    "RingCount",
    "NumAromaticRings",
    "FractionCSP3",
    "BertzCT",
)


class DescriptorPrediction(AuxiliaryTask):
    """RDKit's descriptors of the molecule, guessed from its vector.

    A linear head; the descriptors are standardised on the training graphs and clipped
    to +-5, the loss is the mean squared error over graphs and descriptors, 1 by chance.

    Parameters
    ----------
    names : tuple of str, default=("MolWt", "MolLogP", "MolMR", "TPSA", "LabuteASA", \
"NumHDonors", "NumHAcceptors", "NumRotatableBonds", "RingCount", "NumAromaticRings", \
"FractionCSP3", "BertzCT")
        Names of ``rdkit.Chem.Descriptors``.
    scaling : {"unit", "released"}, default="unit"
        Of no consequence here: the loss has unit scale already.

    Attributes
    ----------
    center_, scale_ : Tensor of shape (n_descriptors,)
        What the descriptors are standardised with.

    Raises
    ------
    ValueError
        In a fit, if the identifiers of the graphs are not SMILES, or a name is unknown.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import DescriptorPrediction
    >>> DescriptorPrediction(names=("MolLogP", "TPSA"))
    DescriptorPrediction(names=('MolLogP', 'TPSA'))
    """

    center_: Tensor
    scale_: Tensor

    def __init__(self, names=_NAMES, *, scaling="unit") -> None:
        super().__init__()
        self.names = names
        self.scaling = scaling

    def prepare(self, X: GraphArray) -> np.ndarray:
        """Compute and standardise the descriptors; the first call learns the scales.

        Parameters
        ----------
        X : GraphArray of shape (n_graphs,)
            Training graphs.

        Returns
        -------
        columns : ndarray of float32 of shape (n_graphs, n_descriptors)
            Standardised; NaN where a descriptor is not defined, or leaves the range of
            float32 (Ipc does for large molecules).
        """
        values = descriptors(X, self.names)
        values[~(abs(values) < np.finfo(np.float32).max)] = np.nan
        if bool(torch.isnan(self.center_).all()):
            known = values[X.valid]
            scale = np.nanstd(known, axis=0)
            self.center_.copy_(torch.from_numpy(np.nanmean(known, axis=0)))
            self.scale_.copy_(torch.from_numpy(np.where(scale > 0, scale, 1.0)))
        center, scale = self.center_.cpu().numpy(), self.scale_.cpu().numpy()
        return ((values - center) / scale).clip(-5.0, 5.0).astype(np.float32)

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the head.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        if isinstance(self.names, str) or not len(self.names):
            raise ValueError(f"names must list descriptors, got {self.names!r}.")
        unknown = torch.full((len(self.names),), torch.nan)
        self.register_buffer("center_", unknown)
        self.register_buffer("scale_", unknown.clone())
        self.head = nn.Linear(encoder.width, len(self.names))

    @property
    def chance(self) -> float:
        """Variance of a standardised descriptor."""
        return 1.0

    def forward(self, seen: PlainPass, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        seen : PlainPass
            The batch and its states.
        columns : Tensor of shape (n_graphs, n_descriptors)
            The standardised descriptors.

        Returns
        -------
        loss : Tensor of shape ()
            Mean squared error.
        """
        known = torch.isfinite(columns)
        misses = (self.head(seen.vectors) - columns.nan_to_num()) * known
        return misses.square().sum() / known.sum().clamp(min=1)
