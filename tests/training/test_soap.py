"""SOAP follows Adam in a rotated basis, and its state continues."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.training._soap import SOAP


def rotation(seed, n=4):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[
        0
    ]


def path(U, V, n_steps=25):
    """Changes of a matrix whose gradients are U G V for fixed random G."""
    pytest.importorskip("pytorch_optimizer")
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
    optimizer = SOAP([p], 0.1, 0.0)
    places = []
    for _ in range(n_steps):
        p.grad = U @ torch.randn(4, 4, generator=generator, dtype=torch.float64) @ V
        optimizer.step()
        places.append(p.detach().clone())
    return torch.stack(places)


def test_rotated_gradients_give_rotated_updates():
    """The bases of inputs and outputs do not matter, unlike for Adam."""
    U, V, eye = rotation(1), rotation(2), torch.eye(4, dtype=torch.float64)
    plain = path(eye, eye)
    assert not plain[0].any()  # the first step makes the preconditioner
    # Eigenbases are made in single precision every ten steps.
    torch.testing.assert_close(path(U, V), U @ plain @ V, rtol=1e-4, atol=1e-4)


def test_the_state_continues_with_its_count_of_steps():
    pytest.importorskip("pytorch_optimizer")
    torch.manual_seed(0)
    network = nn.Linear(5, 3)
    optimizer = SOAP(network.parameters(), 0.1, 0.01)

    def stepped(network, optimizer, seeds):
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for p in network.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        return network.state_dict()

    stepped(network, optimizer, range(7))
    twin = copy.deepcopy(network)
    other = SOAP(twin.parameters(), 0.1, 0.01)
    kept, groups = optimizer.state_dict(), other.state_dict()["param_groups"]
    # As partial_fit continues: the groups are those of the new optimizer.
    other.load_state_dict(copy.deepcopy({**kept, "param_groups": groups}))
    expected = stepped(network, optimizer, range(7, 15))
    found = stepped(twin, other, range(7, 15))
    for name, value in expected.items():
        assert torch.equal(value, found[name])


def test_a_schedule_reaches_it():
    pytest.importorskip("pytorch_optimizer")
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = SOAP([p], 0.1, 0.5)
    optimizer.param_groups[0]["lr"] = 0.0
    for _ in range(3):
        p.grad = torch.randn(2, 2)
        optimizer.step()
    assert torch.equal(p, torch.ones(2, 2))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ImportError, match=r"pip install pytorch-optimizer\."):
        MultiTaskGNNRegressor(optimizer="soap").fit(np.eye(4), np.arange(4.0))


def fit(how, X, y, **changes):
    settings = {"optimizer": "soap", "max_epochs": 2, "random_state": 0, **changes}
    return getattr(MultiTaskGNNRegressor(GIN(16, n_layers=2), **settings), how)(X, y)


def test_estimators_train_with_it(tmp_path):
    pytest.importorskip("pytorch_optimizer")
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = X @ np.arange(10.0).reshape(5, 2)
    assert fit("fit", X, y, max_epochs=30, lr=1e-2).score(X, y) > 0.5
    surgery = fit("fit", X, y, task_weighting="pcgrad", gradient_clip=1.0)
    assert np.isfinite(surgery.predict(X)).all()
    whole = fit("partial_fit", X, y).partial_fit(X, y)
    half = fit("partial_fit", X, y)
    half.save(tmp_path / "half")
    half = MultiTaskGNNRegressor.load(tmp_path / "half").partial_fit(X, y)
    np.testing.assert_array_equal(half.predict(X), whole.predict(X))
