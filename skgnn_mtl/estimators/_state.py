"""What a fit leaves, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from skgnn_mtl._warn import warn
from skgnn_mtl.curvature import HessianSpectrum, LastLayerPosterior
from skgnn_mtl.training import TrainingResult
from skgnn_mtl.weighting import TaskWeighting

from ._inputs import Inputs
from ._targets import Targets

Spectra = HessianSpectrum | dict[str, HessianSpectrum]


@dataclass(frozen=True)
class Additions:
    """How the tasks of a GATE network came to it.

    Parameters
    ----------
    sources : tuple of str
        Tasks that were trained together.
    added : tuple of str
        Tasks added to them, in the order of the network's modules.
    history : dict of str to list of dict
        Records of each addition.
    frozen : bool
        Whether the sources are as they were trained.
    aligned : bool
        Whether the sources have frames.
    one_dimensional : bool
        Whether the ``y`` of the sources was.
    """

    sources: tuple[str, ...]
    added: tuple[str, ...] = ()
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    frozen: bool = True
    aligned: bool = True
    one_dimensional: bool = False

    @property
    def module_order(self) -> tuple[str, ...]:
        """Tasks in the order of the network's outputs."""
        return self.sources + self.added


@dataclass(frozen=True)
class FittedState:
    """Everything that a fit leaves; estimators swap it in as a whole.

    Parameters
    ----------
    inputs : Inputs
        What was learned about X.
    targets : Targets
        What was learned about y.
    module : torch.nn.Module
        The network.
    weighting : TaskWeighting or None
        The task weighting with its state; None if the network has a step of its own.
    seed : int
        Seed of the last call.
    split_seed : int or None
        Seed of the rows that validate or are held out, the same in all continuations;
        None before the first fit.
    history : list of dict
        One record per epoch.
    best_epoch : int
        Epoch that the weights of the network come from.
    task_weights : ndarray of shape (n_entries,)
        Weights of the last epoch, divided by their mean.
    random_state : RandomState, optional
        Where ``partial_fit`` draws its next seed from.
    optimizer_state : dict, optional
        What ``partial_fit`` goes on with.
    held_out_rows : ndarray of int, optional
        Training rows that the task weighting learns from.
    spectrum, spectrum_path : optional
        Curvature at the end, and along the training.
    widths : dict of str to LastLayerPosterior
        Uncertainty of the predictions of each task at the present network; tasks
        without one are not in it.
    additions : Additions, optional
        Sources and added tasks of GATE.
    interrupted : bool
        Whether the user stopped the training.
    """

    inputs: Inputs
    targets: Targets
    module: nn.Module
    weighting: TaskWeighting | None
    seed: int
    split_seed: int | None
    # Never changed in place, because the states before and after may share it.
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    task_weights: np.ndarray = field(default_factory=lambda: np.empty(0))
    random_state: np.random.RandomState | None = None
    optimizer_state: dict[str, Any] | None = None
    held_out_rows: np.ndarray | None = None
    spectrum: Spectra | None = None
    spectrum_path: list[Spectra] | None = None
    # Replaced and never changed, as the history.
    widths: dict[str, LastLayerPosterior] = field(default_factory=dict)
    additions: Additions | None = None
    interrupted: bool = False

    @property
    def output_names(self) -> tuple[str, ...]:
        """Tasks in the order of the network's outputs."""
        # Those of GATE are in the order of additions, which y need not follow.
        additions = self.additions
        return self.targets.names if additions is None else additions.module_order

    @property
    def output_order(self) -> list[int]:
        """Positions among the network's outputs of the columns of y."""
        return [self.output_names.index(name) for name in self.targets.names]


def with_result(
    state: FittedState,
    result: TrainingResult,
    entries: Sequence[str],
    earlier: list[dict[str, Any]],
    partial: bool,
) -> FittedState:
    """Add to a state what outlives its training.

    Parameters
    ----------
    state : FittedState
        As the training began. It is not changed.
    result : TrainingResult
        Result of the training.
    entries : sequence of str
        Names of the tasks, then of the auxiliary tasks.
    earlier : list of dict
        Records of the calls before.
    partial : bool
        Whether this is a call of ``partial_fit``.
    """
    for k, record in enumerate(result.history):
        # Counted over all calls, because the history of a continuation is one list.
        record["epoch"] = len(earlier) + k + 1
    history = earlier + result.history
    _warn_of_absent_tasks(entries[state.targets.n_tasks :], result.history)
    # An interruption in the first epoch leaves no record.
    last = history[-1]["task_weights"] if history else {}
    weights = np.array([last.get(name, 1.0) for name in entries])
    return replace(
        state,
        history=history,
        best_epoch=len(earlier) + result.best_epoch,
        # The absolute mean keeps signs, because gradient methods may give negative
        # weights.
        task_weights=weights / (abs(weights.mean()) or 1.0),
        # Only partial_fit goes on with the optimizer; it is as large as the network.
        optimizer_state=result.optimizer_state if partial else None,
        interrupted=result.interrupted,
    )


def _warn_of_absent_tasks(names: Sequence[str], history: list[dict[str, Any]]) -> None:
    """Warn of auxiliary tasks that no batch had anything for."""
    absent = [
        name
        for name in names
        if all(record["absent_shares"][name] == 1.0 for record in history)
    ]
    if absent and history:
        warn(
            f"Auxiliary task {', '.join(absent)} was in no batch: the graphs have "
            "nothing for it, such as a context beyond its radius. Leave it out, or "
            "change its parameters."
        )
