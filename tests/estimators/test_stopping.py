"""Epochs that follow from the number of rows, and the end of a stopped training."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit
from skorch.callbacks import Callback, EarlyStopping

from skgnn_mtl import GATERegressor, GNNPretrainer, MultiTaskGNNClassifier
from skgnn_mtl import MultiTaskGNNRegressor as Regressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.training import WeightAverage, _options

SPECTRUM = {"n_lanczos": 12, "n_eigenvalues": 2, "tol": 0.5, "at": (0.5, 1.0)}

# -- passes over the rows -------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_rows", "n_epochs"),
    [
        (1, 100),
        (4_000, 100),
        (4_100, 99),
        (16_000, 50),
        (36_000, 33),
        (400_000, 10),
        (10**7, 10),
    ],
)
def test_passes_fall_with_the_square_root_of_the_rows(n_rows, n_epochs):
    options = Regressor()._options().for_rows(n_rows)
    assert options.max_epochs == n_epochs
    assert options.n_steps(n_rows) == n_epochs * -(-n_rows // 64)


def test_a_number_of_epochs_stays_as_it_is():
    assert Regressor(max_epochs=7)._options().for_rows(10**6).max_epochs == 7


def test_who_has_it_by_default():
    found = {
        kind.__name__: kind().max_epochs
        for kind in (Regressor, MultiTaskGNNClassifier, GATERegressor, GNNPretrainer)
    }
    assert list(found.values()) == ["auto", "auto", 100, 100]


def test_a_small_table_has_100_passes(small, graphs, gaps, same_weights):
    auto = small(max_epochs="auto").fit(graphs, gaps)
    assert same_weights(auto, small(max_epochs=100).fit(graphs, gaps))
    assert len(auto.history_) == 100


@pytest.fixture
def few(monkeypatch):
    """Let the passes fall from a table of 30 rows on, down to 2."""
    monkeypatch.setattr(_options, "_MOST_PASSES", 20)
    monkeypatch.setattr(_options, "_FEWEST_PASSES", 2)
    monkeypatch.setattr(_options, "_MOST_PASSES_UP_TO", 5)


@pytest.fixture
def fold():
    """Test folds of a PredefinedSplit: ten rows watch."""
    return np.where(np.arange(30) % 3 == 1, 0, -1)


def test_only_rows_that_are_trained_on_count(few, small, graphs, gaps, fold):
    assert len(small(max_epochs="auto").fit(graphs, gaps).history_) == 8
    watched = small(max_epochs="auto", validation=PredefinedSplit(fold))
    assert len(watched.fit(graphs, gaps).history_) == 10
    unlabelled = np.where(np.arange(30)[:, None] < 5, gaps, np.nan)
    labelled = np.isfinite(unlabelled).any(axis=1)
    assert labelled.sum() == 5
    assert len(small(max_epochs="auto").fit(graphs, unlabelled).history_) == 20


@pytest.mark.parametrize(
    "changes", [{}, {"weight_averaging": "tail"}, {"warm_start": True}], ids=str
)
def test_all_that_reads_the_epochs_reads_their_number(
    few, small, graphs, gaps, same_weights, changes
):
    changes = {
        "hessian_spectrum": SPECTRUM,
        "batch_size": 8,
        **changes,
    }
    auto = small(max_epochs="auto", **changes).fit(graphs, gaps)
    eight = small(max_epochs=8, **changes).fit(graphs, gaps)
    if "warm_start" in changes:
        auto, eight = auto.fit(graphs, gaps), eight.fit(graphs, gaps)
    assert same_weights(auto, eight)
    assert [r["lr"] for r in auto.history_] == [r["lr"] for r in eight.history_]
    epochs = [s.settings["epoch"] for s in auto.hessian_spectrum_path_]
    assert epochs == [4, 8]


def test_gate_and_pretrainer_take_it(few, graphs, gaps, same_weights):
    settings = {"encoder": GIN(8, n_layers=1), "batch_size": 8, "random_state": 0}
    for kind, y in ((GATERegressor, gaps), (GNNPretrainer, gaps)):
        if kind is GATERegressor:
            settings |= {"warmup": 0.5, "add_task_steps": 4}
        else:
            settings.pop("warmup"), settings.pop("add_task_steps")
        auto = kind(max_epochs="auto", **settings).fit(graphs, y)
        assert same_weights(auto, kind(max_epochs=8, **settings).fit(graphs, y))


def test_alignment_takes_it(few, small, graphs, gaps, same_weights):
    source = small().fit(graphs, gaps)
    settings = {"batch_size": 8, "warmup": 0.5, "random_state": 0}
    auto, eight = (
        GATERegressor.from_pretrained(source, graphs, max_epochs=n, **settings)
        for n in ("auto", 8)
    )
    assert same_weights(auto, eight)
    assert len(auto.history_) == 8


def test_one_call_of_partial_fit_is_one_epoch(small, graphs, gaps):
    model = small(max_epochs="auto").partial_fit(graphs, gaps)
    assert len(model.partial_fit(graphs, gaps).history_) == 2


def test_the_word_is_kept_in_files(few, small, graphs, gaps, tmp_path):
    model = small(max_epochs="auto").fit(graphs, gaps)
    model.save(tmp_path / "model.zip")
    loaded = Regressor.load(tmp_path / "model.zip")
    assert loaded.max_epochs == "auto"
    assert len(loaded.history_) == 8


# -- the end of a stopped training ----------------------------------------------------


class Course(Callback):
    """Note rows, rates and losses of every epoch, as callbacks see them."""

    def on_train_begin(self, net, **kwargs):
        self.rows, self.rates, self.losses, self.states = [], [], [], []

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        self.rows.append(len(dataset_train))

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[-1]["lr"])
            state = net.module_.state_dict()
            self.states.append(state["heads.weight"].clone())

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1, "valid_loss"])


def stopped(small, graphs, table, course=None, **changes):
    """Train without validation losses that improve: it stops after 1 + 3 epochs."""
    settings = {
        "early_stopping": True,
        "validation": 0.2,
        "scoring": lambda *_: -1.0,
        "n_iter_no_change": 3,
        "max_epochs": 40,
        "callbacks": None if course is None else [course],
    }
    return small(**{**settings, **changes}).fit(graphs, table)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_all_rows_are_trained_on_at_a_falling_rate(small, graphs, table, schedule):
    course = Course()
    model = stopped(
        small, graphs, table, course, lr_schedule=schedule, lr=0.01, batch_size=8
    )
    assert course.rows == [24] * 4 + [30] * 4
    assert len(course.losses) == len(model.history_) == model.best_epoch_ == 8
    # 3 batches an epoch, then 4.
    start, end = model.history_[4]["lr"], np.array(course.rates[12:])
    np.testing.assert_allclose(end, start * (1 - np.arange(1, 17) / 16), atol=1e-12)
    assert start == (0.005 if schedule == "plateau" else course.rates[11])
    np.testing.assert_allclose(model.history_[6]["lr"], start / 2)


def test_it_begins_after_half_of_the_epochs_at_the_latest(small, graphs, table):
    scores = iter(range(100))
    for max_epochs, rows in [
        (1, [24]),
        (2, [24, 30]),
        (3, [24, 24, 30]),
        (20, [24] * 10 + [30] * 10),
    ]:
        course = Course()
        stopped(
            small,
            graphs,
            table,
            course,
            scoring=lambda *_: next(scores),
            max_epochs=max_epochs,
        )
        assert course.rows == rows


def test_rows_that_are_trained_on_do_not_validate(small, graphs, table):
    course = Course()
    model = stopped(small, graphs, table, course)
    watched = [sorted(k for k in r if "valid" in k) for r in model.history_]
    names = ["valid_loss", "valid_losses", "valid_score"]
    assert watched == [names] * 4 + [[]] * 4
    # Callbacks of the user's may ask for it in all epochs.
    assert np.isfinite(course.losses).all()


def test_without_a_stop_the_last_weights_are_kept(small, graphs, table, same_weights):
    """The weights of the best epoch do not come back, because they saw fewer rows."""
    course = Course()
    model = stopped(small, graphs, table, course, batch_size=8)
    last = course.states[-1].numpy()
    np.testing.assert_array_equal(model.module_.heads.weight.detach().numpy(), last)


@pytest.mark.parametrize("how", ["splitter", "warm_start"])
def test_rows_that_must_stay_unseen_do(small, graphs, table, fold, how):
    changes = {"splitter": {"validation": PredefinedSplit(fold)}}
    course, scores = Course(), iter([-2.0, -1.0, -1.5, -3.0, -2.0])
    model = stopped(
        small,
        graphs,
        table,
        course,
        scoring=lambda *_: next(scores),
        **changes.get(how, {"warm_start": True}),
    )
    assert set(course.rows) == {20 if how == "splitter" else 24}
    assert model.best_epoch_ == 2
    assert len(model.history_) == 5
    # The batch of all rows, so that a step is an epoch.
    best = course.states[1].numpy()
    np.testing.assert_array_equal(model.module_.heads.weight.detach().numpy(), best)


def test_an_average_is_of_the_end(small, graphs, table):
    course = Course()
    model = stopped(
        small, graphs, table, course, weight_averaging="tail", batch_size=8, lr=0.05
    )
    expected = np.mean([state.numpy() for state in course.states[-8:]], axis=0)
    found = model.module_.heads.weight.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_an_exponential_average_goes_on(small, graphs, table):
    course = Course()
    model = stopped(
        small, graphs, table, course, weight_averaging="ema", batch_size=8, lr=0.05
    )
    states = [state.numpy().astype(float) for state in course.states]
    expected = states[0]
    for state in states[1:]:
        expected = 0.99 * expected + 0.01 * state
    found = model.module_.heads.weight.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_an_average_is_planned_again():
    import torch

    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, "tail", n_steps=4)

    def steps(*values):
        for value in values:
            model.weight.data.fill_(value)
            average.update(model)
        average.enter(model)
        return model.weight.item()

    assert steps(1.0, 2.0, 3.0) == 3.0
    average.leave(model)
    average.restart(4)
    assert steps(5.0, 6.0) == 6.0
    average.leave(model)
    assert steps(7.0, 9.0) == 8.0


def test_a_users_early_stopping_ends_the_training(small, graphs, table):
    own = EarlyStopping("valid_score", patience=2, lower_is_better=False, threshold=0)
    model = stopped(small, graphs, table, own)
    assert len(model.history_) == 3
    assert all("valid_loss" in record for record in model.history_)


def test_the_end_can_be_interrupted(small, graphs, table):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="keeps the state"):
        stopped(small, graphs, table, Stop())
    model = small(early_stopping=True, n_iter_no_change=3, callbacks=[Stop()])
    model.set_params(max_epochs=9, scoring=lambda *_: -1.0, validation=0.2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, table)
    assert len(model.history_) == model.best_epoch_ == 5
    assert "valid_loss" not in model.history_[-1]


def test_two_fits_with_one_seed_agree(small, graphs, table, same_weights):
    first, second = (stopped(small, graphs, table, batch_size=8) for _ in range(2))
    assert same_weights(first, second)
