"""The fitted network is an average of the weights along its training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.training import WeightAverage


class Steps(Callback):
    """Note the weights after every step, and those that an epoch ends with."""

    def __init__(self):
        self.after_steps, self.after_epochs = [], []

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.after_steps.append(copy.deepcopy(net.module_.state_dict()))

    def on_epoch_end(self, net, **kwargs):
        self.after_epochs.append(copy.deepcopy(net.module_.state_dict()))


def mean_of(states):
    return {k: torch.stack([s[k] for s in states]).mean(dim=0) for k in states[0]}


def assert_close(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)


def test_the_tail_is_the_mean_over_the_second_half(small, graphs, gaps):
    steps = Steps()
    settings = {"weight_averaging": "tail", "batch_size": 8, "max_epochs": 5}
    model = small(callbacks=[steps], **settings).fit(graphs, gaps)
    assert len(steps.after_steps) == 20
    assert_close(model.module_.state_dict(), mean_of(steps.after_steps[10:]))
    # The training goes on from the weights themselves.
    plain = Steps()
    settings["weight_averaging"] = None
    small(callbacks=[plain], **settings).fit(graphs, gaps)
    for a, b in zip(steps.after_steps, plain.after_steps, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_exponential_average_has_its_closed_form():
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, "ema", n_steps=3)
    values = [1.0, 4.0, 9.0]
    for value in values:
        model.weight.data.fill_(value)
        average.update(model)
    average.enter(model)
    expected = 0.99**2 * 1.0 + 0.99 * 0.01 * 4.0 + 0.01 * 9.0
    assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    average.enter(model)  # once only
    average.leave(model)
    assert model.weight.item() == 9.0


def test_validation_and_scores_are_of_the_average(small, graphs, gaps):
    steps = Steps()
    scores = []

    def scoring(estimator, X, y):
        scores.append(copy.deepcopy(estimator.module_.state_dict()))
        return 0.0

    small(
        callbacks=[steps],
        weight_averaging="ema",
        scoring=scoring,
        early_stopping=True,
        batch_size=8,
    ).fit(graphs, gaps)
    assert len(scores) == 3
    for seen, average in zip(scores, steps.after_epochs, strict=True):
        assert_close(seen, average)
        assert not torch.equal(
            seen["heads.weight"], steps.after_steps[-1]["heads.weight"]
        )


def test_early_stopping_restores_the_average_of_the_best_epoch(small, graphs, gaps):
    steps = Steps()
    model = small(
        callbacks=[steps],
        weight_averaging="ema",
        early_stopping=True,
        n_iter_no_change=2,
        max_epochs=40,
        batch_size=8,
        lr=0.05,
    ).fit(graphs, gaps)
    best = steps.after_epochs[model.best_epoch_ - 1]
    assert_close(model.module_.state_dict(), best)


def test_partial_fit_goes_on_with_average_and_weights(small, graphs, gaps, tmp_path):
    whole = small(weight_averaging="ema", batch_size=8)
    for _ in range(4):
        whole.partial_fit(graphs, gaps)
    half = small(weight_averaging="ema", batch_size=8)
    half.partial_fit(graphs, gaps).partial_fit(graphs, gaps).save(tmp_path / "half")
    other = MultiTaskGNNRegressor.load(tmp_path / "half")
    other.partial_fit(graphs, gaps).partial_fit(graphs, gaps)
    np.testing.assert_array_equal(other.predict(graphs), whole.predict(graphs))
    plain = small(batch_size=8)
    for _ in range(4):
        plain.partial_fit(graphs, gaps)
    raw = whole._state.optimizer_state["average"]["raw"]
    assert all(torch.equal(raw[k], v) for k, v in plain.module_.state_dict().items())


def test_an_average_is_restored_to_a_device():
    model = nn.Linear(2, 1)
    average = WeightAverage(model, "ema", n_steps=3)
    average.update(model)
    average.enter(model)
    again = WeightAverage(model, "ema", n_steps=3)
    again.restore(average.state(), torch.device("meta"))
    state = again.state()
    tensors = [*state["average"].values(), *state["raw"].values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_the_average_goes_on_where_the_network_is(small, graphs, gaps, monkeypatch):
    # A pickle or a file leaves it on the CPU, but the network is moved back.
    devices, restore = [], WeightAverage.restore

    def noting(average, state, device=None):
        devices.append(device)
        restore(average, state, device)

    monkeypatch.setattr(WeightAverage, "restore", noting)
    model = small(weight_averaging="ema").partial_fit(graphs, gaps)
    model.partial_fit(graphs, gaps)
    assert devices == [next(model.module_.parameters()).device]


def test_partial_fit_does_not_know_a_tail(small, graphs, gaps, same_weights):
    tail = small(weight_averaging="tail").partial_fit(graphs, gaps)
    assert same_weights(tail, small().partial_fit(graphs, gaps))


@pytest.mark.parametrize("kind", [None, "tail", "ema"])
def test_statistics_of_batches_are_those_of_the_last_weights(small, graphs, gaps, kind):
    encoder = GIN(16, n_layers=1, norm="batch")
    model = small(encoder=encoder, weight_averaging=kind, batch_size=8)
    model.fit(graphs, gaps)
    norm = next(m for m in model.module_.modules() if isinstance(m, nn.BatchNorm1d))
    seen = []
    norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.predict(graphs)
    states = torch.cat(seen)
    torch.testing.assert_close(norm.running_mean, states.mean(dim=0), atol=1e-5, rtol=0)


def test_an_interruption_of_the_statistics_keeps_the_training(small, graphs, gaps):
    encoder = GIN(16, n_layers=1, norm="batch")
    plain = small(encoder=encoder, batch_size=8)
    steps = Steps()
    plain.set_params(callbacks=[steps]).fit(graphs, gaps)

    class Stop(Callback):
        """Interrupt the first pass through the encoder behind the training."""

        def on_train_end(self, net, **kwargs):
            def stop(module, args):
                # The check of the predictions is in inference mode, this pass is not.
                if not torch.is_inference_mode_enabled():
                    raise KeyboardInterrupt

            net.module_.encoder.register_forward_pre_hook(stop)

    model = small(encoder=encoder, batch_size=8, callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt, match="keeps the state"):
        model.fit(graphs, gaps)
    # With the running statistics of the last step.
    assert_close(model.module_.state_dict(), steps.after_steps[-1])
    assert np.isfinite(model.predict(graphs)).all()


def test_gate_and_its_additions_average(graphs, gaps):
    widths = dict.fromkeys(
        ("encoder_hidden_dims", "transfer_hidden_dims", "head_hidden_dims"), (8,)
    )
    settings = {"max_epochs": 2, "add_task_steps": 6, "random_state": 0, **widths}
    settings["batch_size"] = 8
    encoder = GIN(16, n_layers=2)
    plain = GATERegressor(encoder, latent_dim=8, **settings).fit(graphs, gaps)
    model = GATERegressor(encoder, latent_dim=8, weight_averaging="tail", **settings)
    model.fit(graphs, gaps)
    assert not np.array_equal(model.predict(graphs), plain.predict(graphs))
    before = model.predict(graphs)
    model.add_task(graphs, gaps[:, 0], name="new")
    np.testing.assert_array_equal(model.predict(graphs)[:, :3], before)


def test_other_averages_are_refused(small, graphs, gaps):
    with pytest.raises(ValueError, match="weight_averaging"):
        small(weight_averaging="swa").fit(graphs, gaps)
