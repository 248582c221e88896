"""GATERegressor.add_task and remove_task."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GroupKFold,
    PredefinedSplit,
)

from skgnn_mtl import (
    GATERegressor,
    MultiTaskGNNRegressor,
    training,
)
from skgnn_mtl.encoders import GIN, Pretrained
from skgnn_mtl.gate import AdditionModel


def test_added_tasks_leave_the_sources_bit_identical(model, graphs, scarce, tmp_path):
    before = model.predict(graphs)
    tensors = {k: v.clone() for k, v in model.module_.state_dict().items()}

    def check(estimator, names):
        predictions = estimator.predict(graphs)
        assert np.array_equal(predictions[:, :3], before)
        assert estimator.task_names_ == ["a", "b", "c", *names]
        assert predictions.shape == (30, 3 + len(names))

    model.add_task(graphs, scarce, name="new")
    check(model, ["new"])
    copied = pickle.loads(pickle.dumps(model))
    check(copied, ["new"])
    model.save(tmp_path / "model")
    loaded = GATERegressor.load(tmp_path / "model")
    check(loaded, ["new"])
    for other in (copied, loaded):
        other.add_task(graphs, -scarce, name="next")
        check(other, ["new", "next"])
        assert np.array_equal(other.predict(graphs)[:, 3], model.predict(graphs)[:, 3])
    assert np.array_equal(copied.predict(graphs), loaded.predict(graphs))
    loaded.remove_task("new")
    check(loaded, ["next"])
    state = loaded.module_.state_dict()
    assert all(torch.equal(state[key], value) for key, value in tensors.items())
    assert list(loaded.addition_history_) == ["next"]


def test_the_order_of_additions_does_not_matter(model, graphs, scarce):
    other = copy.deepcopy(model)
    model.add_task(graphs, scarce, name="x").add_task(graphs, -scarce, name="y")
    other.add_task(graphs, -scarce, name="y").add_task(graphs, scarce, name="x")
    swapped = other.predict(graphs)[:, [0, 1, 2, 4, 3]]
    assert np.array_equal(model.predict(graphs), swapped)


def test_the_encoder_sees_each_molecule_once(model, graphs, scarce, monkeypatch):
    seen = []
    forward = GIN.forward
    monkeypatch.setattr(
        GIN, "forward", lambda self, b: seen.append(b.n_graphs) or forward(self, b)
    )
    model.add_task(graphs[:12], scarce[:12], name="new")
    # For the training, and the ten with labels for the widths.
    assert seen == [12, 10]


@pytest.mark.filterwarnings("ignore:train_encoder=True changed")
@pytest.mark.parametrize("train_encoder", [False, True])
def test_few_labels_are_a_quarter_of_what_is_drawn(
    train_encoder, model, graphs, monkeypatch
):
    drawn = []
    train = training.train

    def spy(network, step, data, *rest, **options):
        drawn.append(data.sampling)
        return train(network, step, data, *rest, **options)

    monkeypatch.setattr(training, "train", spy)
    for n_labels in (3, 10):
        y = np.where(np.arange(30) < n_labels, np.arange(30.0), np.nan)
        model.add_task(graphs, y, name=f"{n_labels}", train_encoder=train_encoder)
    few, enough = drawn
    labelled = torch.arange(len(few)) % 30 < 3
    assert float(few[labelled].sum() / few.sum()) == pytest.approx(0.25)
    assert len(few.unique()) == 2
    assert enough is None


def test_names_come_from_y(model, graphs, scarce):
    model.add_task(graphs, pd.Series(scarce, name="Hvap"))
    model.add_task(graphs, scarce[:, None])
    model.add_task(graphs, pd.DataFrame({"Tm": scarce}))
    assert model.task_names_[3:] == ["Hvap", "task_4", "Tm"]


def test_made_up_names_are_free_ones(model, graphs, scarce):
    model.add_task(graphs, scarce).add_task(graphs, scarce)
    model.remove_task("task_3").add_task(graphs, scarce)
    assert model.added_names_ == ["task_4", "task_5"]
    model.add_task(graphs, scarce, name=7).remove_task(7)
    with pytest.raises(ValueError, match="name is empty"):
        model.add_task(graphs, scarce, name="")


def test_two_labels_among_others_are_enough(make, graphs, gaps):
    model = make(add_task_steps=100).fit(graphs[:20], gaps[:20])
    y = np.full(12, np.nan)
    y[:2] = 1.0, 2.0
    for name in "abcd":
        model.add_task(graphs[:12], y, name=name)
    assert np.isfinite(model.predict(graphs)).all()


def test_a_splitter_and_groups_split_the_rows_of_the_addition(make, graphs, gaps):
    fold = np.where(np.arange(30) % 3 == 1, 0, -1)
    model = make(validation=PredefinedSplit(fold)).fit(graphs, gaps)
    with pytest.raises(ValueError, match="knows 30 rows, but X has 20"):
        model.add_task(graphs[:20], gaps[:20, 0], name="other rows")
    grouped = make(validation=GroupKFold(2)).fit(graphs, gaps, groups=fold)
    grouped.add_task(graphs, gaps[:, 0], name="grouped", groups=np.arange(30) % 5)
    assert "valid_loss" in grouped.addition_history_["grouped"][-1]


@pytest.mark.parametrize("sources", ["all", "b", ["c", "a"], 2])
@pytest.mark.parametrize("init", ["random", "nearest"])
def test_sources_are_chosen(sources, init, model, graphs, scarce, monkeypatch):
    chosen = []
    build = AdditionModel.__init__

    def spy(self, whole, positions, *rest):
        chosen.append((positions, rest[1]))
        build(self, whole, positions, *rest)

    monkeypatch.setattr(AdditionModel, "__init__", spy)
    # The labels are a source's own predictions: it is the nearest.
    y = np.where(np.isnan(scarce), np.nan, model.predict(graphs)[:, 1])
    model.set_params(target_init=init)
    model.add_task(graphs, y, name="new", sources=sources)
    ((positions, start),) = chosen
    assert start == (1 if init == "nearest" else None)
    if sources == 2:
        assert len(positions) == 2
        assert 1 in positions
    else:
        expected = {"all": [0, 1, 2], "b": [1]}
        assert positions == (expected[sources] if sources in ("all", "b") else [2, 0])


def test_nearest_starts_where_the_source_is(make, graphs, gaps):
    model = make(target_init="nearest", add_task_steps=1, lr=1e-9).fit(graphs, gaps)
    y = model.predict(graphs)[:, 1]
    model.add_task(graphs, y, name="copy", sources=1)
    standard = (model.predict(graphs) - model.target_mean_) / model.target_scale_
    assert np.allclose(standard[:, 3], standard[:, 1], atol=1e-5)


def test_training_the_encoder_warns_and_changes_the_sources(model, graphs, scarce):
    before = model.predict(graphs)
    with pytest.warns(UserWarning, match=r"predictions of \['a', 'b', 'c'\]"):
        model.add_task(graphs, scarce, name="new", train_encoder=True)
    assert not model.sources_frozen_
    assert not np.allclose(before, model.predict(graphs)[:, :3])
    assert model.history_[-1]["epoch"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a"}, "already"),
        ({"name": "x", "sources": ["nobody"]}, "nobody"),
        ({"name": "x", "sources": []}, "sources"),
        ({"name": "x", "sources": 0}, "sources"),
        ({"name": "x", "sources": ["a", "a"]}, "each once"),
    ],
)
def test_a_refused_addition_leaves_no_trace(arguments, message, model, graphs, scarce):
    before = pickle.dumps(model.__getstate__())
    with pytest.raises(ValueError, match=message):
        model.add_task(graphs, scarce, **arguments)
    assert pickle.dumps(model.__getstate__()) == before


def test_labels_of_an_addition_are_checked(model, graphs, table):
    one = np.full(30, np.nan)
    one[0] = 1.0
    with pytest.raises(ValueError, match="at least 2"):
        model.add_task(graphs, one, name="x")
    with pytest.raises(ValueError, match="3 columns"):
        model.add_task(graphs, table, name="x")
    # By the name of the call, because an array has no name of its own.
    for entry, message in ((np.inf, "infinity: task 'x'"), (">1", "'>1' of task 'x'")):
        with pytest.raises(ValueError, match=message):
            model.add_task(graphs, np.full(30, entry, dtype=object), name="x")
    with pytest.raises(ValueError, match="expecting 1"):
        model.add_task(np.zeros((30, 2)), table[:, 0], name="x")
    with pytest.raises(NotFittedError):
        clone(model).add_task(graphs, table[:, 0])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("train_encoder", [False, True])
def test_an_error_half_way_leaves_the_model_as_it_was(
    error, train_encoder, model, graphs, scarce, monkeypatch
):
    before, calls = model.predict(graphs), []
    look = AdditionModel.cached

    def fail(self, batch):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return look(self, batch)

    monkeypatch.setattr(AdditionModel, "cached", fail)
    with pytest.raises(error):
        model.add_task(graphs, scarce, name="x", train_encoder=train_encoder)
    assert model.task_names_ == ["a", "b", "c"]
    assert np.array_equal(model.predict(graphs), before)


def test_frozen_sources_are_not_moved_later(model, graphs, gaps, scarce):
    y = pd.DataFrame(gaps, columns=["a", "b", "c"])
    model.add_task(graphs, scarce, name="new")
    with pytest.raises(ValueError, match="remove_task"):
        model.partial_fit(graphs, y)
    model.set_params(warm_start=True)
    with pytest.raises(ValueError, match="remove_task"):
        model.fit(graphs, y)
    with pytest.raises(ValueError, match="Only added"):
        model.remove_task("a")
    model.remove_task("new").partial_fit(graphs, y)
    model.set_params(warm_start=False).fit(graphs, y)
    assert model.added_names_ == []


def test_a_frozen_encoder_is_not_trained_along(make, graphs, gaps, scarce):
    source = make().fit(graphs, gaps).module_.encoder
    model = make(encoder=Pretrained(source, freeze=True)).fit(graphs, gaps)
    with pytest.raises(ValueError, match="the encoder is frozen"):
        model.add_task(graphs, scarce, train_encoder=True)
    assert model.sources_frozen_


def test_one_dimensional_models_grow_and_shrink(make, graphs, table):
    model = make().fit(graphs, table[:, 0])
    before = model.predict(graphs)
    assert before.shape == (30,)
    model.add_task(graphs, table[:, 1], name="b")
    assert np.array_equal(model.predict(graphs)[:, 0], before)
    assert np.array_equal(model.remove_task("b").predict(graphs), before)


def test_score_takes_all_tasks_or_some_columns(model, graphs, gaps, scarce):
    model.add_task(graphs, scarce, name="new")
    y = pd.DataFrame(gaps, columns=["a", "b", "c"]).assign(new=scarce)
    assert np.isfinite(model.score(graphs, y))
    assert model.score(graphs, y[["new", "b"]]) == model.score(graphs, y[["b", "new"]])


def test_an_affine_copy_of_a_source_is_learned_from_few_labels(make, table, graphs):
    settings = {"max_epochs": 60, "add_task_steps": 200, "sources": 1}
    model = make(encoder=GIN(16, n_layers=2, norm=None), **settings)
    model.fit(graphs, table)
    target = 3.0 * model.predict(graphs)[:, 0] - 7.0
    train, test = np.arange(8), np.arange(8, 30)
    y = np.full(30, np.nan)
    y[train] = target[train]
    model.add_task(graphs, y, name="affine")
    single = MultiTaskGNNRegressor(
        GIN(16, n_layers=2, norm=None),
        readout="mean",
        head_hidden_dims=(),
        max_epochs=200,
        lr=1e-2,
        random_state=0,
    ).fit(graphs[train], target[train])
    errors = [
        np.sqrt(np.mean((predicted[test] - target[test]) ** 2))
        for predicted in (model.predict(graphs)[:, 3], single.predict(graphs))
    ]
    assert errors[0] < 0.7 * errors[1]


def test_a_target_of_noise_is_not_learned_worse_than_alone(make):
    """Nothing can be learned of it: sources must not make it worse, over seeds."""
    X = np.random.default_rng(0).normal(size=(300, 4))
    rich = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2], X[:, 3]])
    train, test = np.arange(40), np.arange(40, 300)
    errors = []
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(size=300)
        options = {"encoder": GIN(16, n_layers=2, norm=None), "random_state": seed}
        model = make(max_epochs=5, add_task_steps=60, **options).fit(X, rich)
        model.add_task(X[train], noise[train], name="noise")
        single = MultiTaskGNNRegressor(max_epochs=60, lr=1e-2, **options)
        single.fit(X[train], noise[train])
        predictions = model.predict(X[test])[:, 3], single.predict(X[test])
        errors.append([np.sqrt(np.mean((p - noise[test]) ** 2)) for p in predictions])
    added, alone = np.transpose(errors)
    assert added.mean() < alone.mean() + alone.std(ddof=1)


def test_tasks_are_trained_and_added_at_moved_weights(make, graphs, gaps, scarce):
    plain, sharp = (
        make(optimizer=name).fit(graphs, gaps).add_task(graphs, scarce, name="new")
        for name in ("adamw", "sam")
    )
    found = sharp.predict(graphs)
    assert np.isfinite(found).all()
    assert (abs(found - plain.predict(graphs)).max(axis=0) > 1e-5).all()
    with pytest.raises(ValueError, match="use 'sam'"):
        make(optimizer="samo").fit(graphs, gaps)
