"""Task losses, one step, and the loop."""

import functools

import numpy as np
import pytest
import torch
from random_tasks import model as model_of
from random_tasks import step as step_of

from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphArray, GraphDataset, Labels
from skgnn_mtl.training import (
    LOSSES,
    SCHEDULES,
    TrainingOptions,
    task_losses,
    train,
)
from skgnn_mtl.weighting import Equal, Fixed, ScaleInvariant, Uncertainty

RNG = np.random.default_rng(0)
GRAPHS = GraphArray.from_features(RNG.normal(size=(12, 3)))
TARGETS = RNG.normal(size=(12, 3))
WEIGHTS = RNG.uniform(0.5, 2.0, size=(12, 3)) * (RNG.random((12, 3)) > 0.4)
# Task 2 has no label among the first four rows.
WEIGHTS[:4, 2] = 0.0


def make_model(n_tasks=3, hidden_dims=()):
    encoder = GIN(width=6, n_layers=1, norm=None, activation="tanh")
    return model_of(
        encoder, hidden_dims=hidden_dims, schema=GRAPHS.schema, n_tasks=n_tasks
    )


def make_step(weighting, n_tasks=3, loss="squared_error"):
    return step_of(weighting.double(), loss, n_tasks)


def batch(rows):
    return GraphDataset(GRAPHS, TARGETS, WEIGHTS).__getitems__(np.array(rows))


@pytest.mark.parametrize(
    ("name", "elementwise"),
    [
        ("squared_error", lambda d: d**2),
        ("absolute_error", abs),
        ("huber", lambda d: d**2 / 2 if abs(d) < 1 else abs(d) - 0.5),
    ],
)
def test_losses_are_weighted_means_over_labelled_rows(name, elementwise):
    outputs = torch.from_numpy(RNG.normal(size=(12, 3)))
    losses, mass = task_losses(
        outputs, torch.from_numpy(TARGETS), torch.from_numpy(WEIGHTS), LOSSES[name]
    )
    for t in range(3):
        rows = np.flatnonzero(WEIGHTS[:, t])
        terms = [elementwise(float(outputs[i, t]) - TARGETS[i, t]) for i in rows]
        expected = np.average(terms, weights=WEIGHTS[rows, t])
        assert losses[t].item() == pytest.approx(expected, rel=1e-12)
        assert mass[t].item() == pytest.approx(WEIGHTS[:, t].sum(), rel=1e-12)


def test_an_unlabelled_task_has_loss_zero_and_no_gradient():
    outputs = torch.ones(2, 2, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    losses, _ = task_losses(outputs, torch.zeros(2, 2), weights, LOSSES["huber"])
    losses.sum().backward()
    assert losses[1] == 0
    assert outputs.grad[:, 1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("weighting", [Equal(), ScaleInvariant(), Fixed([1, 2, 3])])
def test_gradients_are_those_of_the_weighting_s_scalar(weighting):
    model, step = make_model(), make_step(weighting)
    graphs, labels = batch(range(12))
    losses, _ = step.losses(model, graphs, labels)
    expected = torch.autograd.grad(weighting(losses), list(model.parameters()))
    step.backward(model, graphs, labels)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_weighting_does_not_receive_an_absent_task():
    model, step = make_model(), make_step(Uncertainty())
    graphs, labels = batch(range(4))
    weights = step.backward(model, graphs, labels).weights
    assert weights[2] == 0
    assert (weights[:2] > 0).all()
    assert model.heads.weight.grad[2].tolist() == [0.0] * 6
    assert step.weighting.log_variances[2] == 0
    assert (step.weighting.log_variances[:2] != 0).all()


@pytest.mark.parametrize("weighting", [ScaleInvariant(), Fixed([7.0]), Uncertainty()])
def test_a_single_task_is_trained_alike_by_all(weighting):
    model, step = make_model(n_tasks=1), make_step(weighting, n_tasks=1)
    graphs, all_labels = batch(range(12))
    labels = Labels(all_labels.targets[:, :1], all_labels.weights[:, :1])
    losses, _ = step.losses(model, graphs, labels)
    plain = torch.autograd.grad(losses.sum(), list(model.parameters()))
    step.backward(model, graphs, labels)
    for parameter, gradient in zip(model.parameters(), plain, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_hidden_layers_lie_between_readout_and_heads():
    model = make_model(hidden_dims=(5, 4))
    graphs, _ = batch(range(3))
    assert model.embed(graphs).shape == (3, 6)
    assert model.represent(graphs).shape == (3, 4)
    expected = model.represent(graphs) @ model.heads.weight.t() + model.heads.bias
    torch.testing.assert_close(model(graphs), expected)


OPTIONS = TrainingOptions(
    optimizer="sgd",
    lr=0.05,
    weight_decay=0.01,
    lr_schedule="cosine",
    gradient_clip=None,
    batch_size=100,
    max_epochs=4,
    early_stopping=False,
    n_iter_no_change=3,
    callbacks=None,
    verbose=0,
)


def run(model, *, valid=None, **changes):
    data = GraphDataset(GRAPHS, TARGETS, WEIGHTS)
    step = make_step(Fixed([1.0, 2.0, 0.5]))
    options = TrainingOptions(**{**vars(OPTIONS), **changes})
    return train(
        model,
        step,
        data,
        valid,
        task_names=["a", "b", "c"],
        watched=np.arange(3),
        options=options,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(0),
    )


def by_hand(epochs=4, clip=None):
    """Full-batch gradient descent, written out."""
    model, step = make_model(), make_step(Fixed([1.0, 2.0, 0.5]))
    graphs, labels = batch(range(12))
    parameters, records = list(model.parameters()), []
    for epoch in range(epochs):
        losses, _ = step.losses(model, graphs, labels)
        total = (losses * torch.tensor([1.0, 2.0, 0.5])).sum()
        gradients = torch.autograd.grad(total, parameters)
        norm = torch.cat([g.flatten() for g in gradients]).norm().item()
        scale = 1.0 if clip is None else min(1.0, clip / norm)
        lr = 0.05 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        records.append((lr, losses.detach()))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= lr * (scale * gradient + 0.01 * parameter)
    return model, records


@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_loop_is_gradient_descent_with_its_schedule(clip):
    expected, records = by_hand(clip=clip)
    model = make_model()
    result = run(model, gradient_clip=clip)
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    for record, (lr, losses) in zip(result.history, records, strict=True):
        assert record["lr"] == pytest.approx(lr)
        assert list(record["train_losses"]) == ["a", "b", "c"]
        np.testing.assert_allclose(
            list(record["train_losses"].values()), losses, rtol=1e-4
        )
        assert record["train_loss"] == pytest.approx(losses.mean().item(), rel=1e-4)
        assert record["task_weights"] == {"a": 1.0, "b": 2.0, "c": 0.5}
    assert result.best_epoch == 4


def test_epoch_losses_weigh_batches_by_their_labels():
    model = make_model()
    result = run(model, lr=1e-12, batch_size=3, max_epochs=1)
    graphs, labels = batch(range(12))
    losses, _ = make_step(Equal()).losses(make_model(), graphs, labels)
    np.testing.assert_allclose(
        list(result.history[0]["train_losses"].values()), losses.detach(), rtol=1e-8
    )


def test_early_stopping_restores_the_best_epoch():
    valid = GraphDataset(GRAPHS, -TARGETS, WEIGHTS)
    model = make_model()
    result = run(
        model,
        valid=valid,
        max_epochs=200,
        lr=0.3,
        early_stopping=True,
        lr_schedule="constant",
    )
    records = [record["valid_loss"] for record in result.history]
    assert len(records) == result.best_epoch + 3 < 200
    graphs, labels = valid.__getitems__(np.arange(12))
    losses, _ = make_step(Equal()).losses(model, graphs, labels)
    assert losses.mean().item() == pytest.approx(records[result.best_epoch - 1])


def test_plateau_halves_the_rate_when_the_validation_stalls():
    valid = GraphDataset(GRAPHS, -TARGETS, WEIGHTS)
    result = run(
        make_model(), valid=valid, max_epochs=30, lr=0.3, lr_schedule="plateau"
    )
    rates = [record["lr"] for record in result.history]
    assert rates[0] == 0.3
    assert set(np.round(np.diff(np.log2(rates)))) == {0.0, -1.0}


def test_optimizers_can_be_any_callable():
    momentum = functools.partial(torch.optim.SGD, momentum=0.9)
    with_momentum, without = make_model(), make_model()
    run(with_momentum, optimizer=momentum)
    run(without, optimizer=functools.partial(torch.optim.SGD))
    assert not torch.equal(with_momentum.heads.weight, without.heads.weight)


def test_a_diverging_training_says_so():
    with pytest.raises(FloatingPointError, match=r"became NaN or infinite in epoch"):
        run(make_model(), lr=1e200, max_epochs=20)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_stay_in_the_unit_interval_and_peak_at_one(name):
    values = np.array([SCHEDULES[name](p) for p in np.linspace(0, 1, 1001)])
    assert (values >= 0).all()
    assert values.max() == pytest.approx(1.0, abs=2e-3)
