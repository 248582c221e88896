"""Training: task losses, the model, one step, and the loop around it."""

from ._averaging import AVERAGES, WeightAverage
from ._bounded import BoundedLoss, tobit_nll
from ._features import GraphFeatures
from ._held_out import HeldOutRows
from ._loss import LOSSES, Loss, logistic, task_losses
from ._model import MultiTaskModel
from ._net import OPTIMIZERS, check_callbacks, train
from ._options import TrainingOptions, TrainingResult
from ._problem import network_problem, shared_by_name
from ._protocol import Step, StepRecord
from ._replay import recalibrate
from ._schedule import SCHEDULES
from ._step import TrainingStep

__all__ = [
    "AVERAGES",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "BoundedLoss",
    "GraphFeatures",
    "HeldOutRows",
    "Loss",
    "MultiTaskModel",
    "Step",
    "StepRecord",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "WeightAverage",
    "check_callbacks",
    "logistic",
    "network_problem",
    "recalibrate",
    "shared_by_name",
    "task_losses",
    "tobit_nll",
    "train",
]
