"""Weights from curvatures: the map, on plain vectors."""

import pytest
import torch
from random_jacobians import make

from skgnn_mtl.weighting import Curvature

OPEN = {"clip": None, "floor": 0.0}


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_curvatures_1_and_100_give_weights_100_and_1():
    method = make(Curvature, 2, **OPEN)
    weights = method(vector(1.0, 100.0))
    assert float(weights[0] / weights[1]) == pytest.approx(100.0)
    assert float(weights.mean()) == pytest.approx(1.0)


@pytest.mark.parametrize("equal", [True, False])
def test_gradient_descent_converges_at_the_step_of_the_flatter_quadratic(equal):
    """L_t = a_t (x_t - 1)^2 / 2 with curvature a_t, of its own parameter."""
    a = vector(1.0, 100.0)
    w = torch.ones(2).double() if equal else make(Curvature, 2, **OPEN)(a)
    x, step = torch.zeros(2).double(), 1.0 / float(w[0] * a[0])
    for _ in range(30):
        x = x - step * w * a * (x - 1.0)
    assert torch.allclose(x, torch.ones(2).double()) != equal


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_the_scale_of_a_loss_cancels(exponent):
    m, c = vector(0.2, 3.0, 1.0, 40.0), vector(5.0, 0.01, 1.0, 2.0)
    plain, scaled = (
        make(Curvature, 4, exponent=exponent, **OPEN)(values) for values in (m, c * m)
    )
    ratio = scaled * c**exponent / plain
    torch.testing.assert_close(ratio, ratio[:1].expand(4))


def test_exponent_zero_is_equal():
    assert make(Curvature, 3, exponent=0)(vector(1, 20, 5)).tolist() == [1, 1, 1]


def test_weights_are_permuted_with_the_tasks():
    m, order = vector(0.2, 3.0, 1.0, 400.0), torch.tensor([2, 0, 3, 1])
    first, second = (make(Curvature, 4)(values) for values in (m, m[order]))
    torch.testing.assert_close(first[order], second)


def test_means_start_at_the_first_value_and_follow():
    method = make(Curvature, 2, ema=0.75)
    method(vector(4.0, 1.0))
    assert method.means.tolist() == [4.0, 1.0]
    method(vector(8.0), tasks=torch.tensor([0]))
    assert method.means.tolist() == [5.0, 1.0]  # an unseen task keeps its own


def test_a_task_without_a_curvature_has_weight_one():
    method = make(Curvature, 3)
    assert method.weights().tolist() == [1.0, 1.0, 1.0]
    method(vector(1.0, 3.0), tasks=torch.tensor([0, 2]))
    assert method.weights().tolist() == [1.5, 1.0, 0.5]


def test_small_curvatures_end_at_the_floor():
    method = make(Curvature, 3, floor=0.1, clip=None)
    w = method(vector(1e-9, 1.0, 2.0))
    # The median of 1e-9, 1 and 2 is 1.
    torch.testing.assert_close(w / w[1], vector(10.0, 1.0, 0.5))


@pytest.mark.parametrize("values", [(0.0, 0.0), (-1.0, 0.0)])
def test_without_any_curvature_the_weights_are_one(values):
    assert make(Curvature, 2)(vector(*values)).tolist() == [1.0, 1.0]


def test_a_negative_eigenvalue_counts_as_the_floor():
    w = make(Curvature, 3, floor=0.5, clip=None)(vector(-3.0, 1.0, 1.0))
    torch.testing.assert_close(w / w[1], vector(2.0, 1.0, 1.0))


def test_clipped_weights_have_mean_one():
    w = make(Curvature, 3, clip=(0.5, 1.2))(vector(1.0, 10.0, 100.0))
    torch.testing.assert_close(w, vector(1.2, 0.5, 0.5) * 3 / 2.2)


@pytest.mark.parametrize(
    "bad",
    [
        {"statistic": "trace"},
        {"exponent": -1.0},
        {"update_every": 0},
        {"ema": 1.0},
        {"floor": -0.1},
        {"clip": (2.0, 10.0)},
        {"n_batches": 0},
        {"n_probes": 1.5},
    ],
)
def test_wrong_parameters_are_named(bad):
    method = Curvature(**bad)
    with pytest.raises(ValueError, match=next(iter(bad))):
        method.check_options()
        method.build(2)


def test_a_curvature_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="Curvature"):
        make(Curvature, 2)(vector(1.0, torch.nan))
