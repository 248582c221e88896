"""Moves of sharpness-aware methods, as maps of plain tensors."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.optimizers import SAM, SAMO

GENERATOR = torch.Generator().manual_seed(0)


def layers(scale=1.0):
    shapes = [(3, 4), (4,), ()]
    return [
        scale * torch.randn(s, generator=GENERATOR, dtype=torch.float64) for s in shapes
    ]


def flat(parts):
    return torch.cat([part.reshape(-1) for part in parts])


def test_sam_moves_along_the_gradient_by_its_length():
    g = layers(scale=1e-9)
    move = flat(SAM(rho=0.3)(g))
    torch.testing.assert_close(move, 0.3 * flat(g) / flat(g).norm())


def test_on_a_quadratic_sam_has_its_closed_form():
    """The gradient A w becomes A (w + rho A w / |A w|)."""
    A = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
    w = torch.tensor([2.0, -1.0], dtype=torch.float64)
    (move,) = SAM(rho=0.1)([A @ w])
    g = A @ (w + move)
    expected = A @ w + 0.1 * A @ A @ w / torch.tensor(20.0).double().sqrt()
    torch.testing.assert_close(g, expected)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.9, 1.0])
def test_samo_mixes_layers_of_equal_length(beta):
    g, own = layers(), layers(scale=1e6)
    move = SAMO(rho=0.3, beta=beta)(g, own)
    mixed = [(1 - beta) * a + beta * a.norm() * b / b.norm() for a, b in zip(g, own)]  # noqa: B905
    torch.testing.assert_close(flat(move), 0.3 * flat(mixed) / flat(mixed).norm())


def test_samo_without_tasks_of_their_own_is_sam():
    g = layers()
    torch.testing.assert_close(
        flat(SAMO(beta=0.0)(g, layers())), flat(SAM()(g)), rtol=1e-14, atol=0
    )


def test_nothing_moves_without_a_gradient():
    zeros = [0 * part for part in layers()]
    assert not flat(SAM()(zeros)).any()
    assert not flat(SAMO()(zeros, zeros)).any()
    # A task that does not read a layer leaves it to the others.
    g = layers()
    own = [*layers()[:2], torch.zeros((), dtype=torch.float64)]
    assert torch.isfinite(flat(SAMO(beta=0.5)(g, own))).all()


def test_moves_run_on_the_meta_device_in_the_dtype_of_the_gradients():
    g = [part.float().to("meta") for part in layers()]
    for move in (SAM()(g), SAMO()(g, g)):
        assert all(part.device.type == "meta" for part in move)
        assert all(part.dtype == torch.float32 for part in move)


def test_methods_are_parameters_of_an_estimator():
    model = MultiTaskGNNRegressor(optimizer=SAMO(0.2, beta=0.3))
    assert clone(model).set_params(optimizer__rho=0.1).optimizer.rho == 0.1
    assert repr(copy.deepcopy(model.optimizer)) == "SAMO(beta=0.3, rho=0.2)"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (SAM(-1.0), "rho"),
        (SAM(base=1), "base"),
        (SAM(base="sam"), "base must be one of"),
        (SAM(base=SAM()), "not be sharpness-aware itself"),
        (SAMO(beta=1.1), "beta"),
        (SAMO(sigma=0.0), "sigma"),
    ],
)
def test_wrong_parameters_are_named(method, message):
    X, y = [[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0]
    model = MultiTaskGNNRegressor(optimizer=method, max_epochs=1)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


@pytest.mark.parametrize(
    ("method", "name"), [(SAM, "optimizer"), (SAMO(base=SAM), "base")]
)
def test_a_class_in_place_of_an_instance_is_named(method, name):
    model = MultiTaskGNNRegressor(optimizer=method, max_epochs=1)
    with pytest.raises(TypeError, match=rf"{name} must be an instance.*SAM\(\)"):
        model.fit([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0])


X = np.random.default_rng(0).normal(size=(40, 5))
Y = X @ np.arange(10.0).reshape(5, 2)


def fit(how, **changes):
    settings = {"max_epochs": 2, "batch_size": 16, "random_state": 0, **changes}
    model = MultiTaskGNNRegressor(GIN(16, n_layers=2, dropout=0.1), **settings)
    return getattr(model, how)(X, Y)


@pytest.mark.parametrize("optimizer", ["sam", SAM(0.1, base="sgd"), SAMO(0.1)])
def test_estimators_learn_and_go_on_from_files(optimizer, tmp_path):
    assert fit("fit", optimizer=optimizer, max_epochs=40, lr=1e-2).score(X, Y) > 0.5
    whole = fit("partial_fit", optimizer=optimizer).partial_fit(X, Y)
    half = fit("partial_fit", optimizer=optimizer)
    half.save(tmp_path / "half")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "half")
    assert repr(loaded.optimizer) == repr(half.optimizer)
    np.testing.assert_array_equal(loaded.partial_fit(X, Y).predict(X), whole.predict(X))


@pytest.mark.parametrize("optimizer", ["sam", "samo"])
def test_moves_go_with_schedules_clipping_and_surgery(optimizer):
    surgery = fit(
        "fit",
        optimizer=optimizer,
        task_weighting="pcgrad",
        gradient_clip=0.5,
        lr_schedule="warmup_cosine",
        warm_start=True,
    )
    before = surgery.predict(X)
    assert abs(surgery.fit(X, Y).predict(X) - before).max() > 1e-6
    # A step at another place is another step.
    assert abs(fit("fit", task_weighting="pcgrad").predict(X) - before).max() > 1e-6
