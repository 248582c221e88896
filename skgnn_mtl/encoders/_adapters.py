"""Small trainable maps beside the frozen linear maps of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ADAPTERS = ("bottleneck", "low-rank")


class Adapter(nn.Module):
    r"""A frozen linear map with a small map in parallel.

    A low-rank adapter [1]_ computes :math:`W x + b + B A x`, and a bottleneck [2]_
    :math:`W x + b + B \max(0, A x)`. B is zero at first, so that the adapter changes
    nothing before it is trained.

    Parameters
    ----------
    linear : nn.Linear
        The frozen map.
    kind : {"bottleneck", "low-rank"}
        Whether there is a nonlinearity between A and B.
    size : int
        Rows of A; at most the smaller width of the linear map.

    References
    ----------
    .. [1] E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR
       2022.
    .. [2] N. Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML
       2019.
    """

    def __init__(self, linear: nn.Linear, kind: str, size: int) -> None:
        super().__init__()
        self.linear, self.kind = linear, kind
        n_in, n_out = linear.in_features, linear.out_features
        size = min(size, n_in, n_out)
        self.down = nn.Linear(n_in, size, bias=kind == "bottleneck")
        self.up = nn.Linear(size, n_out, bias=False)
        nn.init.zeros_(self.up.weight)
        # Not to its device, because a network is built first and moved as a whole.
        self.down.to(linear.weight.dtype)
        self.up.to(linear.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows (n_rows, n_in) to rows (n_rows, n_out)."""
        hidden = self.down(x)
        if self.kind == "bottleneck":
            hidden = torch.relu(hidden)
        changed: Tensor = self.linear(x) + self.up(hidden)
        return changed


def adapt(encoder: nn.Module, kind: str, size: int) -> None:
    """Put an adapter beside each linear map of an encoder, in place.

    Parameters
    ----------
    encoder : nn.Module
        Built.
    kind : {"bottleneck", "low-rank"}
        Kind of the adapters.
    size : int
        Width of their hidden states.
    """
    # Listed first, because adapters have linear maps of their own.
    found = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    # By identity, because a map may be used in two places.
    made: dict[int, Adapter] = {}
    for parent, name, child in found:
        if id(child) not in made:
            made[id(child)] = Adapter(child, kind, size)
        setattr(parent, name, made[id(child)])
