"""A new task next to frozen sources: its network and its data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch, Labels, fill_gaps, in_precision

from ._model import Embedded, GATEModel, TaskModules
from ._terms import observe


class CachedDataset(torch.utils.data.Dataset[Any]):
    """Outputs of frozen modules for some graphs, with labels, as a GraphDataset.

    Parameters
    ----------
    cache : Embedded
        One row per graph.
    targets, weights : ndarray of shape (n, n_tasks)
        Labels, complex if some are bounds, and their weights, 0 where one is missing.
    rows : ndarray of shape (n, 1)
        Weights of the graphs.
    repeats : int, default=1
        How often each row occurs in an epoch.
    sampling : ndarray of shape (n,), optional
        Relative frequency of each row; each occurs once if not given.
    """

    def __init__(
        self,
        cache: Embedded,
        targets: np.ndarray,
        weights: np.ndarray,
        rows: np.ndarray,
        repeats: int = 1,
        sampling: np.ndarray | None = None,
    ) -> None:
        self.cache, self.repeats = cache, repeats
        self.sampling = (
            None if sampling is None else torch.from_numpy(np.tile(sampling, repeats))
        )
        # Gaps are filled, because the loss is computed before the weights apply.
        tables = (fill_gaps(targets, weights), weights, rows)
        precision = str(cache.vectors.dtype).removeprefix("torch.")
        self.tables = [torch.from_numpy(in_precision(t, precision)) for t in tables]

    def __len__(self) -> int:
        return len(self.cache) * self.repeats

    def __getitems__(self, rows: Any) -> tuple[Embedded, Labels]:
        """Gather a batch: cached outputs, and labels with the weights of the rows."""
        # Repeated rows share one entry of the cache.
        rows = torch.from_numpy(np.asarray(rows)) % len(self.cache)
        targets, weights, row_weights = (table[rows] for table in self.tables)
        return self.cache[rows], Labels(targets, weights, (row_weights,))


class AdditionModel(nn.Module):
    """The modules of a new task, trained next to frozen sources [1]_.

    Parameters
    ----------
    whole : GATEModel
        The fitted network. Its encoder is shared, and its other modules are copied.
    sources : sequence of int
        Positions of the sources to learn from.
    perturbations : Tensor of shape (n_perturbations, width)
        Added to every embedding; empty without the distance term.
    init : int, optional
        Source to start from; random if not given.
    train_encoder : bool, default=False
        Count encoder and readout among the trained modules.

    References
    ----------
    .. [1] S. Yim et al., "Task Addition in Multi-Task Learning by Geometrical
       Alignment", 2024, arXiv:2409.16645.
    """

    perturbations: Tensor

    def __init__(
        self,
        whole: GATEModel,
        sources: list[int],
        perturbations: Tensor,
        init: int | None = None,
        train_encoder: bool = False,
    ) -> None:
        super().__init__()
        sources_of_fit = whole.sources
        # A tuple hides the network from the trained parameters.
        self._whole = (whole,)
        if train_encoder:
            self.encoder, self.readout = whole.encoder, whole.readout
        # A copy, so that the sources of the fit can still be trained.
        self.frozen = sources_of_fit.select(sources).requires_grad_(False)
        self.positions = sources
        self.new = (
            TaskModules(sources_of_fit.width, 1, sources_of_fit.layout).to(
                next(sources_of_fit.parameters())
            )
            if init is None
            else sources_of_fit.select([init])
        )
        self.register_buffer("perturbations", perturbations)

    def evaluate_sources(self, vectors: Tensor) -> Embedded:
        """Evaluate the sources at embeddings (n, width)."""
        _, frames, lengths = observe(self.frozen, vectors, self.perturbations)
        # By all sources, so that the predictions are those of the model, bit for bit.
        outputs = self._whole[0].predict_sources(vectors)[:, self.positions]
        return Embedded(
            vectors, frames.transpose(0, 1), outputs, lengths.permute(2, 0, 1)
        )

    def cached(self, batch: GraphBatch | Embedded) -> Embedded:
        """Evaluate the sources at a batch, unless it comes from the cache."""
        if isinstance(batch, Embedded):
            return batch
        return self.evaluate_sources(self._whole[0].embed(batch))

    def forward(self, batch: GraphBatch | Embedded) -> Tensor:
        """Predict the standardised targets (n, 1) of the new task."""
        vectors = (
            batch.vectors
            if isinstance(batch, Embedded)
            else self._whole[0].embed(batch)
        )
        outputs: Tensor = self.new(vectors)
        return outputs
