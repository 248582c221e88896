"""GATERegressor: training of the sources and their alignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.graphs import GraphLoader


def test_fit_records_terms_and_spreads(model, graphs):
    assert model.predict(graphs).shape == (30, 3)
    record = model.history_[-1]
    assert set(record["alignment"]) == {
        "autoencoder",
        "consistency",
        "mapping",
        "distance",
    }
    for key in ("train_losses", "route_rmse", "frame_spread"):
        assert list(record[key]) == ["a", "b", "c"]
        assert all(np.isfinite(list(record[key].values())))
    assert model.source_names_ == ["a", "b", "c"]
    assert model.added_names_ == []


def test_terms_of_weight_zero_are_not_recorded(make, graphs, gaps):
    weights = dict.fromkeys(
        ("auto_weight", "consistency_weight", "mapping_weight", "distance_weight"), 0
    )
    model = make(**weights).fit(graphs, gaps)
    assert model.history_[-1]["alignment"] == {}
    model.add_task(graphs, gaps[:, 0], name="a head on frozen embeddings")
    assert model.predict(graphs).shape == (30, 4)


def test_two_fits_agree_bit_for_bit(make, graphs, gaps):
    first, second = (make(routes=1).fit(graphs, gaps).predict(graphs) for _ in range(2))
    assert np.array_equal(first, second)


def test_rows_without_labels_take_part_in_the_alignment(make, graphs, gaps):
    bare = gaps.copy()
    bare[20:] = np.nan
    few = make(task_sampling=None).fit(graphs[:20], bare[:20])
    more = make(task_sampling=None).fit(graphs, bare)
    assert np.array_equal(few.target_mean_, more.target_mean_)
    assert not np.allclose(few.predict(graphs), more.predict(graphs))


def test_rows_of_weight_zero_take_no_part(make, graphs, gaps):
    weight = np.where(np.arange(30) < 20, 1.0, 0.0)
    few = make().fit(graphs[:20], gaps[:20])
    more = make().fit(graphs, gaps, sample_weight=weight)
    assert np.array_equal(few.predict(graphs), more.predict(graphs))


def test_rows_are_drawn_by_their_scarcest_labels(make, graphs):
    weights = np.zeros((30, 2))
    weights[:16, 0] = weights[14:18, 1] = 1.0  # 16 and 4 labels, 2 rows with both

    def training_set(sampling):
        recipe = make(task_sampling=sampling)._recipe()
        return recipe.training_set(None, graphs, weights, weights, np.ones(30))

    data = training_set(0.5)
    shares = np.r_[[1 / 4] * 14, [3 / 4] * 2, [1 / 2] * 2, [1 / 4] * 12]
    assert np.allclose(data.sampling.numpy(), shares)
    loader = GraphLoader(
        data, 10, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    scarce = np.mean(
        [(x.weights[:, 1] > 0).sum() for _ in range(300) for _, x in loader]
    )
    assert scarce == pytest.approx(10 * shares[14:18].sum() / shares.sum(), rel=0.05)
    assert training_set(None).sampling is None


def test_a_call_may_lack_the_labels_of_a_task(make, graphs, gaps):
    """Or of all: the terms need none, but a training without labels is refused."""
    first = gaps.copy()
    first[:, 1] = np.nan
    model = make().partial_fit(graphs, gaps).partial_fit(graphs, first)
    assert np.isnan(model.history_[-1]["train_losses"]["task_1"])
    assert np.isfinite(model.predict(graphs)).all()
    with pytest.raises(ValueError, match="lack labels"):
        model.partial_fit(graphs, np.full_like(gaps, np.nan))


def test_early_stopping_gives_the_validation_rows_back(make, graphs, gaps):
    model = make(early_stopping=True, validation=0.3, max_epochs=4, batch_size=8)
    model.fit(graphs, gaps).add_task(graphs, gaps[:, 0], name="again")
    added = model.addition_history_["again"]
    for history in (model.history_, added):
        watched = ["valid_loss" in record for record in history]
        n = sum(watched)
        assert watched == [True] * n + [False] * (len(history) - n)
        assert len(history) in (2 * n, 2 * n - 1)
        assert history[-1]["lr"] < history[n - 1]["lr"]
    assert model.best_epoch_ == len(model.history_)


def test_warm_start_and_partial_fit_go_on(make, graphs, gaps):
    model = make(warm_start=True).fit(graphs, gaps)
    model.fit(graphs, gaps).partial_fit(graphs, gaps)
    assert [record["epoch"] for record in model.history_] == list(range(1, 8))


@pytest.mark.parametrize(
    "changes",
    [
        {"perturbation": "sphere", "n_perturbations": 2},
        {"routes": "mean", "mapping_target": "predictions"},
        {"task_sampling": 0.0, "warmup": 1.0, "batch_size": 7},
        {"normalize_targets": False, "task_sampling": None, "warmup": 0.0},
    ],
)
def test_options_train(changes, make, graphs, gaps):
    assert np.isfinite(make(**changes).fit(graphs, gaps).predict(graphs)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_dim": 0},
        {"mapping_weight": -1.0},
        {"routes": "some"},
        {"encoder_hidden_dims": (0,)},
        {"target_tasks": "nobody"},
        {"target_tasks": [0, 1, 2]},
        {"target_tasks": []},
    ],
)
def test_wrong_parameters_are_refused(changes, make, graphs, gaps):
    with pytest.raises(ValueError, match=next(iter(changes))):
        make(**changes).fit(graphs, gaps)


def test_embeddings_have_the_width_of_their_space(model, graphs, scarce):
    model.add_task(graphs, scarce, name="new")
    assert model.embed(graphs).shape == (30, 16)
    for task in ("b", "new"):
        z = model.embed(graphs, space="latent", task=task)
        u = model.embed(graphs, space="frame", task=task)
        assert z.shape == u.shape == (30, 8)
        assert not np.allclose(z, u)
    with pytest.raises(ValueError, match="space="):
        model.embed(graphs, space="frame", task="nobody")


def test_tools_for_linear_heads_say_so(model, graphs, gaps):
    with pytest.raises(TypeError, match="MultiTaskGNNRegressor"):
        hessian_spectrum(model, graphs, gaps)
