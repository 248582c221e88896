"""How the network of an estimator is made and trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from skgnn_mtl import auxiliary, encoders, readouts, weighting
from skgnn_mtl._component import resolve_part
from skgnn_mtl._seeds import torch_stream
from skgnn_mtl._warn import warn
from skgnn_mtl.auxiliary import AuxiliaryTask, auxiliary_names
from skgnn_mtl.encoders import GraphEncoder, Pretrained
from skgnn_mtl.graphs import GraphArray, GraphDataset, GraphRows, GraphSchema
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import (
    ALONE,
    GaussianNLL,
    HeldOutRows,
    MultiTaskModel,
    Step,
    TrainingStep,
    World,
)
from skgnn_mtl.weighting import (
    CurvatureWeighting,
    TaskWeighting,
    as_task_weighting,
)

from ._inputs import task_positions
from ._targets import Targets

# Names of weightings in papers that no class can have.
_AUTHORS_NAMES = {"gcs+gns": "gcsgns"}


@dataclass(frozen=True)
class StepNeeds:
    """What a training step is made from, beside the parts of the network.

    Parameters
    ----------
    targets : Targets
        Meaning of y.
    watched : ndarray of int
        Positions of the target tasks.
    n_steps : int
        Steps of the training; 0 in one that goes on, which has no beginning.
    held_out : HeldOutRows or None
        Rows that the task weighting learns from.
    seed : int
        Seed of everything that the step draws.
    n_epochs : int, default=0
        Epochs of the training; 0 in one that goes on.
    world : World, optional
        Processes that have the other rows of each batch.
    """

    targets: Targets
    watched: np.ndarray
    n_steps: int
    held_out: HeldOutRows | None
    seed: int
    n_epochs: int = 0
    world: World = ALONE


class Recipe(ABC):
    """A network and its training step, before the data are known.

    Attributes
    ----------
    weighting : TaskWeighting or None
        Unbuilt; None if the step does not have one.
    uses_unlabelled : bool
        Whether rows without any label take part in the training.
    """

    weighting: TaskWeighting | None
    uses_unlabelled: bool

    @abstractmethod
    def entries(self, names: Sequence[str]) -> list[str]:
        """List the names of all entries of the losses, those of y first.

        Raises
        ------
        ValueError
            If a column of y has the name of another entry.
        """

    @abstractmethod
    def watched(self, names: Sequence[str]) -> np.ndarray:
        """Find the positions of the entries whose loss early stopping compares."""

    @abstractmethod
    def network(self, schema: GraphSchema, targets: Targets) -> nn.Module:
        """Build the network on the CPU, in torch's default precision."""

    @abstractmethod
    def training_set(
        self,
        module: Any,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
        row_weights: np.ndarray,
    ) -> GraphDataset:
        """Make the data set of the training rows, with all columns of the step.

        Parameters
        ----------
        module : torch.nn.Module
            From :meth:`network`.
        graphs : GraphArray or GraphRows of shape (n,)
            The graphs.
        targets, weights : ndarray of shape (n, t)
            Encoded labels, and the weights of their losses.
        row_weights : ndarray of shape (n,)
            Weights of the rows.
        """

    @abstractmethod
    def validation_set(
        self,
        module: Any,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
    ) -> GraphDataset:
        """Make the data set of the validation rows."""

    @abstractmethod
    def step(self, task_weighting: TaskWeighting | None, needs: StepNeeds) -> Step:
        """Make the training step; the task weighting is built."""


class MultiTaskRecipe(Recipe):
    """One linear head per task, auxiliary tasks, and a task weighting.

    Parameters
    ----------
    encoder, readout, task_weighting : str or part
        Parameters of the estimator; parts are cloned.
    auxiliary_tasks : sequence of str or AuxiliaryTask
        Tasks without labels.
    hidden_dims : sequence of int, default=()
        Widths of the shared layers between readout and heads.
    activation : str, default="relu"
        Nonlinearity behind each of them.
    target_tasks : None, str, int or list of these, default=None
        Tasks that count in early stopping; None stands for all.
    variances : bool, default=False
        Whether the loss is a likelihood, which reads a log-variance of each task.
    """

    def __init__(
        self,
        encoder: Any,
        readout: Any,
        task_weighting: Any,
        auxiliary_tasks: Sequence[Any],
        *,
        hidden_dims: Sequence[int] = (),
        activation: str = "relu",
        target_tasks: Any = None,
        variances: bool = False,
    ) -> None:
        self.encoder, self.readout = encoder, readout
        self.weighting = resolve_weighting(task_weighting)
        self.auxiliary: list[AuxiliaryTask] = [
            resolve_part(task, auxiliary, AuxiliaryTask, "auxiliary_tasks")
            for task in auxiliary_tasks
        ]
        self.hidden_dims, self.activation = tuple(hidden_dims), activation
        self.target_tasks, self.variances = target_tasks, variances
        self.uses_unlabelled = len(self.auxiliary) > 0

    def entries(self, names: Sequence[str]) -> list[str]:
        """List the tasks of y, then the auxiliary tasks."""
        own = auxiliary_names(self.auxiliary)
        # Refused, because a record is a dict by name and would lose one of them.
        if set(own) & set(names):
            raise ValueError(
                f"A column of y has the name of an auxiliary task: {own} beside "
                f"{list(names)}. Rename the column."
            )
        return [*names, *own]

    def watched(self, names: Sequence[str]) -> np.ndarray:
        """Find the target tasks, or the auxiliary ones if y has none."""
        if self.target_tasks is None:
            return np.arange(len(names) or len(self.auxiliary))
        return np.unique(task_positions(self.target_tasks, names, "target_tasks"))

    def network(self, schema: GraphSchema, targets: Targets) -> nn.Module:
        """Build encoder, readout, shared layers, heads and auxiliary tasks."""
        model = MultiTaskModel(
            resolve_encoder(self.encoder),
            resolve_readout(self.readout, schema),
            schema,
            targets.n_tasks,
            self.hidden_dims,
            self.activation,
            self.auxiliary,
            self.variances,
            targets.n_outputs,
        )
        if self.auxiliary and not model.shared_parameters():
            warn(
                "All parameters that tasks share are frozen: auxiliary tasks cannot "
                "change the predictions. Set freeze=False or a number of layers in "
                "Pretrained, or leave them out."
            )
        return model

    def training_set(
        self,
        module: Any,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
        row_weights: np.ndarray,
    ) -> GraphDataset:
        """Add the columns that the auxiliary tasks prepare once."""
        # Here, because a fit that goes on may have another loss than the one before.
        if self.variances != (module.log_variances is not None):
            has, lacks = ("has no", "reads") if self.variances else ("has", "ignores")
            raise ValueError(
                f"loss {lacks} log-variances, but the fitted network {has} heads for "
                "them. Set the loss of the first fit, or fit with warm_start=False."
            )
        # By their names, because records are named after those of the parameter.
        wanted, found = map(auxiliary_names, (self.auxiliary, module.tasks()))
        if wanted != found:
            raise ValueError(
                f"auxiliary_tasks are {wanted}, but the fitted network has {found}. "
                "Set those of the first fit, or fit with warm_start=False."
            )
        return GraphDataset(graphs, targets, weights, _prepared(module, graphs))

    def validation_set(
        self,
        module: Any,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
    ) -> GraphDataset:
        """Add columns of auxiliary tasks only if y has no tasks."""
        # Not prepared otherwise, because validation then reads the tasks of y alone.
        columns = () if targets.shape[1] else _prepared(module, graphs)
        return GraphDataset(graphs, targets, weights, columns)

    def step(self, task_weighting: TaskWeighting | None, needs: StepNeeds) -> Step:
        """Make the step of a task weighting.

        Raises
        ------
        NotImplementedError
            If several processes train auxiliary tasks.
        """
        assert task_weighting is not None
        if self.auxiliary:
            # Their losses at parts of a batch do not add up to that of the batch.
            needs.world.require_alone(f"auxiliary_tasks={self.auxiliary}")
        names = self.entries(needs.targets.names)
        all_targets = self.target_tasks is None and not self.auxiliary
        loss = needs.targets.elementwise_loss
        if isinstance(loss, GaussianNLL):
            loss = loss.for_training(needs.n_epochs)
        step = TrainingStep(
            task_weighting,
            loss,
            len(names),
            # Streams of their own, so that all weightings receive the same batches.
            generator=torch_stream(needs.seed, "weighting"),
            draws=torch_stream(needs.seed, "auxiliary tasks"),
            targets=None if all_targets else needs.watched.tolist(),
            world=needs.world,
        )
        if needs.held_out is not None:
            step.hold_out(needs.held_out)
        return step


def resolve_encoder(encoder: Any) -> GraphEncoder:
    """Read the estimators' parameter ``encoder`` as an unbuilt encoder."""
    is_plain = isinstance(encoder, GraphEncoder) and not isinstance(encoder, Pretrained)
    # A built encoder has weights, but parts are cloned, which forgets them.
    if is_plain and encoder.schema is not None:
        warn(
            f"encoder={encoder!r} has weights, which this fit does not use: pass "
            "Pretrained(encoder) to start from them, clone(encoder) to start anew."
        )
    part: GraphEncoder = resolve_part(encoder, encoders, GraphEncoder, "encoder")
    return part


def resolve_readout(readout: Any, schema: GraphSchema) -> Readout:
    """Read the estimators' parameter ``readout`` as an unbuilt readout."""
    if isinstance(readout, str) and readout == "auto":
        # Properties of a molecule grow with it, those of a crystal do not. The divisor,
        # about the size of a molecule, keeps the vectors as small as those of a mean.
        readout = readouts.Sum(norm=20) if schema.paired_edges else "mean"
    part: Readout = resolve_part(readout, readouts, Readout, "readout")
    return part


def resolve_weighting(value: Any) -> TaskWeighting:
    """Read the estimators' parameter ``task_weighting`` as an unbuilt weighting."""
    # The class as well, because a weighting is a module and thus callable.
    if callable(value) and not isinstance(value, TaskWeighting):
        return as_task_weighting(value)
    if isinstance(value, str):
        value = _AUTHORS_NAMES.get(value, value)
    part: TaskWeighting = resolve_part(
        value, weighting, TaskWeighting, "task_weighting"
    )
    return part


def build_weighting(
    part: TaskWeighting, entries: Sequence[str], n_tasks: int, device: torch.device
) -> TaskWeighting:
    """Build a task weighting for the entries of a fit.

    Parameters
    ----------
    part : TaskWeighting
        Unbuilt.
    entries : sequence of str
        Names of the tasks, then of the auxiliary tasks.
    n_tasks : int
        Number of tasks.
    device : torch.device
        Where to put its tensors.

    Raises
    ------
    ValueError
        If its options cannot serve these entries.
    """
    part.check_options()
    # Asked with a default, because only gradient methods have this option.
    at_representation = getattr(part, "gradients", None) == "representation"
    if at_representation and len(entries) > n_tasks:
        raise ValueError(
            "gradients='representation' cannot see auxiliary tasks, which read "
            f"other things than the vector of a graph: {part!r}. Use "
            "gradients='parameters'."
        )
    reads_targets = getattr(part, "pool", None) is not None
    if not n_tasks and (reads_targets or isinstance(part, CurvatureWeighting)):
        raise ValueError(
            f"task_weighting={part!r} reads the columns of y, but there is no y: use "
            "another weighting, such as 'equal'."
        )
    part.build(len(entries), list(entries))
    return part.to(device)


def _prepared(
    module: MultiTaskModel, graphs: GraphArray | GraphRows
) -> list[np.ndarray]:
    """Let the auxiliary tasks prepare the graphs, once."""

    def given(task: AuxiliaryTask) -> Any:
        # A copy only for tasks that read it, because memory may not hold one.
        reads = type(task).prepare is not AuxiliaryTask.prepare
        return graphs.taken() if reads and isinstance(graphs, GraphRows) else graphs

    # Before the first step, because each epoch would repeat it.
    return [task.prepare(given(task)) for task in module.tasks()]
