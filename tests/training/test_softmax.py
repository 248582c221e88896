"""The cross-entropy of tasks with different numbers of classes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skgnn_mtl.training import SoftmaxLoss, logistic, task_losses

COUNTS = (2, 4, 3)


def draw(n=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(n, 4 * len(COUNTS), generator=generator, dtype=torch.float64)
    columns = [torch.randint(count, (n,), generator=generator) for count in COUNTS]
    return 3 * outputs, torch.stack(columns, dim=1).double()


def own(outputs, task):
    """Logits of the classes of a task, (n, n_classes)."""
    table = outputs[:, task :: len(COUNTS)][:, : COUNTS[task]]
    if COUNTS[task] > 2:
        return table
    return torch.stack([torch.zeros(len(table)), table[:, 0]], dim=1)


def test_it_is_the_cross_entropy_of_torch():
    outputs, targets = draw()
    losses = SoftmaxLoss(COUNTS)(outputs, targets)
    assert losses.shape == targets.shape
    for t in range(len(COUNTS)):
        wanted = F.cross_entropy(
            own(outputs, t), targets[:, t].long(), reduction="none"
        )
        torch.testing.assert_close(losses[:, t], wanted)


def test_gaps_have_no_part_in_the_loss_of_a_task():
    outputs, targets = draw()
    weights = (torch.rand(targets.shape) < 0.6).double()
    targets = torch.where(weights > 0, targets, 1.0)
    losses, mass = task_losses(outputs, targets, weights, SoftmaxLoss(COUNTS))
    assert mass.tolist() == weights.sum(dim=0).tolist()
    for t in range(len(COUNTS)):
        rows = weights[:, t] > 0
        wanted = F.cross_entropy(own(outputs, t)[rows], targets[rows, t].long())
        torch.testing.assert_close(losses[t], wanted)


def test_of_two_classes_it_is_the_logistic_loss():
    outputs = torch.linspace(-30, 30, 61)[:, None]
    for target in (0.0, 1.0):
        targets = torch.full_like(outputs, target)
        torch.testing.assert_close(
            SoftmaxLoss((2,))(outputs, targets), logistic(outputs, targets)
        )


def test_each_loss_depends_on_the_outputs_of_its_task_alone():
    outputs, targets = draw(n=5)
    loss = SoftmaxLoss(COUNTS)
    for t, count in enumerate(loss.n_outputs):
        at = outputs.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(loss(at, targets)[:, t].sum(), at)
        touched = slopes.abs().sum(dim=0) > 0
        columns = [k * len(COUNTS) + t for k in range(count)]
        assert np.flatnonzero(touched).tolist() == columns
        # A constant does not change probabilities, so the slopes of several sum to 0.
        if count > 1:
            assert slopes.sum(dim=1).abs().max() < 1e-12


def test_it_has_first_and_second_derivatives():
    outputs, targets = draw(n=4)
    loss = SoftmaxLoss(COUNTS)
    at = outputs.requires_grad_()
    assert torch.autograd.gradcheck(lambda o: loss(o, targets), at)
    assert torch.autograd.gradgradcheck(lambda o: loss(o, targets), at)


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_large_logits_neither_overflow_nor_vanish(size):
    outputs = torch.tensor([[0.0, 0.0, size]], requires_grad=True)
    losses = SoftmaxLoss((3,))(outputs, torch.tensor([[0.0]]))
    (slopes,) = torch.autograd.grad(losses.sum(), outputs)
    assert losses.item() == pytest.approx(max(size, np.log(2)), rel=1e-6)
    assert slopes.isfinite().all()
