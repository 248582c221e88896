"""Pictures of what a fitted network has learned, and how."""

from ._spectrum_display import HessianSpectrumDisplay

__all__ = [
    "HessianSpectrumDisplay",
]
