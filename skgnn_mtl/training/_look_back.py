"""The losses of a batch before and after the optimizer's step."""

from __future__ import annotations

import torch
from torch import Tensor

from skgnn_mtl.graphs import GraphBatch, Labels

from ._distributed import ALONE, World
from ._jacobian import batch_losses
from ._loss import Loss
from ._model import MultiTaskModel
from ._replay import Replay


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
        self._replay = Replay(draws)

    def begin(self, device: torch.device) -> None:
        """Store the random states before the first pass."""
        self._replay.begin(device)

    def losses(
        self, model: MultiTaskModel, graphs: GraphBatch, labels: Labels
    ) -> Tensor:
        """Compute the losses (n_entries,), detached; nothing else changes."""
        with self._replay.again(model, graphs.device), torch.no_grad():
            return batch_losses(
                model, graphs, labels, self.loss, self.draws, self.world
            )
