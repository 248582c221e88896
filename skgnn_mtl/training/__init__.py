"""Training: task losses, the model, one step, and the loop around it."""

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
    "Loss",
    "MultiTaskModel",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "dataset_jacobian",
    "logistic",
    "recalibrate",
    "task_losses",
    "train",
]
