"""The weighting inside a fit: weights, state, names, errors."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from skgnn_mtl.readouts import Sum
from skgnn_mtl.weighting import Equal, Fixed, ScaleInvariant, Uncertainty

WEIGHTINGS = [
    "equal",
    "scaleinvariant",
    "uncertainty",
    Fixed([1.0, 2.0, 0.5]),
    Fixed({"c": 0.5, "a": 1.0, "b": 2.0}, rescale="mean1"),
    Uncertainty(init=0.5, lr=0.1),
]


@pytest.fixture
def frame(gaps):
    return pd.DataFrame(gaps, columns=["a", "b", "c"])


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_every_weighting_learns(small, graphs, frame, weighting):
    model = small(task_weighting=weighting, readout=Sum(norm=10), max_epochs=60)
    model.fit(graphs, frame)
    first, last = (model.history_[k]["train_losses"] for k in (0, -1))
    assert all(last[name] < 0.5 * first[name] for name in ("a", "b", "c"))
    assert model.task_weights_.shape == (3,)
    assert model.task_weights_.mean() == pytest.approx(1.0)
    used = np.array(list(model.history_[-1]["task_weights"].values()))
    np.testing.assert_allclose(model.task_weights_, used / used.mean())


@pytest.mark.parametrize("batch_size", [4, 100])
@pytest.mark.parametrize(
    "weighting",
    ["equal", "scaleinvariant", "uncertainty", Fixed([7.0]), Fixed({"a": 0.1})],
    ids=str,
)
def test_a_single_task_is_trained_alike_by_all(
    small, graphs, frame, weighting, batch_size, same_weights
):
    settings = {"batch_size": batch_size, "max_epochs": 5}
    plain = small(**settings).fit(graphs, frame[["a"]])
    model = small(task_weighting=weighting, **settings).fit(graphs, frame[["a"]])
    assert same_weights(model, plain)
    assert np.array_equal(model.predict(graphs), plain.predict(graphs))
    assert model.task_weights_.tolist() == [1.0]


def test_equal_weights_are_ones(small, graphs, frame, same_weights):
    model = small().fit(graphs, frame)
    assert set(model.history_[-1]["task_weights"].values()) == {1.0}
    assert same_weights(
        model, small(task_weighting=Fixed([1, 1, 1])).fit(graphs, frame)
    )


def test_fixed_weights_by_name_are_those_by_position(
    small, graphs, frame, same_weights
):
    by_name = small(task_weighting=Fixed({"c": 3.0, "a": 1.0, "b": 2.0}))
    by_position = small(task_weighting=Fixed(np.array([1.0, 2.0, 3.0])))
    assert same_weights(by_name.fit(graphs, frame), by_position.fit(graphs, frame))
    assert by_name.history_[0]["task_weights"] == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_a_weight_of_zero_leaves_a_task_out(small, graphs, frame):
    settings = {"optimizer": "sgd", "lr": 0.1}
    model = small(task_weighting=Fixed([1, 1, 0]), **settings).fit(graphs, frame)
    start = small(**{**settings, "lr": 1e-30}).fit(graphs, frame)
    heads = [m.module_.heads.weight.detach() for m in (model, start)]
    assert torch.equal(heads[0][2], heads[1][2])
    assert not torch.equal(heads[0][:2], heads[1][:2])


def test_learned_weights_can_be_passed_on(small, graphs, frame):
    learned = small(task_weighting="uncertainty").fit(graphs, frame).task_weights_
    model = small(task_weighting=Fixed(learned)).fit(graphs, frame)
    np.testing.assert_allclose(model.task_weights_, learned)


def test_scale_invariant_weights_are_reciprocal_losses(small, graphs, frame):
    model = small(task_weighting=ScaleInvariant(eps=0.0), max_epochs=1)
    record = model.fit(graphs, frame).history_[0]
    for name, weight in record["task_weights"].items():
        assert weight == pytest.approx(1 / record["train_losses"][name], rel=1e-5)


def test_log_variances_are_learned_at_their_own_rate(small, graphs, frame):
    # Adam's first step has the length of its rate, whatever the estimator's rate.
    for lr in (1e-30, 1e-2):
        model = small(task_weighting=Uncertainty(lr=0.25), lr=lr, max_epochs=1)
        values = model.fit(graphs, frame).task_weighting_.log_variances.detach()
        np.testing.assert_allclose(np.abs(values.numpy()), 0.25, rtol=1e-3)


def test_the_state_is_fresh_in_each_fit(small, graphs, frame):
    part = Uncertainty(lr=0.25)
    model = small(task_weighting=part).fit(graphs, frame)
    first = model.task_weighting_.log_variances.tolist()
    assert any(first)
    model.fit(graphs, frame)
    assert model.task_weighting_.log_variances.tolist() == first
    assert model.task_weighting is part
    assert not list(part.parameters())


def test_the_state_survives_partial_fit_and_pickle(small, graphs, frame):
    model = small(task_weighting=Uncertainty(lr=0.25)).partial_fit(graphs, frame)
    first = model.task_weighting_.log_variances.tolist()
    copy = pickle.loads(pickle.dumps(model))
    assert copy.task_weighting_.log_variances.tolist() == first
    model.partial_fit(graphs, frame)
    second = np.abs(model.task_weighting_.log_variances.detach().numpy())
    assert (second != np.abs(first)).all()


def test_clone_forgets_the_state(small, graphs, frame):
    model = small(task_weighting=Uncertainty(lr=0.25)).fit(graphs, frame)
    twin = clone(model)
    assert twin.task_weighting.lr == 0.25
    assert not hasattr(twin, "task_weighting_")
    unbuilt = clone(model.task_weighting_)
    assert not list(unbuilt.parameters())


def test_an_unknown_name_lists_the_choices(small, graphs, frame):
    with pytest.raises(
        ValueError,
        match=r"'pcgradd'.*'equal'.*'fixed'.*'scaleinvariant'.*'uncertainty'",
    ):
        small(task_weighting="pcgradd").fit(graphs, frame)


@pytest.mark.parametrize("value", [3, None, Equal, [1.0, 2.0, 3.0]])
def test_another_type_is_refused(small, graphs, frame, value):
    with pytest.raises((TypeError, ValueError), match="task_weighting"):
        small(task_weighting=value).fit(graphs, frame)


@pytest.mark.parametrize(
    ("weighting", "message"),
    [
        ("fixed", "3 tasks.*0 weights"),
        (Fixed([1.0, 2.0]), "3 tasks.*2 weights"),
        (
            Fixed({"a": 1.0, "b": 1.0, "d": 1.0}),
            r"\['a', 'b', 'd'\].*\['a', 'b', 'c'\]",
        ),
        (Fixed([1.0, -1.0, 1.0]), "negative"),
        (Fixed([0.0, 0.0, 0.0]), "not all zero"),
    ],
    ids=str,
)
def test_fixed_weights_must_fit_the_tasks(small, graphs, frame, weighting, message):
    with pytest.raises(ValueError, match=message):
        small(task_weighting=weighting).fit(graphs, frame)


@pytest.mark.parametrize("weighting", WEIGHTINGS[:4], ids=str)
def test_batches_that_lack_a_task_are_no_matter(small, graphs, table, weighting):
    table[3:, 2] = np.nan
    table[:3, :2] = np.nan
    model = small(task_weighting=weighting, batch_size=2, max_epochs=5)
    model.fit(graphs, table)
    assert np.isfinite(model.predict(graphs)).all()
    assert all(
        np.isfinite(list(r["train_losses"].values())).all() for r in model.history_
    )
