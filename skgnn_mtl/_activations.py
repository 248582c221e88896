"""The nonlinearities that parameters name."""

from __future__ import annotations

import torch
from torch.nn import functional as F

ACTIVATIONS = {
    "elu": F.elu,
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


def get_activation(name: str):
    """Look up the function that an ``activation`` names."""
    if name not in ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {sorted(ACTIVATIONS)}, got {name!r}."
        )
    return ACTIVATIONS[name]
