"""What a task weighting is: a map that knows no model, no optimizer and no epoch.

``losses`` is the vector of the tasks' losses, of shape (t,): each the mean over the
labelled graphs of a batch, of standardised targets. Tasks without a label in the batch
are absent from it; ``tasks`` then names the present ones.

A weight of 1 for every task is the *sum* of the losses, so that adding a task does not
dilute the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from skgnn_mtl._component import Component


class TaskWeighting(Component, ABC):
    """A map from what is known about the tasks to the direction of a training step.

    Attributes
    ----------
    rescale : {"none", "mean1"}
        "mean1" divides the weights by their mean, which keeps the length of the step
        apart from the choice between tasks.
    """

    rescale: str
    lr: float  # of methods with parameters of their own

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Make the state.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Their names, for methods whose parameters name tasks.
        """


class LossWeighting(TaskWeighting):
    r"""A map from losses (t,) to a scalar :math:`S(L_1, ..., L_t)`.

    The weights are its derivatives :math:`w_t = \partial S / \partial L_t`, so a step
    costs one backward pass.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import ScaleInvariant
    >>> weighting = ScaleInvariant(eps=0.0)
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([0.5, 0.25]))
    tensor([2., 4.])
    """

    @abstractmethod
    def forward(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Combine the losses.

        Parameters
        ----------
        losses : Tensor of shape (t,)
            Losses of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Which tasks these are; all of them if not given.

        Returns
        -------
        total : Tensor of shape ()
            The scalar to descend on.
        """

    def task_weights(self, losses: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Weights of the tasks at these losses.

        Gradients with respect to the method's own parameters are added to them.

        Parameters
        ----------
        losses : Tensor of shape (t,)
            Losses of the present tasks.
        tasks : Tensor of int64 of shape (t,), optional
            Which tasks these are; all of them if not given.

        Returns
        -------
        weights : Tensor of shape (t,)
            Detached weights.
        """
        leaf = losses.detach().requires_grad_()
        self.forward(leaf, tasks).backward()
        weights = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        return weights / weights.mean() if self.rescale == "mean1" else weights


def present(values: Tensor, tasks: Tensor | None) -> Tensor:
    """Entries of a per-task vector that belong to the present tasks."""
    return values if tasks is None else values[tasks]
