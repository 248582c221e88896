"""Symmetric matrices of a known spectrum, and random vectors to multiply them with."""

from __future__ import annotations

import numpy as np
import torch

from skgnn_mtl.curvature import make_probes


def symmetric(eigenvalues, seed=0, dtype=torch.float64):
    """Matrix with these eigenvalues and random eigenvectors."""
    shape = (len(eigenvalues),) * 2
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=shape))[0]
    return torch.from_numpy(Q * np.asarray(eigenvalues) @ Q.T).to(dtype)


def probes(size, count, seed=0):
    """Columns of probes in float64."""
    return make_probes(size, count, torch.Generator().manual_seed(seed)).double()
