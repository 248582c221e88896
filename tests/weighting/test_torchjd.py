"""The same answers as TorchJD where it has one, and its objects as weightings."""

import copy
import pickle

import numpy as np
import pytest
import torch
from random_jacobians import conflicting_jacobian, make, random_jacobian

from skgnn_mtl.weighting import (
    DWA,
    FAMO,
    IMTLG,
    IMTLL,
    MGDA,
    AlignedMTL,
    ConFIG,
    FairGrad,
    GeometricMean,
    GradDrop,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    PCGrad,
    Uncertainty,
    UPGrad,
    as_task_weighting,
)

torchjd = pytest.importorskip("torchjd", reason="TorchJD is not installed")
aggregation = pytest.importorskip("torchjd.aggregation")
scalarization = pytest.importorskip("torchjd.scalarization")


def parallel(a, b, rtol):
    assert float(torch.cosine_similarity(a, b, dim=0)) == pytest.approx(1.0, abs=rtol)


def jacobians(*sizes):
    for n in sizes:
        yield random_jacobian(n)
        yield conflicting_jacobian(n)


@pytest.mark.parametrize(
    ("own", "theirs", "sizes", "rtol"),
    [
        (MGDA, "MGDA", (2,), 1e-6),
        (PCGrad, "PCGrad", (2,), 1e-10),
        (IMTLG, "IMTLG", (2, 3, 6), 1e-8),
        (AlignedMTL, "AlignedMTL", (2, 3, 6), 1e-8),
        (ConFIG, "ConFIG", (2, 3, 6), 1e-8),
        (UPGrad, "UPGrad", (2, 3, 6), 1e-2),  # theirs is regularised
    ],
)
def test_directions_are_those_of_torchjd(own, theirs, sizes, rtol):
    try:
        aggregator = getattr(aggregation, theirs)()
    except ImportError as error:
        pytest.skip(str(error))
    for J in jacobians(*sizes):
        direction = make(own, len(J)).task_weights(J @ J.T) @ J
        if float(aggregator(J) @ direction) < 0 and own is IMTLG:
            continue  # flipped by own
        parallel(direction, aggregator(J), rtol)


@pytest.mark.parametrize("c", [0.4, 1.0])
def test_cagrad_is_that_of_torchjd(c):
    from skgnn_mtl.weighting import CAGrad

    try:
        aggregator = aggregation.CAGrad(c=c)
    except ImportError as error:
        pytest.skip(str(error))
    for J in jacobians(2, 3, 6):
        parallel(
            make(CAGrad, len(J), c=c).task_weights(J @ J.T) @ J, aggregator(J), 1e-4
        )


def test_fairgrad_is_that_of_torchjd():
    try:
        aggregator = aggregation.FairGrad(alpha=2.0)
    except (ImportError, TypeError) as error:
        pytest.skip(str(error))
    for J in jacobians(2, 3, 6):
        own = make(FairGrad, len(J), alpha=2.0).task_weights(J @ J.T) @ J
        parallel(own, aggregator(J), 1e-5)


LOSSES = torch.tensor([0.5, 2.0, 1e-2, 40.0])


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        (GeometricMean(), "GeometricMean()"),
        (Uncertainty(), "UW(4)"),
        (IMTLL(), "IMTLL(4)"),
        (DWA(), "DWA()"),
        (FAMO(), "FAMO(4)"),
    ],
    ids=lambda value: str(value).split("(")[0],
)
def test_loss_weights_are_those_of_torchjd(own, theirs):
    own.build(4)
    foreign = as_task_weighting(eval(f"scalarization.{theirs}", globals()))
    rates = torch.tensor([0.5, 0.9, 0.7, 1.0])
    for epoch in range(4):
        first, second = (
            part.task_weights(LOSSES * rates**epoch) for part in (own, foreign)
        )
        torch.testing.assert_close(
            first / first.norm(), second / second.norm(), rtol=1e-4, atol=1e-7
        )
        for part in (own, foreign):
            if hasattr(part, "end_epoch"):
                part.end_epoch(LOSSES * rates**epoch)


def test_famo_learns_as_that_of_torchjd():
    own, theirs = make(FAMO, 4), scalarization.FAMO(4)
    optimizer = torch.optim.Adam(own.parameters(), lr=0.025, weight_decay=1e-3)
    for step in range(5):
        before, after = LOSSES * 0.9**step, LOSSES * torch.tensor([0.9, 0.5, 1.0, 0.8])
        leaf = before.clone().requires_grad_()
        theirs(leaf).backward()
        torch.testing.assert_close(
            own.task_weights(before), 4 * leaf.grad, rtol=1e-4, atol=1e-7
        )
        theirs.update(after)
        own.after_step(before, after)
        optimizer.step()


def test_famo_has_the_defaults_of_torchjd():
    ours, theirs = FAMO(), scalarization.FAMO(4)
    assert (ours.lr, ours.weight_decay) == (theirs.lr, theirs.weight_decay)


def test_graddrop_has_the_expectation_of_torchjd():
    J, theirs = random_jacobian(3), aggregation.GradDrop()
    own = torch.stack([make(GradDrop, 3)(J) for _ in range(3000)])
    foreign = torch.stack([theirs(J) for _ in range(3000)])
    error = own.std(dim=0) * (2 / 3000) ** 0.5 + 1e-12
    assert ((own.mean(dim=0) - foreign.mean(dim=0)).abs() < 5 * error).all()


@pytest.mark.parametrize(
    ("make_foreign", "family"),
    [
        (lambda: scalarization.GeometricMean(), LossWeighting),
        (lambda: scalarization.UW(3), LossWeighting),
        (lambda: scalarization.FAMO(3), LossWeighting),
        (lambda: scalarization.DWA(), LossWeighting),
        (lambda: aggregation.MGDA(), GramianWeighting),
        (lambda: aggregation.IMTLGWeighting(), GramianWeighting),
        (lambda: aggregation.GradVac(), GramianWeighting),
        (lambda: aggregation.GradDrop(), JacobianAggregation),
        (lambda: aggregation.Mean(), (GramianWeighting, JacobianAggregation)),
        (lambda: aggregation.TrimmedMean(0), JacobianAggregation),
        (lambda: aggregation.ConFIG(), JacobianAggregation),
    ],
)
def test_families_of_objects_are_identified_and_work_in_a_fit(make_foreign, family):
    from skgnn_mtl import MultiTaskGNNRegressor
    from skgnn_mtl.encoders import GIN

    try:
        foreign = make_foreign()
    except ImportError as error:
        pytest.skip(str(error))
    assert isinstance(as_task_weighting(foreign), family)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    y = X @ rng.normal(size=(4, 3))
    model = MultiTaskGNNRegressor(
        GIN(8, n_layers=1, norm=None),
        task_weighting=foreign,
        lr=0.01,
        max_epochs=15,
        random_state=0,
    )
    state = copy.deepcopy(foreign.state_dict())
    model.fit(X, y)
    losses = [record["train_loss"] for record in model.history_]
    assert losses[-1] < losses[0]
    assert all(torch.equal(v, state[k]) for k, v in foreign.state_dict().items())
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "make_foreign",
    [
        lambda: aggregation.MoDoWeighting(),
        lambda: aggregation.SDMGradWeighting(),
        lambda: aggregation.CRMOGMWeighting(aggregation.MoDoWeighting()),
        lambda: aggregation.WeightedAggregator(aggregation.SDMGradWeighting()),
    ],
)
def test_weightings_of_two_batches_are_refused_by_name(make_foreign):
    from skgnn_mtl import MultiTaskGNNRegressor

    X = np.random.default_rng(0).normal(size=(20, 4))
    model = MultiTaskGNNRegressor("gin", task_weighting=make_foreign(), max_epochs=1)
    with pytest.raises(TypeError, match="(MoDo|SDMGrad)Weighting needs .*two indep"):
        model.fit(X, X[:, :2])


def test_wrappers_are_given_what_the_wrapped_weighting_needs():
    J = random_jacobian(3)
    for inner, family in (
        (aggregation.MGDAWeighting(), GramianWeighting),
        (aggregation.ExcessMTLWeighting(), JacobianAggregation),
    ):
        wrapped = aggregation.CRMOGMWeighting(inner, alpha=0.0)
        method = as_task_weighting(wrapped)
        assert isinstance(method, family)
        if family is JacobianAggregation:
            alone = aggregation.ExcessMTLWeighting()(J)
            torch.testing.assert_close(method.direction(J), alone @ J)


def test_parameters_of_scalarizers_are_learned():
    from skgnn_mtl import MultiTaskGNNRegressor

    X = np.random.default_rng(0).normal(size=(40, 4))
    for foreign in (scalarization.UW(2), scalarization.FAMO(2)):
        model = MultiTaskGNNRegressor("gin", task_weighting=foreign, max_epochs=2)
        model.fit(X, X[:, :2])
        (values,) = model.task_weighting_.parameters()
        assert (values != 0).all()
