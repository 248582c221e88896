"""Callables of the three shapes."""

import functools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from small_estimators import small

from skgnn_mtl.encoders import GIN
from skgnn_mtl.weighting import (
    Equal,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    as_task_weighting,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Y = X @ RNG.normal(size=(4, 3)) + 0.1 * RNG.normal(size=(50, 3))


def by_losses(losses):
    return losses.sum()


def by_gramian(G):
    return torch.ones(len(G))


def by_jacobian(jacobian):
    return jacobian.sum(dim=0)


def regressor(task_weighting, **changes):
    settings = {"encoder": GIN(8, n_layers=1, norm=None), "max_epochs": 4, **changes}
    return small(task_weighting=task_weighting, **settings)


@pytest.mark.parametrize(
    ("function", "family"),
    [
        (by_losses, LossWeighting),
        (by_gramian, GramianWeighting),
        (by_jacobian, JacobianAggregation),
        (lambda gramian: gramian.diagonal(), GramianWeighting),
        (lambda J: J[0], JacobianAggregation),
    ],
)
def test_the_first_parameter_identifies_the_map(function, family):
    assert isinstance(as_task_weighting(function), family)


@pytest.mark.parametrize("function", [by_losses, by_gramian, by_jacobian])
def test_the_sum_in_any_shape_is_the_equal_weighting(function):
    expected = regressor("equal").fit(X, Y).predict(X)
    model = regressor(function).fit(X, Y)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-7)
    np.testing.assert_allclose(model.task_weights_, 1.0, rtol=1e-6)


def test_an_attribute_says_what_is_needed():
    def rule(matrix, scale=2.0):
        return scale * torch.ones(len(matrix))

    with pytest.raises(TypeError, match=r"f\(gramian\)"):
        as_task_weighting(rule)
    rule.needs = "gramian"
    weights = as_task_weighting(rule).task_weights(torch.eye(3))
    assert weights.tolist() == [2.0] * 3


def test_named_keyword_arguments_are_passed():
    received = {}

    def rule(gramian, losses=None, tasks=None, generator=None):
        received.update(losses=losses, tasks=tasks, generator=generator)
        return 1.0 / losses

    y = Y.copy()
    y[:, 2] = np.nan
    y[0, 2] = 1.0
    regressor(rule, batch_size=10, max_epochs=1).fit(X, y)
    assert received["losses"].shape in ((2,), (3,))
    assert isinstance(received["generator"], torch.Generator)


class Learned(torch.nn.Module):
    """A callable with a parameter and a state of its own."""

    needs = "losses"

    def __init__(self):
        super().__init__()
        self.s = torch.nn.Parameter(torch.zeros(3))
        self.calls = 0

    def forward(self, values):
        self.calls += 1
        return ((-self.s).exp() * values + self.s).sum()


def test_callables_are_copied_and_their_parameters_trained():
    rule = Learned()
    model = regressor(rule).fit(X, Y)
    assert rule.calls == 0
    assert rule.s.tolist() == [0.0] * 3
    assert model.task_weighting_.function.calls == 4
    assert (model.task_weighting_.function.s != 0).all()
    first = model.predict(X)
    assert np.array_equal(model.fit(X, Y).predict(X), first)
    assert np.array_equal(clone(model).fit(X, Y).predict(X), first)


def test_partial_arguments_are_fine():
    def rule(G, power):
        return G.diagonal() ** power

    model = regressor(functools.partial(rule, power=-0.5)).fit(X, Y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("value", [Equal, lambda x: x, print, torch.nn.Identity()])
def test_an_unidentified_map_shows_the_three_shapes(value):
    with pytest.raises(TypeError, match=r"f\(losses\)[^f]*f\(gramian\)[^f]*f\(jaco"):
        regressor(value).fit(X, Y)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda losses: losses, ValueError, r"shape \(\), but returned \(3,\)"),
        (lambda losses: 1.0, ValueError, "but returned float"),
        (lambda G: G, ValueError, r"shape \(3,\), but returned \(3, 3\)"),
        (lambda J: J @ J.T, ValueError, "but returned"),
        (lambda G: G[0] * torch.nan, FloatingPointError, "nan"),
        (lambda J: J[0] / 0.0, FloatingPointError, "inf|nan"),
    ],
)
def test_wrong_results_are_refused(function, error, message):
    with pytest.raises(error, match=message):
        regressor(function).fit(X, Y)


class Pooling(GramianWeighting):
    """Stores the arguments that it receives."""

    def __init__(self, pool=None) -> None:
        super().__init__()
        self.pool = pool
        self.received = []

    def forward(self, gramian, anchor=None):
        self.received.append((gramian, anchor))
        return torch.ones(len(gramian))


class Total(LossWeighting):
    def forward(self, losses):
        return losses


class Inner(GramianWeighting):
    def forward(self, gramian):
        return gramian.sum()


class Coordinate(JacobianAggregation):
    def forward(self, jacobian):
        return jacobian.sum()


@pytest.mark.parametrize("cls", [Total, Inner, Coordinate])
def test_wrong_results_of_classes_are_refused(cls):
    with pytest.raises(ValueError, match=rf"{cls.__name__}\(\) must map"):
        regressor(cls()).fit(X, Y)


def test_a_class_that_names_an_anchor_says_how_targets_are_pooled():
    method = Pooling("tasks")
    fitted = regressor(method, target_tasks=[0, 1], max_epochs=1).fit(X, Y)
    gramian, anchor = fitted.task_weighting_.received[0]
    assert gramian.shape == (2, 2)
    assert anchor.tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="pool must be one of"):
        regressor(Pooling(), target_tasks=[0, 1]).fit(X, Y)


class Waiting(LossWeighting):
    def forward(self, losses, lookback):
        assert lookback is None
        return losses.sum()


class WaitingForGramians(GramianWeighting):
    def forward(self, gramian, lookback):
        assert lookback is None
        return gramian.new_ones(len(gramian))


@pytest.mark.parametrize("cls", [Waiting, WaitingForGramians])
def test_without_an_earlier_evaluation_a_lookback_is_none(cls):
    assert np.isfinite(regressor(cls(), max_epochs=1).fit(X, Y).predict(X)).all()
