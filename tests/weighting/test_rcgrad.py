"""RCGrad against explicit vectors: turning, projecting, learning."""

import numpy as np
import pytest
import torch
from random_jacobians import conflicting_jacobian, make, random_jacobian

from skgnn_mtl.weighting import GNS, AnchoredPCGrad, RCGrad

ANCHOR = torch.tensor([1.0, 0.0, 0.0, 0.0]).double()


def built(**parameters):
    return make(RCGrad, 4, **parameters)


def parts(J):
    """Direction of the target, its length, and the others' lengths and cosines."""
    n0 = J[0].norm()
    norms = J[1:].norm(dim=1)
    return J[0] / n0, n0, norms, J[1:] @ J[0] / (norms * n0)


def rotated(J, x, norm="target"):
    """Sum of the target and of the rotated gradients, vector by vector."""
    u, n0, norms, cosines = parts(J)
    total = J[0].clone()
    for g, n, c in zip(J[1:], norms, cosines, strict=True):
        rho = min(1.0, n0 / n) if norm == "target" else 1.0
        if c < 0:
            v = g / n - c * u
            v = v / v.norm()
            alpha = torch.tensor(np.pi / 2 * (1 - x), dtype=torch.float64)
            g = n * (torch.cos(alpha) * u + torch.sin(alpha) * v)
        total = total + rho * g
    return total


@pytest.mark.parametrize("x", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("norm", ["target", "keep"])
@pytest.mark.parametrize("seed", range(3))
def test_conflicting_gradients_are_rotated_at_constant_length(x, norm, seed):
    for J in (random_jacobian(4, decades=2.0, seed=seed), conflicting_jacobian(4)):
        method = built(rotation_init=x, norm=norm)
        weights = method.task_weights(J @ J.T, anchor=ANCHOR)
        torch.testing.assert_close(weights @ J, rotated(J, x, norm))
        assert (weights @ J) @ J[0] >= J[0] @ J[0] * (1 - 1e-9)


def test_the_two_ends_are_orthogonal_and_parallel():
    J = conflicting_jacobian(2)
    for x, cosine in ((0.0, 0.0), (1.0, 1.0)):
        method = make(RCGrad, 2, rotation_init=x, norm="keep")
        auxiliary = method.task_weights(J @ J.T, anchor=ANCHOR[:2]) @ J - J[0]
        torch.testing.assert_close(auxiliary.norm(), J[1].norm())
        found = auxiliary @ J[0] / (auxiliary.norm() * J[0].norm())
        assert float(found) == pytest.approx(cosine, abs=1e-9)


def test_an_exactly_opposed_gradient_is_left_out_and_a_nearly_opposed_one_capped():
    J = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [-1.0, 1e-3, 0.0]]).double()
    method = make(RCGrad, 3, max_gain=10.0)
    weights = method.task_weights(J @ J.T, anchor=ANCHOR[:3])
    assert weights[1] == 0.0
    assert weights[2] == pytest.approx(10.0, rel=1e-5)
    torch.testing.assert_close((weights @ J)[0], torch.tensor(1.0).double())


def test_the_projecting_modes_are_halves_of_two_others():
    for J in (random_jacobian(4, decades=2.0), conflicting_jacobian(4)):
        G, (_, n0, norms, _) = J @ J.T, parts(J)
        projected = J[1:] - torch.clamp(G[1:, :1], max=0.0) / n0**2 * J[0]
        rho = torch.clamp(n0 / norms, max=1.0)
        for mode in ("released", "schedule"):
            method = built(mode=mode)
            direction = method.task_weights(G, anchor=ANCHOR) @ J
            expected = J[0] + ((rho + 1) / 2) @ projected
            torch.testing.assert_close(direction, expected)
        # With s = rho it is projected GNS.
        method = built(mode="released")
        method.rotation.data[1:] = rho
        direction = method.task_weights(G, anchor=ANCHOR) @ J
        torch.testing.assert_close(direction, J[0] + rho @ projected)
    short = J * torch.tensor([1.0, 1e-2, 1e-2, 1e-2]).double()[:, None]
    G = short @ short.T
    expected = make(AnchoredPCGrad, 4).task_weights(G, anchor=ANCHOR)
    found = built(mode="schedule").task_weights(G, anchor=ANCHOR)
    torch.testing.assert_close(found, expected)


def test_scaling_a_long_auxiliary_loss_changes_nothing():
    J = conflicting_jacobian(4) * torch.tensor([0.1, 1.0, 1.0, 1.0]).double()[:, None]
    scaled = J * torch.tensor([1.0, 7.0, 1.0, 1.0]).double()[:, None]
    directions = [built().task_weights(K @ K.T, anchor=ANCHOR) @ K for K in (J, scaled)]
    torch.testing.assert_close(*directions)
    assert float(make(GNS, 4).task_weights(J @ J.T, anchor=ANCHOR)[1]) < 1.0


def test_released_rotations_fall_in_lock_step_whatever_the_gradients():
    from skgnn_mtl.training._adam import TaskAdam

    method = built(mode="released")
    adam = TaskAdam(method.parameters(), 4, method.lr)
    J = random_jacobian(4)
    losses = torch.tensor([0.2, 5.0, 1.0, 0.3]).double()
    for t in range(1, 51):
        method.task_weights(J @ J.T, anchor=ANCHOR, losses=losses)
        adam.step(None)
        np.testing.assert_allclose(method.rotation_[1:], 1 - 1e-3 * t, atol=5e-3)
    assert method.rotation_[0] == 1.0


def test_the_schedule_falls_with_the_steps():
    method = built(mode="schedule", decay_steps=10, update_every=2)
    J = random_jacobian(4)
    rotations = []
    for _ in range(7):
        method.task_weights(J @ J.T, anchor=ANCHOR)
        rotations.append(method.rotation_[1])
    np.testing.assert_allclose(rotations, [1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0])


def test_learning_follows_the_derivative_of_the_next_loss():
    J, g = conflicting_jacobian(4), random_jacobian(1, seed=9)[0]
    method = built(rotation_init=0.4, norm="keep", rotation_lr=0.02)
    method.task_weights(J @ J.T, anchor=ANCHOR)
    step = 1e-6
    slopes = []
    for i in range(1, 4):
        pair = J[[0, i]]
        up, down = (rotated(pair, 0.4 + h, "keep") @ g for h in (step, -step))
        slopes.append((up - down) / (2 * step * pair[1].norm()))
    # The next evaluation: its target gradient is g.
    K = torch.cat([g[None], J[1:]])
    method.task_weights(K @ K.T, anchor=ANCHOR, lookback=J @ g)
    expected = 0.4 + 0.02 * np.array(slopes) / float(g.norm())
    np.testing.assert_allclose(method.rotation_[1:], expected, rtol=1e-6)


def test_absent_tasks_and_learn_none_keep_their_rotations():
    J = conflicting_jacobian(4)
    lookback = J @ J[0]
    lookback[2] = torch.nan
    method = built(rotation_init=0.4)
    method.task_weights(J @ J.T, anchor=ANCHOR, lookback=lookback)
    assert (method.rotation_ == 0.4).all()  # there is no previous evaluation
    method.task_weights(J @ J.T, anchor=ANCHOR, lookback=lookback)
    assert method.rotation_[2] == 0.4
    assert (method.rotation_[[1, 3]] != 0.4).all()
    still = built(rotation_init=0.4, learn=None)
    for _ in range(2):
        still.task_weights(J @ J.T, anchor=ANCHOR, lookback=J @ J[0])
    assert (still.rotation_ == 0.4).all()


@pytest.mark.parametrize("helpful", [True, False])
def test_rotations_follow_the_use_of_the_orthogonal_part(helpful):
    """Noisy gradients of the target; the auxiliary task has their mean, or not."""
    rng, mean = np.random.default_rng(0), np.array([1.0, 0.0])
    method = make(RCGrad, 2, rotation_lr=0.05)
    last, rotations = None, []
    for _ in range(400):
        target = mean + (1.0 if helpful else 0.05) * rng.normal(size=2)
        own = mean if helpful else rng.normal(size=2) * [0.0, 1.0]
        J = torch.tensor(np.stack([target, own - 2.0 * target]))
        lookback = None if last is None else last @ J[0]
        method.task_weights(J @ J.T, anchor=ANCHOR[:2], lookback=lookback)
        last = J
        rotations.append(method.rotation_[1])
    settled = np.mean(rotations[200:])
    assert (settled < 0.8) if helpful else (settled > 0.9)


def test_wrong_parameters_are_refused():
    for parameters in ({"mode": "spin"}, {"norm": 1}, {"learn": "last"}):
        with pytest.raises(ValueError, match=f"{next(iter(parameters))} must be one"):
            built(**parameters)


def test_rotations_that_cannot_be_learned_are_refused():
    """At the representation no evaluation has the gradients of the one before."""
    for learn in ("next", "heldout"):
        with pytest.raises(ValueError, match=f"learn='{learn}' needs.*learn=None"):
            make(RCGrad, 2, learn=learn, gradients="representation")
    make(RCGrad, 2, learn=None, gradients="representation")
    make(RCGrad, 2, mode="schedule", gradients="representation")
