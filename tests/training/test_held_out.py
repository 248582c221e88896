"""Weights learned on held-out rows: derivatives, streams, toys, and no traces."""

import numpy as np
import pytest
import torch
from random_tasks import GRAPHS, N_TASKS, WEIGHTS, data, jacobian_of, model

from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphArray, GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import (
    LOSSES,
    HeldOutRows,
    MultiTaskModel,
    TrainingStep,
    at_moved,
    task_losses,
)
from skgnn_mtl.training._held_out import held_out_gradient
from skgnn_mtl.weighting import BLO, FreshBatch, RCGrad

SQUARES = LOSSES["squared_error"]


def losses_of(network, dataset):
    """All losses of a data set, with their graph."""
    graphs, labels = dataset.__getitems__(np.arange(len(dataset)))
    return task_losses(network(graphs), labels.targets, labels.weights, SQUARES)[0]


def fresh(network):
    """A batch of all rows, each task an entry of its own."""
    shared = network.shared_parameters()
    own = set(map(id, shared))
    names = [name for name, p in network.named_parameters() if id(p) in own]

    def evaluate(moves):
        moved = {} if moves is None else dict(zip(names, moves, strict=True))
        losses = at_moved(losses_of, network, moved, data())
        return list(losses), torch.arange(N_TASKS)

    return FreshBatch(evaluate, shared)


def gradients(network, losses):
    return jacobian_of(losses, network.shared_parameters())


def held_out(network, targets=(0,), **changes):
    settings = {"pool": "labels", "batch_size": 99, "targets": targets, **changes}
    return held_out_gradient(network, data(slice(10)), SQUARES, **settings)


def trained(network, method, targets=(0,), n_steps=1, **rows):
    """Steps on all rows, with the first ten held out, without an optimizer."""
    method.build(N_TASKS)
    training = TrainingStep(method, SQUARES, N_TASKS, targets=list(targets))
    parts = {"train_set": data(), "held_out": data(slice(10)), **rows}
    training.hold_out(HeldOutRows(**parts, batch_size=1000, seed=0))
    graphs, labels = data().__getitems__(np.arange(len(GRAPHS)))
    for _ in range(n_steps):
        record = training.backward(network, graphs, labels)
        training.after_step(network, graphs, labels, record)
    return method


def flat(parts):
    return torch.cat([part.reshape(-1) for part in parts])


@pytest.fixture
def network():
    return model(seed=1)  # its gradients are in conflict


@pytest.mark.parametrize("n_terms", [0, 1, 3])
def test_products_are_the_mixed_derivative_of_autograd(n_terms):
    """Against the dense Hessian, and the gradient of the gradient by the weights."""
    network = model(GIN(width=3, n_layers=1, norm=None, activation="tanh"))
    shared = network.shared_parameters()
    weights = torch.tensor([0.7, 0.2, 0.05, 0.4]).double()
    scale = 0.3
    g = torch.randn(sum(p.numel() for p in shared), dtype=torch.float64)
    batch = fresh(network)
    series = batch.neumann_series(weights, g, n_terms=n_terms, scale=scale)
    w = weights.clone().requires_grad_()
    slopes = flat(
        torch.autograd.grad(w @ losses_of(network, data()), shared, create_graph=True)
    )
    H = jacobian_of(slopes, shared)
    v = p = g
    for _ in range(n_terms):
        v = v - scale * H @ v
        p = p + v
    (expected,) = torch.autograd.grad(slopes @ p, w)
    assert (series.products - expected).abs().max() < 1e-10 * expected.abs().max()
    torch.testing.assert_close(series.vector, p, rtol=1e-10, atol=1e-12)
    assert series.ratio == pytest.approx(float(v.norm() / g.norm()))


def test_without_terms_the_products_are_those_of_the_gradients(network):
    shared = network.shared_parameters()
    g = torch.randn(sum(p.numel() for p in shared), dtype=torch.float64)
    batch = fresh(network)
    weights = torch.ones(N_TASKS).double()
    series = batch.neumann_series(weights, g, n_terms=0, scale=1.0, keep_graph=True)
    J = gradients(network, losses_of(network, data()))
    torch.testing.assert_close(batch.jacobian(), J)
    torch.testing.assert_close(series.products, J @ g)


@pytest.mark.parametrize("pool", ["labels", "tasks"])
def test_the_streamed_gradient_is_that_of_one_batch(network, pool):
    settings = {"targets": [0, 2], "pool": pool}
    streamed, whole = (
        held_out_gradient(network, data(), SQUARES, batch_size=size, **settings)
        for size in (7, 1000)
    )
    torch.testing.assert_close(streamed, whole, rtol=1e-12, atol=1e-14)
    mass = WEIGHTS.sum(axis=0)[[0, 2]]
    share = torch.from_numpy(mass / mass.sum()) if pool == "labels" else 0.5
    pooled = (share * losses_of(network, data())[[0, 2]]).sum()
    expected = flat(torch.autograd.grad(pooled, network.shared_parameters()))
    torch.testing.assert_close(whole, expected, rtol=1e-10, atol=1e-12)


def outer_step(network, method, targets=(0,), **rows):
    """Derivatives that a method learns from after its first step."""
    seen, descend = [], BLO.descend

    class Spy(BLO):
        def descend(self, h, places):
            seen.append((h, places))
            descend(self, h, places)

    trained(network, Spy(**method.get_params(deep=False)), targets, **rows)
    return seen[0]


@pytest.mark.parametrize("targets", [(0,), (1, 3)])
def test_an_outer_step_without_series_compares_with_the_held_out_rows(network, targets):
    h, places = outer_step(network, BLO(every=1, n_terms=0), targets)
    rest = [t for t in range(N_TASKS) if t not in targets]
    assert places.tolist() == [0, *(1 + t for t in rest)]
    losses = losses_of(network, data())
    mass = WEIGHTS.sum(axis=0)[list(targets)]
    pooled = torch.from_numpy(mass / mass.sum()) @ losses[list(targets)]
    J = gradients(network, [pooled, *losses[rest]])
    g = held_out(network, targets)
    torch.testing.assert_close(h, -(J @ g), rtol=1e-8, atol=1e-12)
    lengths = J.norm(dim=1) * g.norm()
    h, _ = outer_step(network, BLO(every=1, n_terms=0, normalize=True), targets)
    torch.testing.assert_close(h, -(J @ g) / lengths, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("mode", ["angle", "schedule"])
def test_consistent_is_the_derivative_of_the_step_that_is_made(network, mode):
    """By finite differences in the weights of RCGrad's direction."""
    inner = RCGrad(mode=mode, rotation_init=0.3)
    h, places = outer_step(network, BLO(inner, every=1))
    J = gradients(network, losses_of(network, data()))
    g = held_out(network)
    assert bool((J[1:] @ J[0] < 0).any())
    for value, place in zip(h[1:], places[1:], strict=True):
        ends = []
        for sign in (1, -1):
            inner.shares.fill_(0.5)
            inner.shares[place - 1] += sign * 1e-3
            ends.append(inner.task_weights(J @ J.T) @ J @ g)
        # The step descends: the target's loss changes by minus the product.
        assert float(value) == pytest.approx(-float(ends[0] - ends[1]) / 2e-3, rel=1e-6)


def test_released_weights_never_change():
    method = BLO(RCGrad(), mode="released", every=1)
    trained(model(), method, n_steps=3)
    assert method.weights_.tolist() == [0.25] * 4
    assert method.n_outer_steps_ == 0


def test_updates_are_clipped_and_have_a_momentum():
    method = BLO(lr=0.1, momentum=0.5, clip=1.0, weight_init=0.3)
    method.build(3)
    places = torch.tensor([0, 2])  # task 2 is absent
    method.descend(torch.tensor([30.0, -40.0]), places)
    np.testing.assert_allclose(method.weights_, [0.24, 0.38, 0.3])
    method.descend(torch.tensor([0.0, 0.0]), places)
    np.testing.assert_allclose(method.weights_, [0.21, 0.42, 0.3])
    for _ in range(9):
        method.descend(torch.tensor([30.0, -40.0]), places)
    assert method.weights_[0] == 0.0
    assert method.n_outer_steps_ == 11
    with pytest.raises(FloatingPointError, match="n_terms=0"):
        method.descend(torch.tensor([1.0, torch.nan]), places)


def toy(method, sign, n_steps=25):
    """Linear regression whose auxiliary task is the target or its negative loss."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x @ [1.0, -2.0, 0.5])[:, None]
    graphs = GraphArray.from_features(x)
    data = GraphDataset(graphs, np.hstack([y, y]), np.ones((60, 2)))
    inner = GraphDataset(graphs[:45], data.targets[:45], data.weights[:45])
    outer = GraphDataset(graphs[45:], data.targets[45:], data.weights[45:])

    def loss(outputs, targets):
        values = (outputs - targets).square()
        return values * torch.tensor([1.0, sign]).to(values)

    torch.manual_seed(0)
    network = MultiTaskModel(
        GIN(width=4, n_layers=1, norm=None, activation="tanh"),
        Mean(),
        graphs.schema,
        2,
    ).double()
    # Equal heads: the two losses differ in the sign alone.
    with torch.no_grad():
        network.heads.weight[1] = network.heads.weight[0]
        network.heads.bias[1] = network.heads.bias[0]
    network.heads.requires_grad_(False)
    method.build(2)
    training = TrainingStep(method, loss, 2, targets=[0])
    training.hold_out(HeldOutRows(inner, outer, 45, 0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    graphs, labels = inner.__getitems__(np.arange(45))
    for _ in range(n_steps):
        optimizer.zero_grad()
        record = training.backward(network, graphs, labels)
        optimizer.step()
        training.after_step(network, graphs, labels, record)
    return method


@pytest.mark.parametrize("inner", [None, "consistent", "intended"])
def test_a_copy_of_the_target_gains_weight_and_its_negative_loses_all(inner):
    def make():
        settings = {"every": 1, "lr": 0.3, "momentum": 0.0, "n_terms": 0}
        if inner is None:
            return BLO(**settings)
        return BLO(RCGrad(mode="schedule"), mode=inner, **settings)

    friend, foe = toy(make(), 1.0), toy(make(), -1.0)
    assert friend.weights_[1] > 0.6
    if inner == "consistent":
        # The projection of the negative gradient is zero, so there is nothing to learn.
        assert foe.weights_[1] == pytest.approx(0.5, abs=1e-6)
    else:
        assert foe.weights_[1] == 0.0


def test_the_rotation_is_learned_from_the_held_out_rows(network):
    found = trained(network, RCGrad(learn="heldout", rotation_init=0.5, every=1))
    J, g = gradients(network, losses_of(network, data())), held_out(network)
    expected = RCGrad(rotation_init=0.5)
    expected.build(N_TASKS)
    expected.task_weights(J @ J.T)
    K = torch.cat([g[None], J[1:]])
    expected.task_weights(K @ K.T, lookback=J @ g)
    np.testing.assert_allclose(found.rotation_, expected.rotation_, rtol=1e-9)
    assert (found.rotation_ != 0.5).any()


def test_outer_steps_change_nothing_else():
    """Gradients, statistics, mode and torch's generator are as before."""
    network = model(GIN(width=6, n_layers=2, dropout=0.5)).train()
    method = BLO(every=1)
    method.build(N_TASKS)
    training = TrainingStep(method, SQUARES, N_TASKS, targets=[0])
    training.hold_out(HeldOutRows(data(), data(slice(10)), 16, 0))
    graphs, labels = data().__getitems__(np.arange(len(GRAPHS)))
    record = training.backward(network, graphs, labels)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    slopes = [p.grad.clone() for p in network.parameters()]
    state = torch.get_rng_state()
    training.after_step(network, graphs, labels, record)
    assert method.n_outer_steps_ == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
    for parameter, slope in zip(network.parameters(), slopes, strict=True):
        assert torch.equal(parameter.grad, slope)


def test_a_frozen_body_learns_no_weights():
    network = model()
    for parameter in network.shared_parameters():
        parameter.requires_grad_(False)
    assert trained(network, BLO(every=1)).n_outer_steps_ == 0


@pytest.mark.parametrize("inner", [None, RCGrad()], ids=["sum", "rcgrad"])
def test_a_fresh_batch_may_lack_the_target(inner):
    method = BLO(inner, every=1, n_terms=1)
    # Task 2 has no label in the first rows.
    rows = {"train_set": data(slice(6)), "held_out": data()}
    h, places = outer_step(model(), method, (2,), **rows)
    assert places.tolist() == [1, 2, 4]
    assert torch.isfinite(h).all()
