"""Rules with target and auxiliary tasks, against explicit vectors."""

import numpy as np
import pytest
import torch
from random_jacobians import conflicting_jacobian, make, random_jacobian

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.weighting import GCS, GCSGNS, GNS, AnchoredPCGrad

# Tasks 0 and 2 are targets, pooled by three and one labels.
ANCHOR = torch.tensor([0.75, 0.0, 0.25, 0.0, 0.0]).double()
AUXILIARY = [1, 3, 4]


def cases():
    yield random_jacobian(5, decades=2.0)
    yield conflicting_jacobian(5)


def direction(cls, J, anchor=ANCHOR, **parameters):
    method = make(cls, len(J), **parameters)
    return method.task_weights(J @ J.T, anchor=anchor) @ J


def test_directions_are_those_of_explicit_vectors():
    for J in cases():
        g = ANCHOR @ J
        n = g.norm()
        cosine = [J[i] @ g / (J[i].norm() * n) for i in range(5)]
        expected = g + sum(max(0.0, cosine[i]) * J[i] for i in AUXILIARY)
        torch.testing.assert_close(direction(GCS, J), expected)
        expected = g + sum(min(1.0, n / J[i].norm()) * J[i] for i in AUXILIARY)
        torch.testing.assert_close(direction(GNS, J), expected)
        w = {i: max(0.0, cosine[i] * n / J[i].norm()) for i in AUXILIARY}
        expected = g + sum(w[i] * J[i] for i in AUXILIARY)
        torch.testing.assert_close(direction(GCSGNS, J), expected)
        w = {i: max(0.0, cosine[i]) * min(0.8, n / J[i].norm()) for i in AUXILIARY}
        expected = g + sum(w[i] * J[i] for i in AUXILIARY)
        torch.testing.assert_close(direction(GCSGNS, J, max_scale=0.8), expected)
        expected = g + sum(J[i] - min(0.0, J[i] @ g) / n**2 * g for i in AUXILIARY)
        torch.testing.assert_close(direction(AnchoredPCGrad, J), expected)


def test_projected_auxiliaries_never_oppose_the_target():
    for J in cases():
        g = ANCHOR @ J
        assert direction(AnchoredPCGrad, J) @ g >= g @ g * (1 - 1e-12)


@pytest.mark.parametrize("cls", [GCS, GCSGNS, GNS, AnchoredPCGrad])
def test_without_auxiliaries_it_is_the_pooled_target(cls):
    J = random_jacobian(2)
    anchor = torch.tensor([0.4, 0.6]).double()
    torch.testing.assert_close(direction(cls, J, anchor), anchor @ J)


@pytest.mark.parametrize("cls", [GCS, GCSGNS, GNS, AnchoredPCGrad])
def test_the_order_of_tasks_does_not_matter(cls):
    order = torch.tensor([3, 2, 0, 4, 1])
    for J in cases():
        torch.testing.assert_close(
            direction(cls, J), direction(cls, J[order], ANCHOR[order])
        )


def test_scaling_an_auxiliary_loss_changes_no_direction_it_should_not():
    J = random_jacobian(5)
    scaled = J.clone()
    scaled[1] *= 7.0
    a, b = (make(GCS, 5).task_weights(K @ K.T, anchor=ANCHOR) for K in (J, scaled))
    torch.testing.assert_close(a, b)
    long = J * torch.tensor([1e-3, 1.0, 1e-3, 1.0, 1.0]).double()[:, None]
    scaled = long.clone()
    scaled[1] *= 7.0
    torch.testing.assert_close(direction(GNS, long), direction(GNS, scaled))


@pytest.mark.parametrize("cls", [GCS, GCSGNS, GNS, AnchoredPCGrad])
def test_without_a_target_gradient_nothing_moves(cls):
    J = random_jacobian(3)
    method = make(cls, 3)
    weights, report = method.decide(J @ J.T, anchor=torch.zeros(3).double())
    assert weights.tolist() == [0.0] * 3
    assert report.stationary
    # Without an anchor the first task is the target, also where it has no gradient.
    method = make(cls, 3)
    J[0] = 0.0
    weights, report = method.decide(J @ J.T)
    assert weights.tolist() == [0.0] * 3
    assert report.stationary


def test_missing_targets_are_warned_of_and_named_ones_are_used():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = np.column_stack([X[:, 0], -X[:, 0], X[:, 1]])
    settings = {"max_epochs": 2, "random_state": 0}
    model = MultiTaskGNNRegressor("gin", task_weighting="gcs", **settings)
    with pytest.warns(UserWarning, match="GCS.*target_tasks"):
        model.fit(X, y)
    model.set_params(target_tasks=[0]).fit(X, y)
    assert model.history_[-1]["task_weights"]["task_0"] == 1.0
    with pytest.raises(ValueError, match="pool"):
        model.set_params(task_weighting=GCS(pool="rows")).fit(X, y)


def test_the_authors_name_of_a_method_is_understood():
    X, y = np.eye(6), np.arange(12.0).reshape(6, 2)
    by_name, by_class = (
        MultiTaskGNNRegressor(
            task_weighting=name, target_tasks=[0], max_epochs=2, random_state=0
        ).fit(X, y)
        for name in ("gcs+gns", GCSGNS())
    )
    np.testing.assert_array_equal(by_name.predict(X), by_class.predict(X))
    model = MultiTaskGNNRegressor(task_weighting="pc+grad")
    with pytest.raises(ValueError, match=r"'pc\+grad' is unknown"):
        model.fit(X, y)
