"""Small fitted estimators, and the dense matrices of their tasks by other means."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from random_graphs import valid_graphs
from small_estimators import small
from torch.func import functional_call

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.encoders import CGCNN, DMPNN, GAT, GCN, GIN

ENCODERS = {
    "gin": GIN(width=4, n_layers=2, norm=None, activation="tanh"),
    "gin-batchnorm": GIN(width=4, n_layers=2, norm="batch", activation="silu"),
    "gin-layernorm": GIN(width=4, n_layers=2, norm="layer", activation="tanh"),
    "gcn": GCN(width=5, n_layers=2, norm=None, activation="tanh"),
    "gat": GAT(width=4, n_layers=1, n_heads=2, norm=None, activation="tanh"),
    "dmpnn": DMPNN(width=5, n_layers=3, activation="softplus"),
    "cgcnn": CGCNN(width=2, n_layers=2, step=2.0),
}


@dataclass
class Case:
    """A fitted estimator, its data, and slow references."""

    model: MultiTaskGNNRegressor
    X: object
    y: np.ndarray

    def problem(self, parameters="shared", batch_size=7, dtype="float64", order=None):
        rows = np.arange(len(self.y)) if order is None else order
        problem = self.model.task_problem(
            self.X,
            self.y,
            rows=lambda labelled: rows,
            batch_size=batch_size,
            dtype=dtype,
        )
        return problem.block(parameters)

    def reference(self, task):
        """Loss and outputs of the labelled rows as functions of one flat vector."""
        module = copy.deepcopy(self.model.module_).double().eval()
        labelled = np.flatnonzero(~np.isnan(self.y[:, task]))
        batch = self.X[labelled].batch(np.arange(len(labelled)))
        for name in ("node_features", "edge_features", "graph_features"):
            object.__setattr__(batch, name, getattr(batch, name).double())
        scale, mean = self.model.target_scale_[task], self.model.target_mean_[task]
        target = torch.from_numpy((self.y[labelled, task] - mean) / scale)
        body = {n: p for n, p in module.named_parameters() if "heads" not in n}
        sizes = [p.numel() for p in body.values()]
        flat = torch.cat([p.detach().reshape(-1) for p in body.values()])

        def outputs(theta):
            parts = {
                name: part.reshape(p.shape)
                for (name, p), part in zip(
                    body.items(), theta.split(sizes), strict=True
                )
            }
            return functional_call(module, parts, (batch,))[:, task]

        return flat, outputs, lambda theta: (outputs(theta) - target).square().mean()

    def hessian(self, task):
        flat, _, loss = self.reference(task)
        return torch.autograd.functional.hessian(loss, flat)

    def gauss_newton(self, task):
        flat, outputs, _ = self.reference(task)
        J = torch.autograd.functional.jacobian(outputs, flat)
        return 2 * J.T @ J / len(J)


def make_graphs(name: str, n: int):
    if name != "cgcnn":
        return valid_graphs(seed=3)[:n]
    cifs, _ = load_elasticity(return_X_y=True)
    return CifToGraph(max_neighbors=4).fit_transform(cifs.iloc[:n])


def make_case(name: str, n=24) -> Case:
    X = make_graphs(name, n)
    rng = np.random.default_rng(0)
    y = np.column_stack(
        [X.n_nodes, X.n_edges / 2, np.sin(X.n_nodes)]
    ) + 0.3 * rng.normal(size=(len(X), 3))
    y[rng.random(y.shape) < 0.3] = np.nan
    y[0] = [1.0, 0.0, 0.5]
    model = small(encoder=ENCODERS[name], batch_size=8)
    return Case(model.fit(X, y), X, y)


_CASES: dict[str, Case] = {}


@pytest.fixture(params=list(ENCODERS))
def case(request) -> Case:
    """One case per encoder."""
    return _CASES.setdefault(request.param, make_case(request.param))


@pytest.fixture
def gin() -> Case:
    return _CASES.setdefault("gin", make_case("gin"))
