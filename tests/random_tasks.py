"""A small network, graphs with weighted labels and gaps, and a step of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from random_graphs import SCHEMA, random_graphs

from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import LOSSES, MultiTaskModel, TrainingStep

N_TASKS = 4
RNG = np.random.default_rng(0)
GRAPHS = random_graphs(40)
GRAPHS = GRAPHS[GRAPHS.valid]
TARGETS = RNG.normal(size=(len(GRAPHS), N_TASKS))
WEIGHTS = RNG.uniform(0.5, 2.0, size=TARGETS.shape) * (RNG.random(TARGETS.shape) > 0.4)
WEIGHTS[:6, 2] = 0.0  # absent among the first rows
TASKS = torch.arange(N_TASKS)


def model(encoder=None, readout=None, dtype=torch.float64, hidden_dims=(5,)):
    torch.manual_seed(0)
    encoder = encoder or GIN(width=6, n_layers=2, norm=None, activation="tanh")
    network = MultiTaskModel(encoder, readout or Mean(), SCHEMA, N_TASKS, hidden_dims)
    return network.to(dtype)


def batch(rows=None, dtype=torch.float64):
    rows = np.arange(len(GRAPHS)) if rows is None else np.asarray(rows)
    graphs, labels = GraphDataset(GRAPHS, TARGETS, WEIGHTS).__getitems__(rows)
    names = ("node_features", "edge_features", "graph_features")
    features = {name: getattr(graphs, name).to(dtype) for name in names}
    return replace(graphs, **features), labels.to(dtype)


def step(weighting, loss="squared_error", **changes):
    method = weighting
    method.build(N_TASKS)
    return TrainingStep(
        method,
        LOSSES[loss],
        N_TASKS,
        generator=torch.Generator().manual_seed(0),
        **changes,
    )
