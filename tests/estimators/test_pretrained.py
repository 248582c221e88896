"""A pretrained encoder in an estimator: copied, frozen, slowed, never written to."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import DMPNN, GIN, Pretrained
from skgnn_mtl.training import recalibrate


@pytest.fixture(scope="module")
def source(graphs):
    """Encoder of a fitted estimator, two layers and batch normalisation."""
    model = MultiTaskGNNRegressor(
        GIN(width=16, n_layers=2), max_epochs=2, device="cpu", random_state=3
    )
    return model.fit(graphs, graphs.n_nodes.astype(float)).module_.encoder


def frozen(encoder):
    return copy.deepcopy(encoder.state_dict())


def changed(encoder, before):
    after = encoder.state_dict()
    return {name for name in before if not bool((before[name] == after[name]).all())}


def test_a_fit_trains_a_copy(source, graphs, table, small):
    before = frozen(source)
    model = small(encoder=Pretrained(source)).fit(graphs, table)
    copied = model.module_.encoder.trained
    assert not changed(source, before)
    assert all(p.requires_grad for p in source.parameters())
    assert "embedding.weight" in changed(copied, before)
    # The source is no part of the network.
    assert not any("encoder.encoder" in name for name in model.module_.state_dict())


def test_clone_keeps_the_source(source):
    part = Pretrained(source, freeze=1, lr_scale=0.1)
    twin = clone(part)
    assert twin.encoder is source
    assert (twin.freeze, twin.lr_scale) == (1, 0.1)
    estimator = clone(MultiTaskGNNRegressor(part))
    assert estimator.encoder.encoder is source
    estimator.set_params(encoder__freeze=True)
    assert part.freeze == 1
    with pytest.raises(ValueError, match="encoder__width cannot be set"):
        estimator.set_params(encoder__encoder__width=3)


@pytest.mark.parametrize("freeze", [True, 0, 1, 2])
def test_frozen_parts_keep_weights_and_statistics(source, graphs, table, small, freeze):
    before = frozen(source)
    model = small(encoder=Pretrained(source, freeze=freeze)).fit(graphs, table)
    moved = changed(model.module_.encoder.trained, before)
    kept = {"embedding"} | {
        f"{part}.{k}" for part in ("layers", "norms") for k in range(int(freeze))
    }
    if freeze is True:
        assert not moved
        return
    assert not {name for name in moved for part in kept if name.startswith(part + ".")}
    # The last layer, at least its statistics, is trained unless it is frozen, too.
    assert any(name.startswith("norms.1") for name in moved) == (freeze < 2)


def test_a_frozen_encoder_computes_in_evaluation_mode(source, graphs, table, small):
    model = small(encoder=Pretrained(source, freeze=True)).fit(graphs, table)
    np.testing.assert_array_equal(model.embed(graphs), source.embed(graphs))
    model.module_.train()
    assert not model.module_.encoder.trained.norms[0].training


@pytest.mark.parametrize("weighting", ["pcgrad", "upgrad", "graddrop"])
def test_gradient_methods_work_with_nothing_but_heads_to_train(
    source, graphs, table, small, weighting
):
    part = Pretrained(source, freeze=True)
    model = small(encoder=part, task_weighting=weighting).fit(graphs, table)
    plain = small(encoder=part).fit(graphs, table)
    np.testing.assert_allclose(model.predict(graphs), plain.predict(graphs), rtol=1e-5)


def test_lr_scale_is_the_learning_rate_of_the_encoder(source, graphs, table, small):
    def fitted(scale, **changes):
        parameters = {"max_epochs": 1, "optimizer": "sgd", "lr_schedule": "constant"}
        part = Pretrained(source, lr_scale=scale)
        return small(encoder=part, **parameters, **changes).fit(graphs, table)

    before = source.state_dict()["layers.0.expand.weight"]
    steps = [
        fitted(scale).module_.encoder.trained.state_dict()["layers.0.expand.weight"]
        - before
        for scale in (1.0, 0.1)
    ]
    torch.testing.assert_close(0.1 * steps[0], steps[1], rtol=1e-3, atol=1e-7)
    heads = [fitted(scale).module_.heads.bias for scale in (1.0, 0.1)]
    torch.testing.assert_close(*heads)
    assert fitted(0.1).history_[0]["lr"] == pytest.approx(1e-2)


def test_recalibration_is_the_mean_over_the_training_graphs(source, graphs, table):
    spoiled = copy.deepcopy(source)
    for norm in spoiled.norms:
        norm.running_mean += 5.0
    part = Pretrained(spoiled, freeze=True, recalibrate=True)
    model = MultiTaskGNNRegressor(part, max_epochs=1, device="cpu", random_state=0)
    norms = model.fit(graphs, table).module_.encoder.trained.norms
    first = {}
    norms[0].register_forward_pre_hook(lambda norm, args: first.update(states=args[0]))
    model.embed(graphs)
    torch.testing.assert_close(norms[0].running_mean, first["states"].mean(0))
    torch.testing.assert_close(norms[0].running_var, first["states"].var(0))
    assert norms[0].momentum == 0.1
    assert not norms[0].training


@pytest.mark.parametrize("n", [15, 16, 17, 30])
def test_recalibration_does_not_depend_on_the_batches(graphs, source, n):
    """A last batch of one graph counts as one graph."""
    n_graphs, whole, cut = graphs[:n], copy.deepcopy(source), copy.deepcopy(source)
    recalibrate(whole, n_graphs, torch.device("cpu"), batch_size=100)
    recalibrate(cut, n_graphs, torch.device("cpu"), batch_size=8)
    first, second = (encoder.norms[0].running_mean for encoder in (whole, cut))
    torch.testing.assert_close(first, second)


def test_a_wrapper_as_source_gives_its_weights_and_nothing_else(
    source, graphs, table, small
):
    """Heads first, then everything: what was frozen is so no more."""
    heads = small(encoder=Pretrained(source, freeze=True)).fit(graphs, table)
    model = small(encoder=Pretrained(heads.module_.encoder)).fit(graphs, table)
    before = frozen(heads.module_.encoder.core)
    moved = changed(model.module_.encoder.core, before)
    assert {"embedding.weight", "norms.0.running_mean"} <= moved
    model.module_.train()
    assert model.module_.encoder.core.drop.training


def test_search_pickle_and_files(source, graphs, table, small, tmp_path):
    before = frozen(source)
    search = GridSearchCV(
        small(encoder=Pretrained(source), max_epochs=1),
        {"encoder__freeze": [False, 1, True], "encoder__lr_scale": [0.1, 1.0]},
        cv=2,
        n_jobs=1,
    ).fit(graphs, table)
    assert not changed(source, before)
    best = search.best_estimator_
    expected = best.predict(graphs)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(best)).predict(graphs), expected
    )
    best.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(graphs), expected)
    # The file holds the source, too: a new fit starts where the first one did.
    assert not changed(loaded.encoder.encoder, before)
    np.testing.assert_array_equal(
        clone(loaded).fit(graphs, table).predict(graphs), expected
    )


def test_a_pretrained_encoder_can_be_a_source(source, graphs, table, small):
    first = small(encoder=Pretrained(source)).fit(graphs, table)
    second = small(encoder=Pretrained(first.module_.encoder, freeze=True))
    second.fit(graphs, table)
    np.testing.assert_array_equal(second.embed(graphs), first.embed(graphs))


def test_clear_errors(source, graphs, table, small):
    with pytest.warns(UserWarning, match=r"has weights, .* Pretrained\(encoder\)"):
        small(encoder=source).fit(graphs, table)
    with pytest.raises(ValueError, match="GIN does not have weights yet"):
        small(encoder=Pretrained(GIN())).fit(graphs, table)
    with pytest.raises(ValueError, match="freeze must be a bool or a number of layers"):
        small(encoder=Pretrained(source, freeze=3)).fit(graphs, table)
    with pytest.raises(ValueError, match="'lr_scale' parameter of Pretrained must"):
        small(encoder=Pretrained(source, lr_scale=0)).fit(graphs, table)
    with pytest.raises(
        ValueError, match="'encoder' .* must be an instance of .*GraphEncoder"
    ):
        small(encoder=Pretrained("gin")).fit(graphs, table)
    with pytest.raises(ValueError, match="belong to graphs of schema"):
        small(encoder=Pretrained(source)).fit(np.zeros((30, 2)), table)
    unbounded = DMPNN(width=4)
    unbounded.build(graphs.schema)
    with pytest.raises(ValueError, match="at most 0 for this DMPNN"):
        small(encoder=Pretrained(unbounded, freeze=1)).fit(graphs, table)
