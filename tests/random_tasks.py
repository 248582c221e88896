"""A small network, graphs with weighted labels and gaps, and a step of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from random_graphs import SCHEMA, valid_graphs

from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import LOSSES, MultiTaskModel, TrainingStep

N_TASKS = 4
RNG = np.random.default_rng(0)
GRAPHS = valid_graphs(40, schema=replace(SCHEMA, dtype="float64"))
TARGETS = RNG.normal(size=(len(GRAPHS), N_TASKS))
WEIGHTS = RNG.uniform(0.5, 2.0, size=TARGETS.shape) * (RNG.random(TARGETS.shape) > 0.4)
WEIGHTS[:6, 2] = 0.0  # absent among the first rows
TASKS = torch.arange(N_TASKS)


def model(
    encoder=None,
    readout=None,
    dtype=torch.float64,
    hidden_dims=(5,),
    schema=GRAPHS.schema,
    n_tasks=N_TASKS,
    seed=0,
):
    torch.manual_seed(seed)
    encoder = encoder or GIN(width=6, n_layers=2, norm=None, activation="tanh")
    network = MultiTaskModel(encoder, readout or Mean(), schema, n_tasks, hidden_dims)
    return network.to(dtype)


def data(rows=slice(None)):
    return GraphDataset(GRAPHS[rows], TARGETS[rows], WEIGHTS[rows])


def batch(rows=None, dtype=torch.float64):
    rows = np.arange(len(GRAPHS)) if rows is None else np.asarray(rows)
    graphs, labels = data().__getitems__(rows)
    names = ("node_features", "edge_features", "graph_features")
    features = {name: getattr(graphs, name).to(dtype) for name in names}
    return replace(graphs, **features), labels.to(dtype)


def step(weighting, loss="squared_error", n_tasks=N_TASKS, **changes):
    weighting.build(n_tasks)
    return TrainingStep(
        weighting,
        LOSSES[loss],
        n_tasks,
        generator=torch.Generator().manual_seed(0),
        **changes,
    )


def jacobian_of(losses, parameters):
    """Flat gradients, by one backward pass of each loss."""
    return torch.stack(
        [
            torch.cat([part.reshape(-1) for part in parts])
            for parts in (
                torch.autograd.grad(loss, parameters, retain_graph=True)
                for loss in losses
            )
        ]
    )
