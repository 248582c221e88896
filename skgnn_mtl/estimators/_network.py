"""The trained network at work: batches of graphs in, one row per graph out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphArray, GraphBatch, GraphRows

from ._compute import limited_threads

# Graphs per batch at least: smaller batches only cost time.
_SMALLEST_BATCH = 256


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network that predictions only read, also from several threads.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    device : torch.device
        Where to compute. If the network is elsewhere, a copy computes.
    batch_size : int
        Graphs in a training step; batches are not smaller.
    n_threads : int or None
        Threads of torch; None leaves torch's setting.
    """

    module: nn.Module
    device: torch.device
    batch_size: int
    n_threads: int | None

    def apply(
        self,
        graphs: GraphArray | GraphRows,
        function: Callable[[Any, GraphBatch], Tensor],
    ) -> np.ndarray:
        """Apply a function of the network and a batch to all valid graphs.

        Parameters
        ----------
        graphs : GraphArray or GraphRows of shape (n_graphs,)
            Graphs of the schema of fit.
        function : callable
            Maps the network and a batch of k graphs to a tensor (k, width).

        Returns
        -------
        values : ndarray of float64 of shape (n_graphs, width)
            NaN for an invalid graph.
        """
        rows = np.flatnonzero(graphs.valid)
        step = max(self.batch_size, _SMALLEST_BATCH)
        result = None
        with self.at_work() as module:
            # An empty selection still tells the width of the result.
            for k in range(0, max(len(rows), 1), step):
                chosen = rows[k : k + step]
                values = function(module, graphs.batch(chosen).to(self.device))
                # On the CPU first, because some accelerators lack double precision.
                table = values.cpu().double().numpy()
                if result is None:
                    result = np.full((len(graphs), table.shape[1]), np.nan)
                # Not kept until the end, because small tensors between large ones
                # would keep the allocator from giving memory back.
                result[chosen] = table
        assert result is not None
        return result

    @contextmanager
    def at_work(self, *, differentiable: bool = False) -> Iterator[nn.Module]:
        """Give the network in evaluation mode, which must not be changed.

        Parameters
        ----------
        differentiable : bool, default=False
            Whether tensors that are made inside may be differentiated later, in a
            block that enables gradients.

        Yields
        ------
        module : torch.nn.Module
            On ``device``.
        """
        module = self._ready()
        with (
            limited_threads(self.n_threads),
            torch.inference_mode(not differentiable),
            torch.no_grad(),
        ):
            yield module

    def _ready(self) -> nn.Module:
        """Give the network in evaluation mode on the device, without changing it."""
        first = next(self.module.parameters(), None)
        is_here = first is None or _same_device(first.device, self.device)
        if is_here and not self.module.training:
            return self.module
        # Never in place, because another thread may compute with this network.
        return copy.deepcopy(self.module).to(self.device).eval()


def _same_device(one: torch.device, other: torch.device) -> bool:
    """Compare devices, of which one may lack the index of the current one."""
    if one.type != other.type or None not in (one.index, other.index):
        return one == other
    # "cuda" without an index is the current device, which torch compares as another.
    current = torch.cuda.current_device() if one.type == "cuda" else 0
    indices = {current if d.index is None else d.index for d in (one, other)}
    return len(indices) == 1
