"""Inner products of long vectors."""

from __future__ import annotations

import torch
from torch import Tensor

# Columns per block, because a block in float64 must stay in the cache.
_BLOCK = 1 << 14


def gram(rows: Tensor) -> Tensor:
    """Compute the Gram matrix of long rows, in float64.

    Parameters
    ----------
    rows : Tensor of shape (n, p)
        The vectors.

    Returns
    -------
    products : Tensor of float64 of shape (n, n)
        All dot products.
    """
    # The CPU computes for MPS, because MPS does not have float64.
    device = torch.device("cpu") if rows.device.type == "mps" else rows.device
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=device)
    for start in range(0, rows.shape[1], _BLOCK):
        block = rows[:, start : start + _BLOCK].to(device, torch.float64)
        total += block @ block.T
    return total
