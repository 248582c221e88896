"""predict, score and embed: units, company, order, and what they leave alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from skgnn_mtl import GraphArray
from skgnn_mtl.encoders import DMPNN, GAT, GCN, GIN
from skgnn_mtl.estimators._network import FittedNetwork
from skgnn_mtl.readouts import Attention, Mean, Sum
from skgnn_mtl.training import LOSSES, task_losses

ENCODERS = [
    GIN(16, n_layers=2, norm="batch", dropout=0.5),
    GCN(16, n_layers=2),
    GAT(16, n_layers=2),
    DMPNN(16),
]
READOUTS = [Mean(), Sum(), Attention(n_heads=2)]


def by_name(part):
    return type(part).__name__


@pytest.fixture(params=ENCODERS, ids=by_name)
def fitted(request, small, graphs, gaps):
    model = small(encoder=request.param, readout="attention", lr=1e-2, batch_size=8)
    return model.fit(graphs, gaps)


def test_company_does_not_matter(fitted, graphs):
    together = fitted.predict(graphs)
    alone = np.concatenate([fitted.predict(graphs[[i]]) for i in range(len(graphs))])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)


def test_order_does_not_matter(fitted, graphs):
    order = np.random.default_rng(0).permutation(len(graphs))
    np.testing.assert_allclose(
        fitted.predict(graphs[order]),
        fitted.predict(graphs)[order],
        rtol=1e-5,
        atol=1e-5,
    )


def test_chunks_do_not_matter(fitted, graphs):
    # 600 graphs are more than predict takes at once.
    many = GraphArray.concatenate([graphs] * 20)
    expected = np.tile(fitted.predict(graphs), (20, 1))
    for batch_size in (1, 300, 1000):
        fitted.set_params(batch_size=batch_size)
        predictions = fitted.predict(many)
        np.testing.assert_allclose(predictions, expected, rtol=1e-5, atol=1e-5)


def test_a_table_is_predicted_in_double_precision(small, gaps):
    X = np.random.default_rng(0).normal(size=(30, 4))
    model = small(encoder=DMPNN(16)).fit(X, gaps)
    together = model.predict(X)
    alone = np.concatenate([model.predict(X[[i]]) for i in range(30)])
    np.testing.assert_allclose(alone, together, rtol=1e-10)


@pytest.mark.parametrize("readout", READOUTS, ids=by_name)
def test_predictions_are_heads_of_the_embedding_in_units_of_y(
    small, graphs, gaps, readout
):
    model = small(readout=readout).fit(graphs, 1000 * gaps + 5)
    heads = model.module_.heads
    weight, bias = heads.weight.detach().numpy(), heads.bias.detach().numpy()
    embedding = model.embed(graphs)
    assert embedding.shape == (30, 16)
    assert embedding.dtype == np.float64
    standardised = embedding @ weight.T + bias
    np.testing.assert_allclose(
        model.predict(graphs),
        standardised * model.target_scale_ + model.target_mean_,
        rtol=1e-4,
    )


def test_all_tasks_share_the_embedding(small, graphs, gaps):
    model = small(head_hidden_dims=(8,)).fit(graphs, gaps)
    hidden = model.module_.trunk(torch.from_numpy(model.embed(graphs)).float())
    outputs = model.module_.heads(hidden).detach().numpy()
    np.testing.assert_allclose(
        model.predict(graphs),
        outputs * model.target_scale_ + model.target_mean_,
        rtol=1e-4,
    )


def test_predictions_are_doubles_of_their_own(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    first = model.predict(graphs)
    kept = first.copy()
    assert first.dtype == np.float64
    first[:] = 0.0
    assert np.array_equal(model.predict(graphs), kept)
    model.embed(graphs)[:] = 0.0
    assert np.array_equal(model.predict(graphs), kept)


def test_predict_leaves_the_estimator_alone(small, graphs, gaps):
    model = small(encoder=GIN(16, n_layers=2, norm="batch")).fit(graphs, gaps)
    before = {key: id(value) for key, value in vars(model).items()}
    state = {k: v.clone() for k, v in model.module_.state_dict().items()}
    model.predict(graphs)
    model.embed(graphs)
    model.score(graphs, gaps)
    assert {key: id(value) for key, value in vars(model).items()} == before
    assert all(torch.equal(v, state[k]) for k, v in model.module_.state_dict().items())
    assert not model.module_.training
    assert all(p.requires_grad for p in model.module_.parameters())


def test_a_module_left_in_training_mode_predicts_the_same(small, graphs, gaps):
    encoder = GIN(16, n_layers=2, norm="batch", dropout=0.5)
    model = small(encoder=encoder).fit(graphs, gaps)
    expected = model.predict(graphs)
    model.module_.train()
    assert np.array_equal(model.predict(graphs), expected)


def test_the_score_is_the_mean_r2_of_the_tasks(small, graphs, gaps):
    model = small().fit(graphs, gaps * [1.0, 1e6, 1e-6])
    y = gaps * [1.0, 1e6, 1e-6]
    predictions = model.predict(graphs)
    by_task = [
        r2_score(y[~gap, t], predictions[~gap, t])
        for t, gap in enumerate(np.isnan(y).T)
    ]
    assert model.score(graphs, y) == pytest.approx(np.mean(by_task), rel=1e-9)


def test_the_score_follows_the_weights(small, graphs, table):
    weights = np.random.default_rng(0).uniform(0.1, 2.0, 30)
    model = small().fit(graphs, table[:, 0])
    expected = r2_score(table[:, 0], model.predict(graphs), sample_weight=weights)
    score = model.score(graphs, table[:, 0], sample_weight=weights)
    assert score == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("readout", READOUTS, ids=by_name)
@pytest.mark.parametrize("encoder", ENCODERS, ids=by_name)
def test_the_network_trains_and_predicts_on_the_meta_device(
    small, graphs, gaps, encoder, readout
):
    # A tensor made on the wrong device fails here, on a machine without accelerator.
    model = small(
        encoder=encoder, readout=readout, head_hidden_dims=(8,), max_epochs=1
    ).fit(graphs, gaps)
    module = model.module_.to("meta")
    batch = graphs.batch(np.arange(30)).to("meta")
    for training in (False, True):
        outputs = module.train(training)(batch)
        assert outputs.device.type == "meta"
        assert outputs.shape == (30, 3)
    targets = torch.zeros(30, 3, device="meta")
    losses, _ = task_losses(
        outputs, targets, torch.ones_like(targets), LOSSES["squared_error"]
    )
    losses.sum().backward()
    assert {p.grad.device.type for p in module.parameters()} == {"meta"}


def test_predictions_only_read_the_network(fitted, graphs):
    """Neither mode nor place changes, and nothing is trained or drawn."""
    expected, module = fitted.predict(graphs), fitted.module_
    module.train()  # as a user's callback may leave it
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    np.testing.assert_array_equal(fitted.predict(graphs), expected)
    assert fitted.module_ is module
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_predict_with_one_network(fitted, graphs):
    expected = fitted.predict(graphs)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fitted.predict, [graphs] * 16))
    for values in found:
        np.testing.assert_array_equal(values, expected)


def test_a_network_elsewhere_is_copied_and_not_moved():
    """The device asked for is meta, so that the copy shows without an accelerator."""
    module = torch.nn.Linear(3, 2).eval()
    graphs = GraphArray.from_features(np.ones((5, 3)))
    network = FittedNetwork(module, torch.device("meta"), 8, None)
    with pytest.raises(NotImplementedError):  # meta tensors have no values
        network.apply(graphs, lambda model, batch: model(batch.node_features))
    assert module.weight.device.type == "cpu"
