"""Flat gradients and vector-Jacobian products.

A *flat* gradient joins the derivatives with respect to a sequence of tensors to one
vector (p,), in the order of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Parts = Sequence[Tensor | None]
Result = TypeVar("Result")


def flat_size(parameters: Sequence[Tensor]) -> int:
    """Count the entries p of a flat gradient."""
    return sum(parameter.numel() for parameter in parameters)


def flatten(parts: Parts, parameters: Sequence[Tensor]) -> Tensor:
    """Join derivatives to one vector (p,); None stands for zeros."""
    return torch.cat(
        [
            (like.new_zeros(like.shape) if part is None else part).reshape(-1)
            for part, like in zip(parts, parameters, strict=True)
        ]
    )


def flatten_rows(parts: Parts, parameters: Sequence[Tensor], n_rows: int) -> Tensor:
    """Join derivatives with a leading dimension to rows (n_rows, p)."""
    return torch.cat(
        [
            like.new_zeros(n_rows, like.numel())
            if part is None
            else part.reshape(n_rows, -1)
            for part, like in zip(parts, parameters, strict=True)
        ],
        dim=1,
    )


def unflatten(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """View a flat gradient (p,) in the shapes of the parameters."""
    parts = vector.split([parameter.numel() for parameter in parameters])
    return [v.view_as(p) for v, p in zip(parts, parameters, strict=True)]


def pull_back(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
) -> Sequence[Tensor]:
    """Compute one vector-Jacobian product; the graph is kept.

    Parameters
    ----------
    outputs : sequence of Tensor
        Tensors to differentiate.
    inputs : sequence of Tensor
        Tensors to differentiate by.
    cotangents : sequence of Tensor
        Shaped like the outputs.

    Returns
    -------
    parts : sequence of Tensor
        Shaped like the inputs; zeros where nothing depends on an input.
    """
    return torch.autograd.grad(
        outputs, inputs, cotangents, retain_graph=True, materialize_grads=True
    )


def pull_back_rows(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    n_rows: int,
) -> Parts:
    """Compute several vector-Jacobian products at a time; the graph is kept.

    Parameters
    ----------
    outputs : sequence of Tensor
        Tensors to differentiate.
    inputs : sequence of Tensor
        Tensors to differentiate by.
    cotangents : sequence of Tensor
        Shaped like the outputs after a leading dimension of ``n_rows``.
    n_rows : int
        Number of products.

    Returns
    -------
    parts : sequence of (Tensor or None)
        Shaped like the inputs after a leading dimension of ``n_rows``; None where
        nothing depends on an input.
    """
    # A single product needs no vmap, which some kernels do not support.
    single = n_rows == 1
    parts = torch.autograd.grad(
        outputs,
        inputs,
        [c[0] for c in cotangents] if single else cotangents,
        retain_graph=True,
        allow_unused=True,
        is_grads_batched=not single,
    )
    if not single:
        return parts
    return [None if part is None else part[None] for part in parts]


def in_chunks_that_fit(
    function: Callable[[int], Result], chunk: int
) -> tuple[Result, int]:
    """Call a function with a chunk size that is halved while memory runs out.

    Parameters
    ----------
    function : callable
        Maps a chunk size to a result.
    chunk : int
        Chunk size to begin with.

    Returns
    -------
    result : object
        Result of the function.
    chunk : int
        Chunk size that fitted.

    Raises
    ------
    torch.OutOfMemoryError
        If a chunk of 1 does not fit either.
    """
    while True:
        try:
            return function(chunk), chunk
        except torch.OutOfMemoryError:
            if chunk == 1:
                raise
            # Halved, because the memory of a chunk is proportional to its size.
            chunk //= 2
