"""What the last linear map of tasks reads, and the hidden layer before it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from skgnn_mtl._activations import Activation, derivative


class HeadInputs(NamedTuple):
    """Vectors of a batch around the last linear map of some tasks.

    Parameters
    ----------
    weights : Tensor of shape (t, d)
        Weights of the map, one row per task.
    vectors : Tensor of shape (n, d)
        What it reads.
    below : Tensor of shape (n, c), or None
        What the hidden layer reads that makes the vectors; None without one.
    hidden : Tensor of shape (n, d), or None
        Output of that layer before its nonlinearity.
    activation : callable or None
        The nonlinearity.
    """

    weights: Tensor
    vectors: Tensor
    below: Tensor | None = None
    hidden: Tensor | None = None
    activation: Activation | None = None

    def around_hidden_layer(self) -> tuple[Tensor, Tensor]:
        """Give what the hidden layer reads (n, c), and the slopes behind it (n, d).

        Both have no columns without such a layer.
        """
        if self.below is None or self.hidden is None or self.activation is None:
            return self.vectors[:, :0], self.vectors[:, :0]
        return self.below, derivative(self.activation, self.hidden)


def read_trunk(trunk: nn.Sequential, heads: nn.Linear, x: Tensor) -> HeadInputs:
    """Read the last layers of pairs of a linear map and a nonlinearity.

    Parameters
    ----------
    trunk : Sequential
        Linear maps, each followed by its nonlinearity; may be empty.
    heads : Linear
        The last linear map.
    x : Tensor of shape (n, width)
        What the trunk reads.
    """
    if not len(trunk):
        return HeadInputs(heads.weight, x)
    below = trunk[:-2](x)
    hidden, activation = trunk[-2](below), trunk[-1]
    return HeadInputs(heads.weight, activation(hidden), below, hidden, activation)
