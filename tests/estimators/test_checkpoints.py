"""Fits that go on from the file of a process that was stopped."""

from __future__ import annotations

import copy
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from killed import Killed, killer
from sklearn.model_selection import ShuffleSplit
from skorch.callbacks import Callback
from small_estimators import halves, small

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators import _checkpoint, _curvature
from skgnn_mtl.estimators._compute import stopped_by_sigterm
from skgnn_mtl.estimators._io import read, write
from skgnn_mtl.optimizers import SAM, SAMO
from skgnn_mtl.training import _net
from skgnn_mtl.weighting import (
    BLO,
    DBMTL,
    Curvature,
    ExcessMTL,
    NashMTL,
    PCGrad,
    RCGrad,
    SDMGrad,
)

DROPOUT = {"encoder": GIN(width=16, n_layers=2, dropout=0.3)}
HELPED = {"target_tasks": "a", "batch_size": 8}
# What each kind of training keeps between two epochs.
KINDS = {
    "plain": {},
    "dropout": DROPOUT,
    "clip and muon": {"optimizer": "muon", "gradient_clip": 0.5},
    "sgd and warm-up": {"optimizer": "sgd", "lr_schedule": "warmup_cosine"},
    "sam": {"optimizer": "sam", **DROPOUT},
    "samo": {"optimizer": SAMO(base="muon"), "batch_size": 8, **DROPOUT},
    "sam and losses afterwards": {"optimizer": SAM(0.1), "task_weighting": "famo"},
    "sam and held-out rows": {
        "optimizer": "sam",
        "task_weighting": BLO(every=2),
        **HELPED,
    },
    "soap": {"optimizer": "soap", "batch_size": 8},
    "adaptive momentum": {
        "task_weighting": PCGrad(adaptive_momentum=True),
        "batch_size": 8,
    },
    "surgery in random order": {"task_weighting": "pcgrad", **DROPOUT},
    "kept weights": {"task_weighting": PCGrad(update_every=3), "batch_size": 8},
    "representation": {"task_weighting": NashMTL(gradients="representation")},
    "around a target": {"task_weighting": "gcs", **HELPED},
    "jacobian": {"task_weighting": "graddrop"},
    "jacobian with means": {"task_weighting": DBMTL()},
    "random loss weights": {"task_weighting": "rlw"},
    "second look": {"task_weighting": "famo", **DROPOUT},
    "epoch means": {"task_weighting": "dwa"},
    "own parameters": {"task_weighting": "uncertainty"},
    "groups": {"task_weighting": "go4align"},
    "discrepancy": {"task_weighting": "ldcmtl", "batch_size": 8},
    "excess risks": {"task_weighting": ExcessMTL(warmup_epochs=1)},
    "halves": {"task_weighting": SDMGrad(update_every=2), "batch_size": 8},
    "gradnorm": {"task_weighting": "gradnorm"},
    "curvature": {"task_weighting": Curvature(update_every=2), "batch_size": 8},
    "curvature of batches": {
        "task_weighting": Curvature(statistic="ggn_max", update_every=2, n_batches=3),
        "batch_size": 8,
    },
    "bi-level": {"task_weighting": BLO(every=2), **HELPED, **DROPOUT},
    "rotation": {"task_weighting": RCGrad(update_every=2), **HELPED},
    "rotation by held-out rows": {
        "task_weighting": RCGrad(learn="heldout", every=3, update_every=2),
        **HELPED,
    },
    "tail average": {"weight_averaging": "tail", **DROPOUT},
    "exponential average": {"weight_averaging": "ema", "early_stopping": True},
    "end with all rows": {"early_stopping": True, "n_iter_no_change": 2, "lr": 0.1},
    "end with tail": {
        "early_stopping": True,
        "n_iter_no_change": 1,
        "lr": 0.1,
        "weight_averaging": "tail",
    },
    "best weights": {
        "early_stopping": True,
        "n_iter_no_change": 2,
        "lr": 0.1,
        "validation": ShuffleSplit(1, test_size=0.3, random_state=0),
    },
    "plateau": {"lr_schedule": "plateau", "n_iter_no_change": 1, "lr": 0.1},
    "scored": {"early_stopping": True, "scoring": None, "validation": 0.4},
    "likelihood": {"loss": "beta_nll"},
    "auxiliary": {"auxiliary_tasks": ["atommasking", "infomax"], **DROPOUT},
    "spectra": {"hessian_spectrum": {"at": (0, 0.5, 1), "n_probes": 1}},
}


# Of short Lanczos runs, which are not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Write after each epoch, however fast the epochs are."""
    monkeypatch.setattr(_checkpoint, "_LARGEST_SHARE", 1e12)


@pytest.fixture
def killed_after(monkeypatch):
    return killer(monkeypatch)


@pytest.fixture
def frame(gaps):
    return pd.DataFrame(gaps, columns=["a", "b", "c"])


def outcome(model, graphs):
    """Everything that must be the same: predictions, weights, records, curvature."""
    apply = model.transform if isinstance(model, GNNPretrainer) else model.predict
    records = [dict(record) for record in model.history_]
    for record in records:
        del record["seconds"]
    tensors = {k: v.numpy() for k, v in model.module_.state_dict().items()}
    found = {"predictions": apply(graphs), "weights": tensors, "records": records}
    found["best"] = model.best_epoch_
    if getattr(model, "hessian_spectrum", False):
        path = [*model.hessian_spectrum_path_, model.hessian_spectrum_]
        found["spectra"] = [spectrum.ritz_values for spectrum in path]
    return found


def finished(model, fit, graphs):
    """Fit, and list what must be the same, also what the fit warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model)
    # But for those of spectra, which the process before has told.
    texts = {str(w.message) for w in caught if "eigenvalues" not in str(w.message)}
    return {**outcome(model, graphs), "warnings": sorted(texts)}


def resumed(make, fit, graphs, killed_after, path, after):
    """Fit in processes that end after 1, 2, ... epochs, and in one that does not."""
    for n in after:
        killed_after(n)
        with pytest.raises(Killed):
            fit(make(checkpoint=path))
        assert path.exists()
    killed_after(0)
    found = finished(make(checkpoint=path), fit, graphs)
    assert not path.exists()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_on_bit_for_bit(kind, graphs, frame, killed_after, tmp_path):
    def make(**more):
        return small(**{"max_epochs": 8, **KINDS[kind], **more})

    def fit(model):
        return model.fit(graphs, frame)

    expected = finished(make(), fit, graphs)
    path = tmp_path / "fit.checkpoint"
    found = resumed(make, fit, graphs, killed_after, path, (1, 2, 2, 1))
    np.testing.assert_equal(found, expected)


def test_a_drawn_seed_is_kept(graphs, frame, killed_after, tmp_path):
    generators = iter(map(np.random.RandomState, (3, 3, 4, 5)))

    def make(**more):
        # Early stopping, because its rows are drawn with the seed, too.
        settings = {"max_epochs": 5, "early_stopping": True, **more}
        return small(random_state=next(generators), **settings)

    def fit(model):
        return model.fit(graphs, frame)

    expected = finished(make(), fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "s", (1, 2))
    np.testing.assert_equal(found, expected)


# -- other estimators -----------------------------------------------------------------

GATE = {"latent_dim": 8, "encoder_hidden_dims": (8,), "max_epochs": 6, "warmup": 0.5}
AVERAGE = {"weight_averaging": "ema"}
# With weights that are restored at the end of each stage.
STOPPING = {"early_stopping": True, "n_iter_no_change": 1, "warm_start": True}
SHARED = {"device": "cpu", "random_state": 0, "lr": 1e-2}


def narrow(cls, **parameters):
    encoder = GIN(width=8, n_layers=2, dropout=0.2)
    return cls(encoder, **{**SHARED, **parameters})


@pytest.mark.parametrize("y", [None, "labels"])
def test_a_pretrainer_goes_on(y, graphs, frame, killed_after, tmp_path):
    def make(**more):
        tasks = ["atommasking", "edgeprediction"]
        return narrow(GNNPretrainer, auxiliary_tasks=tasks, max_epochs=5, **more)

    def fit(model):
        return model.fit(graphs, None if y is None else frame)

    expected = finished(make(), fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "p", (1, 2))
    np.testing.assert_equal(found, expected)


def test_a_classifier_goes_on(graphs, gaps, killed_after, tmp_path):
    def make(**more):
        return small(MultiTaskGNNClassifier, max_epochs=5, **more)

    def fit(model):
        return model.fit(graphs, halves(gaps))

    expected = finished(make(), fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "c", (1, 2))
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("routes", ["all", 1])
def test_gate_goes_on(routes, graphs, frame, killed_after, tmp_path):
    def make(**more):
        return narrow(GATERegressor, routes=routes, **GATE, **more)

    def fit(model):
        return model.fit(graphs, frame)

    expected = finished(make(), fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "g", (1, 2))
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("after", [(2,), (6, 3), (7,), (9, 7)])
@pytest.mark.parametrize(
    "settings", [{}, {"validation": 0.3, "lr": 0.1, **STOPPING, **AVERAGE}]
)
def test_gate_goes_on_in_any_of_its_stages(
    after, settings, graphs, frame, killed_after, tmp_path
):
    """The sources have 6 epochs and a last state, each addition 5 and one."""

    def make(**more):
        more = {"target_tasks": ["b", "c"], "add_task_steps": 5, **more, **settings}
        return narrow(GATERegressor, **GATE, **more)

    def fit(model):
        return model.fit(graphs, frame)

    reference = make()
    expected = finished(reference, fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "g", after)
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("train_encoder", [False, True])
@pytest.mark.filterwarnings("ignore:train_encoder=True")
def test_an_addition_goes_on(train_encoder, graphs, frame, killed_after, tmp_path):
    sources = narrow(GATERegressor, **GATE).fit(graphs, frame[["a", "b"]])

    def make(**more):
        model = copy.deepcopy(sources)
        return model.set_params(add_task_steps=6, early_stopping=True, **more)

    def fit(model):
        return model.add_task(graphs, frame["c"], train_encoder=train_encoder)

    expected = finished(make(), fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "a", (1, 2))
    np.testing.assert_equal(found, expected)


def test_a_warm_start_goes_on(graphs, frame, killed_after, tmp_path):
    first = small(warm_start=True).fit(graphs, frame)

    def make(**more):
        return copy.deepcopy(first).set_params(max_epochs=5, **more)

    def fit(model):
        return model.fit(graphs, frame)

    expected = finished(make(), fit, graphs)
    found = resumed(make, fit, graphs, killed_after, tmp_path / "w", (2, 1))
    np.testing.assert_equal(found, expected)


def test_a_numeric_table_goes_on(gaps, killed_after, tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 4))

    def make(**more):
        return MultiTaskGNNRegressor(max_epochs=4, **{**SHARED, **more})

    def fit(model):
        return model.fit(X, gaps, groups=np.arange(30) % 5)

    expected = finished(make(), fit, X)
    found = resumed(make, fit, X, killed_after, tmp_path / "x", (1, 1))
    np.testing.assert_equal(found, expected)


# -- refusals -------------------------------------------------------------------------


@pytest.fixture
def stopped(graphs, frame, killed_after, tmp_path):
    """The checkpoint of a fit that was killed after an epoch."""
    path = tmp_path / "fit.checkpoint"
    killed_after(1)
    with pytest.raises(Killed):
        small(checkpoint=path).fit(graphs, frame)
    killed_after(0)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "parameter lr was 0.01, is 0.5"),
        ({"max_epochs": 4, "lr": 1}, "was 0.01, is 1; parameter max_epochs was 3, is"),
        ({"encoder": GIN(width=8)}, "parameter encoder was GIN.*, is GIN"),
        ({"random_state": None}, "parameter random_state was 0, is drawn"),
    ],
)
def test_other_parameters_are_refused_by_name(changes, message, stopped, graphs, frame):
    before = stopped.read_bytes()
    with pytest.raises(ValueError, match=message):
        small(checkpoint=stopped, **changes).fit(graphs, frame)
    assert stopped.read_bytes() == before


def test_what_does_not_change_the_training_may_differ(stopped, graphs, frame):
    expected = small().fit(graphs, frame).predict(graphs)
    moved = stopped.with_name("moved")
    stopped.rename(moved)
    model = small(checkpoint=str(moved), verbose=False).fit(graphs, frame)
    np.testing.assert_array_equal(model.predict(graphs), expected)


def changed(values):
    values = np.array(values)
    values[np.isfinite(values).argmax()] += 1e-9
    return values


@pytest.mark.parametrize(
    ("piece", "change"),
    [
        ("y", lambda X, y, **rest: (X, y.assign(a=changed(y["a"])))),
        ("y", lambda X, y, **rest: (X, y.rename(columns={"a": "z"}))),
        ("X", lambda X, y, **rest: (X[::-1], y)),
        ("sample weight", lambda X, y, **rest: (X, y, np.linspace(1, 2, len(X)))),
        ("groups", lambda X, y, **rest: (X, y, None, np.arange(len(X)) // 2)),
    ],
)
def test_other_data_are_refused_by_name(piece, change, stopped, graphs, frame):
    with pytest.raises(ValueError, match=f"of another fit: .*{piece} differs"):
        small(checkpoint=stopped).fit(*change(graphs, frame))


def test_another_network_to_go_on_from_is_refused(
    graphs, frame, killed_after, tmp_path
):
    path = tmp_path / "fit"
    first = small(warm_start=True).fit(graphs, frame)
    other = small(warm_start=True, random_state=1).fit(graphs, frame)
    killed_after(1)
    with pytest.raises(Killed):
        first.set_params(checkpoint=path).fit(graphs, frame)
    killed_after(0)
    with pytest.raises(ValueError, match="fitted network differs"):
        other.set_params(checkpoint=path, random_state=0).fit(graphs, frame)


def test_a_splitter_that_divides_otherwise_is_refused(
    graphs, frame, killed_after, tmp_path
):
    path = tmp_path / "fit"
    # Half of the rows, so that each task has labels on either side.
    settings = {"validation": ShuffleSplit(1, test_size=0.5), "checkpoint": path}
    killed_after(1)
    with pytest.raises(Killed):
        small(**settings).fit(graphs, frame)
    killed_after(0)
    with pytest.raises(ValueError, match="validation rows differs"):
        small(**settings).fit(graphs, frame)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callbacks", [Callback()]),
        ("optimizer", torch.optim.Adam),
        ("lr_schedule", lambda progress: 1.0),
        ("loss", lambda outputs, targets: (outputs - targets) ** 2),
        ("task_weighting", lambda losses: losses.sum()),
    ],
)
def test_what_cannot_go_on_is_refused_at_the_start(
    name, value, graphs, frame, tmp_path
):
    model = small(checkpoint=tmp_path / "fit", **{name: value})
    with pytest.raises(ValueError, match=f"but {name} is .*checkpoint=None"):
        model.fit(graphs, frame)
    assert not (tmp_path / "fit").exists()


def test_a_folder_must_exist(graphs, frame, tmp_path):
    with pytest.raises(ValueError, match="folder that does not exist"):
        small(checkpoint=tmp_path / "none" / "fit").fit(graphs, frame)
    with pytest.raises(ValueError, match="is a folder, but one network needs a file"):
        small(checkpoint=tmp_path).fit(graphs, frame)


def test_a_damaged_file_is_refused(stopped, graphs, frame):
    content = bytearray(stopped.read_bytes())
    content[len(content) // 2] ^= 1
    stopped.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        small(checkpoint=stopped).fit(graphs, frame)


def test_a_model_is_no_checkpoint(graphs, frame, tmp_path):
    small().fit(graphs, frame).save(tmp_path / "model")
    with pytest.raises(ValueError, match="not a checkpoint"):
        small(checkpoint=tmp_path / "model").fit(graphs, frame)


def test_a_crafted_state_is_refused(stopped, graphs, frame):
    values = read(stopped, kind="checkpoint")
    values["stages"]["fit"]["training"]["model"] = {}
    write(stopped, kind="checkpoint", values=values)
    model = small(checkpoint=stopped)
    with pytest.raises(ValueError, match="is not a valid checkpoint"):
        model.fit(graphs, frame)
    assert not model.__sklearn_is_fitted__()


def test_the_file_of_another_version_is_refused(stopped, graphs, frame):
    values = read(stopped, kind="checkpoint")
    values["version"] = "99.0, format 9"
    write(stopped, kind="checkpoint", values=values)
    with pytest.raises(ValueError, match="version was 99.0, format 9, is"):
        small(checkpoint=stopped).fit(graphs, frame)


# -- the file -------------------------------------------------------------------------


def test_partial_fit_has_no_checkpoint(graphs, frame, tmp_path):
    small(checkpoint=tmp_path / "fit").partial_fit(graphs, frame)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_fit_keeps_its_file(graphs, frame, monkeypatch, tmp_path):
    path = tmp_path / "fit"
    expected = small(max_epochs=6).fit(graphs, frame).predict(graphs)
    model = small(max_epochs=6, checkpoint=path)
    kept = _net._Net.keep

    def keep(net, final):
        kept(net, final)
        if len(net.epochs.records) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_net._Net, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            model.fit(graphs, frame)
    assert len(model.history_) == 3
    model.fit(graphs, frame)
    assert len(model.history_) == 6
    np.testing.assert_array_equal(model.predict(graphs), expected)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_write_left_is_removed(stopped, graphs, frame):
    stopped.with_name(f".{stopped.name}.0123.part").write_bytes(b"half")
    small(checkpoint=stopped).fit(graphs, frame)
    assert not list(stopped.parent.iterdir())


def test_a_full_disk_does_not_end_the_training(graphs, frame, monkeypatch, tmp_path):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(_checkpoint, "write", full)
    expected = small().fit(graphs, frame).predict(graphs)
    model = small(checkpoint=tmp_path / "fit")
    with pytest.warns(UserWarning, match="cannot be written: No space") as caught:
        model.fit(graphs, frame)
    assert len(caught) == 1
    np.testing.assert_array_equal(model.predict(graphs), expected)


def test_writing_takes_a_small_share_of_the_time(monkeypatch, tmp_path):
    monkeypatch.setattr(_checkpoint, "_LARGEST_SHARE", 0.02)
    clock = iter([100.0, 100.0, 101.0, 150.9, 151.0])
    monkeypatch.setattr(_checkpoint.time, "perf_counter", lambda: next(clock))
    checkpoint = _checkpoint.Checkpoint(tmp_path / "fit", "fit", {})
    assert checkpoint.is_due(final=False)
    checkpoint.write()  # takes a second
    assert not checkpoint.is_due(final=False)
    assert checkpoint.is_due(final=False)


def test_a_stage_keeps_copies(tmp_path):
    """Because the network goes on, and later stages write the earlier ones again."""
    checkpoint = _checkpoint.Checkpoint(tmp_path / "fit", "fit", {})
    weight = torch.zeros(2)
    checkpoint.stage("first").keep(lambda: {"model": [weight]}, True)
    weight += 1.0
    checkpoint.stage("second").keep(lambda: {"model": (weight,)}, True)
    kept = []
    again = _checkpoint.Checkpoint(tmp_path / "fit", "fit", {})
    for name in ("first", "second"):
        again.stage(name).restore(lambda state: kept.append(state["model"]))
    assert [value.tolist() for (value,) in kept] == [[0.0, 0.0], [1.0, 1.0]]


def test_the_observer_is_not_called_twice_at_the_start(
    graphs, frame, killed_after, monkeypatch, tmp_path
):
    calls = []
    monkeypatch.setattr(
        _curvature.SpectrumRecorder, "__call__", lambda self, epoch: calls.append(epoch)
    )
    settings = {"checkpoint": tmp_path / "fit", **KINDS["spectra"]}
    killed_after(1)
    with pytest.raises(Killed):
        small(**settings).fit(graphs, frame)
    killed_after(0)
    small(**settings).fit(graphs, frame)
    assert calls == [0, 1, 2, 3]


# -- ends from outside ----------------------------------------------------------------


def test_sigterm_ends_like_ctrl_c(graphs, frame, monkeypatch, tmp_path):
    kept = _net._Net.keep

    def keep(net, final):
        kept(net, final)
        if len(net.epochs.records) == 2:
            signal.raise_signal(signal.SIGTERM)

    model = small(max_epochs=5, checkpoint=tmp_path / "fit")
    with monkeypatch.context() as patch:
        patch.setattr(_net._Net, "keep", keep)
        with pytest.raises(KeyboardInterrupt):
            model.fit(graphs, frame)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert len(model.history_) == 2
    assert len(model.fit(graphs, frame).history_) == 5


def test_a_handler_of_the_user_stays(graphs, frame, monkeypatch):
    seen = []

    def handler(number, stack):
        seen.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with stopped_by_sigterm():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_other_threads_set_no_handler(graphs, frame):
    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(small().fit, graphs, frame).result()
    assert len(model.history_) == 3
