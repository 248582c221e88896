"""GO4Align against the rule of its code, and groups against all groupings."""

import itertools

import numpy as np
import pytest
import torch

from skgnn_mtl.weighting import GO4Align
from skgnn_mtl.weighting._go4align import exact_k_means

RNG = np.random.default_rng(0)


def make(n_tasks, **parameters):
    method = GO4Align(**parameters)
    method.build(n_tasks)
    return method


def groupings(t, k):
    """All labellings of t numbers by at most k groups."""
    return itertools.product(range(k), repeat=t)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_groups_have_the_least_sum_of_squares(k):
    for _ in range(5):
        x = RNG.lognormal(size=5)
        found = exact_k_means(x, k)
        costs = []
        for labels in groupings(5, min(k, 5)):
            groups = [x[np.array(labels) == g] for g in set(labels)]
            costs.append(sum(((g - g.mean()) ** 2).sum() for g in groups))
        assert ((x - found) ** 2).sum() == pytest.approx(min(costs), abs=1e-12)
        # The mean of each group stands for its members.
        for value in set(found):
            assert x[found == value].mean() == pytest.approx(value)


def test_groups_of_numbers_far_from_zero_are_as_exact():
    values = np.array([0.0, 1.0, 4.0, 6.0, 7.0, 20.0])
    near = exact_k_means(values, 3)
    np.testing.assert_allclose(exact_k_means(1e8 + values, 3) - 1e8, near, atol=1e-6)
    np.testing.assert_allclose(near, [0.5, 0.5, *3 * [17 / 3], 20.0])


def test_groups_of_equal_and_huge_numbers():
    np.testing.assert_array_equal(exact_k_means(np.ones(4), 2), np.ones(4))
    np.testing.assert_array_equal(exact_k_means(np.zeros(3), 2), np.zeros(3))
    np.testing.assert_allclose(
        exact_k_means(np.array([1e200, 3.0, 1e200]), 2), [1e200, 3.0, 1e200]
    )


def published(losses, eta, k):
    """The released rule over some batches, with exact groups by enumeration."""
    p = np.ones(losses.shape[1]) / losses.shape[1]
    for L in losses:
        p = p * np.exp(-eta * L)
        p = p / p.sum()
        gamma = L.sum() / L * p
        best = min(
            groupings(len(L), k),
            key=lambda labels: sum(
                ((g - g.mean()) ** 2).sum()
                for g in (gamma[np.array(labels) == c] for c in set(labels))
            ),
        )
        labels = np.array(best)
        weights = np.array([gamma[labels == c].mean() for c in labels])
    return weights


@pytest.mark.parametrize("k", [1, 2, 3])
def test_weights_are_those_of_the_released_rule(k):
    losses = RNG.lognormal(size=(6, 5))
    method = make(5, n_groups=k, step_size=0.3)
    for L in losses:
        found = method.task_weights(torch.from_numpy(L))
    np.testing.assert_allclose(found, published(losses, 0.3, k), rtol=1e-6)


def test_one_group_per_task_undoes_the_scales():
    losses = torch.tensor([1.0, 100.0, 0.01], dtype=torch.float64)
    weights = make(3, n_groups=3, step_size=0.0).task_weights(losses)
    torch.testing.assert_close(
        weights * losses, (losses.sum() / 3).expand(3), rtol=1e-5, atol=0
    )


def test_rarely_present_tasks_are_compared_with_the_others():
    """An absent task does not gain on those that shrink meanwhile."""
    method = make(3, n_groups=3, step_size=0.5)
    both = torch.tensor([1.0, 1.0], dtype=torch.float64)
    for _ in range(50):
        method.task_weights(both, tasks=torch.tensor([0, 1]))
    weights = method.task_weights(torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(weights, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("n_groups", [0, 1.5, True])
def test_a_wrong_number_of_groups_is_named(n_groups):
    with pytest.raises(ValueError, match="n_groups"):
        make(3, n_groups=n_groups)
