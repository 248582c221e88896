"""Schedules, optimizers, clipping, heads, randomness, threads, devices, verbosity."""

from __future__ import annotations

import functools
import math
import random

import numpy as np
import pytest
import torch
from sklearn.model_selection import ShuffleSplit
from skorch.callbacks import Callback

from skgnn_mtl.encoders import GIN
from skgnn_mtl.readouts import Attention


def flat(model) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.module_.parameters()]).numpy()


def rates(model) -> list[float]:
    return [record["lr"] for record in model.history_]


# -- schedules ------------------------------------------------------------------------


def noam(p):
    return 0.1 + 0.9 * p / 0.1 if p < 0.1 else 0.1 ** ((p - 0.1) / 0.9)


def triangle(p):
    return 1.0 - abs(2.0 * p - 1.0) + 0.1


@pytest.mark.parametrize("batch_size", [100, 7])
@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ("constant", lambda p: 1.0),
        ("cosine", lambda p: (1 + math.cos(math.pi * p)) / 2),
        ("noam", noam),
        (triangle, triangle),
    ],
    ids=["constant", "cosine", "noam", "callable"],
)
def test_the_rate_follows_its_schedule(
    small, graphs, gaps, schedule, factor, batch_size
):
    model = small(
        lr=0.02, lr_schedule=schedule, max_epochs=20, batch_size=batch_size
    ).fit(graphs, gaps)
    expected = [0.02 * factor(epoch / 20) for epoch in range(20)]
    np.testing.assert_allclose(rates(model), expected, rtol=1e-9)


def test_warm_up_rises_to_the_rate_and_then_falls(small, graphs, gaps):
    model = small(lr=0.02, lr_schedule="warmup_cosine", max_epochs=40).fit(graphs, gaps)
    values = rates(model)
    peak = int(np.argmax(values))
    assert peak == 2
    assert values[peak] == pytest.approx(0.02)
    assert (np.diff(values[: peak + 1]) > 0).all()
    assert (np.diff(values[peak:]) < 0).all()


def test_a_schedule_starts_again_with_each_fit(small, graphs, gaps):
    model = small(max_epochs=4, warm_start=True).fit(graphs, gaps).fit(graphs, gaps)
    values = rates(model)
    assert values[:4] == values[4:]


# -- optimizers -----------------------------------------------------------------------


@pytest.fixture
def step(small, graphs, gaps):
    """Change of the weights in one full-batch step, and the weights before it."""

    def change(**options):
        settings = {"optimizer": "sgd", "lr_schedule": "constant", "max_epochs": 1}
        before = flat(small(**{**settings, "lr": 1e-30}).fit(graphs, gaps))
        after = flat(small(**{**settings, **options}).fit(graphs, gaps))
        return after - before, before

    return change


def test_a_step_of_sgd_is_proportional_to_the_rate(step):
    one, _ = step(lr=0.01)
    two, _ = step(lr=0.02)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("clip", [1e-3, 0.1])
def test_the_gradient_is_clipped_to_its_norm(step, clip):
    change, _ = step(lr=0.5, gradient_clip=clip)
    assert np.linalg.norm(change) == pytest.approx(0.5 * clip, rel=1e-3)


def test_a_wide_clip_changes_nothing(step):
    assert np.array_equal(step(lr=0.01, gradient_clip=1e9)[0], step(lr=0.01)[0])


def test_weight_decay_pulls_the_weights_to_zero(step):
    plain, _ = step(lr=0.1)
    decayed, before = step(lr=0.1, weight_decay=0.5)
    np.testing.assert_allclose(decayed - plain, -0.1 * 0.5 * before, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_names_of_optimizers_are_torch_s_classes(small, graphs, gaps, name, cls):
    by_name = small(optimizer=name).fit(graphs, gaps)
    by_class = small(optimizer=cls).fit(graphs, gaps)
    np.testing.assert_allclose(
        by_name.predict(graphs), by_class.predict(graphs), rtol=1e-4
    )


def test_optimizers_can_be_partial_functions(small, graphs, gaps):
    momentum = functools.partial(torch.optim.SGD, momentum=0.9)
    with_momentum = small(optimizer=momentum).fit(graphs, gaps)
    without = small(optimizer="sgd").fit(graphs, gaps)
    # The first step has no momentum yet.
    one = small(optimizer=momentum, max_epochs=1).fit(graphs, gaps)
    np.testing.assert_allclose(
        flat(one),
        flat(small(optimizer="sgd", max_epochs=1).fit(graphs, gaps)),
        atol=1e-6,
    )
    assert not np.allclose(flat(with_momentum), flat(without), atol=1e-5)


# -- the network ----------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(), (8,), [8, 4]])
def test_hidden_layers_lie_before_the_heads(small, graphs, gaps, dims):
    model = small(head_hidden_dims=dims).fit(graphs, gaps)
    widths = [16, *dims]
    assert model.module_.heads.in_features == widths[-1]
    assert model.embed(graphs).shape == (30, 16)
    assert model.predict(graphs).shape == (30, 3)


@pytest.mark.parametrize("name", ["softplus", "tanh"])
def test_the_activation_behind_hidden_layers(small, graphs, gaps, name, tmp_path):
    model = small(head_hidden_dims=(8,), head_activation=name).fit(graphs, gaps)
    linear, activation = model.module_.trunk
    x = torch.linspace(-2, 2, 16)[None]
    expected = getattr(torch.nn.functional, name)(linear(x))
    torch.testing.assert_close(activation(linear(x)), expected)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(graphs), model.predict(graphs))


@pytest.mark.parametrize("readout", ["mean", "sum", "attention", Attention(n_heads=4)])
@pytest.mark.parametrize("encoder", ["gin", "gcn", "gat", "dmpnn"])
def test_parts_by_name_and_by_instance(small, graphs, gaps, encoder, readout):
    # Full-sized networks: one epoch on a few molecules.
    model = small(encoder=encoder, readout=readout, max_epochs=1)
    assert np.isfinite(model.fit(graphs[:8], gaps[:8]).predict(graphs[:8])).all()
    assert type(model.module_.encoder).__name__.lower() == encoder


# -- randomness -----------------------------------------------------------------------


@pytest.fixture
def random_settings():
    """Everything random at once."""
    return {
        "encoder": GIN(16, n_layers=2, norm="batch", dropout=0.3),
        "batch_size": 7,
        "early_stopping": True,
        "validation": 0.3,
    }


def test_two_fits_with_one_seed_agree_bit_for_bit(
    small, graphs, gaps, random_settings, same_weights
):
    a, b = (small(**random_settings).fit(graphs, gaps) for _ in range(2))
    assert same_weights(a, b)
    assert np.array_equal(a.predict(graphs), b.predict(graphs))
    # A fitted estimator that is fitted anew is a fresh one.
    assert same_weights(a.fit(graphs, gaps), b)


def test_other_seeds_give_other_networks(small, graphs, gaps, same_weights):
    a = small(random_state=0).fit(graphs, gaps)
    assert not same_weights(a, small(random_state=1).fit(graphs, gaps))


def test_no_seed_means_a_new_network_each_time(small, graphs, gaps, same_weights):
    model = small(random_state=None)
    first = model.fit(graphs, gaps).predict(graphs)
    assert not np.array_equal(first, model.fit(graphs, gaps).predict(graphs))


def test_a_generator_goes_on_from_fit_to_fit(small, graphs, gaps):
    def two_fits():
        model = small(random_state=np.random.RandomState(5))
        return [model.fit(graphs, gaps).predict(graphs) for _ in range(2)]

    (a, b), (c, d) = two_fits(), two_fits()
    assert np.array_equal(a, c)
    assert np.array_equal(b, d)
    assert not np.array_equal(a, b)


def test_the_outside_generators_do_not_matter(
    small, graphs, gaps, random_settings, same_weights
):
    torch.manual_seed(1)
    a = small(**random_settings).fit(graphs, gaps)
    torch.manual_seed(2)
    assert same_weights(a, small(**random_settings).fit(graphs, gaps))


def test_global_random_states_are_untouched(
    small, graphs, gaps, random_settings, tmp_path
):
    def states():
        numpy = np.random.get_state()  # noqa: NPY002 - the global state is the point
        return [*numpy[:1], numpy[1].tolist(), *numpy[2:], random.getstate()]

    before, torch_before = states(), torch.get_rng_state()
    model = small(**random_settings).fit(graphs, gaps)
    model.partial_fit(graphs, gaps)
    model.predict(graphs)
    model.embed(graphs)
    model.save(tmp_path / "model")
    type(model).load(tmp_path / "model").predict(graphs)
    with pytest.raises(FloatingPointError):
        small(optimizer="sgd", lr=1e30, max_epochs=5).fit(graphs, gaps)
    assert states() == before
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_a_splitter_with_a_seed_is_reproducible(small, graphs, gaps, same_weights):
    def fit():
        splitter = ShuffleSplit(1, test_size=0.3, random_state=0)
        return small(validation=splitter).fit(graphs, gaps)

    assert same_weights(fit(), fit())


# -- threads, devices, output ---------------------------------------------------------


class Threads(Callback):
    def on_epoch_begin(self, net, **kwargs):
        self.seen = torch.get_num_threads()


def test_threads_are_set_and_given_back(small, graphs, gaps):
    before, watcher = torch.get_num_threads(), Threads()
    model = small(n_threads=before + 1, callbacks=[watcher]).fit(graphs, gaps)
    assert watcher.seen == before + 1
    assert torch.get_num_threads() == before
    model.predict(graphs)
    assert torch.get_num_threads() == before


def test_threads_are_given_back_after_an_error(small, graphs, gaps):
    before = torch.get_num_threads()
    model = small(n_threads=before + 1, optimizer="sgd", lr=1e30, max_epochs=5)
    with pytest.raises(FloatingPointError):
        model.fit(graphs, gaps)
    assert torch.get_num_threads() == before


def test_verbose_shows_the_epochs_and_silence_is_silent(small, graphs, gaps, capfd):
    small(early_stopping=True, validation=0.3).fit(graphs, gaps)
    assert capfd.readouterr() == ("", "")
    small(verbose=1, max_epochs=4).fit(graphs, gaps)
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err
    assert "train_loss" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_an_absent_device_is_reported_once(small, graphs, gaps):
    model = small(device="cuda")
    with pytest.warns(UserWarning, match="'cuda' is not there.*CPU") as records:
        model.fit(graphs, gaps)
    assert len(records) == 1
    with pytest.warns(UserWarning, match="'cuda' is not there") as records:
        model.predict(graphs)
    assert len(records) == 1


@pytest.mark.parametrize("device", ["cpu", "auto", torch.device("cpu")])
def test_devices_of_a_machine_without_accelerator(small, graphs, gaps, device):
    model = small(device=device).fit(graphs, gaps)
    if device != "auto":
        assert {p.device.type for p in model.module_.parameters()} == {"cpu"}
    assert np.isfinite(model.predict(graphs)).all()


def test_the_dtype_follows_the_features(small, graphs, gaps):
    X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    assert {p.dtype for p in small().fit(X, gaps).module_.parameters()} == {
        torch.float64
    }
    assert {p.dtype for p in small().fit(graphs, gaps).module_.parameters()} == {
        torch.float32
    }


def test_the_default_dtype_of_torch_does_not_matter(small, graphs, gaps):
    torch.set_default_dtype(torch.float64)
    try:
        model = small(task_weighting="uncertainty").fit(graphs, gaps)
        assert {p.dtype for p in model.module_.parameters()} == {torch.float32}
        assert np.isfinite(model.predict(graphs)).all()
    finally:
        torch.set_default_dtype(torch.float32)
