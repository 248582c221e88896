"""Jacobians of prescribed rank and scale, and methods built for them."""

from __future__ import annotations

import numpy as np
import torch

from skgnn_mtl import weighting
from skgnn_mtl._component import part_names
from skgnn_mtl.weighting import (
    BLO,
    Curvature,
    Fixed,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    TaskWeighting,
)

LOSS_METHODS = part_names(weighting, LossWeighting)
GRAMIAN_METHODS = part_names(weighting, GramianWeighting)
JACOBIAN_METHODS = part_names(weighting, JacobianAggregation)
METHODS = part_names(weighting, TaskWeighting)
# Methods for which one task, the first by default, is the target.
ANCHORED = ["anchoredpcgrad", "blo", "gcs", "gcsgns", "gns", "rcgrad"]


def random_jacobian(n_tasks=3, rank=None, decades=1.0, seed=0, n_parameters=30):
    """Gaussian rows of a rank, with norms spread evenly over decades."""
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(n_tasks, n_parameters))
    if rank is not None:
        J = rng.normal(size=(n_tasks, rank)) @ J[:rank]
    J /= np.linalg.norm(J, axis=1, keepdims=True)
    scales = 10.0 ** rng.permutation(np.linspace(-decades / 2, decades / 2, n_tasks))
    return torch.from_numpy(J * scales[:, None])


def conflicting_jacobian(n_tasks=3, seed=0, n_parameters=30):
    """Independent rows of which every pair conflicts."""
    rng = np.random.default_rng(seed)
    J = np.full((n_tasks, n_tasks), -0.8 / max(n_tasks - 1, 1))
    np.fill_diagonal(J, 1.0)
    basis, _ = np.linalg.qr(rng.normal(size=(n_parameters, n_tasks)))
    scales = rng.uniform(0.5, 2.0, size=(n_tasks, 1))
    values, vectors = np.linalg.eigh(J)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    return torch.from_numpy(scales * (root @ basis.T))


def make(cls, n_tasks, **parameters):
    """Build a method for some tasks."""
    if cls is Fixed:
        parameters.setdefault("weights", np.ones(n_tasks))
    if cls is BLO:
        parameters.setdefault("weight_init", 0.5)
    method = cls(**parameters)
    method.build(n_tasks)
    return method


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def direction(method, J, losses=None, seed=0, tasks=None):
    """Direction of any method on a Jacobian whose losses are one unless given.

    The curvatures of the tasks are the squared norms of their gradients.
    """
    losses = torch.ones(len(J), dtype=J.dtype) if losses is None else losses
    known = {"generator": generator(seed), "tasks": tasks}
    if isinstance(method, Curvature):
        return method((J**2).sum(dim=1), tasks=tasks) @ J
    if isinstance(method, LossWeighting):
        return method.task_weights(losses, **known) @ J
    if isinstance(method, GramianWeighting):
        return method.task_weights(J @ J.T, losses=losses, **known) @ J
    return method.direction(J, losses=losses, **known)
