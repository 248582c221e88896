"""What errors and interruptions leave: one rule for all estimators.

An interrupted training keeps its best state so far; after any other error, and before
the first step, the estimator is as it was before the call.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from small_estimators import halves

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators import _additions, _curvature
from skgnn_mtl.estimators._state import FittedState
from skgnn_mtl.estimators._targets import Targets
from skgnn_mtl.weighting import FAMO


class Raise(Callback):
    """Raise in the k-th training of a call, at some event of some epoch."""

    def __init__(self, error=KeyboardInterrupt, at="epoch_end", *, epoch=2, training=1):
        self.error, self.at, self.epoch, self.training = error, at, epoch, training
        self.n_trainings = 0

    def _notice(self, at, epoch):
        here = (at, epoch, self.n_trainings) == (self.at, self.epoch, self.training)
        if here:
            raise self.error("stop")

    def on_train_begin(self, net, **kwargs):
        self.n_trainings += 1
        self._notice("train_begin", self.epoch)

    def on_epoch_begin(self, net, **kwargs):
        self._notice("epoch_begin", len(net.history))

    def on_batch_end(self, net, **kwargs):
        self._notice("batch_end", len(net.history))

    def on_epoch_end(self, net, **kwargs):
        self._notice("epoch_end", len(net.history))

    def on_train_end(self, net, **kwargs):
        self._notice("train_end", self.epoch)


KINDS = ["regressor", "classifier", "pretrainer", "gate"]
CONTINUATIONS = ["warm_start", "partial_fit"]


@pytest.fixture
def make(graphs, gaps):
    """Factory of an estimator and its data, by kind."""

    graphs, gaps = graphs[:12], gaps[:12]
    widths = dict.fromkeys(
        ("encoder_hidden_dims", "transfer_hidden_dims", "head_hidden_dims"), (4,)
    )

    def build(kind, **changes):
        settings = {
            "encoder": GIN(width=8, n_layers=1),
            "max_epochs": 2,
            "batch_size": 8,
            "lr": 1e-2,
            "random_state": 0,
            **changes,
        }
        if kind == "classifier":
            codes = halves(gaps)
            return MultiTaskGNNClassifier(**settings), (graphs, codes)
        if kind == "pretrainer":
            return GNNPretrainer(target_loss=None, **settings), (graphs,)
        if kind == "gate":
            return GATERegressor(latent_dim=4, **widths, **settings), (graphs, gaps)
        weighting = {"task_weighting": FAMO(), **settings}
        return MultiTaskGNNRegressor(**weighting), (graphs, gaps)

    return build


def output(model, X):
    method = getattr(model, "predict_logits", None) or getattr(model, "predict", None)
    return (method or model.transform)(X)


def frozen(value):
    """Make a value comparable, to the last bit."""
    if isinstance(value, torch.nn.Module):
        return frozen(value.state_dict()), value.training
    if isinstance(value, np.random.RandomState):
        return frozen(value.get_state())
    if isinstance(value, (FittedState, Targets)):
        return frozen(vars(value))
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return np.asarray(value).dtype.str, np.asarray(value).tobytes()
    if isinstance(value, dict):
        return {key: frozen(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [frozen(entry) for entry in value]
    return repr(value)


def state(model) -> dict:
    """Everything but the parameters."""
    kept = {k: v for k, v in model.__dict__.items() if k not in model.get_params(False)}
    return frozen(kept)


def call(model, data, how):
    if how == "partial_fit":
        return model.partial_fit(*data)
    return model.set_params(warm_start=how == "warm_start").fit(*data)


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["fit", *CONTINUATIONS])
@pytest.mark.parametrize("at", ["train_begin", "batch_end", "train_end"])
def test_an_error_leaves_the_estimator_as_it_was(make, kind, how, at):
    model, data = make(kind)
    if how == "partial_fit":
        model.partial_fit(*data)
    model.fit(*data) if how != "partial_fit" else model.partial_fit(*data)
    before, predictions = state(model), output(model, data[0])
    model.set_params(callbacks=[Raise(RuntimeError, at, epoch=1)])
    with pytest.raises(RuntimeError):
        call(model, data, how)
    assert state(model) == before
    assert np.array_equal(output(model, data[0]), predictions)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_an_error_in_the_first_call_leaves_no_fit(make, kind, how):
    model, data = make(kind, callbacks=[Raise(RuntimeError, "batch_end", epoch=1)])
    before = state(model)
    with pytest.raises(RuntimeError):
        call(model, data, how)
    assert state(model) == before
    with pytest.raises(NotFittedError):
        output(model, data[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", CONTINUATIONS)
def test_what_failed_does_not_show_in_what_follows(make, kind, how):
    plain, data = make(kind)
    call(call(plain, data, how), data, how)
    model, _ = make(kind)
    call(model, data, how)
    model.set_params(callbacks=[Raise(RuntimeError, "batch_end", epoch=1)])
    with pytest.raises(RuntimeError):
        call(model, data, how)
    call(model.set_params(callbacks=None), data, how)
    assert np.array_equal(output(model, data[0]), output(plain, data[0]))
    assert len(model.history_) == len(plain.history_)


# -- interruptions ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["fit", *CONTINUATIONS])
@pytest.mark.parametrize("at", ["train_begin", "epoch_begin", "batch_end", "train_end"])
def test_an_interrupted_training_keeps_its_state(make, kind, how, at):
    model, data = make(kind, early_stopping=False)
    if how != "fit":
        call(model, data, how)
    before, n_before = state(model), len(getattr(model, "history_", []))
    model.set_params(callbacks=[Raise(KeyboardInterrupt, at, epoch=1)])
    with pytest.raises(KeyboardInterrupt) as caught:
        call(model, data, how)
    if at == "train_begin":
        assert state(model) == before
        return
    assert "keeps the state" in str(caught.value)
    assert np.isfinite(output(model, data[0])).all()
    finished = {"train_end": 1 if how == "partial_fit" else 2}.get(at, 0)
    assert len(model.history_) == n_before + finished
    if at != "epoch_begin":
        assert state(model) != before
    call(model.set_params(callbacks=None), data, how)


@pytest.mark.filterwarnings("ignore:.* eigenvalues have not converged")
@pytest.mark.parametrize("kind", ["regressor", "classifier"])
@pytest.mark.parametrize("options", [True, {"at": (0.5,)}])
def test_an_interrupted_spectrum_leaves_the_trained_network(
    make, kind, options, monkeypatch
):
    plain, data = make(kind)
    plain.fit(*data)
    model, _ = make(kind, hessian_spectrum=options)
    calls = []

    def stop(*args, **kwargs):
        calls.append(1)
        if len(calls) == (1 if options is True else 2):
            raise KeyboardInterrupt
        return hessian_spectrum(*args, **kwargs, n_lanczos=2, n_probes=2)

    monkeypatch.setattr(_curvature, "hessian_spectrum", stop)
    with pytest.raises(KeyboardInterrupt, match="keeps the state"):
        model.fit(*data)
    assert np.array_equal(output(model, data[0]), output(plain, data[0]))
    assert not hasattr(model, "hessian_spectrum_")


# -- GATE: sources, then additions -----------------------------------------------------


@pytest.fixture
def staged(make, graphs, gaps):
    """An estimator whose fit adds b, then a, to c and d."""
    graphs, gaps = graphs[:12], gaps[:12]
    y = pd.DataFrame(gaps, columns=["a", "b", "c"]).assign(d=gaps[:, 0])
    settings = {"target_tasks": ["b", "a"], "add_task_steps": 2, "max_epochs": 1}
    return make("gate", **settings)[0], (graphs, y)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("at", ["batch_end", "train_end", "train_begin"])
@pytest.mark.parametrize(
    ("training", "kept", "missing"),
    [(1, "cd", "ab"), (2, "cd", "ab"), (3, "bcd", "a")],
)
def test_an_interrupted_stage_keeps_the_stages_before(
    staged, make, at, fitted, training, kept, missing
):
    model, (X, y) = staged
    if fitted:
        model.fit(X, y)
    before = state(model)
    stop = Raise(KeyboardInterrupt, at, epoch=1, training=training)
    model.set_params(callbacks=[stop])
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(X, y)
    if training == 1 and at == "train_begin":
        assert state(model) == before
        return
    assert f"keeps {list(kept)}" in str(caught.value)
    assert f"lacks {list(missing)}: add these with add_task" in str(caught.value)
    assert model.task_names_ == list(kept)
    assert model.source_names_ == ["c", "d"]
    assert model.n_tasks_ == len(kept) == len(model.target_mean_)
    assert len(model.module_.added) == len(model.added_names_) == len(kept) - 2
    assert set(model.addition_history_) == set(kept) - set("cd")
    predictions = model.predict(X)
    assert predictions.shape == (12, len(kept))
    assert np.isfinite(model.score(X, y[list(kept)]))
    # The advice can be followed, and gives what the whole fit would have.
    model.set_params(callbacks=None)
    for name in missing:
        model.add_task(X, y[name])
    if training > 1:
        whole = make("gate", **{k: getattr(model, k) for k in
                     ("target_tasks", "add_task_steps", "max_epochs")})[0]  # fmt: skip
        whole.fit(X, y)
        order = [model.task_names_.index(name) for name in whole.task_names_]
        assert np.array_equal(model.predict(X)[:, order], whole.predict(X))


def stop_in_call(monkeypatch, owner, name, k):
    """Let a function be interrupted in its k-th call."""
    original, calls = getattr(owner, name), []

    def stop(*args, **kwargs):
        calls.append(1)
        if len(calls) == k:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize("where", ["embed", "rank_correlations", "_with_task"])
def test_an_interruption_between_steps_of_an_addition(staged, where, monkeypatch):
    model, (X, y) = staged
    stop_in_call(monkeypatch, _additions, where, 2)
    with pytest.raises(KeyboardInterrupt, match=r"keeps \['b', 'c', 'd'\] .*\['a'\]"):
        model.fit(X, y)
    assert model.predict(X).shape == (12, 3)


def test_tasks_come_and_go_at_once(staged, monkeypatch):
    model, (X, y) = staged
    model.fit(X, y)
    before, predictions = state(model), model.predict(X)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        # The second of two arrays that grow, behind the network's change.
        stop_in_call(patch, np, "append", 2)
        model.add_task(X, y["c"], name="new")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        stop_in_call(patch, _additions, "in_order", 1)
        model.remove_task("a")
    assert state(model) == before
    assert np.array_equal(model.predict(X), predictions)


def test_an_interruption_within_the_change_of_a_stage(staged, monkeypatch):
    model, (X, y) = staged
    with (
        pytest.raises(KeyboardInterrupt, match=r"keeps \['c', 'd'\] .*\['a', 'b'\]"),
        monkeypatch.context() as patch,
    ):
        stop_in_call(patch, np, "append", 2)
        model.fit(X, y)
    assert model.predict(X).shape == (12, 2)
    assert len(model.module_.added) == len(model.added_names_) == 0
    assert model.add_task(X, y["b"]).predict(X).shape == (12, 3)


@pytest.mark.parametrize("training", [1, 2, 3])
@pytest.mark.parametrize("fitted", [False, True])
def test_an_error_in_a_stage_leaves_the_estimator_as_it_was(staged, training, fitted):
    model, (X, y) = staged
    if fitted:
        model.fit(X, y)
    before = state(model)
    model.set_params(callbacks=[Raise(RuntimeError, epoch=1, training=training)])
    with pytest.raises(RuntimeError):
        model.fit(X, y)
    assert state(model) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", ["train_begin", "batch_end", "train_end"])
@pytest.mark.parametrize("train_encoder", [False, True])
def test_an_addition_is_whole_or_not_at_all(staged, error, at, train_encoder):
    model, (X, y) = staged
    model.fit(X, y)
    before = state(model)
    model.set_params(callbacks=[Raise(error, at, epoch=1)])
    with pytest.raises(error):
        model.add_task(X, y["c"], name="new", train_encoder=train_encoder)
    assert state(model) == before


def test_an_interrupted_alignment_of_pretrained_sources(make):
    regressor, (X, y) = make("regressor")
    model = GATERegressor.from_pretrained(regressor.fit(X, y), latent_dim=4)
    before = state(model)
    model.set_params(callbacks=[Raise(epoch=1)])
    with pytest.raises(KeyboardInterrupt, match="nothing of it is kept"):
        model.add_task(X, y[:, 0], name="new")
    assert state(model) == before
    assert not model.aligned_
    with pytest.raises(KeyboardInterrupt, match="nothing of it is kept"):
        GATERegressor.from_pretrained(regressor, X, callbacks=[Raise(epoch=1)])
