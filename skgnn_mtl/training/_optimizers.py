"""Optimizers by their names, and what the training loop passes to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from skgnn_mtl import optimizers
from skgnn_mtl._component import part_names
from skgnn_mtl.optimizers import SharpnessAware

from ._muon import MuonAdamW, hidden_matrices
from ._options import TrainingOptions
from ._protocol import Step
from ._soap import SOAP

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": MuonAdamW,
    "sgd": torch.optim.SGD,
    "soap": SOAP,
}
SHARPNESS_AWARE: dict[str, type] = part_names(optimizers, SharpnessAware)
OPTIMIZER_NAMES = {*OPTIMIZERS, *SHARPNESS_AWARE}
# Whose steps one kernel makes for all tensors.
_FUSED = ("adam", "adamw", "sgd")


def by_name(table: dict[str, Any], value: Any) -> Any:
    """Replace a name by its entry of a table; return a callable unchanged."""
    # By type, because a callable may not be hashable.
    return table[value] if isinstance(value, str) else value


def sharpness_aware(
    optimizer: str | Callable[..., Any],
) -> tuple[SharpnessAware | None, str | Callable[..., Any]]:
    """Divide a parameter ``optimizer`` into its two methods.

    Parameters
    ----------
    optimizer : str or callable
        The parameter of an estimator.

    Returns
    -------
    method : SharpnessAware or None
        Where the gradients are taken; None for the weights themselves.
    base : str or callable
        What makes the steps.

    Raises
    ------
    ValueError
        If a sharpness-aware method has a base that is none, or other wrong parameters.
    TypeError
        If a sharpness-aware method is a class.
    """
    _require_instance("optimizer", optimizer)
    method = optimizer
    if isinstance(optimizer, str) and optimizer in SHARPNESS_AWARE:
        method = SHARPNESS_AWARE[optimizer]()
    if not isinstance(method, SharpnessAware):
        return None, optimizer
    method.check_parameters()
    base = method.base
    _require_instance("base", base)
    if isinstance(base, str) and base not in OPTIMIZERS:
        raise ValueError(
            f"base must be one of {sorted(OPTIMIZERS)} or a callable, got {method!r}."
        )
    if isinstance(base, SharpnessAware):
        raise ValueError(f"base must not be sharpness-aware itself, got {method!r}.")
    return method, base


def _require_instance(name: str, value: Any) -> None:
    # Other classes are optimizers of torch, which are made of parameters.
    if isinstance(value, type) and issubclass(value, SharpnessAware):
        raise TypeError(
            f"{name} must be an instance of a sharpness-aware method, such as "
            f"{value.__name__}(), but is the class {value.__name__}."
        )


def sharpen(step: Step, optimizer: Any) -> None:
    """Tell a step where the optimizer wants the gradients to be taken."""
    method, _ = sharpness_aware(optimizer)
    if method is not None:
        step.sharpen(method)


def optimizer_arguments(
    model: nn.Module, options: TrainingOptions, device: torch.device
) -> dict[str, Any]:
    """Give the optimizer to skorch's net, with its rates and other needs."""
    _, optimizer = sharpness_aware(options.optimizer)
    return {
        "optimizer": by_name(OPTIMIZERS, optimizer),
        "optimizer__lr": options.lr,
        "optimizer__weight_decay": options.weight_decay,
        **_encoder_group(model, options.lr),
        **_optimizer_options(model, optimizer, device),
    }


def _optimizer_options(
    model: nn.Module, optimizer: Any, device: torch.device
) -> dict[str, Any]:
    """Give what the optimizers need that have names."""
    if not isinstance(optimizer, str):
        return {}
    if optimizer == "muon":
        return {"optimizer__matrices": hidden_matrices(model)}
    fused = device.type in ("cpu", "cuda") and optimizer in _FUSED
    return {"optimizer__fused": True} if fused else {}


def _encoder_group(model: nn.Module, lr: float) -> dict[str, Any]:
    """Put the encoder's parameters in a group with the learning rate that it needs."""
    # With a default, because a task added to frozen sources trains no encoder.
    scale = getattr(getattr(model, "encoder", None), "lr_scale", 1.0)
    if scale == 1.0:
        return {}
    return {"optimizer__param_groups": [("encoder.*", {"lr": lr * scale})]}
