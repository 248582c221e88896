"""The network: heads(readout(encoder(batch)))."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from skgnn_mtl._activations import get_activation
from skgnn_mtl.auxiliary import AuxiliaryTask
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphBatch, GraphSchema
from skgnn_mtl.readouts import Readout

from ._features import GraphFeatures
from ._head_inputs import HeadInputs, read_trunk


class MultiTaskModel(nn.Module):
    """Encoder, readout, shared hidden layers, and one linear head per task [1]_.

    It maps a batch of graphs to predictions of shape (n_graphs, n_outputs n_tasks), in
    units of the standardised targets.

    Graph features are appended to what the readout gives.

    Parameters
    ----------
    encoder : GraphEncoder
        Unbuilt; it is built here.
    readout : Readout
        Unbuilt; it is built here.
    schema : GraphSchema
        Meaning of the columns of the graphs to come.
    n_tasks : int
        Number of heads.
    hidden_dims : sequence of int
        Widths of the shared hidden layers between readout and heads.
    activation : str
        Nonlinearity after each hidden layer.
    auxiliary : sequence of AuxiliaryTask
        Unbuilt; they are built here.
    variances : bool
        Whether each task has a second head, for the logarithm of its variance.
    n_outputs : int
        Predictions per task: 1, or the logits of more than two classes. The first
        output of all tasks comes first, then the second, and so on.

    References
    ----------
    .. [1] R. Caruana, "Multitask Learning", Machine Learning 28, 41 (1997).
    """

    def __init__(
        self,
        encoder: GraphEncoder,
        readout: Readout,
        schema: GraphSchema,
        n_tasks: int,
        hidden_dims: Sequence[int] = (),
        activation: str = "relu",
        auxiliary: Sequence[AuxiliaryTask] = (),
        variances: bool = False,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        structure = schema.structure
        encoder.build(structure)
        readout.build(encoder.width)
        self.encoder, self.readout = encoder, readout
        self.features = GraphFeatures(len(schema.graph_features))
        self.hidden_dims = tuple(hidden_dims)
        self.activation = activation
        widths = [self.width, *hidden_dims]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            layers += [nn.Linear(wide, narrow), _Activation(activation)]
        self.trunk = nn.Sequential(*layers)
        self.heads = _linear(widths[-1], n_tasks)
        self.log_variances = _zeros(widths[-1], n_tasks) if variances else None
        # Apart from the heads, so that a network of two classes is as before.
        n_further = (n_outputs - 1) * n_tasks
        self.further = nn.Linear(widths[-1], n_further) if n_further else None
        # Built last, so that the first weights of the rest do not depend on them.
        for task in auxiliary:
            task.build(structure, encoder)
        self.auxiliary = nn.ModuleList(auxiliary)

    @property
    def architecture(self) -> dict[str, Any]:
        """Arguments that, with encoder and readout, build an equal network."""
        return {
            "n_tasks": self.heads.out_features,
            "hidden_dims": self.hidden_dims,
            "activation": self.activation,
            "auxiliary": self.tasks(),
            "variances": self.log_variances is not None,
            "n_outputs": self.n_outputs,
        }

    @property
    def n_outputs(self) -> int:
        """Predictions per task."""
        if self.further is None:
            return 1
        return 1 + self.further.out_features // self.heads.out_features

    @property
    def width(self) -> int:
        """Width of the vector of a graph: that of the encoder, and graph features."""
        return self.encoder.width + self.features.n_features

    def embed(self, batch: GraphBatch) -> Tensor:
        """Compute the readout and the graph features, shape (n_graphs, width)."""
        return self._read_out(self.encoder(batch), batch)

    def _read_out(self, states: Tensor, batch: GraphBatch) -> Tensor:
        vectors: Tensor = self.readout(states, batch)
        joined: Tensor = self.features(vectors, batch)
        return joined

    def represent(self, batch: GraphBatch) -> Tensor:
        """Compute the input of the heads, (n_graphs, width of the last layer)."""
        z: Tensor = self.trunk(self.embed(batch))
        return z

    def read_heads(self, batch: GraphBatch) -> tuple[Tensor, list[HeadInputs]]:
        """Compute what the loss reads, and give what the heads of all tasks read."""
        inputs = read_trunk(self.trunk, self.heads, self.embed(batch))
        return self.read(inputs.vectors), [inputs]

    def tasks(self) -> list[AuxiliaryTask]:
        """List the auxiliary tasks in order."""
        return [part for part in self.auxiliary if isinstance(part, AuxiliaryTask)]

    def head_layers(self) -> list[nn.Linear]:
        """List the linear layers of all heads, in the order of :meth:`read`."""
        layers = (self.heads, self.log_variances, self.further)
        return [layer for layer in layers if layer is not None]

    def head_parameters(self) -> list[nn.Parameter]:
        """List the trainable parameters of heads and auxiliary tasks."""
        own = [*self.heads.parameters(), *self.auxiliary.parameters()]
        for layer in self.head_layers()[1:]:
            own += layer.parameters()
        return [parameter for parameter in own if parameter.requires_grad]

    def shared_parameters(self) -> list[nn.Parameter]:
        """List the trainable parameters before the heads; empty if all are frozen."""
        # By identity, because tensors compare elementwise.
        own = set(map(id, self.head_parameters()))
        return [p for p in self.parameters() if p.requires_grad and id(p) not in own]

    def head_weights(self) -> Tensor:
        """Stack the weights of all heads in the order of :meth:`read`."""
        return _side_by_side([layer.weight for layer in self.head_layers()], dim=0)

    def read(self, z: Tensor) -> Tensor:
        """Apply all heads: predictions, and log-variances (n_graphs, n_tasks) if any.

        A network has log-variances or several logits per task, but not both.
        """
        return _side_by_side([layer(z) for layer in self.head_layers()], dim=1)

    def predict(self, z: Tensor) -> Tensor:
        """Apply the heads of predictions, (n_graphs, n_outputs n_tasks)."""
        outputs: Tensor = self.heads(z) if self.further is None else self.read(z)
        return outputs

    def evaluate(self, batch: GraphBatch) -> Tensor:
        """Compute what the loss reads; without log-variances the predictions."""
        return self.read(self.represent(batch))

    def forward(self, batch: GraphBatch) -> Tensor:
        """Predict standardised targets, shape (n_graphs, n_outputs n_tasks)."""
        return self.predict(self.represent(batch))

    def predict_states(self, states: Tensor, batch: GraphBatch) -> Tensor:
        """Predict as :meth:`forward` from node states (n_nodes, encoder's width)."""
        return self.predict(self.trunk(self._read_out(states, batch)))


def _side_by_side(tensors: list[Tensor], dim: int) -> Tensor:
    # Without a copy in the usual case.
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=dim)


def _linear(width: int, n_tasks: int) -> nn.Linear:
    """Create linear heads, also without any task, for self-supervised training."""
    heads = nn.Linear(width, n_tasks or 1)
    if not n_tasks:  # cut afterwards, because torch warns of a layer without outputs
        heads.out_features = 0
        heads.weight = nn.Parameter(heads.weight.detach()[:0])
        heads.bias = nn.Parameter(heads.bias.detach()[:0])
    return heads


def _zeros(width: int, n_tasks: int) -> nn.Linear:
    """Create linear heads whose outputs are 0 until they are trained."""
    # Without a draw, so that the other weights are as without these heads.
    heads: nn.Linear = nn.utils.skip_init(nn.Linear, width, n_tasks)
    for parameter in heads.parameters():
        nn.init.zeros_(parameter)
    return heads


class _Activation(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        get_activation(name)  # so that a wrong name fails here, not in a step

    def forward(self, x: Tensor) -> Tensor:
        return get_activation(self.name)(x)
