"""Diagnostics of fitted estimators: similar tasks, histories, errors, atoms."""

from ._atom_attributions import atom_attributions
from ._attribution_display import AtomAttributionDisplay
from ._calibration_display import CalibrationDisplay
from ._comparison_display import SingleTaskComparisonDisplay
from ._gradient_similarity import GradientSimilarityDisplay, gradient_similarity
from ._model_comparison_display import ModelComparisonDisplay
from ._novelty import novelty
from ._parity_display import ParityDisplay
from ._spectrum_display import HessianSpectrumDisplay
from ._task_history import TaskHistoryDisplay
from ._transfer_display import TransferComparisonDisplay

__all__ = [
    "AtomAttributionDisplay",
    "CalibrationDisplay",
    "GradientSimilarityDisplay",
    "HessianSpectrumDisplay",
    "ModelComparisonDisplay",
    "ParityDisplay",
    "SingleTaskComparisonDisplay",
    "TaskHistoryDisplay",
    "TransferComparisonDisplay",
    "atom_attributions",
    "gradient_similarity",
    "novelty",
]
