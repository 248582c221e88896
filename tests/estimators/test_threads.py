"""Fits in threads, and what a long fit keeps in memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit, cross_val_score
from skorch.callbacks import Callback

from skgnn_mtl import GATERegressor, GNNPretrainer, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators._compute import limited_threads


class Meet(Callback):
    """Wait at the first epoch for the other fit, which must not have begun."""

    def __init__(self, mine, other):
        self.mine, self.other = mine, other
        self.overlaps = False

    def on_train_begin(self, net, **kwargs):
        self.mine.set()
        self.overlaps = self.other.wait(0.2)

    def on_train_end(self, net, **kwargs):
        self.mine.clear()


def make(cls, seed, **changes):
    # Dropout draws from torch's own generator, which threads share.
    encoder = GIN(width=8, n_layers=2, dropout=0.5)
    return cls(encoder, max_epochs=3, batch_size=8, random_state=seed, **changes)


@pytest.mark.parametrize("cls", [MultiTaskGNNRegressor, GNNPretrainer, GATERegressor])
def test_fits_in_two_threads_are_those_of_one(cls, graphs, gaps, same_weights):
    alone = [make(cls, seed).fit(graphs, gaps) for seed in (0, 1)]
    here, there = threading.Event(), threading.Event()
    callbacks = [Meet(here, there), Meet(there, here)]
    models = [make(cls, k, callbacks=[callbacks[k]]) for k in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(model.fit, graphs, gaps) for model in models]
        assert [fit.result() for fit in fits] == models
    assert not callbacks[0].overlaps
    assert not callbacks[1].overlaps
    assert all(map(same_weights, alone, models))


def test_threads_leave_the_random_state_alone(graphs, gaps):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(lambda k: make(MultiTaskGNNRegressor, k).fit(graphs, gaps), (0, 1))
        )
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def two_torch_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def n_threads_of_a_new_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_limits_in_threads_leave_the_setting_of_torch(two_torch_threads):
    """Two limits that overlap, the second of a thread that starts within the first."""
    begun, over = threading.Event(), threading.Event()

    def first():
        with limited_threads(1):
            begun.set()
            over.wait(10)
            return torch.get_num_threads()

    def second():
        begun.wait(10)
        with limited_threads(1):
            over.set()
            one.result()
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        begun.wait(10)
        two = pool.submit(second)
        assert (one.result(), two.result()) == (1, 2)
    assert torch.get_num_threads() == n_threads_of_a_new_thread() == 2


def test_a_limit_within_a_limit_returns_to_it(two_torch_threads):
    with limited_threads(3):
        with limited_threads(1):
            assert torch.get_num_threads() == 1
        with limited_threads(None):
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 2


def test_predictions_from_eight_threads(graphs, gaps, two_torch_threads):
    """Beside a fit of the same estimator, all have the same bits."""
    model = make(MultiTaskGNNRegressor, 0, n_threads=1).fit(graphs, gaps)
    expected = model.predict(graphs)
    other = clone(model).set_params(max_epochs=20)
    alone = clone(other).fit(graphs, gaps)
    with ThreadPoolExecutor(9) as pool:
        fit = pool.submit(other.fit, graphs, gaps)
        for part in pool.map(model.predict, [graphs] * 40):
            assert np.array_equal(part, expected)
        fit.result()
    assert np.array_equal(other.predict(graphs), alone.predict(graphs))
    assert torch.get_num_threads() == n_threads_of_a_new_thread() == 2


def test_a_limit_that_ends_leaves_the_others_alone(two_torch_threads):
    """The digits of a fit depend on the number, also while predictions come and go."""
    begun, ended, found = threading.Event(), threading.Event(), []

    def other():
        with limited_threads(1):
            begun.set()
            ended.wait(10)
            found.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    with limited_threads(1):
        thread.start()
        begun.wait(10)
    ended.set()
    thread.join()
    assert found == [1]
    assert torch.get_num_threads() == 2


def test_folds_in_two_processes_are_those_of_one(graphs, gaps):
    """With one thread each, because the order of a sum depends on the threads."""
    model = make(MultiTaskGNNRegressor, 0, n_threads=1)
    one, two = (
        cross_val_score(model, graphs, gaps, cv=2, n_jobs=n_jobs) for n_jobs in (1, 2)
    )
    assert np.array_equal(one, two)


class Count(Callback):
    """Note how many rows skorch's history holds of finished epochs."""

    def __init__(self):
        self.rows = []

    def _note(self, net):
        finished = [row["batches"] for row in net.history]
        self.rows.append(sum(map(len, finished)))

    def on_epoch_end(self, net, **kwargs):
        self._note(net)

    def on_train_end(self, net, **kwargs):
        self._note(net)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("watched", [False, True])
def test_no_row_of_a_batch_is_kept(method, watched, graphs, gaps):
    count = Count()
    model = make(MultiTaskGNNRegressor, 0, callbacks=[count]).set_params(batch_size=1)
    if watched:
        fold = np.where(np.arange(30) % 5 == 0, 0, -1)
        model.set_params(validation=PredefinedSplit(fold))
    getattr(model, method)(graphs, gaps)
    n_epochs = 1 if method == "partial_fit" else 3
    assert count.rows == [0] * (n_epochs + 1)
    assert len(model.history_) == n_epochs


def test_an_addition_keeps_no_row_of_a_batch_either(graphs, gaps):
    count = Count()
    model = make(GATERegressor, 0, add_task_steps=40).fit(graphs, gaps)
    model.set_params(callbacks=[count]).add_task(graphs, gaps[:, 0], name="new")
    assert len(count.rows) > 5
    assert set(count.rows) == {0}
