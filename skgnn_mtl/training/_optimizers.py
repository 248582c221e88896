"""Optimizers by name."""

import torch

from ._muon import MuonAdamW

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": MuonAdamW,
    "sgd": torch.optim.SGD,
}
