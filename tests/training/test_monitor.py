"""What an epoch tells of the gradients that were looked at."""

import warnings

import numpy as np
import pytest
import torch
from random_tasks import N_TASKS, batch, jacobian_of, model, step

from skgnn_mtl.training._monitor import GradientMonitor
from skgnn_mtl.weighting import SolverReport, UPGrad


def gramian(*norms, conflict=False):
    """Gradients of these norms that are orthogonal, or of which one pair conflicts."""
    G = torch.diag(torch.tensor(norms) ** 2).double()
    if conflict:
        G[0, 1] = G[1, 0] = -0.5 * norms[0] * norms[1]
    return G


def test_conflicts_are_a_mean_and_ratios_of_norms_a_median():
    monitor = GradientMonitor()
    for G in (
        gramian(1.0, 2.0, 3.0, conflict=True),
        gramian(5.0, 1.0, 5.0),
        gramian(0.1, 2.0, 4.0),
    ):
        monitor.note(G, None)
    assert monitor.end_epoch() == {
        "conflict_share": pytest.approx(1 / 9),
        "norm_ratio": pytest.approx(5.0),
    }
    assert monitor.end_epoch() == {}


def test_a_single_task_and_a_vanished_one_have_no_ratio():
    monitor = GradientMonitor()
    monitor.note(gramian(2.0), None)
    monitor.note(gramian(2.0, 0.0), None)
    assert monitor.end_epoch() == {}


def test_an_epoch_tells_of_the_gradients_of_its_steps():
    surgery, network = step(UPGrad()), model()
    ratios, conflicts = [], []
    for rows in (None, range(10, 25), range(20)):
        graphs, labels = batch(rows)
        losses, _ = surgery.losses(network, graphs, labels)
        J = jacobian_of(losses, network.shared_parameters())
        lengths = J.norm(dim=1)
        ratios.append(float(lengths.max() / lengths.min()))
        pairs = (J @ J.T)[*np.triu_indices(N_TASKS, k=1)]
        conflicts.append(float((pairs < 0).double().mean()))
        surgery.backward(network, graphs, labels)
    summary = surgery.end_epoch(np.ones(N_TASKS))
    assert summary["norm_ratio"] == pytest.approx(np.median(ratios))
    assert min(ratios) > 1.2
    assert summary["conflict_share"] == pytest.approx(np.mean(conflicts))


def test_a_vanished_auxiliary_gradient_counts_in_the_norms_only():
    monitor = GradientMonitor()
    anchor = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for norm in (0.0, 3.0):
        monitor.note_auxiliaries(
            gramian(2.0, 1.0, norm, conflict=True), anchor, tasks=None
        )
    summary = monitor.end_epoch()
    assert summary["target_norm"] == pytest.approx(2.0)
    assert summary["norms"] == {1: pytest.approx(1.0), 2: pytest.approx(1.5)}
    assert summary["cosines"] == {1: pytest.approx(-0.5), 2: 0.0}
    assert summary["conflict_shares"] == {1: 1.0, 2: 0.0}


@pytest.mark.parametrize(("share", "warned"), [(0.2, True), (0.6, False)])
def test_few_labels_in_common_are_told_for_representation_gradients(share, warned):
    monitor = GradientMonitor()
    labelled = torch.ones(100, 2, dtype=torch.bool)
    labelled[: int(100 * (1 - share)), 1] = False
    monitor.note_labels(labelled)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor.end_fit("PCGrad()")
    assert bool(caught) == warned


def test_a_task_without_labels_in_training_has_none_in_common():
    monitor = GradientMonitor()
    monitor.note_labels(torch.tensor([[True, False], [True, False]]))
    with pytest.warns(UserWarning, match="the labels of only 0% of their graphs"):
        monitor.end_fit("PCGrad()")


def test_the_warnings_of_a_training_that_goes_on_count_all_of_it():
    first, second = GradientMonitor(), GradientMonitor()
    first.note(torch.eye(2), SolverReport(residual=1.0, converged=False))
    first.note_labels(torch.tensor([[True, False], [False, True]]))
    first.end_epoch()
    second.load_state_dict(first.state_dict())
    second.note(torch.eye(2), SolverReport(residual=0.0))
    with pytest.warns() as caught:
        second.end_fit("Method()")
    texts = [str(warning.message) for warning in caught]
    assert "did not converge in 1 of 2 steps" in texts[0]
    assert "of only 0%" in texts[1]
