"""Similarities of gradients, and the pictures of them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from random_tasks import jacobian_of
from sklearn.exceptions import NotFittedError
from small_estimators import small

from skgnn_mtl import (
    GATERegressor,
    MultiTaskGNNClassifier,
)
from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.inspection import (
    GradientSimilarityDisplay,
    TaskHistoryDisplay,
    gradient_similarity,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
BASE = X[:, 0] - X[:, 1]
Y = np.column_stack([BASE, BASE, -BASE, X[:, 2] ** 2])


def regressor(**changes):
    return small(encoder=GIN(8, n_layers=1, norm=None), **{"lr": 1e-3, **changes})


@pytest.fixture(scope="module")
def fitted():
    return regressor(task_weighting="famo").fit(X, Y)


def test_cosines_and_norms_are_those_of_separate_backward_passes(fitted):
    result = gradient_similarity(fitted, X, Y, random_state=0)
    batch = GraphArray.from_features(X).batch(np.arange(len(X)))
    outputs = fitted.module_(batch)
    targets = torch.from_numpy((Y - fitted.target_mean_) / fitted.target_scale_)
    losses = (outputs - targets).square().mean(dim=0)
    heads = {id(p) for p in fitted.module_.heads.parameters()}
    shared = [p for p in fitted.module_.parameters() if id(p) not in heads]
    J = jacobian_of(losses, shared).numpy()
    norms = np.linalg.norm(J, axis=1)
    np.testing.assert_allclose(result.norms, norms, rtol=1e-9)
    np.testing.assert_allclose(
        result.cosines, J @ J.T / np.outer(norms, norms), atol=1e-9
    )
    expected = 2 * norms[0] * norms[3] / (norms[0] ** 2 + norms[3] ** 2)
    assert result.magnitudes[0, 3] == pytest.approx(expected)
    assert result.task_names == ["task_0", "task_1", "task_2", "task_3"]


def test_equal_tasks_agree_when_their_heads_do(fitted):
    with torch.no_grad():
        heads = fitted.module_.heads
        before = heads.weight.clone(), heads.bias.clone()
        heads.weight[1], heads.bias[1] = heads.weight[0], heads.bias[0]
        heads.weight[2], heads.bias[2] = -heads.weight[0], -heads.bias[0]
    cosines = gradient_similarity(fitted, X, Y, random_state=0).cosines
    assert cosines[0, 1] == pytest.approx(1.0)
    # the losses of a task and of its mirror image are the same function
    assert cosines[0, 2] == pytest.approx(1.0)
    with torch.no_grad():
        heads.weight.copy_(before[0])
        heads.bias.copy_(before[1])


def test_overlap_counts_rows_with_both_labels_among_those_with_either(fitted):
    y = Y.copy()
    y[:60, 0] = np.nan
    y[30:, 1] = np.nan
    y[:, 3] = np.nan
    few = r"2 pair.* less than 30 % .*: 'task_0 and task_1', 'task_1 and task_2'\."
    with pytest.warns(UserWarning, match=few):
        result = gradient_similarity(fitted, X, y, random_state=0)
    assert result.overlap[0, 1] == 0.0
    assert result.overlap[0, 2] == 0.5
    assert result.overlap[1, 2] == 0.25
    assert result.overlap[0, 0] == 1.0
    assert np.isnan(result.overlap[3]).all()
    assert np.isnan(result.cosines[3]).all()
    assert np.isnan(result.reliability[3])
    assert np.isfinite(result.cosines[:3, :3]).all()


def test_reliability_is_near_one_for_signal_and_less_for_noise():
    noise = RNG.normal(size=120)
    model = regressor(lr=1e-2, max_epochs=30).fit(X, np.column_stack([BASE, noise]))
    fresh = RNG.normal(size=(2000, 4))
    y = np.column_stack([3 * (fresh[:, 0] - fresh[:, 1]), RNG.normal(size=2000)])
    signal, other = gradient_similarity(model, fresh, y, random_state=0).reliability
    assert signal > 0.95
    assert other < signal


def test_the_answer_depends_on_the_seed_by_its_halves_only(fitted):
    first, second, third = (
        gradient_similarity(fitted, X, Y, random_state=s) for s in (0, 0, 1)
    )
    assert np.array_equal(first.reliability, second.reliability)
    assert not np.array_equal(first.reliability, third.reliability)
    np.testing.assert_allclose(first.cosines, third.cosines, atol=1e-10)


def test_looking_changes_nothing(fitted):
    before = fitted.predict(X)
    state = torch.get_rng_state()
    gradient_similarity(fitted, X, Y)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(fitted.predict(X), before)


def test_a_single_task_and_named_tasks_are_fine():
    one = regressor().fit(X, BASE)
    assert gradient_similarity(one, X, BASE).cosines.shape == (1, 1)
    frame = pd.DataFrame(Y[:, :2], columns=["a", "b"])
    named = regressor().fit(X, frame)
    assert gradient_similarity(named, X, frame).task_names == ["a", "b"]


def test_labels_go_to_the_tasks_of_their_names(fitted):
    frame = pd.DataFrame(Y[:, [0, 2, 3]], columns=["a", "b", "c"])
    model = regressor().fit(X, frame)
    result = gradient_similarity(model, X, frame, random_state=0)
    swapped = gradient_similarity(model, X, frame[["c", "a", "b"]], random_state=0)
    assert np.array_equal(swapped.norms, result.norms)
    assert np.array_equal(swapped.cosines, result.cosines)
    with pytest.raises(ValueError, match="use the same columns"):
        gradient_similarity(model, X, frame.rename(columns={"a": "other"}))
    # Tasks without names of their own take any, in order.
    named = pd.DataFrame(Y, columns=[*"abcd"])
    plain = gradient_similarity(fitted, X, Y, random_state=0)
    again = gradient_similarity(fitted, X, named, random_state=0)
    assert np.array_equal(again.norms, plain.norms)


def test_wrong_input_is_named(fitted):
    with pytest.raises(NotFittedError):
        gradient_similarity(regressor(), X, Y)
    with pytest.raises(ValueError, match="2 columns.*4 tasks"):
        gradient_similarity(fitted, X, Y[:, :2])
    with pytest.raises(ValueError, match="features"):
        gradient_similarity(fitted, X[:, :2], Y)
    one = np.where(np.arange(len(X))[:, None] == 3, Y, np.nan)
    with pytest.raises(ValueError, match="at least 2 valid graphs.*has 1"):
        gradient_similarity(fitted, X, one)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_display_shows_both_triangles_and_greys_weak_pairs():
    cosines = np.array([[1.0, -0.4, 0.3], [-0.4, 1.0, 0.1], [0.3, 0.1, 1.0]])
    overlap = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.5], [0.1, 0.5, 1.0]])
    display = GradientSimilarityDisplay(
        cosines, overlap, np.array([0.9, 0.7, np.nan]), task_names=["a", "b", "c"]
    )
    assert display.plot() is display
    assert texts(display.ax_) == [
        *("0.90", "-0.40", "0.30"),
        *("80%", "0.70", "0.10"),
        *("10%", "50%", "?"),
    ]
    # the pair (a, c) is weak: its cosine has no colour
    shown = display.ax_.images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown))[0, 2]
    strict = display.plot(min_overlap=0.9)
    assert np.isnan(np.ma.filled(strict.ax_.images[0].get_array(), np.nan)[0, 1])
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["a", "b", "c"]


def test_displays_draw_on_given_axes(fitted):
    figure, axes = plt.subplots(1, 3)
    one = GradientSimilarityDisplay.from_estimator(fitted, X, Y, ax=axes[0])
    two = TaskHistoryDisplay.from_estimator(fitted, axes=axes[1:])
    assert one.ax_ is axes[0]
    assert one.figure_ is two.figure_ is figure
    assert list(two.axes_) == list(axes[1:])


def test_the_history_shows_every_task_and_the_spread(fitted):
    display = TaskHistoryDisplay.from_estimator(fitted)
    losses, weights = display.axes_
    assert len(losses.lines) == len(weights.lines) == 4
    assert len(weights.collections) == 4
    assert [t.get_text() for t in weights.get_legend().get_texts()] == [
        f"task_{t}" for t in range(4)
    ]
    record = fitted.history_[-1]
    np.testing.assert_allclose(
        losses.lines[1].get_ydata()[-1], record["train_losses"]["task_1"]
    )
    mean = np.mean(list(record["task_weights"].values()))
    np.testing.assert_allclose(
        weights.lines[1].get_ydata()[-1], record["task_weights"]["task_1"] / mean
    )


def test_the_history_shows_validation_and_chosen_tasks():
    model = regressor(early_stopping=True).fit(X, Y)
    for tasks in (["task_2"], "task_2", 2, np.int64(2), range(2, 3)):
        display = TaskHistoryDisplay.from_estimator(model, tasks=tasks)
        (line,) = display.axes_[1].lines
        assert line.get_label() == "task_2"
    labels = [t.get_text() for t in display.axes_[0].get_legend().get_texts()]
    assert labels == ["training", "validation"]
    with pytest.raises(ValueError, match="nope"):
        TaskHistoryDisplay(model.history_).plot(tasks=["nope"])
    with pytest.raises(ValueError, match="empty"):
        TaskHistoryDisplay([]).plot()
    with pytest.raises(NotFittedError):
        TaskHistoryDisplay.from_estimator(regressor())


def test_losses_are_called_standardised_where_they_are(fitted):
    raw = regressor(normalize_targets=False).fit(X, Y)
    classes = MultiTaskGNNClassifier(GIN(8, n_layers=1, norm=None), max_epochs=1)
    for model, label in (
        (fitted, "loss (standardised targets)"),
        (raw, "loss"),
        (classes.fit(X, Y[:, :3] > 0), "loss"),
    ):
        display = TaskHistoryDisplay.from_estimator(model)
        assert display.axes_[0].get_ylabel() == label
    display = TaskHistoryDisplay(fitted.history_).plot()
    assert display.axes_[0].get_ylabel() == "loss"


def test_a_history_wants_two_axes(fitted):
    with pytest.raises(ValueError, match="must be two matplotlib Axes.*got 1"):
        TaskHistoryDisplay.from_estimator(fitted, axes=plt.gca())


def test_tasks_of_a_classifier_are_compared_too():
    classes = np.where(Y[:, :3] > 0, "high", "low").astype(object)
    model = MultiTaskGNNClassifier(
        GIN(8, n_layers=1, norm=None), max_epochs=20, random_state=0
    ).fit(X, classes)
    result = gradient_similarity(model, X, classes, random_state=0)
    assert result.norms.min() > 0
    assert np.isfinite(result.cosines).all()
    assert result.task_names == model.task_names_
    np.testing.assert_allclose(np.diag(result.cosines), 1.0, atol=1e-9)


def test_a_network_without_linear_heads_is_refused():
    model = GATERegressor(GIN(8, n_layers=1), max_epochs=1, random_state=0).fit(X, Y)
    with pytest.raises(TypeError, match="which GATERegressor does not have"):
        gradient_similarity(model, X, Y)
