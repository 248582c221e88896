"""Spectra of the logistic losses of a classifier, against dense matrices."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from random_graphs import valid_graphs
from small_estimators import small
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from skgnn_mtl import MultiTaskGNNClassifier
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import GIN

ENCODER = GIN(width=4, n_layers=2, norm=None, activation="tanh")
WEIGHTS = [{"no": 1.0, "yes": 3.0}, None]


@pytest.fixture(scope="module")
def fitted():
    X = valid_graphs(seed=3)[:24]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, len(X)))
    large = np.where(X.n_nodes + noise[0] > X.n_nodes.mean(), "yes", "no")
    dense = (X.n_edges - 2 * X.n_nodes + noise[1] > 0).astype(float)
    y = pd.DataFrame({"large": large, "dense": dense}, dtype=object)
    y = y.mask(rng.random(y.shape) < 0.3)
    model = small(
        MultiTaskGNNClassifier, encoder=ENCODER, class_weight=WEIGHTS, batch_size=8
    )
    return model.fit(X, y), X, y


def dense_matrices(model, X, y, task):
    """Loss, Hessian and Gauss-Newton matrix in the shared parameters, float64."""
    rows = np.flatnonzero(y.iloc[:, task].notna())
    labels = y.iloc[rows, task].to_numpy()
    target = torch.from_numpy((labels == model.classes_[task][1]).astype(float))
    given = WEIGHTS[task] or {}
    weight = torch.tensor([given.get(label, 1.0) for label in labels]).double()
    weight /= weight.sum()
    module = copy.deepcopy(model.module_).double().eval()
    batch = X[rows].batch(np.arange(len(rows)))
    for name in ("node_features", "edge_features", "graph_features"):
        object.__setattr__(batch, name, getattr(batch, name).double())
    body = {n: p for n, p in module.named_parameters() if "heads" not in n}
    sizes = [p.numel() for p in body.values()]
    flat = torch.cat([p.detach().reshape(-1) for p in body.values()])

    def logits(theta):
        parts = zip(body.items(), theta.split(sizes), strict=True)
        values = {name: part.reshape(p.shape) for (name, p), part in parts}
        return functional_call(module, values, (batch,))[:, task]

    def loss(theta):
        entries = binary_cross_entropy_with_logits(
            logits(theta), target, reduction="none"
        )
        return (weight * entries).sum()

    J = torch.autograd.functional.jacobian(logits, flat)
    p = torch.sigmoid(logits(flat)).detach()
    gauss_newton = J.T @ ((weight * p * (1 - p))[:, None] * J)
    hessian = torch.autograd.functional.hessian(loss, flat)
    return float(loss(flat).detach()), hessian, gauss_newton


@pytest.mark.parametrize("matrix", ["hessian", "ggn"])
def test_spectra_are_those_of_the_dense_matrices(fitted, matrix):
    model, X, y = fitted
    s = hessian_spectrum(
        model,
        X,
        y,
        matrix=matrix,
        n_eigenvalues=4,
        n_lanczos=60,
        n_samples=None,
        dtype="float64",
        random_state=0,
    )
    assert s.task_names == ("large", "dense")
    assert s.settings["loss"] == "logistic"
    for task in range(2):
        loss, hessian, gauss_newton = dense_matrices(model, X, y, task)
        dense = hessian if matrix == "hessian" else gauss_newton
        values = torch.linalg.eigvalsh(dense).numpy()[::-1]
        np.testing.assert_allclose(s.loss[task], loss, rtol=1e-9)
        np.testing.assert_allclose(s.eigenvalues[task], values[:4], rtol=1e-6)
        bound = 3 * s.trace_sem[task] + 1e-9
        assert abs(s.trace[task] - float(dense.trace())) <= bound


def test_fit_ends_with_a_spectrum(fitted):
    _, X, y = fitted
    options = {"n_lanczos": 8, "n_eigenvalues": 1, "tol": 0.9, "at": (0, 1)}
    again = MultiTaskGNNClassifier(
        ENCODER, hessian_spectrum=options, max_epochs=2, random_state=0
    ).fit(X, y)
    assert again.hessian_spectrum_.settings["loss"] == "logistic"
    assert [s.settings["epoch"] for s in again.hessian_spectrum_path_] == [0, 2]
    assert list(again.hessian_spectrum_.n_labels) == list(y.notna().sum())
