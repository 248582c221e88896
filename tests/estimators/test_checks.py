"""Parameters that an estimator checks itself, and advice that can be followed."""

from __future__ import annotations

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochTimer
from small_estimators import halves

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators import _compute
from skgnn_mtl.weighting import Curvature

ESTIMATORS = [
    MultiTaskGNNRegressor,
    MultiTaskGNNClassifier,
    GNNPretrainer,
    GATERegressor,
]
each = pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
nan, inf = np.nan, np.inf


@pytest.fixture
def data(graphs, gaps):
    """Labels that all estimators read."""
    codes = halves(gaps)
    return graphs, codes


def make(cls, **changes):
    settings = {"encoder": GIN(width=8, n_layers=1), "max_epochs": 1, "random_state": 0}
    return cls(**{**settings, **changes})


# -- numbers ---------------------------------------------------------------------------

COUNTS = ["batch_size", "max_epochs", "n_iter_no_change", "n_threads"]
REALS = ["lr", "weight_decay", "gradient_clip", "validation"]


@each
@pytest.mark.parametrize("name", COUNTS + REALS)
@pytest.mark.parametrize("value", [True, np.True_, nan, inf, -1, "1", [1]], ids=repr)
def test_numbers_are_checked(cls, name, value, data):
    model = make(cls).set_params(**{name: value})
    message = f"'{name}' parameter of {cls.__name__} must"
    with pytest.raises(ValueError, match=message):
        model.fit(*data)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(*data)


@each
@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, 1.0, 2.5])
def test_counts_are_integers(cls, name, value, data):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        make(cls, **{name: value}).fit(*data)


@pytest.mark.parametrize("name", ["early_stopping", "warm_start"])
@each
def test_flags_are_no_numbers(cls, name, data):
    for value in (1, 0, "yes", None, nan):
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            make(cls).set_params(**{name: value}).fit(*data)


@pytest.mark.parametrize("width", [True, 0, 1.0, nan, "8", None])
def test_widths_are_counts(width, data):
    for cls in (MultiTaskGNNRegressor, MultiTaskGNNClassifier, GATERegressor):
        with pytest.raises(ValueError, match="'head_hidden_dims' parameter"):
            make(cls, head_hidden_dims=(4, width)).fit(*data)
    for name in ("encoder_hidden_dims", "transfer_hidden_dims"):
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            make(GATERegressor).set_params(**{name: [width]}).fit(*data)
    with pytest.raises(ValueError, match="'latent_dim' parameter"):
        make(GATERegressor, latent_dim=width).fit(*data)


def test_true_is_no_position_of_a_task(data):
    X, y = data
    with pytest.raises(ValueError, match="target_tasks names True"):
        make(GATERegressor, target_tasks=True).fit(X, y)
    with pytest.raises(ValueError, match="target_tasks names True"):
        make(MultiTaskGNNRegressor, target_tasks=[True]).fit(X, y)
    model = make(GATERegressor, add_task_steps=1).fit(X, y)
    with pytest.raises(ValueError, match="got True"):
        model.add_task(X, y[:, 0], name="new", sources=True)


# -- devices ---------------------------------------------------------------------------

ABSENT = ["cuda:7", "hpu", "vulkan", "maia", "xla", torch.device("cuda", 99)]
ABSENT += [] if torch.backends.mps.is_available() else ["mps", "mps:0"]
ABSENT += [] if torch.xpu.is_available() else ["xpu", "xpu:1"]
ABSENT += [] if torch.cuda.is_available() else ["cuda"]


@pytest.mark.parametrize("device", ABSENT, ids=str)
def test_an_absent_device_gives_way_to_the_cpu(device, data):
    plain = make(MultiTaskGNNRegressor).fit(*data)
    model = make(MultiTaskGNNRegressor, device=device)
    match = f"'{device}' is not there; the CPU is used"
    with pytest.warns(UserWarning, match=match) as told:
        model.fit(*data)
    assert len(told) == 1
    with pytest.warns(UserWarning, match=match) as told:
        predictions = model.predict(data[0])
    assert len(told) == 1
    assert np.array_equal(predictions, plain.predict(data[0]))


@each
def test_all_estimators_fall_back(cls, data):
    model = make(cls, device="xla")
    for call in (model.fit, model.partial_fit, model.set_params(warm_start=True).fit):
        with pytest.warns(UserWarning, match="'xla' is not there") as told:
            call(*data)
        assert len(told) == 1


def test_a_loaded_model_falls_back(data, tmp_path):
    model = make(MultiTaskGNNRegressor).fit(*data)
    model.set_params(device="mps:0").save(tmp_path / "model")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
        values = loaded.predict(data[0])
    assert np.isfinite(values).all()
    assert len(told) <= 1


@each
@pytest.mark.parametrize(
    "device", ["", "gpu", "CUDA", "cuda:x", "cuda:-1", "cpu cpu", "meta", "npu"]
)
def test_what_is_no_device_is_refused(cls, device, data):
    with pytest.raises(ValueError, match=f"'device' parameter of {cls.__name__} must"):
        make(cls, device=device).fit(*data)


@pytest.mark.parametrize("device", [0, None, 1.5, ["cpu"]])
def test_devices_are_named(device, data):
    with pytest.raises(ValueError, match="'device' parameter"):
        make(MultiTaskGNNRegressor, device=device).fit(*data)


@pytest.mark.parametrize(("n_devices", "present"), [(0, []), (1, [0]), (2, [0, 1])])
def test_cuda_devices_are_counted(n_devices, present, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    found = [k for k in range(4) if _compute.is_present(torch.device("cuda", k))]
    assert found == present
    assert _compute.is_present(torch.device("cuda")) == bool(n_devices)


# -- callables and objects -------------------------------------------------------------


class Odd:
    """Not hashable, and compared entry by entry, as arrays and tables are."""

    __hash__ = None

    def __eq__(self, other):
        return np.array([True, False])


class Loss(Odd):
    def __call__(self, outputs, targets):
        return (outputs - targets) ** 2


class Optimizer(Odd):
    def __call__(self, parameters, lr, weight_decay):
        return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)


class Schedule(Odd):
    def __call__(self, progress):
        return 1.0 - 0.5 * progress


class Scoring(Odd):
    def __call__(self, estimator, X, y):
        return -1.0


class Weighting:
    __hash__ = None

    def __call__(self, losses):
        return losses.sum()


class Log(Callback):
    __hash__ = None

    def on_epoch_end(self, net, **kwargs):
        self.seen = True


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": Loss()},
        {"loss": Loss(), "hessian_spectrum": {"matrix": "ggn", "n_lanczos": 2}},
        {"optimizer": Optimizer()},
        {"lr_schedule": Schedule()},
        {"scoring": Scoring(), "early_stopping": True},
        {"task_weighting": Weighting()},
        {"callbacks": [Log()]},
        {"callbacks": (("log", Log()),)},
    ],
    ids=lambda changes: " ".join(changes),
)
@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
def test_callables_need_not_be_hashable_or_comparable(changes, data, small):
    model = small(**changes).fit(*data)
    model.partial_fit(*data)
    assert np.isfinite(model.predict(data[0])).all()
    copy.deepcopy(model)
    repr(model)


def test_a_callable_is_used(data, small, same_weights):
    named = small(lr_schedule="constant").fit(*data)
    same = small(lr_schedule=lambda progress: 1.0, loss=Loss()).fit(*data)
    assert same_weights(named, same)
    assert not same_weights(named, small(lr_schedule=Schedule()).fit(*data))


@pytest.mark.parametrize(
    ("factor", "error"),
    [(None, TypeError), ("1", TypeError), (1j, TypeError), (-0.5, ValueError)]
    + [(value, ValueError) for value in (np.nan, np.inf)],
)
def test_a_schedule_must_return_factors(factor, error, data, small):
    with pytest.raises(error, match=r"lr_schedule must return .* at progress 0\."):
        small(lr_schedule=lambda progress: factor).fit(*data)


def test_a_factor_of_zero_trains_nothing(data, small, same_weights):
    with np.errstate(all="raise"):
        model = small(lr_schedule=lambda progress: 0.0, max_epochs=3).fit(*data)
    once = small(lr_schedule=lambda progress: 0.0, max_epochs=1).fit(*data)
    assert same_weights(model, once)


@each
@pytest.mark.parametrize(
    "entry", ["EpochTimer", 1, print, ("name", 1), ("name",), (1, EpochTimer()), object]
)
def test_what_is_no_callback_is_named(cls, entry, data):
    with pytest.raises(TypeError, match=r"callbacks must .* entry 1 is"):
        make(cls, callbacks=[EpochTimer(), entry]).fit(*data)


@each
def test_callbacks_may_be_classes_and_pairs(cls, data):
    log = Log()
    callbacks = [EpochTimer, ("timer", EpochTimer), ["log", log], ("none", None)]
    make(cls, callbacks=callbacks).fit(*data)
    assert log.seen


# -- advice ----------------------------------------------------------------------------


def named(text: str) -> set[str]:
    """Parameters that a message sets."""
    return set(re.findall(r"\b([a-z]\w*)=(?!=)", text))


@pytest.mark.parametrize("cls", [cls for cls in ESTIMATORS if cls is not GATERegressor])
@pytest.mark.parametrize("name", ["hessian_spectrum_", "hessian_spectrum_path_"])
def test_advice_on_spectra_can_be_followed(cls, name, data):
    X, y = data
    for model in (make(cls), make(cls).fit(X, y)):
        with pytest.raises(AttributeError, match=name) as caught:
            getattr(model, name)
        text = str(caught.value)
        assert text.startswith(f"{cls.__name__} does not have {name}: ")
        assert named(text) <= set(model.get_params())
    assert "hessian_spectrum(estimator, X, y)" in text
    options = {"n_lanczos": 20, "n_probes": 2, "n_eigenvalues": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert hessian_spectrum(model, X, y, **options).loss.shape == (3,)


def test_curvature_needs_linear_heads(data):
    model = make(GATERegressor).fit(*data)
    assert not hasattr(model, "hessian_spectrum_")
    with pytest.raises(TypeError, match="a fitted MultiTaskGNNRegressor"):
        hessian_spectrum(model, *data)


@each
@pytest.mark.parametrize("clip", [None, 1e6, 0.5])
def test_advice_on_divergence_can_be_followed(cls, clip, data):
    settings = {"optimizer": "sgd", "lr": 1e30, "max_epochs": 3, "gradient_clip": clip}
    model = make(cls, **settings)
    with pytest.raises(FloatingPointError) as caught:
        model.fit(*data)
    text = str(caught.value)
    assert "Lower lr" in text
    assert ("set gradient_clip=1.0" in text) == (clip != 0.5)
    assert ("lr or gradient_clip" in text) == (clip == 0.5)
    assert named(text) <= set(model.get_params())


@pytest.mark.parametrize("cls", ESTIMATORS[:3], ids=lambda cls: cls.__name__)
def test_advice_on_weightings_can_be_followed(cls, data):
    model = make(cls, task_weighting="rcgrad", auxiliary_tasks=())
    with pytest.warns(UserWarning, match="Set auxiliary_tasks") as told:
        model.fit(*data)
    (text,) = [str(w.message) for w in told]
    if "target_tasks" not in model.get_params():
        assert "(for a regressor or classifier) target_tasks" in text
    model.set_params(auxiliary_tasks=["infomax"]).fit(*data)


@pytest.mark.parametrize("statistic", ["ggn_trace", "ggn_max"])
def test_advice_on_losses_without_curvature_can_be_followed(data, statistic):
    settings = {"task_weighting": Curvature(statistic=statistic)}
    settings["auxiliary_tasks"] = ()
    for model in (
        make(MultiTaskGNNRegressor, loss="absolute_error", **settings),
        make(GNNPretrainer, target_loss="absolute_error", **settings),
    ):
        with pytest.raises(ValueError, match="Use statistic='hessian_max'") as caught:
            model.fit(*data)
        assert named(str(caught.value)) <= {"statistic", *model.get_params()}
        model.set_params(task_weighting=Curvature(statistic="hessian_max")).fit(*data)


def test_advice_on_splits_can_be_followed(graphs):
    y = np.full((6, 2), 1.0)
    y[1:, 1] = nan
    for cls in ESTIMATORS:
        for need in ({"early_stopping": True}, {"lr_schedule": "plateau"}):
            model = make(cls, **need)
            with pytest.raises(ValueError, match="'task_1' has labels in 1") as caught:
                model.fit(graphs[:6], y)
            assert named(str(caught.value)) <= set(model.get_params())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # one class only
                model.set_params(early_stopping=False, lr_schedule="cosine")
                model.fit(graphs[:6], y)


def test_the_tests_of_advice_see_parameters():
    # Without, they could not fail.
    assert named("set gradient_clip=1.0, or x == 1") == {"gradient_clip"}
