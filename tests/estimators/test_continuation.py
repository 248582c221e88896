"""warm_start and partial_fit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.encoders import GIN

RICH = {
    "encoder": GIN(16, n_layers=2, norm="batch", dropout=0.2),
    "task_weighting": "uncertainty",
    "batch_size": 8,
}


# -- warm_start -----------------------------------------------------------------------


def test_warm_start_goes_on(small, graphs, gaps):
    model = small(warm_start=True).fit(graphs, gaps)
    mean, scale = model.target_mean_.copy(), model.target_scale_.copy()
    module, weighting = model.module_, model.task_weighting_
    before = model.predict(graphs)
    model.set_params(lr=1e-30).fit(graphs, gaps + 100.0)
    # A copy is trained, so that whoever predicts meanwhile sees no half.
    assert model.module_ is not module
    assert model.task_weighting_ is not weighting
    # Nothing was learned at this rate: the scales are those of the first fit.
    assert np.array_equal(model.target_mean_, mean)
    assert np.array_equal(model.target_scale_, scale)
    np.testing.assert_allclose(model.predict(graphs), before, rtol=1e-6)
    assert [record["epoch"] for record in model.history_] == [1, 2, 3, 4, 5, 6]
    assert model.best_epoch_ == 6


def test_without_warm_start_history_is_that_of_the_last_fit(small, graphs, gaps):
    model = small().fit(graphs, gaps).fit(graphs, gaps)
    assert [record["epoch"] for record in model.history_] == [1, 2, 3]
    assert model.best_epoch_ == 3


def test_the_first_fit_with_warm_start_is_a_plain_one(
    small, graphs, gaps, same_weights
):
    assert same_weights(
        small(warm_start=True).fit(graphs, gaps), small().fit(graphs, gaps)
    )


def test_two_warm_halves_learn_as_much_as_one_fit(small, graphs, table):
    halves = small(warm_start=True, max_epochs=15, lr=2e-3, lr_schedule="constant")
    first = halves.fit(graphs, table).history_[-1]["train_loss"]
    second = halves.fit(graphs, table).history_[-1]["train_loss"]
    assert second < 0.9 * first


def test_early_stopping_counts_epochs_of_all_fits(small, graphs, table):
    model = small(
        warm_start=True, early_stopping=True, validation=0.3, n_iter_no_change=2
    )
    model.fit(graphs, table).fit(graphs, table)
    assert 4 <= model.best_epoch_ <= 6
    losses = [record["valid_loss"] for record in model.history_]
    assert model.best_epoch_ == 4 + np.argmin(losses[3:])


def test_warm_start_checks_the_tasks(small, graphs, gaps):
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    model = small(warm_start=True).fit(graphs, frame)
    before = model.predict(graphs)
    with pytest.raises(ValueError, match=r"\['a', 'c', 'b'\].*\['a', 'b', 'c'\]"):
        model.fit(graphs, frame[["a", "c", "b"]])
    assert np.array_equal(model.predict(graphs), before)


# -- partial_fit ----------------------------------------------------------------------


def test_each_call_is_one_epoch(small, graphs, gaps):
    model = small(max_epochs=50)
    for n in range(1, 5):
        assert model.partial_fit(graphs, gaps) is model
        assert len(model.history_) == n
        assert model.history_[-1]["epoch"] == n
        assert model.best_epoch_ == n
        assert model.history_[-1]["lr"] == pytest.approx(1e-2)


@pytest.mark.parametrize("weighting", ["equal", "scaleinvariant", "uncertainty"])
def test_full_batch_calls_are_a_fit_at_a_constant_rate(small, graphs, gaps, weighting):
    # One batch has no order: only the state of the optimizers must be handed on.
    settings = {"task_weighting": weighting, "max_epochs": 8}
    model = small(**settings)
    for _ in range(8):
        model.partial_fit(graphs, gaps)
    whole = small(lr_schedule="constant", **settings).fit(graphs, gaps)
    np.testing.assert_allclose(model.task_weights_, whole.task_weights_, rtol=1e-4)
    np.testing.assert_allclose(model.predict(graphs), whole.predict(graphs), rtol=1e-4)


def test_calls_learn(small, graphs, table):
    model = small()
    for _ in range(60):
        model.partial_fit(graphs, table)
    losses = [record["train_loss"] for record in model.history_]
    assert losses[-1] < 0.3 * losses[0]


def test_the_first_call_learns_the_scales(small, graphs, gaps):
    model = small().partial_fit(graphs[:20], gaps[:20])
    mean = np.nanmean(gaps[:20], axis=0)
    np.testing.assert_allclose(model.target_mean_, mean)
    model.partial_fit(graphs[20:], gaps[20:] + 50.0)
    np.testing.assert_allclose(model.target_mean_, mean)


def test_batch_orders_differ_from_call_to_call(small, graphs, gaps):
    # Each call with the order of the first would be a hidden bias.
    def losses(rate):
        model = small(batch_size=2, lr=rate, encoder=GIN(4, n_layers=1, norm="batch"))
        for _ in range(3):
            model.partial_fit(graphs, gaps)
        return [record["train_loss"] for record in model.history_]

    first, second, third = losses(1e-30)
    # Batch statistics, hence losses, follow the composition of the batches.
    assert len({first, second, third}) == 3


def test_two_series_of_calls_agree_bit_for_bit(small, graphs, gaps, same_weights):
    a, b = small(**RICH), small(**RICH)
    for _ in range(3):
        a.partial_fit(graphs, gaps)
    for _ in range(3):
        b.partial_fit(graphs, gaps)
    assert same_weights(a, b)


@pytest.mark.parametrize("seed", [0, np.random.RandomState(3)], ids=["int", "state"])
def test_a_pickled_estimator_goes_on_as_the_original(
    small, graphs, gaps, same_weights, seed
):
    model = small(**RICH, random_state=seed)
    model.partial_fit(graphs, gaps).partial_fit(graphs, gaps)
    copy = pickle.loads(pickle.dumps(model))
    for _ in range(3):
        model.partial_fit(graphs, gaps)
        copy.partial_fit(graphs, gaps)
    assert same_weights(model, copy)
    for name, value in model.task_weighting_.state_dict().items():
        assert (copy.task_weighting_.state_dict()[name] == value).all()
    assert [r["train_loss"] for r in model.history_] == [
        r["train_loss"] for r in copy.history_
    ]


def test_calls_go_on_after_fit(small, graphs, gaps):
    model = small(lr_schedule="constant").fit(graphs, gaps)
    losses = [record["train_loss"] for record in model.history_]
    model.partial_fit(graphs, gaps)
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]
    assert model.history_[-1]["train_loss"] < losses[-1]


def test_fit_after_calls_starts_anew(small, graphs, gaps, same_weights):
    model = small(**RICH)
    for _ in range(3):
        model.partial_fit(graphs, gaps)
    assert same_weights(model.fit(graphs, gaps), small(**RICH).fit(graphs, gaps))
    assert len(model.history_) == 3


def test_a_new_rate_is_used_by_the_next_call(small, graphs, gaps):
    model = small().partial_fit(graphs, gaps)
    model.set_params(lr=1e-30).partial_fit(graphs, gaps)
    before = model.predict(graphs)
    model.partial_fit(graphs, gaps)
    assert [r["lr"] for r in model.history_] == pytest.approx([1e-2, 1e-30, 1e-30])
    np.testing.assert_allclose(model.predict(graphs), before, rtol=1e-6)


def test_a_new_optimizer_is_used_by_the_next_call(small, graphs, gaps):
    model = small().partial_fit(graphs, gaps)
    model.set_params(optimizer="sgd").partial_fit(graphs, gaps)
    model.set_params(optimizer="adam").partial_fit(graphs, gaps)
    assert np.isfinite(model.predict(graphs)).all()


def test_a_call_may_lack_the_labels_of_a_task(small, graphs, gaps):
    model = small().partial_fit(graphs, gaps)
    gaps[:, 1] = np.nan
    model.partial_fit(graphs, gaps)
    record = model.history_[-1]
    assert np.isnan(record["train_losses"]["task_1"])
    others = [record["train_losses"][name] for name in ("task_0", "task_2")]
    assert record["train_loss"] == pytest.approx(np.mean(others))
    assert record["task_weights"]["task_1"] == 0.0
    assert np.isfinite(model.predict(graphs)).all()


def test_the_first_call_needs_labels_of_every_task(small, graphs, gaps):
    gaps[:, 1] = np.nan
    with pytest.raises(ValueError, match="'task_1' has no label"):
        small().partial_fit(graphs, gaps)


def test_a_call_without_any_label_is_refused(small, graphs, gaps):
    model = small().partial_fit(graphs, gaps)
    with pytest.raises(ValueError, match="(?i)no .*label"):
        model.partial_fit(graphs, np.full_like(gaps, np.nan))
    assert len(model.history_) == 1


def test_other_tasks_are_refused(small, graphs, gaps):
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    model = small().partial_fit(graphs, frame)
    with pytest.raises(ValueError, match=r"\['a', 'b', 'd'\]"):
        model.partial_fit(graphs, frame.rename(columns={"c": "d"}))
    with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
        model.partial_fit(graphs, frame[["a", "b"]])


@pytest.mark.parametrize("first_is_vector", [True, False])
def test_a_vector_is_no_column(small, graphs, table, first_is_vector):
    shapes = [table[:, 0], table[:, :1]]
    first, second = shapes if first_is_vector else shapes[::-1]
    model = small().partial_fit(graphs, first)
    # The names are equal, so the message has to say what differs.
    with pytest.raises(ValueError, match="(?i)dimension|shape|1-?d"):
        model.partial_fit(graphs, second)


def test_other_graphs_are_refused(small, graphs, gaps, smiles):
    model = small().partial_fit(graphs, gaps)
    with pytest.raises(ValueError, match="'ogb' against 'hu2020'"):
        model.partial_fit(SmilesToGraph("hu2020").fit_transform(smiles), gaps)
    assert len(model.history_) == 1


def test_no_rows_are_held_out(small, graphs, gaps):
    model = small(early_stopping=True, lr_schedule="plateau")
    model.partial_fit(graphs, gaps)
    assert "valid_loss" not in model.history_[0]


def test_a_call_that_fails_leaves_the_generator_where_it_was(
    small, graphs, gaps, same_weights
):
    model = small(auxiliary_tasks=["infomax"], task_weighting="blo")
    first = model.partial_fit(graphs, gaps)
    second = copy.deepcopy(first)
    with pytest.raises(ValueError, match="needed to hold some out"):
        second.partial_fit(graphs, np.where(np.arange(30)[:, None] > 0, np.nan, gaps))
    for twin in (first, second):
        twin.partial_fit(graphs, gaps)
    assert same_weights(first, second)
