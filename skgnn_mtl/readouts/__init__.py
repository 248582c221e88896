"""Readouts: maps from the states of a graph's nodes to one vector."""

from ._base import Readout
from ._readouts import Attention, Mean, Sum

__all__ = ["Attention", "Mean", "Readout", "Sum"]
