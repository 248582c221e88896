"""Callbacks, interrupted, diverging and failing fits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback, EarlyStopping

from skgnn_mtl.weighting import Fixed


class Log(Callback):
    """Note the events, and what the net is."""

    def __init__(self):
        self.events = []

    def on_train_begin(self, net, **kwargs):
        self.events.append("begin")

    def on_epoch_end(self, net, **kwargs):
        self.events.append(len(net.history))
        self.module = net.module_
        self.loss = net.history[-1, "train_loss"]

    def on_train_end(self, net, **kwargs):
        self.events.append("end")


class Stop(Callback):
    """Raise in an epoch, at its end or in its first batch."""

    def __init__(self, epoch, error=KeyboardInterrupt, at="epoch_end"):
        self.epoch, self.error, self.at = epoch, error, at

    def _stop(self, net, at):
        if at == self.at and len(net.history) == self.epoch:
            raise self.error("stop")

    def on_epoch_begin(self, net, **kwargs):
        self._stop(net, "epoch_begin")

    def on_batch_end(self, net, **kwargs):
        self._stop(net, "batch_end")

    def on_epoch_end(self, net, **kwargs):
        self._stop(net, "epoch_end")

    def on_train_begin(self, net, **kwargs):
        if self.at == "train_begin":
            raise self.error("stop")


@pytest.fixture
def validation():
    return PredefinedSplit(np.where(np.arange(30) % 4 == 1, 0, -1))


# -- callbacks ------------------------------------------------------------------------


def test_a_callback_sees_the_epochs(small, graphs, gaps):
    log = Log()
    model = small(callbacks=[log]).fit(graphs, gaps)
    assert log.events == ["begin", 1, 2, 3, "end"]
    assert log.module is model.module_
    assert log.loss == model.history_[-1]["train_loss"]


def test_partial_fit_calls_them_too(small, graphs, gaps):
    log = Log()
    small(callbacks=(log,)).partial_fit(graphs, gaps)
    assert log.events == ["begin", 1, "end"]


def test_a_callback_does_not_change_the_training(small, graphs, gaps, same_weights):
    assert same_weights(
        small(callbacks=[Log()]).fit(graphs, gaps), small().fit(graphs, gaps)
    )


def test_a_callback_of_skorch_may_stop(small, graphs, gaps):
    stopping = EarlyStopping(monitor="train_loss", patience=2, lower_is_better=False)
    model = small(callbacks=[stopping], max_epochs=30).fit(graphs, gaps)
    assert len(model.history_) < 30


def test_named_callbacks_pass_through(small, graphs, gaps):
    log = Log()
    small(callbacks=[("log", log)]).fit(graphs, gaps)
    assert log.events == ["begin", 1, 2, 3, "end"]


# -- KeyboardInterrupt ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "n_finished"), [("epoch_end", 3), ("batch_end", 2), ("epoch_begin", 2)]
)
def test_an_interrupted_fit_is_usable(
    small, graphs, gaps, at, n_finished, same_weights
):
    # skorch opens the record of an epoch before it announces the epoch.
    model = small(callbacks=[Stop(3, at=at)], max_epochs=10, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, gaps)
    assert [record["epoch"] for record in model.history_] == [*range(1, n_finished + 1)]
    assert model.best_epoch_ == n_finished
    assert np.isfinite(model.predict(graphs)).all()
    assert np.isfinite(model.score(graphs, gaps))
    assert model.task_weights_.shape == (3,)
    assert not model.module_.training
    model.set_params(callbacks=None, warm_start=True).fit(graphs, gaps)
    assert len(model.history_) == n_finished + 10


def test_the_interrupted_state_is_that_of_the_training(
    small, graphs, gaps, same_weights
):
    settings = {"lr_schedule": "constant", "batch_size": 8}
    model = small(callbacks=[Stop(3)], max_epochs=10, **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, gaps)
    assert same_weights(model, small(max_epochs=3, **settings).fit(graphs, gaps))


@pytest.mark.parametrize("at", ["epoch_begin", "batch_end"])
def test_an_interruption_before_the_first_record(small, graphs, gaps, at, tmp_path):
    model = small(callbacks=[Stop(1, at=at)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, gaps)
    assert model.history_ == []
    assert model.best_epoch_ == 0
    assert np.isfinite(model.predict(graphs)).all()
    assert model.task_weights_.shape == (3,)
    model.set_params(callbacks=None)
    model.save(tmp_path / "model")
    model.partial_fit(graphs, gaps)
    assert len(model.history_) == 1


def test_an_interrupted_refit_leaves_nothing_of_the_first(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    model.set_params(callbacks=[Stop(1, at="batch_end")])
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, gaps[:, :2])
    assert model.history_ == []
    assert model.predict(graphs).shape == (30, 2)
    assert len(model.task_weights_) == 2


@pytest.mark.parametrize("at", ["epoch_end", "batch_end"])
def test_the_best_state_is_restored_when_interrupted(
    small, graphs, gaps, validation, at, same_weights
):
    # Noise on the validation labels: the best epoch is an early one.
    noisy, watched = gaps.copy(), validation.test_fold == 0
    noise = np.random.default_rng(0).normal(scale=3.0, size=gaps.shape)
    noisy[watched] += noise[watched]
    settings = {
        "validation": validation,
        "early_stopping": True,
        "n_iter_no_change": 50,
        "lr": 0.03,
        "lr_schedule": "constant",
        "batch_size": 8,
    }
    model = small(callbacks=[Stop(30, at=at)], max_epochs=50, **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, noisy)
    losses = [record["valid_loss"] for record in model.history_]
    best = int(np.argmin(losses)) + 1
    assert best < len(losses)
    assert model.best_epoch_ == best
    short = small(**{**settings, "early_stopping": False, "max_epochs": best})
    assert same_weights(model, short.fit(graphs, noisy))


def test_early_stopping_itself_is_no_interruption(small, graphs, gaps, validation):
    model = small(
        validation=validation,
        early_stopping=True,
        n_iter_no_change=1,
        lr=0.1,
        max_epochs=200,
    )
    assert len(model.fit(graphs, gaps).history_) < 200


def test_partial_fit_can_be_interrupted(small, graphs, gaps):
    model = small().partial_fit(graphs, gaps)
    model.set_params(callbacks=[Stop(1, at="batch_end")], batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(graphs, gaps)
    assert len(model.history_) == 1
    model.set_params(callbacks=None).partial_fit(graphs, gaps)
    assert len(model.history_) == 2
    assert np.isfinite(model.predict(graphs)).all()


# -- divergence -----------------------------------------------------------------------


@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize("batch_size", [100, 8])
def test_a_diverging_fit_says_so_and_is_no_fit(
    small, graphs, gaps, batch_size, n_tasks
):
    model = small(optimizer="sgd", lr=1e12, max_epochs=20, batch_size=batch_size)
    with pytest.raises(FloatingPointError, match="(?s)epoch.*lr"):
        model.fit(graphs, gaps[:, :n_tasks])
    with pytest.raises(NotFittedError):
        model.predict(graphs)


def test_divergence_in_the_last_step_is_seen(small, graphs, gaps):
    # The loss of an epoch is computed before its last step.
    model = small(optimizer="sgd", lr=1e38, max_epochs=1)
    with pytest.raises(FloatingPointError):
        model.fit(graphs, gaps)
    with pytest.raises(NotFittedError):
        model.predict(graphs)


def test_one_task_without_a_finite_loss_is_enough(small, graphs, gaps):
    def loss(outputs, targets):
        values = (outputs - targets) ** 2
        return torch.where(torch.arange(3) == 1, values * torch.nan, values)

    with pytest.raises(FloatingPointError):
        small(loss=loss, max_epochs=1).fit(graphs, gaps)


def test_divergence_after_partial_fit(small, graphs, gaps):
    model = small(optimizer="sgd", lr=1e12)
    with pytest.raises(FloatingPointError):
        for _ in range(20):
            model.partial_fit(graphs, gaps)
    with pytest.raises(NotFittedError):
        model.predict(graphs)
    # What comes next starts anew.
    model.set_params(lr=1e-2).partial_fit(graphs, gaps)
    assert len(model.history_) == 1
    assert np.isfinite(model.predict(graphs)).all()


# -- other errors ---------------------------------------------------------------------


def failing_optimizer(parameters, lr, weight_decay):
    raise RuntimeError("no such device")


def failing_loss(outputs, targets):
    raise RuntimeError("no such loss")


BROKEN = {
    "early callback": {"callbacks": [Stop(0, RuntimeError, at="train_begin")]},
    "callback": {"callbacks": [Stop(2, RuntimeError)]},
    "optimizer": {"optimizer": failing_optimizer},
    "loss": {"loss": failing_loss},
    "target task": {"target_tasks": "nope"},
    "weights": {"task_weighting": Fixed([1.0])},
    "unknown encoder": {"encoder": "nope"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_failed_fit_is_no_fit(small, graphs, gaps, name):
    model = small(**BROKEN[name])
    with pytest.raises((RuntimeError, ValueError)):
        model.fit(graphs, gaps)
    with pytest.raises(NotFittedError):
        model.predict(graphs)


@pytest.mark.parametrize("name", BROKEN)
def test_a_failed_refit_mixes_nothing(small, graphs, gaps, name):
    model = small().fit(graphs, gaps)
    before = model.predict(graphs)
    model.set_params(**BROKEN[name])
    with pytest.raises((RuntimeError, ValueError)):
        model.fit(graphs, 1000 * gaps)
    # Either the first fit is intact, or there is none.
    try:
        after = model.predict(graphs)
    except NotFittedError:
        return
    assert np.array_equal(after, before)


@pytest.mark.parametrize("name", ["early callback", "callback", "optimizer", "loss"])
def test_an_estimator_can_be_fitted_after_a_failure(
    small, graphs, gaps, name, same_weights
):
    model = small(**BROKEN[name], warm_start=True)
    with pytest.raises(RuntimeError):
        model.fit(graphs, gaps)
    repaired = model.set_params(callbacks=None, optimizer="adamw", loss="squared_error")
    assert same_weights(repaired.fit(graphs, gaps), small().fit(graphs, gaps))


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize(
    "broken",
    [
        {"optimizer": failing_optimizer},
        {"callbacks": [Stop(0, RuntimeError, at="train_begin")]},
        {"callbacks": [Stop(0, KeyboardInterrupt, at="train_begin")]},
    ],
    ids=["optimizer", "callback", "interruption"],
)
def test_a_continuation_that_breaks_off_before_its_first_step(
    small, graphs, gaps, broken, method
):
    # Nothing was changed yet, so nothing of a long training may be lost.
    model = small(warm_start=True).fit(graphs, gaps)
    before = model.predict(graphs)
    model.set_params(**broken)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        getattr(model, method)(graphs, gaps)
    assert np.array_equal(model.predict(graphs), before)
    assert len(model.history_) == 3


def test_a_refused_y_mixes_nothing(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    before = model.predict(graphs)
    X = np.zeros((30, 2))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(X, np.full(30, np.inf))
    try:
        after = model.predict(graphs)
    except NotFittedError:
        return
    assert np.array_equal(after, before)


def test_the_progress_bar_is_closed_after_an_error(small, graphs, gaps):
    model = small(optimizer="sgd", lr=1e30, max_epochs=5, verbose=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FloatingPointError):
            model.fit(graphs, gaps)
