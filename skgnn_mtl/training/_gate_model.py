"""GATE's network: one embedding, and small maps of each task around a flat frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphBatch, GraphSchema
from skgnn_mtl.readouts import Readout

from ._model import MultiTaskModel


class TaskMLP(nn.Module):
    """Multilayer perceptrons of several tasks, applied by batched products.

    SiLU behind all layers but the last: GATE needs smooth maps.

    Parameters
    ----------
    n_tasks : int
        Number of perceptrons.
    widths : sequence of int
        Widths of input, hidden layers and output.
    """

    def __init__(self, n_tasks: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer, (wide, narrow) in enumerate(pairwise(widths)):
            # Variances survive a layer, so that frames do not begin collapsed; SiLU
            # halves them.
            bound = math.sqrt((6.0 if layer else 3.0) / wide)
            weight = torch.empty(n_tasks, wide, narrow).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n_tasks, 1, narrow)))

    def forward(self, x: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Map (n_tasks, n, d), or (n, d) for all tasks, to (n_tasks, n, d_out).

        With shifts (m, d) the inputs are x + shift, for one shift after the other, and
        the result has m n rows. The first layer is linear: it need not see them all.
        """
        for layer, (weight, bias) in enumerate(
            zip(self.weights, self.biases, strict=True)
        ):
            x = F.silu(x) if layer else x.expand(len(weight), *x.shape[-2:])
            x = torch.baddbmm(bias, x, weight)
            if shifts is not None and not layer:
                x = (x[:, None] + (shifts @ weight)[:, :, None]).flatten(1, 2)
        return x


@dataclass(frozen=True)
class TaskLayout:
    """Widths of the maps of a task.

    Parameters
    ----------
    latent_dim : int
        Width of latent vectors and of the flat frame.
    encoder_hidden_dims, transfer_hidden_dims, head_hidden_dims : tuple of int
        Hidden layers from the embedding to the latent vector, between this and the
        flat frame (both ways), and from the latent vector to the prediction.
    """

    latent_dim: int
    encoder_hidden_dims: tuple[int, ...]
    transfer_hidden_dims: tuple[int, ...]
    head_hidden_dims: tuple[int, ...]


class TaskModules(nn.Module):
    """The maps of a group of tasks: encode, transfer, inverse and head.

    Parameters
    ----------
    width : int
        Width of the embedding.
    n_tasks : int
        Size of the group. A group is never packed anew, which is why its predictions
        stay the same to the last bit.
    layout : TaskLayout
        Widths.
    """

    def __init__(self, width: int, n_tasks: int, layout: TaskLayout) -> None:
        super().__init__()
        d = layout.latent_dim
        self.width, self.n_tasks, self.layout = width, n_tasks, layout
        self.encode = TaskMLP(n_tasks, [width, *layout.encoder_hidden_dims, d])
        self.transfer = TaskMLP(n_tasks, [d, *layout.transfer_hidden_dims, d])
        self.inverse = TaskMLP(n_tasks, [d, *layout.transfer_hidden_dims, d])
        self.head = TaskMLP(n_tasks, [d, *layout.head_hidden_dims, 1])

    def frame(self, embedding: Tensor) -> Tensor:
        """Points (n_tasks, n, latent_dim) in the frame of embeddings (n, width)."""
        return self.transfer(self.encode(embedding))

    def arrive(self, frames: Tensor) -> Tensor:
        """Predictions (n_tasks, n) from points of the flat frame."""
        return self.head(self.inverse(frames))[..., 0]

    def forward(self, embedding: Tensor) -> Tensor:
        """Predictions (n, n_tasks) from embeddings (n, width)."""
        return self.head(self.encode(embedding))[..., 0].T

    def select(self, tasks: Sequence[int]) -> TaskModules:
        """Copy some tasks into a group of their own."""
        chosen = TaskModules(self.width, len(tasks), self.layout)
        state = {name: value[list(tasks)] for name, value in self.state_dict().items()}
        # There first, so that nothing travels to the CPU and back.
        chosen.to(next(self.parameters())).load_state_dict(state)
        return chosen


@dataclass(frozen=True)
class Embedded:
    """A batch whose graphs went through the encoder before, as a batch of graphs.

    Parameters
    ----------
    vectors : Tensor of shape (n, width)
        Embeddings.
    frames : Tensor of shape (n, n_sources, latent_dim)
        Points in the flat frame of frozen sources; no sources if these are not needed.
    outputs : Tensor of shape (n, n_sources)
        Predictions of the sources.
    distances : Tensor of shape (n, n_sources, n_perturbations)
        How far each perturbation moves the points.
    """

    vectors: Tensor
    frames: Tensor
    outputs: Tensor
    distances: Tensor

    @classmethod
    def bare(cls, vectors: Tensor) -> Embedded:
        """Embeddings alone."""
        nothing = vectors.new_zeros(len(vectors), 0)
        return cls(vectors, nothing, nothing, nothing)

    @classmethod
    def concatenate(cls, parts: Sequence[Embedded]) -> Embedded:
        """Put batches behind each other."""
        return cls(
            *(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls))
        )

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.vectors.device

    def __len__(self) -> int:
        return len(self.vectors)

    def to(self, device) -> Embedded:
        """Move all tensors."""
        return Embedded(*(getattr(self, f.name).to(device) for f in fields(self)))

    def __getitem__(self, rows) -> Embedded:
        """Gather rows."""
        return Embedded(*(getattr(self, f.name)[rows] for f in fields(self)))


class GATEModel(nn.Module):
    """Encoder, readout, the maps of the sources, and those of each added task.

    Parameters
    ----------
    encoder : GraphEncoder
        Unbuilt; it is built here.
    readout : Readout
        Unbuilt; it is built here.
    schema : GraphSchema
        Meaning of the columns of the graphs to come.
    n_sources : int
        Number of sources.
    layout : TaskLayout
        Widths of the maps of all tasks.
    n_added : int
        Number of added tasks.
    pretrained : dict or None
        ``architecture`` of a MultiTaskModel whose trunk and heads, frozen, predict the
        sources in place of their maps.
    """

    def __init__(
        self,
        encoder: GraphEncoder,
        readout: Readout,
        schema: GraphSchema,
        n_sources: int,
        layout: TaskLayout,
        n_added: int = 0,
        pretrained: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        encoder.build(schema)
        readout.build(encoder.width)
        self.encoder, self.readout = encoder, readout
        self.layout, self.pretrained = layout, pretrained
        self.sources = TaskModules(encoder.width, n_sources, layout)
        self.added = nn.ModuleList(
            TaskModules(encoder.width, 1, layout) for _ in range(n_added)
        )
        if pretrained is not None:
            model = MultiTaskModel(
                clone(encoder),
                clone(readout),
                schema,
                n_sources,
                pretrained["hidden_dims"],
                pretrained["head_activation"],
            )
            self.heads = nn.Sequential(model.trunk, model.heads).requires_grad_(False)

    @property
    def architecture(self) -> dict[str, Any]:
        """What, beside encoder and readout, an equal network is built from."""
        return {
            "n_sources": self.sources.n_tasks,
            "layout": asdict(self.layout),
            "n_added": len(self.added),
            "pretrained": self.pretrained,
        }

    def embed(self, batch: GraphBatch | Embedded) -> Tensor:
        """Embeddings (n_graphs, encoder.width)."""
        if isinstance(batch, Embedded):
            return batch.vectors
        return self.readout(self.encoder(batch), batch)

    def predict_sources(self, embedding: Tensor) -> Tensor:
        """Standardised predictions (n, n_sources) of the sources."""
        return (self.heads if self.pretrained else self.sources)(embedding)

    def forward(self, batch: GraphBatch | Embedded) -> Tensor:
        """Standardised predictions (n_graphs, n_tasks): sources, then added tasks."""
        e = self.embed(batch)
        return torch.cat(
            [self.predict_sources(e), *(group(e) for group in self.added)], dim=1
        )

    def modules_of(self, task: int) -> tuple[TaskModules, int]:
        """Group of a task, and its position there."""
        if task < self.sources.n_tasks:
            return self.sources, task
        group = self.added[task - self.sources.n_tasks]
        assert isinstance(group, TaskModules)
        return group, 0
