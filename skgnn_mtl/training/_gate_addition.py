"""A new task beside frozen ones: its network and its data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphBatch, fill_gaps

from ._gate_model import Embedded, GATEModel, TaskModules
from ._gate_terms import observe


class CachedDataset(torch.utils.data.Dataset):
    """What frozen modules make of some graphs, with labels, as a GraphDataset.

    Parameters
    ----------
    cache : Embedded
        One row a graph.
    targets, weights : ndarray of shape (n, n_tasks)
        Labels and their weights, 0 where one is missing.
    rows : ndarray of shape (n, 1)
        Weights of the graphs.
    repeats : int, default=1
        How often an epoch meets each row.
    sampling : ndarray of shape (n,), optional
        How often each is drawn, up to a factor; each once if not given.
    """

    def __init__(
        self, cache: Embedded, targets, weights, rows, repeats=1, sampling=None
    ) -> None:
        self.cache, self.repeats = cache, repeats
        self.sampling = (
            None if sampling is None else torch.from_numpy(np.tile(sampling, repeats))
        )
        tables = (fill_gaps(targets, weights), weights, rows)
        self.tables = [torch.from_numpy(t).to(cache.vectors.dtype) for t in tables]

    def __len__(self) -> int:
        return len(self.cache) * self.repeats

    def __getitems__(self, rows) -> tuple[Embedded, tuple[Tensor, ...]]:
        """Gather a batch: what is cached, then targets, weights, weights of rows."""
        rows = torch.from_numpy(np.asarray(rows)) % len(self.cache)
        return self.cache[rows], tuple(table[rows] for table in self.tables)


class AdditionModel(nn.Module):
    """The modules of a new task, trained beside frozen ones.

    Parameters
    ----------
    whole : GATEModel
        The fitted network; only its encoder is shared, the rest is copied.
    sources : sequence of int
        Positions of the sources to learn from.
    perturbations : Tensor of shape (n_perturbations, width)
        Added to every embedding; none if distances are not wanted.
    init : int, optional
        Source to start from; random if not given.
    train_encoder : bool, default=False
        Count encoder and readout among the trained modules.
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
        known = whole.sources
        # A tuple hides the network from what is trained.
        self._whole = (whole,)
        if train_encoder:
            self.encoder, self.readout = whole.encoder, whole.readout
        self.known = known.select(sources).requires_grad_(False)
        self.positions = sources
        self.new = (
            TaskModules(known.width, 1, known.layout).to(next(known.parameters()))
            if init is None
            else known.select([init])
        )
        self.register_buffer("perturbations", perturbations)

    def look(self, vectors: Tensor) -> Embedded:
        """Evaluate the sources at embeddings (n, width)."""
        _, frames, lengths = observe(self.known, vectors, self.perturbations)
        outputs = self._whole[0].predict_sources(vectors)[:, self.positions]
        return Embedded(
            vectors, frames.transpose(0, 1), outputs, lengths.permute(2, 0, 1)
        )

    def view(self, batch: GraphBatch | Embedded) -> Embedded:
        """Give what the sources make of a batch, unless it came from the cache."""
        if isinstance(batch, Embedded):
            return batch
        return self.look(self._whole[0].embed(batch))

    def forward(self, batch: GraphBatch | Embedded) -> Tensor:
        """Standardised predictions (n, 1) of the new task."""
        vectors = (
            batch.vectors
            if isinstance(batch, Embedded)
            else self._whole[0].embed(batch)
        )
        return self.new(vectors)
