"""Inner products of long vectors, and cosines from inner products."""

from __future__ import annotations

import numpy as np
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


def cosines(products: np.ndarray, *lengths: np.ndarray | float) -> np.ndarray:
    """Divide inner products by the lengths of their vectors.

    Parameters
    ----------
    products : ndarray
        Inner products.
    *lengths : ndarray or float
        Factors of the product of both lengths, which broadcast against the products.
        The division is by one after the other.

    Returns
    -------
    cosines : ndarray
        Shaped like the products. NaN for a vector of length zero; rounding may put
        a cosine slightly outside [-1, 1].
    """
    # Silent, because a vanished vector has no direction and its NaN says so.
    with np.errstate(divide="ignore", invalid="ignore"):
        for length in lengths:
            products = products / length
    return products
