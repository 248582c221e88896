"""Training: task losses, the model, one step, and the loop around it."""

import warnings
from typing import TYPE_CHECKING, Any

from ._ascent import at_moved
from ._averaging import AVERAGES, WeightAverage
from ._bounded import BoundedLoss, nearest_allowed, tobit_nll
from ._distributed import ALONE, LostProcess, World, data_parallel, is_main, joined
from ._features import GraphFeatures
from ._head_inputs import HeadInputs, read_trunk
from ._held_out import HeldOutRows
from ._keeper import Keeper
from ._likelihood import LIKELIHOODS, GaussianNLL, log_variances
from ._loss import LOSSES, Loss, logistic, task_losses
from ._model import MultiTaskModel
from ._optimizers import OPTIMIZER_NAMES, OPTIMIZERS
from ._options import TrainingOptions, TrainingResult
from ._problem import network_problem, shared_by_name
from ._protocol import Step, StepRecord
from ._replay import Replay, recalibrate
from ._schedule import SCHEDULES
from ._softmax import SoftmaxLoss
from ._step import TrainingStep

if TYPE_CHECKING:
    from ._net import check_callbacks, train

__all__ = [
    "ALONE",
    "AVERAGES",
    "LIKELIHOODS",
    "LOSSES",
    "OPTIMIZERS",
    "OPTIMIZER_NAMES",
    "SCHEDULES",
    "BoundedLoss",
    "GaussianNLL",
    "GraphFeatures",
    "HeadInputs",
    "HeldOutRows",
    "Keeper",
    "Loss",
    "LostProcess",
    "MultiTaskModel",
    "Replay",
    "SoftmaxLoss",
    "Step",
    "StepRecord",
    "TrainingOptions",
    "TrainingResult",
    "TrainingStep",
    "WeightAverage",
    "World",
    "at_moved",
    "check_callbacks",
    "data_parallel",
    "is_main",
    "joined",
    "log_variances",
    "logistic",
    "nearest_allowed",
    "network_problem",
    "read_trunk",
    "recalibrate",
    "shared_by_name",
    "task_losses",
    "tobit_nll",
    "train",
]


def __getattr__(name: str) -> Any:
    # Only when something is trained, because skorch imports torch_geometric, which
    # takes as long as torch.
    if name in ("check_callbacks", "train"):
        with warnings.catch_warnings():
            # torch_geometric calls what torch has deprecated, while it is imported.
            warnings.simplefilter("ignore")
            from . import _net

        return getattr(_net, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
