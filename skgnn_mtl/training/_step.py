"""From a vector of task losses to the gradients of one step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch
from skgnn_mtl.weighting import LossWeighting

from ._loss import Loss, task_losses


class TrainingStep:
    """Losses of a batch, their weights, and the gradients that follow.

    Parameters
    ----------
    weighting : LossWeighting
        Built for the tasks of the fit; its own parameters are trained here, by an
        Adam of their own that no weight decay and no schedule reaches.
    loss : callable
        Elementwise loss.
    """

    def __init__(self, weighting: LossWeighting, loss: Loss) -> None:
        self.weighting, self.loss = weighting, loss
        self.begun = False  # from then on the model is changed
        parameters = list(weighting.parameters())
        self._optimizer = (
            torch.optim.Adam(parameters, lr=weighting.lr) if parameters else None
        )

    def state_dict(self) -> dict:
        """State of the optimizer of the weighting's own parameters."""
        return self._optimizer.state_dict() if self._optimizer else {}

    def load_state_dict(self, state: dict) -> None:
        """Go on from :meth:`state_dict` of an earlier training of this weighting."""
        if self._optimizer:
            self._optimizer.load_state_dict(state)

    def losses(
        self, model: nn.Module, graphs: GraphBatch, labels: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Losses and label weights of each task; tensors of shape (n_tasks,)."""
        self.begun = True
        targets, weights = (part.to(graphs.device) for part in labels)
        return task_losses(model(graphs), targets, weights, self.loss)

    def backward(self, losses: Tensor, present: Tensor) -> Tensor:
        """Put the gradients of the weighted losses where the optimizer looks.

        Parameters
        ----------
        losses : Tensor of shape (n_tasks,)
            Losses with their graph.
        present : Tensor of bool of shape (n_tasks,), on the CPU
            Tasks with a label in the batch; the weighting never sees the others.

        Returns
        -------
        weights : Tensor of shape (n_tasks,)
            Detached weights, 0 for absent tasks.
        """
        tasks = None if bool(present.all()) else present.nonzero()[:, 0]
        if tasks is not None:
            tasks = tasks.to(losses.device)
        weights = self._weights(losses if tasks is None else losses[tasks], tasks)
        if tasks is not None:
            weights = torch.zeros_like(losses).index_copy(0, tasks, weights)
        losses.backward(weights)
        return weights

    def _weights(self, losses: Tensor, tasks: Tensor | None) -> Tensor:
        if losses.shape[0] == 1 and tasks is None:
            # A single task is trained alike whatever the weighting.
            return torch.ones_like(losses)
        if self._optimizer is None:
            return self.weighting.task_weights(losses, tasks)
        self._optimizer.zero_grad()
        weights = self.weighting.task_weights(losses, tasks)
        self._optimizer.step()
        return weights
