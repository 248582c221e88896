"""LDC-MTL against the rule of its code."""

import numpy as np
import torch

from skgnn_mtl.weighting import LDCMTL

RNG = np.random.default_rng(0)


def make(n_tasks, **parameters):
    method = LDCMTL(**parameters)
    method.build(n_tasks)
    return method


def published(v, losses, first, penalty):
    """The released objective, by loops; the sum of weights is a constant."""
    sigma = torch.sigmoid(torch.relu(v))
    logs = [torch.log(a / b) for a, b in zip(losses, first, strict=True)]
    total = sum(s * x for s, x in zip(sigma, logs, strict=True))
    total = total / float(sigma.detach().sum())
    for k in range(len(logs) - 1):
        total = total + penalty * abs(sigma[k] * logs[k] - sigma[k + 1] * logs[k + 1])
    return total


def test_weights_and_slopes_are_those_of_the_released_rule():
    batches = torch.from_numpy(RNG.lognormal(size=(4, 5)))
    method = make(5, penalty=0.2)
    v = torch.tensor([0.6, -0.4, 1.0, 0.0, 2.0], dtype=torch.float64)
    method = method.double()
    method.logits.data.copy_(v)
    for L in batches:
        method.logits.grad = None
        found = method.task_weights(L)
    own, leaf = v.clone().requires_grad_(), batches[-1].clone().requires_grad_()
    total = published(own, leaf, batches[0], 0.2)
    expected, slopes = torch.autograd.grad(total, [leaf, own])
    torch.testing.assert_close(found, 5 * expected, rtol=1e-6, atol=1e-9)
    # Where v is 0 the slope of max(0, v) has no single value.
    known = v != 0
    torch.testing.assert_close(
        method.logits.grad[known], 5 * slopes[known], rtol=1e-5, atol=1e-8
    )
    assert method.logits.grad[1] == 0.0


def test_an_epoch_begins_with_its_own_losses():
    method = make(2)
    start, later = torch.tensor([1.0, 4.0]), torch.tensor([0.5, 3.0])
    first = method.task_weights(start)
    torch.testing.assert_close(first * start, torch.ones(2))
    # Now the second task has fallen less than its neighbour.
    changed = method.task_weights(later)
    assert (changed * later)[1] > 1.0 > (changed * later)[0]
    method.end_epoch(torch.ones(2))
    again = method.task_weights(later)
    torch.testing.assert_close(again * later, torch.ones(2))


def test_a_task_that_comes_later_begins_with_its_own_loss():
    method = make(3)
    method.task_weights(torch.tensor([1.0, 2.0]), tasks=torch.tensor([0, 2]))
    assert method.first_losses[1].isnan()
    method.task_weights(torch.tensor([1.0, 7.0, 2.0]))
    assert method.first_losses.tolist() == [1.0, 7.0, 2.0]


def test_the_weights_learn_to_lower_the_discrepancy():
    """A task that falls faster than its neighbour loses weight in the gap."""
    method = make(2, penalty=5.0).double()
    optimizer = torch.optim.Adam(method.parameters(), lr=0.02)
    start = torch.tensor([1.0, 1.0], dtype=torch.float64)
    now = torch.tensor([0.1, 0.8], dtype=torch.float64)
    method.task_weights(start)
    for _ in range(200):
        optimizer.zero_grad()
        method.task_weights(now)
        optimizer.step()
    sigma = torch.sigmoid(method.logits.detach().clamp(min=0))
    assert sigma[0] < 0.55 < sigma[1]
