"""Momentum that follows the cosine of the gradient and the running mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_tasks import step
from torch import nn

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.training._momentum import adapt_momentum
from skgnn_mtl.training._muon import MuonAdamW
from skgnn_mtl.training._soap import SOAP
from skgnn_mtl.weighting import BLO, DBMTL, MGDA, Equal, UPGrad

BOUNDS = (0.3, 0.8)


class Network(nn.Module):
    def __init__(self, n_heads=1):
        super().__init__()
        self.body = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
        self.heads = nn.Parameter(torch.zeros(n_heads, dtype=torch.float64))

    def shared_parameters(self):
        return [self.body]


def muon(parameters):
    parameters = list(parameters)
    return MuonAdamW(parameters, 0.1, 0.0, {id(parameters[0])})


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, 0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "muon": muon,
    "soap": lambda p: SOAP(p, 0.1, 0.0),
}


def make(name):
    if name == "soap":
        pytest.importorskip("pytorch_optimizer")
    if name == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch does not have Muon")
    network = Network()
    return network, OPTIMIZERS[name](network.parameters())


def stepped(network, optimizer, gradient):
    network.body.grad = torch.tensor(gradient, dtype=torch.float64)
    # Of another direction, because heads do not count.
    network.heads.grad = -torch.ones(1, dtype=torch.float64)
    momentum = adapt_momentum(optimizer, network, BOUNDS)
    optimizer.step()
    return momentum


def shares(optimizer):
    parts = getattr(optimizer, "parts", [optimizer])
    groups = [group for part in parts for group in part.param_groups]
    return [g["betas"][0] if "betas" in g else g["momentum"] for g in groups]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_momentum_follows_the_cosine(name):
    network, optimizer = make(name)
    first = [[2.0, 1.0], [0.0, 0.5]]
    # Without a mean, as if all gradients had agreed.
    assert stepped(network, optimizer, first) == 0.8
    if name == "soap":  # its first step does not have a mean yet
        assert stepped(network, optimizer, first) == 0.8
    assert shares(optimizer) == [pytest.approx(0.8)] * len(shares(optimizer))
    against = [[-4.0, -2.0], [0.0, -1.0]]
    for gradient, expected in ((first, 0.8), (against, 0.3)):
        network.body.grad = torch.tensor(gradient, dtype=torch.float64)
        assert adapt_momentum(optimizer, network, BOUNDS) == pytest.approx(expected)
    across = [[0.0, 0.0], [3.0, 0.0]]
    network.body.grad = torch.tensor(across, dtype=torch.float64)
    assert adapt_momentum(optimizer, network, BOUNDS) == pytest.approx(0.55)
    assert shares(optimizer) == [pytest.approx(0.55)] * len(shares(optimizer))


def test_the_mean_of_adam_has_this_memory():
    network, optimizer = make("adamw")
    stepped(network, optimizer, [[1.0, 0.0], [0.0, 0.0]])
    stepped(network, optimizer, [[0.0, 1.0], [0.0, 0.0]])
    mean = optimizer.state[network.body]["exp_avg"]
    expected = torch.tensor([[0.55 * 0.2, 0.45], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(mean, expected)


def test_sgd_averages_gradients_with_it():
    network, optimizer = make("sgd")
    stepped(network, optimizer, [[1.0, 0.0], [0.0, 0.0]])
    stepped(network, optimizer, [[0.0, 1.0], [0.0, 0.0]])
    mean = optimizer.state[network.body]["momentum_buffer"]
    expected = torch.tensor([[0.55, 0.45], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(mean, expected)


def test_tiny_gradients_have_directions():
    network, optimizer = make("adamw")
    stepped(network, optimizer, [[1e-30, 0.0], [0.0, 0.0]])
    network.body.grad = torch.tensor([[-1e-30, 0.0], [0.0, 0.0]], dtype=torch.float64)
    assert adapt_momentum(optimizer, network, BOUNDS) == pytest.approx(0.3)


def test_an_optimizer_without_momentum_is_refused():
    network = Network()
    optimizer = torch.optim.Adagrad(network.parameters(), 0.1)
    with pytest.raises(ValueError, match="Adagrad have neither"):
        stepped(network, optimizer, [[1.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    "momentum",
    ["cosine", 0.9, None, (0.9, 0.5), (0.5, 1.0), (0.1, 0.2, 0.3), ("a", "b")],
)
@pytest.mark.parametrize("cls", [UPGrad, DBMTL])
def test_wrong_bounds_are_named(cls, momentum):
    with pytest.raises(ValueError, match="adaptive_momentum must be"):
        cls(adaptive_momentum=momentum).check_options()


X = np.random.default_rng(0).normal(size=(40, 5))
Y = X @ np.arange(10.0).reshape(5, 2)
SIGNS = np.sign(Y) * Y**2


def predictions(weighting, **changes):
    settings = {"max_epochs": 3, "batch_size": 8, "random_state": 0, **changes}
    model = MultiTaskGNNRegressor(
        GIN(16, n_layers=2), task_weighting=weighting, **settings
    )
    return model.fit(X, SIGNS).predict(X)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_equal_bounds_are_a_constant_momentum(optimizer):
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch does not have Muon")
    constant = predictions(UPGrad(adaptive_momentum=(0.9, 0.9)), optimizer=optimizer)
    plain = predictions(UPGrad(), optimizer=optimizer)
    if optimizer == "adamw":
        np.testing.assert_array_equal(constant, plain)
    # Muon's own momentum is another one.
    changed = predictions(UPGrad(adaptive_momentum=True), optimizer=optimizer)
    assert abs(changed - plain).max() > 1e-4


def test_methods_of_both_families_have_the_option():
    for weighting in (
        MGDA(adaptive_momentum=True),
        DBMTL(adaptive_momentum=(0.0, 0.9)),
    ):
        assert np.isfinite(predictions(weighting)).all()
        plain = type(weighting)()
        assert abs(predictions(weighting) - predictions(plain)).max() > 1e-4


def test_other_methods_and_single_tasks_keep_the_optimizers_momentum():
    assert step(UPGrad(adaptive_momentum=(0.2, 0.3))).momentum == (0.2, 0.3)
    for value in (True, np.bool_(True)):  # the latter from a grid in an array
        assert step(UPGrad(adaptive_momentum=value)).momentum == (0.5, 0.9)
    assert step(UPGrad(adaptive_momentum=np.bool_(False))).momentum is None
    assert step(Equal()).momentum is None
    # That of its own weights, which is another thing.
    assert step(BLO(momentum=0.9), targets=[0]).momentum is None
    assert step(UPGrad(adaptive_momentum=True), n_tasks=1).momentum is None


def test_it_goes_with_moved_weights():
    for optimizer in ("sam", "samo"):
        found = predictions(UPGrad(adaptive_momentum=True), optimizer=optimizer)
        assert np.isfinite(found).all()
