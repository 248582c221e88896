"""GATE's network: one embedding, and small maps of each task around a flat frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional as F

from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphBatch, GraphSchema
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import GraphFeatures, HeadInputs, MultiTaskModel, read_trunk


class TaskMLP(nn.Module):
    """Multilayer perceptrons of several tasks, applied by batched products.

    SiLU follows all layers but the last, because GATE needs smooth maps.

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
            # This bound keeps variances, so that frames do not begin collapsed. It is
            # larger after SiLU, which halves them.
            bound = math.sqrt((6.0 if layer else 3.0) / wide)
            weight = torch.empty(n_tasks, wide, narrow).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n_tasks, 1, narrow)))

    def forward(self, x: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Map (n_tasks, n, d), or (n, d) for all tasks, to (n_tasks, n, d_out).

        With shifts (m, d) the inputs are x + shift, for one shift after the other, and
        the result has m n rows. The first layer is linear, so that it maps x and the
        shifts separately.
        """
        for layer, (weight, bias) in enumerate(
            zip(self.weights, self.biases, strict=True)
        ):
            # One embedding for all tasks, expanded without a copy.
            x = F.silu(x) if layer else x.expand(len(weight), *x.shape[-2:])
            x = torch.baddbmm(bias, x, weight)
            if shifts is not None and not layer:
                x = (x[:, None] + (shifts @ weight)[:, :, None]).flatten(1, 2)
        return x

    def head_inputs(self, x: Tensor) -> list[HeadInputs]:
        """Read what the last layer of each task reads of (n_tasks, n, d)."""
        last, below = self.weights[-1].transpose(1, 2), x
        if len(self.weights) == 1:
            return list(map(HeadInputs, last, x))
        for layer, weight in enumerate(self.weights[:-1]):
            below = F.silu(x) if layer else x
            x = torch.baddbmm(self.biases[layer], below, weight)
        return [
            HeadInputs(w, F.silu(hidden), before, hidden, F.silu)
            for w, before, hidden in zip(last, below, x, strict=True)
        ]


@dataclass(frozen=True)
class TaskLayout:
    """Widths of the maps of a task.

    The maps take embeddings (n, width) to latent vectors (n, latent_dim), these to the
    flat frame (n, latent_dim) and back, and to predictions (n,).

    Parameters
    ----------
    latent_dim : int
        Width of latent vectors and of the flat frame.
    encoder_hidden_dims, transfer_hidden_dims, head_hidden_dims : tuple of int
        Hidden layers from the embedding to the latent vector, between this and the
        flat frame (both ways), and from the latent vector to the prediction.

    Examples
    --------
    >>> from skgnn_mtl.gate import TaskLayout
    >>> TaskLayout(8, (16,), (16,), (16,)).latent_dim
    8
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
        Size of the group. A group never changes its size, so that its predictions stay
        the same to the last bit.
    layout : TaskLayout
        Widths of the maps.
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
        """Map embeddings (n, width) to points (n_tasks, n, latent_dim) in the frame."""
        points: Tensor = self.transfer(self.encode(embedding))
        return points

    def arrive(self, frames: Tensor) -> Tensor:
        """Predict (n_tasks, n) from points (n_tasks, n, latent_dim) in the frame."""
        outputs: Tensor = self.head(self.inverse(frames))[..., 0]
        return outputs

    def forward(self, embedding: Tensor) -> Tensor:
        """Predict (n, n_tasks) from embeddings (n, width)."""
        outputs: Tensor = self.head(self.encode(embedding))[..., 0].T
        return outputs

    def select(self, tasks: Sequence[int]) -> TaskModules:
        """Copy some tasks into a group of their own."""
        chosen = TaskModules(self.width, len(tasks), self.layout)
        state = {name: value[list(tasks)] for name, value in self.state_dict().items()}
        # Moved before loading, so that no tensor is copied to the CPU and back.
        chosen.to(next(self.parameters())).load_state_dict(state)
        return chosen


@dataclass(frozen=True)
class Embedded:
    """A batch of graphs in the form of their embeddings.

    Parameters
    ----------
    vectors : Tensor of shape (n, width)
        Embeddings.
    frames : Tensor of shape (n, n_sources, latent_dim)
        Points in the flat frame of frozen sources; empty without sources.
    outputs : Tensor of shape (n, n_sources)
        Predictions of the sources.
    distances : Tensor of shape (n, n_sources, n_perturbations)
        How far each perturbation moves the points.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.gate import Embedded
    >>> len(Embedded.bare(torch.zeros(5, 8))[:2])
    2
    """

    vectors: Tensor
    frames: Tensor
    outputs: Tensor
    distances: Tensor

    @classmethod
    def bare(cls, vectors: Tensor) -> Embedded:
        """Create a batch of embeddings (n, width) without sources."""
        nothing = vectors.new_zeros(len(vectors), 0)
        return cls(vectors, nothing, nothing, nothing)

    @classmethod
    def concatenate(cls, parts: Sequence[Embedded]) -> Embedded:
        """Join batches along their rows."""
        return cls(
            *(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls))
        )

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.vectors.device

    def __len__(self) -> int:
        return len(self.vectors)

    def to(self, device: torch.device | str) -> Embedded:
        """Move all tensors to a device."""
        return Embedded(*(getattr(self, f.name).to(device) for f in fields(self)))

    def __getitem__(self, rows: Any) -> Embedded:
        """Gather rows."""
        return Embedded(*(getattr(self, f.name)[rows] for f in fields(self)))


class GATEModel(nn.Module):
    """Encoder, readout, and the maps of the sources and of each added task [1]_.

    It maps a batch of graphs to predictions of shape (n_graphs, n_tasks), in units of
    the standardised targets; the sources come first.

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

    References
    ----------
    .. [1] S. M. Ko et al., "Multitask Extension of Geometrically Aligned Transfer
       Encoder", 2024, arXiv:2405.01974.
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
        encoder.build(schema.structure)
        readout.build(encoder.width)
        self.encoder, self.readout = encoder, readout
        self.features = GraphFeatures(len(schema.graph_features))
        self.layout, self.pretrained = layout, pretrained
        self.sources = TaskModules(self.width, n_sources, layout)
        self.added = nn.ModuleList(
            TaskModules(self.width, 1, layout) for _ in range(n_added)
        )
        if pretrained is not None:
            # Clones, because a MultiTaskModel builds the parts that it receives.
            model = MultiTaskModel(
                clone(encoder),
                clone(readout),
                schema,
                n_sources,
                pretrained["hidden_dims"],
                pretrained["activation"],
            )
            # Frozen, because the sources keep the predictions of that model.
            self.heads = nn.Sequential(model.trunk, model.heads).requires_grad_(False)

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments that, with encoder and readout, build an equal network."""
        return {
            "n_sources": self.sources.n_tasks,
            "layout": self.layout,
            "n_added": len(self.added),
            "pretrained": self.pretrained,
        }

    @property
    def width(self) -> int:
        """Width of the embedding: that of the encoder, and graph features."""
        return self.encoder.width + self.features.n_features

    def embed(self, batch: GraphBatch | Embedded) -> Tensor:
        """Compute the embeddings (n_graphs, width), with graph features."""
        if isinstance(batch, Embedded):
            return batch.vectors
        return self._read_out(self.encoder(batch), batch)

    def _read_out(self, states: Tensor, batch: GraphBatch) -> Tensor:
        vectors: Tensor = self.readout(states, batch)
        joined: Tensor = self.features(vectors, batch)
        return joined

    def predict_sources(self, embedding: Tensor) -> Tensor:
        """Predict the standardised targets (n, n_sources) of the sources."""
        outputs: Tensor = (self.heads if self.pretrained else self.sources)(embedding)
        return outputs

    def _pretrained_inputs(self, e: Tensor) -> list[HeadInputs]:
        if not self.pretrained:
            return []
        parts: Any = self.heads
        trunk, heads = parts
        return [read_trunk(trunk, heads, e)]

    def read_heads(
        self, batch: GraphBatch | Embedded
    ) -> tuple[Tensor, list[HeadInputs]]:
        """Predict as the network does, and give what the last map of each task reads.

        Pretrained sources share one entry.
        """
        e = self.embed(batch)
        inputs = self._pretrained_inputs(e)
        groups: list[Any] = [*([] if self.pretrained else [self.sources]), *self.added]
        for group in groups:
            inputs += group.head.head_inputs(group.encode(e))
        # From the embedding, because the encoder takes most of the time.
        return self(Embedded.bare(e)), inputs

    def forward(self, batch: GraphBatch | Embedded) -> Tensor:
        """Predict standardised targets (n_graphs, n_tasks): sources come first."""
        return self._predict(self.embed(batch))

    def predict_states(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Predict (n_graphs, n_tasks) from node states (n_nodes, encoder's width)."""
        return self._predict(self._read_out(states, batch))

    def _predict(self, e: Tensor) -> Tensor:
        return torch.cat(
            [self.predict_sources(e), *(group(e) for group in self.added)], dim=1
        )

    def modules_of(self, task: int) -> tuple[TaskModules, int]:
        """Find the group of a task, and its position there."""
        if task < self.sources.n_tasks:
            return self.sources, task
        group = self.added[task - self.sources.n_tasks]
        assert isinstance(group, TaskModules)
        return group, 0
