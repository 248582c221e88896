"""Adapters beside the frozen linear maps of an encoder."""

import copy

import numpy as np
import pytest
import torch
from random_graphs import NETWORK_SCHEMA, valid_graphs
from sklearn.base import clone
from torch import nn

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import CGCNN, DMPNN, GAT, GCN, GIN, GraphSAGE, Pretrained
from skgnn_mtl.encoders._adapters import Adapter

ENCODERS = [CGCNN, DMPNN, GAT, GCN, GIN, GraphSAGE]
KINDS = ["bottleneck", "low-rank"]


def source_of(cls, **changes):
    torch.manual_seed(0)
    encoder = cls(width=8, **changes)
    encoder.build(NETWORK_SCHEMA)
    return encoder.eval()


def adapted(source, kind, size=3):
    encoder = Pretrained(source, adapters=kind, adapter_size=size)
    encoder.build(NETWORK_SCHEMA)
    return encoder


def stirred(encoder):
    """Give the last maps of the adapters other values than zero."""
    for name, p in encoder.named_parameters():
        if p.requires_grad:
            generator = torch.Generator().manual_seed(len(name))
            p.data += 0.3 * torch.randn(p.shape, generator=generator)
    return encoder


@pytest.fixture(scope="module")
def batch():
    X = valid_graphs(20)
    return X.batch(np.arange(len(X)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_adds_a_small_map(kind):
    linear, x = nn.Linear(7, 5).double(), torch.randn(9, 7, dtype=torch.float64)
    adapter = Adapter(linear, kind, 3)
    assert torch.equal(adapter(x), linear(x))
    nn.init.normal_(adapter.up.weight)
    hidden = x @ adapter.down.weight.T
    if kind == "bottleneck":
        hidden = (hidden + adapter.down.bias).clip(min=0)
    expected = x @ linear.weight.T + linear.bias + hidden @ adapter.up.weight.T
    torch.testing.assert_close(adapter(x), expected)
    # As a matrix, the change of a linear map has the rank of the adapter.
    change = (adapter(torch.eye(7).double()) - linear(torch.eye(7).double())).detach()
    assert kind == "bottleneck" or torch.linalg.matrix_rank(change) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", ENCODERS)
def test_they_begin_at_the_source_and_alone_are_trained(cls, kind, batch):
    source = source_of(cls)
    encoder = adapted(source, kind).train()
    assert torch.equal(encoder(batch), source(batch))
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all(".down." in name or ".up." in name for name in trained)
    # Each linear map has one; that of the edges too.
    n_maps = sum(isinstance(m, nn.Linear) for m in source.modules())
    assert sum(isinstance(m, Adapter) for m in encoder.modules()) == n_maps
    stirred(encoder)
    assert not torch.allclose(encoder(batch), source(batch))
    encoder(batch).square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)
    assert all(p.grad is None for p in encoder.parameters() if not p.requires_grad)


def test_they_cost_their_two_maps():
    source = source_of(GIN, n_layers=2)
    maps = [m for m in source.modules() if isinstance(m, nn.Linear)]
    sizes = [(m.in_features, m.out_features) for m in maps]
    for kind, bias in (("low-rank", 0), ("bottleneck", 1)):
        # A map without three rows has fewer.
        n = sum(min(3, a, b) * (a + b + bias) for a, b in sizes)
        encoder = adapted(source, kind)
        assert n == sum(p.numel() for p in encoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_and_the_meta_device(kind, batch):
    encoder = stirred(adapted(source_of(GIN, activation="tanh"), kind))
    p = next(p for p in encoder.parameters() if p.requires_grad)
    (g,) = torch.autograd.grad(encoder(batch).square().sum(), p, create_graph=True)
    (h,) = torch.autograd.grad(g.square().sum(), p)
    assert torch.isfinite(h).all()
    assert h.any()
    states = encoder.to("meta")(batch.to("meta"))
    assert states.shape == (batch.n_nodes, 8)


SMILES = ["CCO", "CCN", "CC", "CCCl", "c1ccccc1", "CCCO", "CC(=O)O", "CCBr", "C", "CN"]
X = SmilesToGraph().fit_transform(SMILES)
Y = np.random.default_rng(0).normal(size=(10, 2))


def fit(encoder, y=Y, **changes):
    settings = {"max_epochs": 3, "lr": 1e-2, "random_state": 0, **changes}
    return MultiTaskGNNRegressor(encoder, **settings).fit(X, y)


@pytest.fixture(scope="module")
def source():
    return fit(GIN(16, n_layers=2, dropout=0.1)).module_.encoder


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_leaves_the_source_and_the_copied_weights(kind, source, tmp_path):
    before = copy.deepcopy(source.state_dict())
    model = fit(Pretrained(source, adapters=kind), Y[:, :1])
    after = model.module_.encoder.trained.state_dict()
    for name, value in before.items():
        assert torch.equal(value, source.state_dict()[name])
    # Weights have the same order, beside those of the adapters.
    kept = [v for n, v in after.items() if ".down." not in n and ".up." not in n]
    for value, other in zip(before.values(), kept, strict=True):
        assert torch.equal(value, other)
    assert any(v.any() for n, v in after.items() if ".up." in n)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    # What has been adapted is a source as well.
    again = fit(Pretrained(model.module_.encoder, adapters=kind), Y[:, 1:])
    again.save(tmp_path / "again")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "again")
    np.testing.assert_array_equal(loaded.predict(X), again.predict(X))


def test_surgery_and_other_optimizers_train_them(source):
    for changes in ({"optimizer": "sam"}, {"task_weighting": "upgrad"}):
        model = fit(Pretrained(source, adapters="low-rank"), **changes)
        ups = [v for n, v in model.module_.state_dict().items() if ".up." in n]
        assert all(v.any() for v in ups)


def test_parameters_are_cloned_and_searched(source):
    part = Pretrained(source, adapters="low-rank", adapter_size=5)
    twin = clone(MultiTaskGNNRegressor(part)).set_params(encoder__adapter_size=2)
    assert twin.encoder.adapters == "low-rank"
    assert twin.encoder.adapter_size == 2
    assert twin.encoder.encoder is source


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"adapters": "prefix"}, "adapters"),
        ({"adapters": "low-rank", "adapter_size": 0}, "adapter_size"),
        ({"adapters": "low-rank", "freeze": 1}, "leave freeze out"),
    ],
)
def test_wrong_parameters_are_named(parameters, message, source):
    with pytest.raises(ValueError, match=message):
        fit(Pretrained(source, **parameters))
