"""The optimizer of the parameters of task weightings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class TaskAdam:
    """Adam that does not change the rows of absent tasks or their moments.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Those whose first dimension counts tasks are trained row by row, (n_tasks, ...).
    n_tasks : int
        Number of tasks.
    lr : float
        Learning rate.
    weight_decay : float
        L2 decay, added to the gradient.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        n_tasks: int,
        lr: float,
        weight_decay: float = 0.0,
    ) -> None:
        self.parameters, self.n_tasks = list(parameters), n_tasks
        self.lr, self.weight_decay = lr, weight_decay
        self.state = [
            {
                "mean": torch.zeros_like(p, requires_grad=False),
                "square": torch.zeros_like(p, requires_grad=False),
                # Per entry, so that absent tasks keep their own bias correction.
                "steps": torch.zeros_like(p, requires_grad=False),
            }
            for p in self.parameters
        ]

    @torch.no_grad()
    def step(self, tasks: Tensor | None) -> None:
        """Update the parameters that have a gradient, and clear the gradients.

        Parameters
        ----------
        tasks : Tensor of int64 of shape (t,) or None
            Present tasks; None stands for all.
        """
        for parameter, state in zip(self.parameters, self.state, strict=True):
            if parameter.grad is None:
                continue
            # A parameter without a dimension of tasks is common to all of them.
            by_task = parameter.ndim > 0 and len(parameter) == self.n_tasks
            rows = tasks if by_task and tasks is not None else ...
            value = parameter[rows]
            gradient = parameter.grad[rows] + self.weight_decay * value
            mean = torch.lerp(state["mean"][rows], gradient, 0.1)
            square = torch.lerp(state["square"][rows], gradient**2, 0.001)
            steps = state["steps"][rows] + 1.0
            unbiased = (square / (1.0 - 0.999**steps)).sqrt() + 1e-8
            parameter[rows] = value - self.lr * mean / (1.0 - 0.9**steps) / unbiased
            for name, new in (("mean", mean), ("square", square), ("steps", steps)):
                state[name][rows] = new
            # Cleared here, because the network's optimizer does not hold these
            # parameters.
            parameter.grad = None

    def restore(self, state: list[dict[str, Tensor]]) -> None:
        """Continue from the ``state`` of an earlier optimizer of these parameters."""
        for own, earlier in zip(self.state, state, strict=True):
            for name, value in earlier.items():
                own[name].copy_(value)
