"""The axioms of section "tests" that every method keeps, and which ones it does not."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from random_jacobians import (
    ANCHORED,
    GRAMIAN_METHODS,
    LOSS_METHODS,
    METHODS,
    conflicting_jacobian,
    direction,
    generator,
    make,
    random_jacobian,
)
from sklearn.base import clone

from skgnn_mtl.weighting import (
    DBMTL,
    IMTLG,
    IMTLL,
    CAGrad,
    ConFIG,
    GradNorm,
    Uncertainty,
    UPGrad,
)
from skgnn_mtl.weighting._pcgrad import random_orders

UNIT_AT_ONE_TASK = set(METHODS) - {
    *("scaleinvariant", "uncertainty", "imtll", "stch", "dbmtl", "cagrad", "ldcmtl"),
}
SCALE_FREE = {
    *("scaleinvariant", "stch", "dbmtl", "geometricmean", "famo", "ntkmtlsr"),
    *("imtlg", "nashmtl", "fairgrad", "config", "ldcmtl"),
}
LINEAR_UNDER_SCALING = {"equal", "fixed", "rlw", "upgrad", "config"}
NON_CONFLICTING = {"mgda", "imtlg", "nashmtl", "fairgrad", "upgrad", "config"}
RANDOM = {"pcgrad", "gradvac", "rlw", "graddrop"}


def parallel(a, b, rtol=1e-6):
    cosine = torch.dot(a, b) / (a.norm() * b.norm())
    return abs(1.0 - float(cosine)) < rtol


def matrices(n_tasks):
    yield random_jacobian(n_tasks)
    yield random_jacobian(n_tasks, decades=4.0, seed=1)
    yield conflicting_jacobian(n_tasks)


@pytest.mark.parametrize("name", METHODS)
def test_one_task_is_the_plain_gradient(name):
    J = random_jacobian(1, seed=3)
    result = direction(make(METHODS[name], 1), J, losses=torch.tensor([0.3]).double())
    assert parallel(result, J[0], 1e-9)
    if name in UNIT_AT_ONE_TASK:
        torch.testing.assert_close(result, J[0])


def test_conflict_averse_gradients_of_one_task_have_the_documented_length():
    J = random_jacobian(1)
    for c in (0.0, 0.4, 1.0):
        result = direction(make(CAGrad, 1, c=c), J)
        torch.testing.assert_close(result, J[0] * (1 + c) / (1 + c**2))


@pytest.mark.parametrize("n_tasks", [2, 3, 11])
@pytest.mark.parametrize("name", sorted(set(METHODS) - RANDOM - set(ANCHORED)))
def test_permuting_tasks_permutes_nothing_but_the_order(name, n_tasks):
    losses = torch.linspace(0.5, 2.0, n_tasks).double()
    order = torch.from_numpy(np.random.default_rng(0).permutation(n_tasks))
    for J in matrices(n_tasks):
        first = direction(make(METHODS[name], n_tasks), J, losses)
        second = direction(make(METHODS[name], n_tasks), J[order], losses[order])
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-9)


# All orders in which each of three tasks can meet the other two.
ORDERS = [
    np.transpose(choice)
    for choice in itertools.product(
        *(itertools.permutations(o) for o in ([1, 2], [0, 2], [0, 1]))
    )
]


@pytest.fixture(scope="module")
def seeds():
    """The first seed that draws each of the orders."""
    drawn = [random_orders(3, generator(seed)).tolist() for seed in range(100)]
    return [drawn.index(order.tolist()) for order in ORDERS]


@pytest.mark.parametrize("name", ["pcgrad", "gradvac"])
def test_methods_of_random_orders_are_symmetric_on_average(name, seeds):
    """Over all eight orders the mean is exact, where draws tell it to a percent."""
    J, order = conflicting_jacobian(3), torch.tensor([2, 0, 1])
    means = []
    for K in (J, J[order]):
        found = [direction(make(METHODS[name], 3), K, seed=seed) for seed in seeds]
        means.append(torch.stack(found).mean(dim=0))
        # With a single order the axiom does not hold.
        assert (found[0] - found[-1]).norm() > 1e-3
    torch.testing.assert_close(*means, rtol=1e-10, atol=1e-12)


def test_all_orders_are_equally_likely():
    source, n_draws = generator(), 4000
    draws = [random_orders(3, source) for _ in range(n_draws)]
    counts = [sum(np.array_equal(draw, o) for draw in draws) for o in ORDERS]
    assert sum(counts) == n_draws
    error = (n_draws * 7 / 64) ** 0.5
    assert (abs(np.array(counts) - n_draws / 8) < 5 * error).all()


@pytest.mark.parametrize("name", sorted(RANDOM - {"pcgrad", "gradvac"}))
def test_random_methods_are_symmetric_on_average(name):
    J, order = conflicting_jacobian(3), torch.tensor([2, 0, 1])
    # GradDrop draws for each column: copies of the columns are draws, at one call.
    n_copies, n_calls = (500, 8) if name == "graddrop" else (1, 4000)
    draws = []
    for K in (J, J[order]):
        wide = K.repeat(1, n_copies)
        rows = [direction(make(METHODS[name], 3), wide, seed=s) for s in range(n_calls)]
        draws.append(torch.stack(rows).reshape(4000, -1))
    means = [d.mean(dim=0) for d in draws]
    error = draws[0].std(dim=0) * (2 / 4000) ** 0.5 + 1e-12
    assert ((means[0] - means[1]).abs() < 5 * error).all()


@pytest.mark.parametrize("n_tasks", [2, 3, 11])
@pytest.mark.parametrize("name", sorted(NON_CONFLICTING))
def test_no_loss_rises(name, n_tasks):
    for J in matrices(n_tasks):
        slopes = J @ direction(make(METHODS[name], n_tasks), J)
        assert (slopes >= -1e-9 * slopes.abs().max()).all()
        if name in ("nashmtl", "fairgrad"):
            assert (slopes > 0).all()


@pytest.mark.parametrize("rank", [1, 2, 6])
@pytest.mark.parametrize("name", ["mgda", "upgrad"])
def test_no_loss_rises_at_deficient_rank(name, rank):
    J = random_jacobian(11, rank=rank, decades=2.0)
    slopes = J @ direction(make(METHODS[name], 11), J)
    assert (slopes >= -1e-9).all()


@pytest.mark.parametrize(("name", "n_tasks"), [("pcgrad", 2), ("gradvac", 2)])
def test_projection_of_two_tasks_raises_neither_loss(name, n_tasks):
    for J in matrices(n_tasks):
        assert (J @ direction(make(METHODS[name], n_tasks), J) >= -1e-12).all()


@pytest.mark.parametrize("c", [1.0, 1.5])
def test_conflict_averse_gradients_raise_no_loss_from_radius_one(c):
    for J in (*matrices(3), *matrices(11)):
        assert (J @ direction(make(CAGrad, len(J), c=c), J) >= -1e-9).all()


@pytest.mark.parametrize("n_tasks", [2, 3, 11])
@pytest.mark.parametrize("name", sorted(SCALE_FREE))
def test_the_scale_of_a_loss_does_not_change_the_direction(name, n_tasks):
    losses = torch.linspace(0.5, 2.0, n_tasks).double()
    units = 10.0 ** torch.linspace(-2, 2, n_tasks).double()
    for J in matrices(n_tasks):
        first = direction(make(METHODS[name], n_tasks), J, losses)
        second = direction(
            make(METHODS[name], n_tasks), units[:, None] * J, units * losses
        )
        assert parallel(first, second)


@pytest.mark.parametrize("rank", [2, 5])
@pytest.mark.parametrize("name", ["imtlg", "config"])
def test_equal_projections_are_scale_free_at_deficient_rank(name, rank):
    J = random_jacobian(8, rank=rank)
    units = 10.0 ** torch.linspace(-1, 1, 8).double()
    first = direction(make(METHODS[name], 8), J)
    second = direction(make(METHODS[name], 8), units[:, None] * J)
    assert abs(abs(float(torch.cosine_similarity(first, second, dim=0))) - 1) < 1e-6


@pytest.mark.parametrize(
    "method", [Uncertainty, IMTLL], ids=lambda cls: cls.__name__.lower()
)
def test_learned_scales_share_one_scale_free_direction_once_learned(method):
    losses = torch.tensor([1e-3, 1.0, 50.0], dtype=torch.float64)
    part = make(method, 3).double()
    optimizer = torch.optim.Adam(part.parameters(), lr=0.05)
    for _ in range(3000):
        optimizer.zero_grad()
        weights = part.task_weights(losses)
        optimizer.step()
    products = weights * losses
    torch.testing.assert_close(products, products[:1].expand(3), rtol=1e-4, atol=0)


@pytest.mark.parametrize("n_tasks", [2, 3, 11])
@pytest.mark.parametrize("name", sorted(LINEAR_UNDER_SCALING))
def test_directions_are_linear_in_the_scale_of_each_loss(name, n_tasks):
    first, second = 10.0 ** torch.randn(2, n_tasks, generator=generator()).double()
    method = make(METHODS[name], n_tasks)
    for J in matrices(n_tasks):
        parts = [direction(method, c[:, None] * J) for c in (first, second)]
        both = direction(method, (first + second)[:, None] * J)
        torch.testing.assert_close(both, sum(parts), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "upgrad", "cagrad"])
def test_without_conflict_the_gradients_do_not_change(name):
    J = random_jacobian(4, decades=0.0).abs()
    parameters = {"c": 0.0} if name == "cagrad" else {}
    result = direction(make(METHODS[name], 4, **parameters), J)
    torch.testing.assert_close(result, J.sum(dim=0))


DEGENERATE = {
    "zero row": lambda J: torch.cat([J[:-1], 0 * J[-1:]]),
    "duplicates": lambda J: torch.cat([J[:-1], J[:1]]),
    "opposites": lambda J: torch.cat([J[:-1], -J[:1]]),
    "all zero": lambda J: 0 * J,
    "tiny": lambda J: 1e-12 * J,
    "huge": lambda J: 1e15 * J,
    "six decades": lambda J: J * 10.0 ** torch.linspace(-3, 3, len(J))[:, None],
    "rank one": lambda J: J[:1] * torch.linspace(-1, 2, len(J))[:, None],
}


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", METHODS)
def test_finite_on_degenerate_matrices(name, dtype, case):
    for n_tasks in (2, 3, 11):
        J = DEGENERATE[case](random_jacobian(n_tasks)).to(dtype)
        losses = (J**2).sum(dim=1)
        result = direction(make(METHODS[name], n_tasks), J, losses.clamp(max=1e20))
        assert torch.isfinite(result).all()


def opposite(J):
    """Cases in which no step improves all tasks, up to rounding."""
    return {
        "opposite": torch.stack([J[0], -J[0]]),
        "of other lengths": torch.stack([J[0], -300 * J[0], J[1]]),
        "among others": torch.stack([J[0], J[1], -J[1], J[2]]),
        "three that cancel": torch.stack([J[0], 2 * J[1], -J[0] - J[1], J[2]]),
    }


CLOSE = {
    "nearly opposite": lambda J: torch.stack([J[0], 1e-3 * J[1] - J[0]]),
    "conflicting": lambda J: conflicting_jacobian(4),
    "very different": lambda J: torch.stack([J[0], 1e-8 * (0.1 * J[1] - J[0])]),
    "equal": lambda J: torch.stack([J[0], J[0]]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", sorted(set(GRAMIAN_METHODS) - set(ANCHORED)))
def test_opposite_gradients_are_reported_as_stationary(name, dtype):
    J = random_jacobian(4, decades=0.0, seed=2)
    for K in opposite(J).values():
        method = make(GRAMIAN_METHODS[name], len(K))
        # Gradients in single precision, whose Gramian is in double, as in a fit.
        G = K.to(dtype).double() @ K.to(dtype).double().T
        report = method.decide(G, generator=generator()).report
        assert report.stationary
        report = method.decide(
            (K.to(dtype) @ K.to(dtype).T), generator=generator()
        ).report
        assert report.stationary
    for case in CLOSE.values():
        K = case(J)
        method = make(GRAMIAN_METHODS[name], len(K))
        report = method.decide(K @ K.T, generator=generator()).report
        assert not report.stationary


def test_parts_of_a_batch_are_stationary_together():
    J = random_jacobian(3)
    K = torch.stack([J[0], -J[0]])
    method = make(METHODS["ntkmtlsr"], 2)
    report = method.decide(torch.stack([K @ K.T, 2 * K @ K.T])).report
    assert report.stationary
    # One part alone does not tell.
    report = method.decide(torch.stack([K @ K.T, torch.eye(2).double() * 9])).report
    assert not report.stationary


def test_auxiliary_gradients_may_oppose_the_target():
    J = random_jacobian(1)
    K = torch.cat([J, -J])
    for name in sorted(set(ANCHORED) & set(GRAMIAN_METHODS)):
        method = make(GRAMIAN_METHODS[name], 2)
        report = method.decide(K @ K.T, generator=generator()).report
        assert not report.stationary


@pytest.mark.parametrize("name", GRAMIAN_METHODS)
def test_gramian_weights_exclude_vanished_tasks_and_keep_dtype(name):
    J = random_jacobian(4).float()
    J[2] = 0.0
    method = make(GRAMIAN_METHODS[name], 4)
    weights = method.task_weights(J @ J.T, generator=generator())
    assert weights[2] == 0.0
    assert weights.dtype == torch.float32
    assert not weights.requires_grad
    rest = torch.tensor([0, 1, 3])
    alone = make(GRAMIAN_METHODS[name], 4).task_weights(
        (J @ J.T)[rest][:, rest], tasks=rest, generator=generator()
    )
    if name not in RANDOM:
        torch.testing.assert_close(weights[rest], alone)


@pytest.mark.parametrize("name", GRAMIAN_METHODS)
@pytest.mark.parametrize("factor", [1e-24, 1e30])
def test_units_of_all_gradients_do_not_matter(name, factor):
    J = random_jacobian(5, decades=2.0)
    weights = [
        make(GRAMIAN_METHODS[name], 5).task_weights(c * J @ J.T, generator=generator())
        for c in (1.0, factor)
    ]
    torch.testing.assert_close(*weights, rtol=1e-6, atol=1e-9)


# Because the weights of ``BLO`` are those that it has learned.
RESCALED = sorted({*GRAMIAN_METHODS, *LOSS_METHODS} - {"blo"})


@pytest.mark.parametrize("name", RESCALED)
def test_mean1_only_changes_the_length(name):
    J, losses = random_jacobian(5), torch.linspace(0.5, 2.0, 5).double()
    plain, scaled = (
        direction(make(METHODS[name], 5, rescale=r), J, losses)
        for r in ("none", "mean1")
    )
    assert parallel(plain, scaled, 1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_state_survives_pickling_and_a_clone_forgets_it(name):
    J, losses = conflicting_jacobian(3), torch.tensor([0.5, 1.0, 2.0]).double()
    method = make(METHODS[name], 3)
    for epoch in range(7):
        direction(method, J * (1 + epoch), losses / (1 + epoch))
        if hasattr(method, "after_step"):
            method.after_step(losses, losses / torch.tensor([1.0, 2.0, 3.0]).double())
        if hasattr(method, "end_epoch"):
            method.end_epoch(losses / (1 + epoch))
    again = pickle.loads(pickle.dumps(method))
    loaded = make(METHODS[name], 3)
    loaded.load_state_dict(method.state_dict())
    expected = direction(method, J, losses)
    assert torch.equal(direction(again, J, losses), expected)
    assert torch.equal(direction(loaded, J, losses), expected)
    assert not clone(method).state_dict()


@pytest.mark.parametrize("name", METHODS)
def test_present_tasks_are_weighed_as_if_they_were_alone(name):
    J, losses = random_jacobian(4), torch.linspace(0.5, 2.0, 4).double()
    tasks = torch.tensor([1, 3])
    method, alone = make(METHODS[name], 4), make(METHODS[name], 2)
    some = direction(method, J[tasks], losses[tasks], tasks=tasks)
    torch.testing.assert_close(some, direction(alone, J[tasks], losses[tasks]))


@pytest.mark.parametrize("name", METHODS)
def test_state_of_absent_tasks_does_not_change(name):
    J, losses = random_jacobian(3), torch.tensor([0.5, 1.0, 2.0]).double()
    method = make(METHODS[name], 3)
    direction(method, J, losses)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    tasks = torch.tensor([0, 2])
    direction(method, J[tasks], losses[tasks], tasks=tasks)
    for key, value in method.state_dict().items():
        if value.ndim and value.shape[0] == 3:
            torch.testing.assert_close(
                value[1], before[key][1], rtol=0, atol=0, equal_nan=True
            )


@pytest.mark.parametrize(
    ("cls", "bad"),
    [
        (UPGrad, {"rescale": "mean2"}),
        (UPGrad, {"gradients": "outputs"}),
        (UPGrad, {"update_every": 0}),
        (METHODS["ntkmtlsr"], {"gradients": "parameters"}),
        (METHODS["ntkmtlsr"], {"n_splits": 0}),
        (METHODS["modo"], {"gradients": "representation"}),
        (METHODS["sdmgrad"], {"n_iter": 0}),
        (METHODS["excessmtl"], {"warmup_epochs": 0}),
    ],
)
def test_wrong_options_are_named(cls, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        cls(**bad).check_options()


@pytest.mark.parametrize(
    ("cls", "bad"),
    [
        (METHODS["mgda"], {"normalization": "max"}),
        (METHODS["imtlg"], {"on_negative": "ignore"}),
        (METHODS["alignedmtl"], {"scale": "max"}),
        (CAGrad, {"c": -1.0}),
        (CAGrad, {"shrink": 3}),
        (METHODS["fairgrad"], {"alpha": 0.0}),
        (METHODS["gcsgns"], {"max_scale": 0.0}),
    ],
)
def test_wrong_parameters_of_a_method_are_named(cls, bad):
    J = random_jacobian(3)
    with pytest.raises(ValueError, match=next(iter(bad))):
        make(cls, 3, **bad).task_weights(J @ J.T)


def test_a_solution_that_is_not_finite_is_an_error():
    class Broken(UPGrad):
        def forward(self, gramian):
            return gramian[0] / 0.0

    with pytest.raises(FloatingPointError, match="Broken"):
        Broken().task_weights(torch.eye(2))


def test_equal_projections_and_conflict_free_directions_are_parallel():
    for J in matrices(5):
        first, second = (direction(make(cls, 5), J) for cls in (IMTLG, ConFIG))
        assert parallel(first, second, 1e-9)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e6])
def test_gradnorm_learns_alike_in_all_units(unit):
    """The gradient of the objective, by autograd, over the mean norm."""
    J, losses = unit * random_jacobian(3), unit * torch.tensor([0.5, 1.0, 4.0]).double()
    method = make(GradNorm, 3).double()
    method.end_epoch(unit * torch.ones(3).double())
    with torch.no_grad():
        method.logits.copy_(torch.tensor([0.3, -0.2, 0.4]))
    method.task_weights(J @ J.T, losses=losses)
    s = method.logits.detach().clone().requires_grad_()
    w, d = 3 * torch.softmax(s, dim=0), J.norm(dim=1)
    rates = losses / losses.mean()
    target = ((w * d).mean() * rates**1.5).detach()
    (slopes,) = torch.autograd.grad((w * d - target).abs().sum(), s)
    torch.testing.assert_close(method.logits.grad, slopes / d.mean())


def test_gradnorm_at_rest_makes_weighted_norms_equal():
    J = random_jacobian(4, decades=2.0)
    method = make(GradNorm, 4, alpha=0.0).double()
    method.end_epoch(torch.ones(4).double())
    optimizer = torch.optim.Adam(method.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.998)
    for _ in range(4000):
        weights = method.task_weights(J @ J.T, losses=torch.ones(4).double())
        optimizer.step()
        scheduler.step()
    norms = weights * J.norm(dim=1)
    torch.testing.assert_close(norms, norms.mean().expand(4), rtol=1e-2, atol=0)


def test_dual_balancing_keeps_the_mean_of_an_absent_task():
    method = make(DBMTL, 2, beta=0.5)
    J = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    method.direction(J, losses=torch.ones(2))
    result = method.direction(J[:1], losses=torch.ones(1), tasks=torch.tensor([0]))
    # means: 0.5 and then 0.75 for the first, 0.5 for the second, at equal lengths
    torch.testing.assert_close(result, torch.tensor([0.75, 0.75]))
