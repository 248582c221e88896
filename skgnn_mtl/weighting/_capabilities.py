"""Capabilities of task weightings beyond the map of their family.

Each capability is one abstract class with one method. The training asks for these
classes and never for a method's own class, so that a user's class can have them too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


class EpochAware(ABC):
    """A task weighting that receives the mean losses (n_tasks,) of each epoch.

    See Also
    --------
    LookBack : Adds a call after each step.
    TargetAware : Adds the positions of the target tasks.

    Examples
    --------
    >>> from skgnn_mtl.weighting import DWA, EpochAware
    >>> isinstance(DWA(), EpochAware)
    True
    """

    @abstractmethod
    def end_epoch(self, mean_losses: Tensor) -> Mapping[str, Any] | None:
        """Learn from an epoch.

        Parameters
        ----------
        mean_losses : Tensor of float64 of shape (n_tasks,)
            Mean training losses, NaN for a task without a label.

        Returns
        -------
        summary : dict or None
            Further entries of ``history_``; a dict whose keys are positions of tasks
            receives their names.
        """


class LookBack(ABC):
    """A task weighting that compares the losses before and after a step.

    It receives both as vectors (t,) of the t present tasks, at the cost of one more
    forward pass per step.

    See Also
    --------
    EpochAware : Adds a call at the end of each epoch.
    HeldOutWeighting : Adds evidence from held-out rows.

    Examples
    --------
    >>> from skgnn_mtl.weighting import FAMO, LookBack
    >>> isinstance(FAMO(), LookBack)
    True
    """

    @abstractmethod
    def after_step(
        self, losses_before: Tensor, losses_after: Tensor, tasks: Tensor | None = None
    ) -> None:
        """Learn from the losses of one batch before and after the optimizer's step.

        Parameters
        ----------
        losses_before, losses_after : Tensor of shape (t,)
            Losses of the present tasks, with the same dropout masks.
        tasks : Tensor of int64 of shape (t,), optional
            Positions of the present tasks; None if all are present.
        """


class TargetAware(ABC):
    """A task weighting that distinguishes target tasks from auxiliary tasks.

    It receives the positions of the targets among the entries (n_tasks,) of the fit.

    See Also
    --------
    EpochAware : Adds a call at the end of each epoch.
    HeldOutWeighting : Adds evidence from held-out rows.

    Examples
    --------
    >>> from skgnn_mtl.weighting import BLO, TargetAware
    >>> isinstance(BLO(), TargetAware)
    True
    """

    @abstractmethod
    def set_targets(self, targets: Sequence[int]) -> None:
        """Set the target tasks, before the first step of a training.

        Parameters
        ----------
        targets : sequence of int
            Positions of the target tasks; all other tasks are auxiliary.
        """
