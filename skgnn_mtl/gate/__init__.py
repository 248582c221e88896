"""GATE: tasks aligned in a locally flat frame, and tasks added to frozen ones."""

from ._addition import AdditionModel, CachedDataset
from ._fit import (
    NewTask,
    fit_addition,
    fit_frames,
    rank_correlations,
    with_added,
)
from ._model import Embedded, GATEModel, TaskLayout
from ._step import AdditionStep, AlignmentStep, GATEStep
from ._terms import GATETerms

__all__ = [
    "AdditionModel",
    "AdditionStep",
    "AlignmentStep",
    "CachedDataset",
    "Embedded",
    "GATEModel",
    "GATEStep",
    "GATETerms",
    "NewTask",
    "TaskLayout",
    "fit_addition",
    "fit_frames",
    "rank_correlations",
    "with_added",
]
