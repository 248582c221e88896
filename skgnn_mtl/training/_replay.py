"""Forward passes that change nothing, or only statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphArray, GraphRows

RandomState = tuple[Tensor, Tensor | None]


def random_state(device: torch.device) -> RandomState:
    """Read the state of torch's generators, for :func:`replayed`."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


@contextmanager
def replayed(state: RandomState, device: torch.device) -> Iterator[None]:
    """Repeat the random numbers drawn since ``state``, such as dropout masks."""
    # Forked, so that the training goes on as if nothing had been drawn.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield


class Replay:
    """Further passes of a batch with the random numbers of its first pass.

    Parameters
    ----------
    draws : torch.Generator or None
        Randomness of the auxiliary tasks.
    """

    def __init__(self, draws: torch.Generator | None = None) -> None:
        self.draws = draws

    def begin(self, device: torch.device) -> None:
        """Store the random states before the first pass."""
        self._random_state = random_state(device)
        if self.draws is not None:
            self._drawn = self.draws.get_state()

    @contextmanager
    def again(self, model: nn.Module, device: torch.device) -> Iterator[None]:
        """Repeat the draws; generators and running statistics do not change."""
        now = None
        if self.draws is not None:
            now = self.draws.get_state()
            self.draws.set_state(self._drawn)
        try:
            with replayed(self._random_state, device), frozen_statistics(model):
                yield
        finally:
            if self.draws is not None and now is not None:
                self.draws.set_state(now)


def batch_norms(model: nn.Module) -> list[Any]:
    """List the layers of batch normalisation of a model."""
    kind = nn.modules.batchnorm._BatchNorm
    return [layer for layer in model.modules() if isinstance(layer, kind)]


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Normalise by the batch without a change of the running statistics."""
    layers = batch_norms(model)
    before = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        # Without momentum the running statistics keep their values.
        layer.momentum = 0.0
        # A copy, because the layer counts in place.
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked = layer.num_batches_tracked.clone()
    try:
        yield
    finally:
        for layer, (momentum, n_batches) in zip(layers, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, n_batches


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Compute in evaluation mode, and restore the previous mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def recalibrate(
    encoder: GraphEncoder,
    graphs: GraphArray | GraphRows,
    device: torch.device,
    batch_size: int = 256,
) -> None:
    """Estimate the statistics of an encoder's batch normalisation anew.

    Batches are of equal size and count by their nodes. At the end the encoder is in
    evaluation mode.

    Parameters
    ----------
    encoder : GraphEncoder
        Built; its weights do not change. After an error or an interruption it has the
        statistics of before.
    graphs : GraphArray or GraphRows
        Graphs to average over.
    device : torch.device
        Device of the encoder.
    batch_size : int
        Largest number of graphs at a time.
    """
    layers = batch_norms(encoder)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    before = copy.deepcopy([layer.state_dict() for layer in layers])
    # Dropout is off; only the layers of normalisation are in training mode.
    encoder.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    parts = np.array_split(np.arange(len(graphs)), -(-len(graphs) // batch_size))
    n_nodes = 0
    try:
        with torch.no_grad():
            for rows in parts:
                batch = graphs.batch(rows).to(device)
                n_nodes += batch.n_nodes
                for layer in layers:
                    # This share makes the running mean the mean over all nodes so far.
                    layer.momentum = batch.n_nodes / n_nodes
                encoder(batch)
    except BaseException:
        for layer, state in zip(layers, before, strict=True):
            layer.load_state_dict(state)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        encoder.eval()
