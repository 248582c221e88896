"""Optimizers by their names, and what the training loop passes to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ._muon import MuonAdamW, hidden_matrices
from ._options import TrainingOptions

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": MuonAdamW,
    "sgd": torch.optim.SGD,
}


def by_name(table: dict[str, Any], value: Any) -> Any:
    """Replace a name by its entry of a table; return a callable unchanged."""
    # By type, because a callable may not be hashable.
    return table[value] if isinstance(value, str) else value


def optimizer_arguments(
    model: nn.Module, options: TrainingOptions, device: torch.device
) -> dict[str, Any]:
    """Give the optimizer to skorch's net, with its rates and other needs."""
    return {
        "optimizer": by_name(OPTIMIZERS, options.optimizer),
        "optimizer__lr": options.lr,
        "optimizer__weight_decay": options.weight_decay,
        **_encoder_group(model, options.lr),
        **_optimizer_options(model, options.optimizer, device),
    }


def _optimizer_options(
    model: nn.Module, optimizer: Any, device: torch.device
) -> dict[str, Any]:
    """Give what the optimizers need that have names."""
    if not isinstance(optimizer, str):
        return {}
    if optimizer == "muon":
        return {"optimizer__matrices": hidden_matrices(model)}
    # Faster, because one kernel updates all tensors.
    return {"optimizer__fused": True} if device.type in ("cpu", "cuda") else {}


def _encoder_group(model: nn.Module, lr: float) -> dict[str, Any]:
    """Put the encoder's parameters in a group with the learning rate that it needs."""
    # With a default, because a task added to frozen sources trains no encoder.
    scale = getattr(getattr(model, "encoder", None), "lr_scale", 1.0)
    if scale == 1.0:
        return {}
    return {"optimizer__param_groups": [("encoder.*", {"lr": lr * scale})]}
