"""Pictures of what a fitted network has learned, and how."""

from ._comparison_display import SingleTaskComparisonDisplay
from ._spectrum_display import HessianSpectrumDisplay

__all__ = [
    "HessianSpectrumDisplay",
    "SingleTaskComparisonDisplay",
]
