"""Muon's updates are orthogonal; what is no hidden matrix follows AdamW."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN, Pretrained
from skgnn_mtl.training._muon import MuonAdamW, hidden_matrices

pytestmark = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="this torch does not have Muon"
)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.heads = nn.Linear(6, 4), nn.Linear(4, 3)

    def head_parameters(self):
        return list(self.heads.parameters())


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network()


def stepped(network, optimizer, seed=1):
    """Changes of the parameters in a step with random gradients."""
    generator = torch.Generator().manual_seed(seed)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in network.named_parameters()}


def test_hidden_matrices_are_those_in_front_of_the_heads(network):
    assert hidden_matrices(network) == {id(network.hidden.weight)}


def test_the_update_of_a_matrix_is_nearly_orthogonal(network):
    matrices = hidden_matrices(network)
    optimizer = MuonAdamW(network.parameters(), 0.1, 0.0, matrices)
    change = stepped(network, optimizer)["hidden.weight"]
    values = torch.linalg.svdvals(change)
    # Five steps of Newton and Schulz leave the singular values between 0.7 and 1.2.
    assert values.max() / values.min() < 1.75
    # The size of AdamW's update: 0.2 of the learning rate, root mean square.
    assert change.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.3)


def test_all_other_parameters_follow_adamw(network):
    torch.manual_seed(0)
    twin = Network()
    muon = MuonAdamW(network.parameters(), 0.1, 0.01, hidden_matrices(network))
    adamw = torch.optim.AdamW(twin.parameters(), 0.1, weight_decay=0.01)
    for seed in range(3):
        found, expected = stepped(network, muon, seed), stepped(twin, adamw, seed)
        for name in ("hidden.bias", "heads.weight", "heads.bias"):
            torch.testing.assert_close(found[name], expected[name])


def test_a_schedule_reaches_both_parts(network):
    optimizer = MuonAdamW(network.parameters(), 0.1, 0.0, hidden_matrices(network))
    optimizer.param_groups[0]["lr"] = 0.0
    assert all(not change.any() for change in stepped(network, optimizer).values())


def test_the_state_continues(network):
    matrices = hidden_matrices(network)
    optimizer = MuonAdamW(network.parameters(), 0.1, 0.0, matrices)
    stepped(network, optimizer)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    kept = copy.deepcopy(optimizer.state_dict())
    expected = stepped(network, optimizer, 2)
    network.load_state_dict(state)
    other = MuonAdamW(network.parameters(), 0.5, 0.0, matrices)
    other.load_state_dict(kept)
    found = stepped(network, other, 2)
    for name, change in expected.items():
        torch.testing.assert_close(found[name], change)


def fit(how, graphs, y, **changes):
    settings = {"optimizer": "muon", "max_epochs": 2, "random_state": 0, **changes}
    model = MultiTaskGNNRegressor(GIN(16, n_layers=2), **settings)
    return getattr(model, how)(graphs, y)


def test_estimators_train_with_it(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = X @ np.arange(10.0).reshape(5, 2)
    plain = fit("fit", X, y, max_epochs=30, lr=1e-2)
    assert plain.score(X, y) > 0.5
    surgery = fit("fit", X, y, task_weighting="pcgrad", gradient_clip=1.0)
    assert np.isfinite(surgery.predict(X)).all()
    source = Pretrained(plain.module_.encoder, lr_scale=0.1)
    tuned = MultiTaskGNNRegressor(source, optimizer="muon", max_epochs=2).fit(X, y)
    assert np.isfinite(tuned.predict(X)).all()
    whole = fit("partial_fit", X, y).partial_fit(X, y)
    half = fit("partial_fit", X, y)
    half.save(tmp_path / "half")
    half = MultiTaskGNNRegressor.load(tmp_path / "half").partial_fit(X, y)
    np.testing.assert_array_equal(half.predict(X), whole.predict(X))
