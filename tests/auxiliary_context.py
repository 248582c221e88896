"""Encoders with auxiliary tasks, built, and what such a task receives of a batch."""

from __future__ import annotations

import numpy as np
import torch

from skgnn_mtl.auxiliary import BatchContext
from skgnn_mtl.encoders import GIN


def built(task, X, encoder=None, seed=0):
    """Build an encoder and a task for it; give the encoder."""
    torch.manual_seed(seed)
    encoder = encoder or GIN(width=32, n_layers=3)
    encoder.build(X.schema)
    task.build(X.schema, encoder)
    return encoder


def context_of(encoder, X, rows=None, seed=0):
    """Evaluate the encoder on some rows of X, by default on all."""
    batch = X.batch(np.arange(len(X)) if rows is None else rows)
    nodes = encoder(batch)
    generator = torch.Generator().manual_seed(seed)
    return BatchContext(encoder, batch, nodes, batch.membership.mean(nodes), generator)
