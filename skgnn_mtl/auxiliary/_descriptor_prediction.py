"""Descriptors as cheap targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._base import AuxiliaryTask, BatchContext, NodeEncoder
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
    """Predict RDKit's descriptors of a molecule from its graph state.

    The head is linear. The descriptors are standardised on the training graphs and
    clipped to +-5. The loss is the mean squared error over graphs and descriptors; its
    chance value is 1.

    Parameters
    ----------
    names : tuple of str, default=("MolWt", "MolLogP", "MolMR", "TPSA", "LabuteASA", \
"NumHDonors", "NumHAcceptors", "NumRotatableBonds", "RingCount", "NumAromaticRings", \
"FractionCSP3", "BertzCT")
        Names of ``rdkit.Chem.Descriptors``.
    scaling : {"unit", "released"}, default="unit"
        Without effect, because the loss has unit scale.

    Attributes
    ----------
    center_, scale_ : Tensor of shape (n_descriptors,)
        Means and standard deviations of the descriptors, in their units; the scale of a
        constant descriptor is 1.

    Raises
    ------
    ValueError
        In ``build``, if ``names`` is not a list of names; in ``prepare``, if a name is
        unknown or if the identifiers of the graphs are not SMILES.

    See Also
    --------
    MotifPrediction : Predicts functional groups.

    References
    ----------
    .. [1] J. Burns et al., "Deep Learning Foundation Models from Classical Molecular
       Descriptors", 2025, arXiv:2506.15792. Descriptors as targets of a pretraining.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import DescriptorPrediction
    >>> DescriptorPrediction(names=("MolLogP", "TPSA"))
    DescriptorPrediction(names=('MolLogP', 'TPSA'))
    """

    center_: Tensor
    scale_: Tensor

    def __init__(self, names: Sequence[str] = _NAMES, *, scaling: str = "unit") -> None:
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
            Standardised descriptors; NaN where one is not defined or is outside the
            range of float32 (as Ipc is for large molecules).
        """
        values = descriptors(X, self.names)
        values[~(abs(values) < np.finfo(np.float32).max)] = np.nan
        if bool(torch.isnan(self.center_).all()):
            readable = values[X.valid]
            center, scale = np.nanmean(readable, axis=0), np.nanstd(readable, axis=0)
            # Isomers have one weight up to rounding, which is no spread to divide by.
            varies = scale > np.finfo(np.float32).eps * abs(center)
            self.center_.copy_(torch.from_numpy(center))
            self.scale_.copy_(torch.from_numpy(np.where(varies, scale, 1.0)))
        center, scale = self.center_.cpu().numpy(), self.scale_.cpu().numpy()
        columns: np.ndarray = ((values - center) / scale).clip(-5.0, 5.0)
        return columns.astype(np.float32)

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
        if isinstance(self.names, str) or not len(self.names):
            raise ValueError(f"names must list descriptors, got {self.names!r}.")
        # NaN marks scales that are not learned yet.
        unlearned = torch.full((len(self.names),), torch.nan)
        self.register_buffer("center_", unlearned)
        self.register_buffer("scale_", unlearned.clone())
        self.head = nn.Linear(encoder.width, len(self.names))

    @property
    def chance(self) -> float:
        """Variance of a standardised descriptor."""
        return 1.0

    def forward(self, context: BatchContext, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        context : BatchContext
            The batch and its states.
        columns : Tensor of shape (n_graphs, n_descriptors)
            The standardised descriptors.

        Returns
        -------
        loss : Tensor of shape ()
            Mean squared error.
        """
        defined = torch.isfinite(columns)
        predicted: Tensor = self.head(context.vectors)
        residuals = (predicted - columns.nan_to_num()) * defined
        return residuals.square().sum() / defined.sum().clamp(min=1)
