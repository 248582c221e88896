"""Per-task gradients: the Jacobian, what is done with it, and what it costs."""

import math

import numpy as np
import pytest
import torch
from random_jacobians import ANCHORED, GRAMIAN_METHODS, make
from random_tasks import (
    GRAPHS,
    N_TASKS,
    TASKS,
    WEIGHTS,
    batch,
    jacobian_of,
    model,
    step,
)
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skgnn_mtl._flat import flat_size, unflatten
from skgnn_mtl._gram import gram
from skgnn_mtl.encoders import GAT, GCN, GIN
from skgnn_mtl.readouts import Attention, Mean, Sum
from skgnn_mtl.training import LOSSES, TrainingStep
from skgnn_mtl.training._adam import TaskAdam
from skgnn_mtl.training._jacobian import (
    fill_jacobian,
    representation_gramian,
    task_pass,
)
from skgnn_mtl.weighting import (
    DBMTL,
    FAMO,
    GNS,
    MGDA,
    AnchoredPCGrad,
    CAGrad,
    Fixed,
    GradDrop,
    GramianWeighting,
    NashMTL,
    PCGrad,
    SolverReport,
    Uncertainty,
    UPGrad,
)


def jacobian(network, graphs, labels, tasks=TASKS, chunk=1, loss="squared_error"):
    result = task_pass(network, graphs, labels, LOSSES[loss])
    shared = network.shared_parameters()
    J = torch.full(
        (len(tasks), flat_size(shared)), torch.nan, dtype=labels.targets.dtype
    )
    fill_jacobian(J, result, tasks, shared, chunk)
    return J


def by_hand(network, graphs, labels, loss="squared_error"):
    """One backward pass of each task's own loss."""
    evaluation = TrainingStep(Fixed(), LOSSES[loss], N_TASKS)
    losses, _ = evaluation.losses(network, graphs, labels)
    return jacobian_of(losses, network.shared_parameters())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rows", [None, range(6)], ids=["all", "one absent"])
def test_rows_are_the_gradients_of_each_loss(loss, rows):
    network, (graphs, labels) = model(), batch(rows)
    torch.testing.assert_close(
        jacobian(network, graphs, labels, loss=loss),
        by_hand(network, graphs, labels, loss),
    )


@pytest.mark.parametrize("chunk", [2, 3, 4])
@pytest.mark.parametrize("encoder", [GIN, GCN, GAT])
@pytest.mark.parametrize("readout", [Mean, Sum, Attention])
def test_chunks_equal_the_loop(encoder, readout, chunk):
    network = model(encoder(width=8, n_layers=2), readout(), torch.float32)
    graphs, labels = batch(dtype=torch.float32)
    loop = jacobian(network, graphs, labels)
    chunks = jacobian(network, graphs, labels, chunk=chunk)
    torch.testing.assert_close(chunks, loop, rtol=1e-5, atol=1e-6)


def test_a_chunk_that_does_not_fit_in_memory_is_halved(memory_of):
    asked = memory_of(1)
    surgery = step(UPGrad(), chunk=4)
    network, (graphs, labels) = model(), batch()
    surgery.backward(network, graphs, labels)
    surgery.backward(network, graphs, labels)
    # The second step begins with the size that fitted in the first.
    assert [n for n in asked if n > 1] == [4, 2]


@pytest.mark.parametrize("task", range(N_TASKS))
def test_a_masked_batch_is_the_batch_of_the_labelled_rows(task):
    network = model()
    rows = np.flatnonzero(WEIGHTS[:, task])
    torch.testing.assert_close(
        jacobian(network, *batch())[task], jacobian(network, *batch(rows))[task]
    )


@pytest.mark.parametrize("name", GRAMIAN_METHODS)
@pytest.mark.parametrize("rows", [None, range(6)], ids=["all", "one absent"])
@pytest.mark.parametrize("gradients", ["parameters", "representation"])
def test_the_body_follows_the_weighted_losses_and_heads_their_own(
    name, rows, gradients
):
    parameters = {"gradients": gradients}
    if name == "rcgrad":  # does not learn at the representation
        parameters["learn"] = None
    if name == "ntkmtlsr" and gradients == "parameters":
        parameters["n_splits"] = 1
    method = make(GRAMIAN_METHODS[name], N_TASKS, **parameters)
    changes = {"targets": [0]} if name in ANCHORED else {}
    surgery, network, (graphs, labels) = step(method, **changes), model(), batch(rows)
    record = surgery.backward(network, graphs, labels)
    weights = record.weights
    if rows is not None:
        assert weights[2] == 0
    losses, mass = surgery.losses(network, graphs, labels)
    torch.testing.assert_close(record.losses, losses.detach())
    torch.testing.assert_close(record.mass, mass)
    shared = network.shared_parameters()
    expected = torch.autograd.grad((weights * losses).sum(), shared, retain_graph=True)
    for parameter, gradient in zip(shared, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    heads = list(network.heads.parameters())
    factors = weights if name == "ntkmtlsr" else torch.ones_like(weights)
    expected = torch.autograd.grad((factors * losses).sum(), heads)
    for parameter, gradient in zip(heads, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_weights_are_those_of_the_method_on_the_jacobian():
    network, (graphs, labels) = model(), batch()
    J = by_hand(network, graphs, labels)
    record = step(NashMTL()).backward(network, graphs, labels)
    torch.testing.assert_close(
        record.weights, make(NashMTL, N_TASKS).task_weights(J @ J.T)
    )


@pytest.mark.parametrize("cls", [GradDrop, DBMTL])
def test_directions_of_jacobian_methods_reach_the_parameters(cls):
    network, (graphs, labels) = model(), batch()
    J = by_hand(network, graphs, labels)
    surgery = step(cls())
    record = surgery.backward(network, graphs, labels)
    direction = make(cls, N_TASKS).direction(
        J, losses=record.losses, generator=torch.Generator().manual_seed(0)
    )
    shared = network.shared_parameters()
    for parameter, part in zip(shared, unflatten(direction, shared), strict=True):
        torch.testing.assert_close(parameter.grad, part)
    # the recorded weights come as near to it as a combination can
    rest = direction - record.weights @ J
    assert (J @ rest).abs().max() < 1e-8 * direction.norm() * J.norm()


def representations(network, graphs, labels, rows=slice(None)):
    """Gradients with respect to the representation, one autograd call per task."""
    result = task_pass(network, graphs, labels, LOSSES["squared_error"])
    z = result.representation.detach().requires_grad_()
    outputs = network.heads(z)
    grads = [
        torch.autograd.grad(outputs, z, result.column(t), retain_graph=True)[0][rows]
        for t in range(N_TASKS)
    ]
    K = torch.stack([g.reshape(-1) for g in grads])
    return K @ K.T, result


def test_the_representation_gramian_is_closed_for_linear_heads():
    network, (graphs, labels) = model(), batch()
    expected, result = representations(network, graphs, labels)
    torch.testing.assert_close(
        representation_gramian(result, TASKS), expected, rtol=1e-12, atol=0
    )


def test_the_representation_gramian_of_other_heads_is_explicit():
    network, (graphs, labels) = model(), batch()
    network.heads = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, N_TASKS))
    network.heads.double()
    expected, result = representations(network, graphs, labels)
    torch.testing.assert_close(representation_gramian(result, TASKS), expected)
    record = step(MGDA(gradients="representation")).backward(network, graphs, labels)
    torch.testing.assert_close(
        record.weights, make(MGDA, N_TASKS).task_weights(expected)
    )


def test_parts_of_a_batch_are_batches_of_their_own():
    network, (graphs, labels) = model(), batch()
    n, seen = len(GRAPHS), {}

    class Spy(GramianWeighting):
        n_splits = 3

        def forward(self, gramian):
            seen["gramians"] = gramian
            return gramian.new_ones(gramian.shape[-1])

    step(Spy(gradients="representation")).backward(network, graphs, labels)
    edges = np.linspace(0, n, 4).astype(int)
    for k, rows in enumerate(np.split(np.arange(n), edges[1:-1])):
        expected, _ = representations(network, *batch(rows))
        torch.testing.assert_close(seen["gramians"][k], expected)


class Counting(GramianWeighting):
    """Counts its calls; the weights encode the call and the task."""

    def __init__(self, update_every=1, gradients="parameters"):
        super().__init__()
        self.update_every = update_every
        self.gradients = gradients
        self.seen = []

    def forward(self, gramian, tasks=None):
        rows = TASKS if tasks is None else tasks
        self.seen.append(rows.tolist())
        return (1.0 + rows + 10 * len(self.seen)).to(gramian)


@pytest.mark.parametrize("every", [1, 3, 10])
def test_weights_are_kept_between_two_evaluations(every):
    method, network = Counting(every), model()
    surgery, (graphs, labels) = step(method), batch()
    for k in range(7):
        record = surgery.backward(network, graphs, labels)
        call = 1 + k // every
        assert record.weights.tolist() == [11.0 + t + 10 * (call - 1) for t in range(4)]
        losses, _ = surgery.losses(network, graphs, labels)
        shared = network.shared_parameters()
        expected = torch.autograd.grad((record.weights * losses).sum(), shared)
        for parameter, gradient in zip(shared, expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
    assert len(method.seen) == math.ceil(7 / every)


def test_absent_tasks_are_left_out_and_keep_their_weight():
    method, network = Counting(update_every=2), model()
    surgery = step(method)
    surgery.backward(network, *batch())  # looks, all present
    surgery.backward(network, *batch())
    record = surgery.backward(network, *batch(range(6)))  # looks, task 2 absent
    assert method.seen == [[0, 1, 2, 3], [0, 1, 3]]
    assert record.weights.tolist() == [21.0, 22.0, 0.0, 24.0]
    assert network.heads.weight.grad[2].tolist() == [0.0] * 5
    record = surgery.backward(network, *batch())
    assert record.weights.tolist() == [21.0, 22.0, 13.0, 24.0]


@pytest.mark.parametrize("gradients", ["parameters", "representation"])
@pytest.mark.parametrize("cls", [GNS, AnchoredPCGrad])
def test_targets_are_pooled_anew_between_two_evaluations(cls, gradients):
    """The evaluation had no label of target 2; the pooled loss counts as before."""
    method, network = cls(update_every=2, gradients=gradients), model()
    with torch.no_grad():  # the auxiliary gradient opposes that of the targets
        network.heads.weight[3] = network.heads.weight[:3].sum(dim=0)

    def opposed(rows=None):
        graphs, labels = batch(rows)
        labels.targets[:, :3] -= 100
        labels.targets[:, 3] += 100
        return graphs, labels

    surgery = step(method, targets=[0, 1, 2])
    seen = surgery.backward(network, *opposed(range(6))).weights
    assert seen[2] == 0.0
    # Of this method the pooled loss counts more than once.
    factor = float(seen[:3].sum())
    assert factor > 1.05 if cls is AnchoredPCGrad else factor == pytest.approx(1.0)
    graphs, labels = opposed()
    kept = surgery.backward(network, graphs, labels).weights
    mass = labels.weights.sum(dim=0)[:3]
    torch.testing.assert_close(kept[:3], mass / mass.sum() * seen[:3].sum())
    assert kept[3] == seen[3]
    # Also in a training that continues from the evaluation.
    first = step(cls(update_every=2, gradients=gradients), targets=[0, 1, 2])
    first.backward(network, *opposed(range(6)))
    later = TrainingStep(first.weighting, first.loss, N_TASKS, targets=[0, 1, 2])
    later.restore(first.state())
    again = later.backward(network, graphs, labels).weights
    torch.testing.assert_close(again, kept)


@pytest.mark.parametrize("targets", [None, [0, 1]])
@pytest.mark.parametrize("gradients", ["parameters", "representation"])
def test_weightings_receive_double_precision_from_any_network(gradients, targets):
    class Spy(GramianWeighting):
        pool = None if targets is None else "tasks"

        def __init__(self):
            super().__init__()
            self.gradients = gradients

        def forward(self, gramian):
            self.seen = gramian
            return gramian.new_ones(len(gramian))

    single, double = Spy(), Spy()
    for spy, dtype in ((single, torch.float32), (double, torch.float64)):
        training = step(spy, targets=targets)
        training.backward(model(dtype=dtype), *batch(dtype=dtype))
    assert single.seen.dtype == torch.float64
    torch.testing.assert_close(single.seen, double.seen, rtol=1e-4, atol=1e-6)
    # Products of rows in single precision have more digits than that.
    assert (single.seen != single.seen.float()).any()


@pytest.mark.parametrize("method", [CAGrad(), UPGrad()], ids=str)
def test_the_gramian_of_single_precision_gradients_is_in_double(method):
    """In single precision nearly opposite gradients give steps a hundred times long."""
    rng = torch.Generator().manual_seed(0)
    for _ in range(10):
        first, noise, other = torch.randn(3, 20_000, generator=rng)
        J = torch.stack([first, 1e-4 * noise - first, other])
        step_length = (method.task_weights(gram(J)).to(J) @ J).norm()
        assert step_length < 2.0 * J.norm(dim=1).mean()


def test_a_continued_step_keeps_weights_age_and_moments():
    network = model()
    first = step(Counting(update_every=3))
    for _ in range(2):
        first.backward(network, *batch())
    second = TrainingStep(first.weighting, LOSSES["huber"], N_TASKS)
    second.restore(first.state())
    second.backward(network, *batch())
    assert len(first.weighting.seen) == 1
    second.backward(network, *batch())
    assert len(first.weighting.seen) == 2
    learned = step(Uncertainty())
    learned.backward(network, *batch())
    again = TrainingStep(learned.weighting, LOSSES["huber"], N_TASKS)
    again.restore(learned.state())
    assert again._adam.state[0]["steps"].tolist() == [1.0] * 4


def test_a_frozen_body_leaves_only_heads_to_train():
    network, (graphs, labels) = model(), batch()
    for parameter in network.shared_parameters():
        parameter.requires_grad_(False)
    for method in (NashMTL(), UPGrad(gradients="representation"), GradDrop()):
        record = step(method).backward(network, graphs, labels)
        assert torch.isfinite(record.weights).all()
        losses, _ = step(Fixed(np.ones(4))).losses(network, graphs, labels)
        heads = list(network.heads.parameters())
        for parameter, gradient in zip(
            heads, torch.autograd.grad(losses.sum(), heads), strict=True
        ):
            torch.testing.assert_close(parameter.grad, gradient)


def test_everything_up_to_the_gramian_runs_on_the_meta_device():
    graphs, labels = batch(dtype=torch.float32)
    network = model(dtype=torch.float32).to("meta")
    graphs = graphs.to("meta")
    J = torch.empty(N_TASKS, flat_size(network.shared_parameters()), device="meta")
    result = task_pass(network, graphs, labels, LOSSES["squared_error"])
    fill_jacobian(J, result, TASKS, network.shared_parameters())
    assert (J @ J.t()).device.type == "meta"
    assert representation_gramian(result, TASKS).shape == (4, 4)


def test_broken_gradients_are_an_error():
    network, (graphs, labels) = model(), batch()
    with torch.no_grad():
        network.heads.weight.mul_(1e300)
    with pytest.raises(FloatingPointError, match="gradient of the loss became"):
        step(UPGrad()).backward(network, graphs, labels)


# -- learning of the weightings ----------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_adam_of_weightings_is_adam(decay):
    mine, theirs = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    ours = TaskAdam([mine], 3, 0.1, decay)
    adam = torch.optim.Adam([theirs], lr=0.1, weight_decay=decay)
    for k in range(5):
        gradient = torch.tensor([1.0, -2.0, 0.1 * k], dtype=torch.float64)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step(None)
        adam.step()
        torch.testing.assert_close(mine, theirs)
        assert mine.grad is None


def test_the_adam_of_weightings_does_not_change_absent_tasks():
    value = nn.Parameter(torch.zeros(3))
    scalar = nn.Parameter(torch.zeros(()))
    adam = TaskAdam([value, scalar], 3, 0.1, 0.5)
    for tasks in (None, torch.tensor([0, 2])):
        before = value[1].item()
        value.grad, scalar.grad = torch.ones(3), torch.ones(())
        adam.step(tasks)
    assert value[1].item() == before
    assert adam.state[0]["steps"].tolist() == [2.0, 1.0, 2.0]
    assert scalar.item() == pytest.approx(-0.2, abs=1e-2)


def test_famo_receives_the_losses_before_and_after_with_the_same_masks():
    network = model(GIN(width=6, n_layers=2, dropout=0.5), dtype=torch.float32)
    graphs, labels = batch(dtype=torch.float32)
    seen, surgery = [], step(FAMO())
    surgery.weighting.after_step = lambda *losses: seen.append(losses)
    network.train()
    record = surgery.backward(network, graphs, labels)
    statistics = {k: v.clone() for k, v in network.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    surgery.after_step(network, graphs, labels, record)  # no optimizer in between
    before, after, tasks = seen[0]
    assert tasks is None
    torch.testing.assert_close(before, after)
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in network.state_dict().items():
        assert torch.equal(value, statistics[key])


# -- records and warnings ---------------------------------------------------------


class Failing(GramianWeighting):
    def forward(self, gramian):
        report = SolverReport(residual=0.5, n_iter=50, converged=False)
        return gramian.new_ones(len(gramian)), report


def test_failures_are_counted_and_warned_of_once():
    surgery, network = step(Failing()), model()
    for _ in range(3):
        surgery.backward(network, *batch())
    summary = surgery.end_epoch(np.ones(N_TASKS))
    assert summary["solver"] == {
        "calls": 3,
        "worst_residual": 0.5,
        "iterations": 150,
        "failures": 3,
        "stationary": 0,
        "flips": 0,
    }
    assert surgery.end_epoch(np.ones(N_TASKS)) == {}
    with pytest.warns(ConvergenceWarning, match="Failing.* in 3 of 3 steps"):
        surgery.monitor.end_fit("Failing()")


# -- a toy that only scale-free methods solve ----------------------------------------


def test_scale_free_methods_solve_two_quadratics_of_very_different_scale():
    def descend(method):
        method.build(2)
        x = torch.tensor([1.0, 1.0], dtype=torch.float64)
        scales = torch.tensor([1.0, 1e4], dtype=torch.float64)
        for k in range(200):
            J = torch.diag(2 * scales * x)
            losses = scales * x**2
            direction = method.task_weights(J @ J.T, losses=losses) @ J
            x = x - 0.1 * 0.97**k * direction / direction.norm()
        return x.abs()

    class Sum(GramianWeighting):
        def forward(self, gramian):
            return gramian.new_ones(len(gramian))

    for method in (NashMTL(), PCGrad()):
        solved = descend(method)
        if isinstance(method, NashMTL):
            assert (solved < 0.05).all()
    # the sum follows the larger scale only
    assert descend(Sum())[0] > 0.3
