"""Auxiliary tasks: losses of molecules and crystals that need no measured labels."""

from ._atom_masking import AtomMasking
from ._base import AuxiliaryTask, BatchContext
from ._base import auxiliary_losses as auxiliary_losses
from ._base import auxiliary_names as auxiliary_names
from ._context_prediction import ContextPrediction
from ._denoising import Denoising
from ._descriptor_prediction import DescriptorPrediction
from ._edge_prediction import EdgePrediction
from ._infomax import Infomax
from ._motif_prediction import MotifPrediction

__all__ = [
    "AtomMasking",
    "AuxiliaryTask",
    "BatchContext",
    "ContextPrediction",
    "Denoising",
    "DescriptorPrediction",
    "EdgePrediction",
    "Infomax",
    "MotifPrediction",
]
