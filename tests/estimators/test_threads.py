"""Fits in threads, and what a long fit keeps in memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback

from skgnn_mtl import GATERegressor, GNNPretrainer, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN


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
