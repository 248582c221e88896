"""Numbers beside a graph, on their way to the heads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch

# Standard deviations from the mean beyond which a value counts as an outlier.
_LIMIT = 10.0


class GraphFeatures(nn.Module):
    """Standardise the graph features, and append them to the vectors of the graphs.

    Parameters
    ----------
    n_features : int
        Number of graph features; with 0 of them nothing changes.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        # Without features the state does not hold them, as in published weights.
        kept = n_features > 0
        self.register_buffer("mean", torch.zeros(n_features), persistent=kept)
        self.register_buffer("scale", torch.ones(n_features), persistent=kept)

    def learn(self, values: np.ndarray, weights: np.ndarray) -> None:
        """Learn mean and standard deviation of each feature.

        A feature that is constant, or missing everywhere, gets an infinite scale: its
        weights are never trained, so that another value must not reach them later.

        Parameters
        ----------
        values : ndarray of shape (n, n_features)
            Features of the training graphs, NaN where missing.
        weights : ndarray of shape (n,)
            Weights of the graphs.
        """
        # In double precision, because squares of large features leave float32.
        table = values.astype(np.float64)
        known = np.where(np.isnan(table), 0.0, weights[:, None])
        table = np.nan_to_num(table)
        mass = np.maximum(known.sum(axis=0), np.finfo(float).tiny)
        mean = (known * table).sum(axis=0) / mass
        deviation = np.sqrt((known * (table - mean) ** 2).sum(axis=0) / mass)
        # Rounding leaves a constant feature with a tiny deviation.
        constant = deviation <= 1e-7 * np.maximum(abs(mean), 1e-30)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(np.where(constant, np.inf, deviation)))

    def forward(self, vectors: Tensor, batch: GraphBatch) -> Tensor:
        """Append the standardised features (n, n_features) to vectors (n, width)."""
        if not self.n_features:
            return vectors
        values = (batch.graph_features - self.mean) / self.scale
        # A missing feature is read as the mean, and an outlier must not dominate.
        values = torch.nan_to_num(values, nan=0.0).clamp(-_LIMIT, _LIMIT)
        # Few features beside a wide vector are enlarged to its length, because a weight
        # of small inputs would have to grow for many epochs.
        values = values * max(1.0, vectors.shape[1] / self.n_features) ** 0.5
        return torch.cat([vectors, values], dim=1)
