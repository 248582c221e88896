"""Batch normalisation by the statistics of a batch whose graphs several processes have.

torch has such a layer for GPUs only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ._distributed import World
from ._replay import batch_norms


@contextmanager
def common_statistics(model: nn.Module, world: World) -> Iterator[None]:
    """Normalise by the batch of all processes."""
    layers = [] if world.is_alone else batch_norms(model)
    for layer in layers:
        # An attribute of the layer hides the method of its class.
        layer.forward = partial(_normalise, layer, world)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _normalise(layer: Any, world: World, rows: Tensor) -> Tensor:
    """Normalise the columns of rows (n, width) by those of all processes."""
    if not layer.training:
        return type(layer).forward(layer, rows)  # type: ignore[no-any-return]
    ones = rows.new_ones(len(rows), 1)
    # With the number of rows, because that is one message less.
    sums = _total(torch.cat([rows, ones], dim=1).sum(dim=0), world)
    n = sums[-1].detach()
    if float(n) <= 1:  # because one row has no variance
        return type(layer).forward(layer, rows)  # type: ignore[no-any-return]
    mean = sums[:-1] / n
    centred = rows - mean
    variance = _total(centred.square().sum(dim=0), world) / n
    _update(layer, mean.detach(), variance.detach() * n / (n - 1))
    scaled: Tensor = centred * (variance + layer.eps).rsqrt()
    return scaled * layer.weight + layer.bias if layer.affine else scaled


def _update(layer: Any, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics towards those of a batch."""
    if not layer.track_running_stats:
        return
    layer.num_batches_tracked.add_(1)
    share = layer.momentum
    if share is None:  # because the average is then cumulative
        share = 1.0 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, share)
    layer.running_var.lerp_(variance, share)


def _total(part: Tensor, world: World) -> Tensor:
    total: Tensor = _Sum.apply(part, world)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """Sum over the processes, whose gradient is such a sum again."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, world: World) -> Tensor:
        ctx.world = world
        return world.sum(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _total(gradients[0], ctx.world), None
