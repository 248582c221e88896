"""Products of the gradients of two halves of a batch, against two batches."""

import numpy as np
import pytest
import torch
from random_tasks import N_TASKS, WEIGHTS, batch, jacobian_of, model, step

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.graphs import Labels
from skgnn_mtl.training import LOSSES, task_losses
from skgnn_mtl.weighting import (
    Equal,
    GramianWeighting,
    LossWeighting,
    MoDo,
    SDMGrad,
)

SQUARES = LOSSES["squared_error"]


class Recording(GramianWeighting):
    """Keeps what it receives."""

    def forward(self, gramian, cross=None):
        self.seen = cross
        return gramian.new_ones(len(gramian))


def rows_of(network, rows):
    graphs, labels = batch(rows)
    losses, mass = task_losses(
        network.evaluate(graphs), labels.targets, labels.weights, SQUARES
    )
    return jacobian_of(losses, network.shared_parameters()), mass > 0


@pytest.mark.parametrize("n", [32, 31])
def test_products_are_those_of_two_batches(n):
    network, weighting = model(), Recording()
    step(weighting).backward(network, *batch(np.arange(n)))
    first, has_first = rows_of(network, np.arange(n // 2))
    second, has_second = rows_of(network, np.arange(n // 2, n))
    assert has_first.all()
    assert has_second.all()
    torch.testing.assert_close(weighting.seen, first @ second.T, rtol=1e-9, atol=1e-12)


def test_a_task_of_one_half_has_the_products_of_the_whole_batch():
    rows = np.arange(12)  # task 2 has no label among the first six
    assert not WEIGHTS[:6, 2].any()
    assert WEIGHTS[6:12, 2].any()
    network, weighting = model(), Recording()
    step(weighting).backward(network, *batch(rows))
    first, _ = rows_of(network, rows[:6])
    second, _ = rows_of(network, rows[6:])
    whole, _ = rows_of(network, rows)
    expected = first @ second.T
    expected[2] = (whole @ whole.T)[2]
    # In the other half it has labels, which the rows of the other tasks meet.
    torch.testing.assert_close(weighting.seen, expected, rtol=1e-9, atol=1e-12)


def test_the_step_itself_is_that_of_the_whole_batch():
    gradients = []
    for weighting in (Recording(), Equal()):
        network = model()
        step(weighting).backward(network, *batch())
        gradients.append([p.grad for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_batches_without_a_task_leave_it_out():
    network, weighting = model(), Recording()
    step(weighting).backward(network, *batch(np.arange(6)))
    assert weighting.seen.shape == (N_TASKS - 1, N_TASKS - 1)


def test_auxiliary_tasks_are_not_divided():
    X = np.random.default_rng(0).normal(size=(24, 3))
    y = X @ np.ones((3, 2))
    fitted = MultiTaskGNNRegressor(
        task_weighting=MoDo(), auxiliary_tasks=["infomax"], max_epochs=2, batch_size=8
    ).fit(X, y)
    assert np.isfinite(fitted.predict(X)).all()


@pytest.mark.parametrize("weighting", [MoDo(), SDMGrad(update_every=2)])
def test_estimators_train_with_two_halves(weighting):
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = X @ np.arange(10.0).reshape(5, 2)
    y[::3, 0] = np.nan
    settings = {"max_epochs": 20, "batch_size": 8, "lr": 1e-2, "random_state": 0}
    fitted = MultiTaskGNNRegressor(task_weighting=weighting, **settings).fit(X, y)
    assert fitted.score(X, y) > 0.5
    # A batch of a single graph has an empty half.
    one = MultiTaskGNNRegressor(task_weighting=weighting, batch_size=1, max_epochs=1)
    assert np.isfinite(one.fit(X[:5], y[:5]).predict(X)).all()


def test_empty_labels_are_no_half():
    network, (graphs, labels) = model(), batch(np.arange(1))
    weighting = Recording()
    step(weighting).backward(network, graphs, Labels(labels.targets, labels.weights))
    J, present = rows_of(network, np.arange(1))
    expected = (J @ J.T)[present][:, present]
    torch.testing.assert_close(weighting.seen, expected, rtol=1e-9, atol=1e-12)


class OfLosses(LossWeighting):
    def forward(self, losses, cross=None):
        return losses.sum()


class Pooling(Recording):
    pool = "labels"


@pytest.mark.parametrize(
    "weighting",
    [
        MoDo(gradients="representation"),
        Recording(gradients="representation"),
        Pooling(),
        OfLosses(),
    ],
)
def test_a_weighting_that_cannot_have_halves_is_refused(weighting):
    model = MultiTaskGNNRegressor(task_weighting=weighting, max_epochs=1)
    with pytest.raises(ValueError, match="products of two halves.*pool=None"):
        model.fit(np.eye(4), np.eye(4)[:, :2])
