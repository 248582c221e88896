"""Products with Hessians and Gauss-Newton matrices, against dense ones."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from skgnn_mtl.curvature import TaskGaussNewton, TaskHessian, TaskProblem


def dense(operator):
    # Many columns in one reverse pass: quick for tiny networks.
    if operator.chunk == 1:
        operator.chunk = 64
    return operator.matmat(torch.eye(operator.shape[0], dtype=operator.dtype))


def test_hessian_is_the_dense_one_and_symmetric(case):
    for task in (0, 2):
        H = dense(TaskHessian(case.problem(), task))
        exact = case.hessian(task)
        scale = exact.abs().max()
        assert len(H) <= 400
        assert (H - exact).abs().max() <= 1e-10 * scale
        assert (H - H.T).abs().max() <= 1e-12 * scale
        torch.testing.assert_close(
            torch.linalg.eigvalsh((H + H.T) / 2),
            torch.linalg.eigvalsh(exact),
            rtol=1e-8,
            atol=1e-10 * float(scale),
        )


def test_gauss_newton_is_the_dense_one(case):
    operator = TaskGaussNewton(case.problem(), 0)
    everything = operator.matmat_all(torch.eye(operator.shape[0]).double())
    for task in (0, 2):
        exact = case.gauss_newton(task)
        scale = exact.abs().max()
        for C in (dense(operator.for_task(task)), everything[task]):
            assert (C - exact).abs().max() <= 1e-10 * scale
        assert torch.linalg.eigvalsh((C + C.T) / 2).min() >= -1e-12 * scale


def test_products_agree_with_differences_of_the_gradient(case):
    problem = case.problem()
    flat, _, loss = case.reference(1)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(len(flat), dtype=torch.float64, generator=generator)
    step = 1e-5

    def gradient(theta):
        theta = theta.clone().requires_grad_()
        return torch.autograd.grad(loss(theta), theta)[0]

    difference = (gradient(flat + step * v) - gradient(flat - step * v)) / (2 * step)
    product = TaskHessian(problem, 1).matvec(v)
    assert (product - difference).norm() <= 1e-6 * product.norm()


def test_losses_and_gradients_are_those_of_the_labelled_rows(gin):
    losses, gradients = gin.problem().gradients()
    for task in range(3):
        flat, _, loss = gin.reference(task)
        theta = flat.requires_grad_()
        value = loss(theta)
        (exact,) = torch.autograd.grad(value, theta)
        torch.testing.assert_close(losses[task], value.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients[task], exact, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", [TaskHessian, TaskGaussNewton])
def test_batches_do_not_matter(gin, kind):
    """A smaller last batch, single graphs, any order, tasks absent from a batch."""
    n = len(gin.y)
    rng = np.random.default_rng(0)
    H = dense(kind(gin.problem(batch_size=n), 2))
    for batch_size in (1, 7, 23):
        other = dense(kind(gin.problem(batch_size=batch_size), 2))
        assert (other - H).abs().max() <= 1e-10 * H.abs().max()
    shuffled = gin.problem(batch_size=7, order=rng.permutation(n))
    assert (dense(kind(shuffled, 2)) - H).abs().max() <= 1e-10 * H.abs().max()


@pytest.mark.parametrize("kind", [TaskHessian, TaskGaussNewton])
def test_chunks_and_kept_graphs_do_not_matter(gin, kind):
    problem = gin.problem()
    H = dense(kind(problem, 0))
    for options in (
        {"chunk": 10},
        {"chunk": problem.n_parameters},
        {"keep_graph": False},
        {"keep_graph": True, "chunk": 2},
    ):
        other = dense(kind(problem, 0, **options))
        assert (other - H).abs().max() <= 1e-12 * H.abs().max()


def test_weighted_sum_of_task_hessians_is_the_hessian_of_the_weighted_sum(gin):
    problem = gin.problem()
    weights = torch.tensor([0.3, 2.0, 1.1], dtype=torch.float64)
    share = problem.masses / problem.masses.sum(dim=0)

    def total(outputs, batch):
        b = next(k for k, other in enumerate(problem.batches) if other is batch)
        return (weights * share[b] * problem.losses(outputs, batch)).sum()[None]

    single = TaskProblem(
        outputs=problem.outputs,
        losses=total,
        parameters=problem.parameters,
        batches=problem.batches,
        # Equal shares, undone below.
        masses=torch.ones(len(problem.batches), 1, dtype=torch.float64),
        task_names=("sum",),
    )
    v = torch.randn(problem.n_parameters, dtype=torch.float64)
    whole = TaskHessian(single, 0).matvec(v) * len(problem.batches)
    parts = [w * TaskHessian(problem, t).matvec(v) for t, w in enumerate(weights)]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-12, atol=1e-14)


def test_gauss_newton_does_not_depend_on_the_labels_and_the_hessian_does(gin):
    changed = np.where(np.isnan(gin.y), np.nan, 3.0)
    rows = np.arange(len(gin.y))
    other = gin.model.task_problem(
        gin.X, changed, rows=lambda _: rows, batch_size=9, dtype="float64"
    ).block("shared")
    v = torch.randn(other.n_parameters, dtype=torch.float64)
    for kind, same in ((TaskGaussNewton, True), (TaskHessian, False)):
        first = kind(gin.problem(), 0).matvec(v)
        error = (first - kind(other, 0).matvec(v)).norm() / first.norm()
        assert (error < 1e-12) == same


def test_hessian_is_gauss_newton_where_residuals_vanish(gin):
    problem = gin.problem()

    def losses(outputs, batch):
        weights = batch[1].weights
        squares = weights * (outputs - outputs.detach()).square()
        return squares.sum(dim=0) / weights.sum(dim=0).clamp(min=1)

    exact = TaskProblem(
        problem.outputs,
        losses,
        problem.parameters,
        problem.batches,
        problem.masses,
        problem.task_names,
    )
    H, C = dense(TaskHessian(exact, 1)), dense(TaskGaussNewton(exact, 1))
    assert (H - C).abs().max() <= 1e-12 * C.abs().max()


# -- closed forms -----------------------------------------------------------------


def linear_problem(loss, n=30, p=4, t=3):
    """Linear models of p parameters per task, all in one matrix, with gaps."""
    rng = np.random.default_rng(2)
    X = torch.from_numpy(rng.normal(size=(n, p)))
    mask = torch.from_numpy((rng.random((n, t)) < 0.6).astype(float))
    y = torch.from_numpy(rng.integers(0, 2, (n, t)).astype(float))
    W = torch.from_numpy(rng.normal(size=(p, t))).requires_grad_()
    parts = [slice(0, 7), slice(7, 20), slice(20, n)]

    def losses(outputs, batch):
        _, target, weight = batch
        total = (weight * loss(outputs, target)).sum(dim=0)
        return total / weight.sum(dim=0).clamp(min=1)

    problem = TaskProblem(
        outputs=lambda batch: batch[0] @ W,
        losses=losses,
        parameters={"W": W},
        batches=[(X[k], y[k], mask[k]) for k in parts],
        masses=torch.stack([mask[k].sum(dim=0) for k in parts]),
        task_names=tuple("abc"),
    )
    return problem, X, mask, W.detach()


def test_linear_regression_with_gaps():
    problem, X, mask, _ = linear_problem(lambda o, y: (o - y) ** 2)
    for task in range(3):
        H = torch.zeros(12, 12, dtype=torch.float64).view(4, 3, 4, 3)
        M = mask[:, task]
        H[:, task, :, task] = 2 / M.sum() * X.T @ (M[:, None] * X)
        for kind in (TaskHessian, TaskGaussNewton):
            torch.testing.assert_close(
                dense(kind(problem, task)), H.view(12, 12), rtol=1e-12, atol=1e-13
            )


def test_logistic_regression_with_gaps():
    def loss(o, y):
        return torch.nn.functional.binary_cross_entropy_with_logits(
            o, y, reduction="none"
        )

    problem, X, mask, W = linear_problem(loss)
    for task in range(3):
        p = torch.sigmoid(X @ W[:, task])
        M = mask[:, task] * p * (1 - p)
        H = torch.zeros(12, 12, dtype=torch.float64).view(4, 3, 4, 3)
        H[:, task, :, task] = X.T @ (M[:, None] * X) / mask[:, task].sum()
        for kind in (TaskHessian, TaskGaussNewton):
            torch.testing.assert_close(
                dense(kind(problem, task)), H.view(12, 12), rtol=1e-12, atol=1e-13
            )


def test_deep_linear_network():
    """L = (a b x - y)^2 in (a, b): H = 2 [[b^2 x^2, 2abx^2 - xy], [., a^2 x^2]]."""
    a, b = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (2, 3))
    problem = TaskProblem(
        outputs=lambda x: (a * b * x)[:, None],
        losses=lambda outputs, x: (outputs - 5.0).square().mean(dim=0),
        parameters={"a": a, "b": b},
        batches=[torch.tensor([0.5], dtype=torch.float64)],
        masses=torch.ones(1, 1, dtype=torch.float64),
        task_names=("deep",),
    )
    x, y, s, t = 0.5, 5.0, 2.0, 3.0
    off = 2 * (2 * s * t * x**2 - x * y)
    H = torch.tensor([[2 * t**2 * x**2, off], [off, 2 * s**2 * x**2]]).double()
    torch.testing.assert_close(dense(TaskHessian(problem, 0)), H)


# -- contracts --------------------------------------------------------------------


def test_scipy_takes_the_operator(gin):
    operator = TaskHessian(gin.problem(), 0)
    matrix = LinearOperator(operator.shape, matvec=operator.matvec, dtype=float)
    values = eigsh(matrix, k=3, which="LA")[0]
    exact = torch.linalg.eigvalsh(gin.hessian(0)).numpy()[-3:]
    np.testing.assert_allclose(np.sort(values), exact, rtol=1e-8)


def test_absolute_error_has_no_gauss_newton_matrix():
    problem, *_ = linear_problem(lambda o, y: (o - y).abs())
    with pytest.raises(ValueError, match="matrix='hessian'"):
        TaskGaussNewton(problem, 0).matvec(torch.ones(12).double())
    # Its Hessian in linear models is zero, which is a valid result.
    assert (dense(TaskHessian(problem, 0)) == 0).all()


def test_dropout_is_detected():
    problem, *_ = linear_problem(lambda o, y: (o - y) ** 2)
    drop = torch.nn.Dropout(0.5)
    noisy = TaskProblem(
        lambda batch: drop(problem.outputs(batch)),
        problem.losses,
        problem.parameters,
        problem.batches,
        problem.masses,
        problem.task_names,
    )
    problem.check_deterministic()
    with pytest.raises(ValueError, match=r"dropout"):
        noisy.check_deterministic()


def test_blocks_of_parameters(gin):
    problem = gin.model.task_problem(
        gin.X, gin.y, rows=lambda m: np.arange(len(m)), batch_size=9, dtype="float64"
    )
    shared, everything = problem.block("shared"), problem.block("all")
    own = problem.block("task", 1)
    d = gin.model.module_.heads.in_features + 1
    assert own.n_parameters == shared.n_parameters + d
    assert everything.n_parameters == shared.n_parameters + 3 * d
    # The Hessian of a task vanishes in the heads of the others.
    H = dense(TaskHessian(everything, 1))
    P = shared.n_parameters
    assert (H[P : P + d] == 0).all()
    assert (H[P + 2 * d :] == 0).all()
    torch.testing.assert_close(
        dense(TaskHessian(own, 1))[:P, :P], H[:P, :P], rtol=1e-12, atol=1e-14
    )
    layer = problem.block(lambda name: "layers.0" in name)
    assert 0 < layer.n_parameters < P
    with pytest.raises(ValueError, match="No parameter is left"):
        problem.block(lambda name: False)
    with pytest.raises(ValueError, match="must be one of"):
        problem.block("body")


@pytest.mark.parametrize("kind", [TaskHessian, TaskGaussNewton])
def test_operators_run_on_the_meta_device(kind):
    W = torch.zeros(4, 3, device="meta", requires_grad=True)
    batch = torch.zeros(8, 4, device="meta")
    problem = TaskProblem(
        outputs=lambda x: torch.tanh(x @ W),
        losses=lambda outputs, x: outputs.square().mean(dim=0),
        parameters={"W": W},
        batches=[batch],
        masses=torch.ones(1, 3, dtype=torch.float64),
        task_names=tuple("abc"),
    )
    operator = kind(problem, 0)
    V = torch.zeros(12, 5, device="meta")
    assert operator.matmat(V).shape == (12, 5)
    assert operator.matmat(V).device.type == "meta"


@pytest.mark.parametrize("method", ["matmat", "matmat_all"])
def test_chunks_are_halved_while_memory_runs_out(gin, method, memory_of):
    operator = TaskGaussNewton(gin.problem(), 0, chunk=8)
    V = torch.randn(operator.shape[0], 8, dtype=torch.float64)
    exact = getattr(TaskGaussNewton(gin.problem(), 0), method)(V)
    asked = memory_of(2)
    torch.testing.assert_close(getattr(operator, method)(V), exact)
    assert [n for n in asked if n > 1][:3] == [8, 4, 2]
    assert operator.n_matvec == 8
