"""The losses of a batch before and after the optimizer's step."""

from __future__ import annotations

import torch
from torch import Tensor

from skgnn_mtl.graphs import GraphBatch, Labels

from ._distributed import ALONE, World
from ._jacobian import forward_pass, with_auxiliary
from ._loss import Loss, task_losses
from ._model import MultiTaskModel
from ._replay import frozen_statistics, random_state, replayed


class SecondPass:
    """A second forward pass of a batch, with the dropout masks of the first pass.

    Parameters
    ----------
    loss : callable
        Elementwise loss.
    draws : torch.Generator or None
        Randomness of the auxiliary tasks.
    world : World, optional
        Processes that have the other graphs of the batch.
    """

    def __init__(
        self, loss: Loss, draws: torch.Generator | None, world: World = ALONE
    ) -> None:
        self.loss, self.draws, self.world = loss, draws, world

    def begin(self, device: torch.device) -> None:
        """Store the random states before the first pass."""
        self._random_state = random_state(device)
        if self.draws is not None:
            self._drawn = self.draws.get_state()

    def losses(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels
    ) -> Tensor:
        """Compute the losses (n_entries,), detached; nothing else changes."""
        if self.draws is not None:
            # Repeats the draws of the first pass; the generator continues afterwards.
            now = self.draws.get_state()
            self.draws.set_state(self._drawn)
        with (
            replayed(self._random_state, graphs.device),
            frozen_statistics(model),
            torch.no_grad(),
        ):
            _, outputs, extra = forward_pass(model, graphs, labels, self.draws)
            labels = labels.to(graphs.device)
            losses, _ = task_losses(
                outputs, labels.targets, labels.weights, self.loss, self.world
            )
            found: Tensor = with_auxiliary(self.world.sum(losses), extra)
        if self.draws is not None:
            self.draws.set_state(now)
        return found
