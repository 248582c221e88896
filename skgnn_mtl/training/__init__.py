"""Training: task losses, the model, one step, and the loop around it."""

from ._bilevel import HeldOutRows
from ._gate_addition import AdditionModel, CachedDataset
from ._gate_model import Embedded, GATEModel, TaskLayout
from ._gate_step import AdditionStep, AlignmentStep, GATEStep
from ._gate_terms import GATETerms
from ._jacobian import dataset_jacobian
from ._loss import LOSSES, Loss, logistic, task_losses
from ._model import MultiTaskModel
from ._net import OPTIMIZERS, TrainingOptions, TrainingResult, train
from ._replay import recalibrate
from ._schedule import SCHEDULES
from ._step import TrainingStep

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "AdditionModel",
    "AdditionStep",
    "AlignmentStep",
    "CachedDataset",
    "Embedded",
    "GATEModel",
    "GATEStep",
    "GATETerms",
    "HeldOutRows",
    "Loss",
    "MultiTaskModel",
    "TaskLayout",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "dataset_jacobian",
    "logistic",
    "recalibrate",
    "task_losses",
    "train",
]
