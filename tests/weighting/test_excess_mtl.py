"""ExcessMTL against its formulas, and as TorchJD has it."""

import numpy as np
import pytest
import torch
from random_jacobians import random_jacobian

from skgnn_mtl.weighting import ExcessMTL


def make(n_tasks, **parameters):
    method = ExcessMTL(**parameters)
    method.build(n_tasks)
    return method


def batches(n, n_tasks=3, decades=1.0):
    return [random_jacobian(n_tasks, decades=decades, seed=k) for k in range(n)]


def run(method, matrices, n_warmup):
    for k, J in enumerate(matrices):
        direction = method.direction(J)
        if k + 1 == n_warmup:
            method.end_epoch(torch.ones(len(J)))
    return direction


def test_weights_are_those_of_the_published_rule():
    matrices, method = batches(8), make(3, step_size=0.3, warmup_epochs=1)
    found = run(method, matrices, 3)
    sums, risks, alpha = np.zeros((3, 30)), [], np.ones(3) / 3
    for J in matrices:
        g = J.numpy()
        sums += g**2
        hessian = [np.diag(row) for row in np.sqrt(sums + 1e-7)]
        risks.append([g[t] @ np.linalg.inv(hessian[t]) @ g[t] for t in range(3)])
    baseline = np.mean(risks[:3], axis=0) + 1e-7
    for risk in risks[3:]:
        alpha = alpha * np.exp(0.3 * np.array(risk) / baseline)
        alpha = alpha / alpha.sum()
    np.testing.assert_allclose(found, 3 * alpha @ matrices[-1].numpy(), rtol=1e-9)


def test_the_warm_up_is_the_plain_sum():
    method = make(3, warmup_epochs=2)
    for J in batches(2):
        torch.testing.assert_close(method.direction(J), J.sum(dim=0))
        method.end_epoch(torch.ones(3))
    assert not torch.allclose(
        method.direction(batches(3)[2]), batches(3)[2].sum(dim=0), rtol=1e-3
    )


def test_units_of_a_loss_do_not_change_the_weights():
    units = torch.tensor([1e3, 1.0, 1e-1], dtype=torch.float64)[:, None]
    matrices = batches(6, decades=2.0)
    plain = run(make(3, step_size=0.3, warmup_epochs=1), matrices, 2)
    scaled = make(3, step_size=0.3, warmup_epochs=1)
    run(scaled, [units * J for J in matrices], 2)
    # The same weights, on gradients in the first units.
    weights = 3 * torch.softmax(scaled.log_weights, dim=0)
    torch.testing.assert_close(weights @ matrices[-1], plain, rtol=1e-3, atol=1e-3)


def test_a_task_that_is_new_after_the_warm_up_has_the_common_baseline():
    method = make(2, warmup_epochs=1)
    J = random_jacobian(2, decades=0.0)
    method.direction(J[:1], tasks=torch.tensor([0]))
    method.end_epoch(torch.ones(2))
    assert torch.isfinite(method.direction(J)).all()
    assert method.log_weights.abs().max() < 5.0


def test_torchjd_has_the_same_weights():
    aggregation = pytest.importorskip("torchjd.aggregation")
    matrices, method = batches(7), make(3, step_size=0.2, warmup_epochs=1)
    theirs = aggregation.ExcessMTLWeighting(0.2, n_warmup_steps=3)
    found = run(method, matrices, 3)
    for J in matrices:
        weights = theirs(J)
    torch.testing.assert_close(found, 3 * weights @ matrices[-1])
