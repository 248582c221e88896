"""Other libraries as second oracles, and losses of accuracy that the package avoids."""

import importlib

import numpy as np
import pytest
import torch
from random_matrices import probes as random_probes
from random_matrices import symmetric

from skgnn_mtl.curvature import (
    KrylovUnion,
    TaskGaussNewton,
    TaskHessian,
    TaskProblem,
    hutchinson,
    lanczos,
    make_probes,
    top_eigenpairs,
    xtrace,
)


def network_problem(batch_sizes=(8, 2), seed=0):
    """Three tasks of a small network with gaps; the second batch is a ragged rest."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)
    ).double()
    n = sum(batch_sizes)
    X = torch.randn(n, 4, dtype=torch.float64)
    y = torch.randn(n, 3, dtype=torch.float64)
    mask = (torch.rand(n, 3) < 0.7).double()
    mask[0] = mask[-1] = 1
    parts = torch.arange(n).split(list(batch_sizes))

    def losses(outputs, batch):
        _, target, weight = batch
        return (weight * (outputs - target) ** 2).sum(0) / weight.sum(0).clamp(min=1)

    problem = TaskProblem(
        outputs=lambda batch: network(batch[0]),
        losses=losses,
        parameters=dict(network.named_parameters()),
        batches=[(X[rows], y[rows], mask[rows]) for rows in parts],
        masses=torch.stack([mask[rows].sum(0) for rows in parts]),
        task_names=tuple("abc"),
    )
    return problem, network, X, y, mask


@pytest.mark.parametrize("name", ["HessianLinearOperator", "GGNLinearOperator"])
def test_products_are_those_of_curvlinops_on_the_labelled_rows(name):
    curvlinops = pytest.importorskip("curvlinops")
    problem, network, X, y, mask = network_problem()
    kind = {"H": TaskHessian, "G": TaskGaussNewton}[name[0]]
    for task in range(3):
        rows = mask[:, task] > 0
        select = torch.zeros(3, 1, dtype=torch.float64)
        select[task] = 1

        class Column(torch.nn.Module):
            def __init__(self, select):
                super().__init__()
                self.network, self.select = network, select

            def forward(self, x):
                return self.network(x) @ self.select

        module = Column(select)
        operator = getattr(curvlinops, name)(
            module,
            torch.nn.MSELoss(),
            list(module.parameters()),
            [(X[rows], y[rows, task, None])],
        )
        v = torch.randn(problem.n_parameters, dtype=torch.float64)
        product = kind(problem, task).matvec(v)
        torch.testing.assert_close(product, operator @ v, rtol=1e-10, atol=1e-12)


create_graph = pytest.mark.filterwarnings("ignore:Using backward:UserWarning")


def quadratic(A):
    """A problem whose Hessian is A."""
    w = torch.zeros(len(A), dtype=A.dtype, requires_grad=True)
    return TaskProblem(
        outputs=lambda batch: (0.5 * w @ A @ w)[None, None],
        losses=lambda outputs, batch: outputs[0],
        parameters={"w": w},
        batches=[None],
        masses=torch.ones(1, 1, dtype=torch.float64),
        task_names=("quadratic",),
    )


def pyhessian_of(A):
    pytest.importorskip("pyhessian")
    # The package hides its module behind the class of the same name.
    room = importlib.import_module("pyhessian.hessian")

    class Quadratic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            # Away from the minimum, where its gradients would vanish.
            self.w = torch.nn.Parameter(torch.ones(len(A), dtype=A.dtype))

        def forward(self, x):
            return 0.5 * self.w @ A @ self.w

    return room.hessian(Quadratic(), lambda o, y: o, data=(None, None), cuda=False)


@create_graph
@pytest.mark.parametrize("scale", [1e-6, 1e-8])
def test_a_constant_added_to_norms_loses_small_spectra(scale, monkeypatch):
    """PyHessian adds 1e-6 to norms before it divides; Lanczos here does not."""
    A = scale * symmetric(np.linspace(-0.2, 1, 60), dtype=torch.float32)
    operator = TaskHessian(quadratic(A), 0)
    probes = make_probes(60, 2, torch.Generator().manual_seed(0))
    value = KrylovUnion(lanczos(operator.matmat, probes, 40)).largest(1).values[0]
    np.testing.assert_allclose(value, scale, rtol=1e-4)
    torch.manual_seed(0)
    # PyHessian 0.1 calls a function that torch has removed since.
    monkeypatch.setattr(
        torch,
        "eig",
        lambda T, eigenvectors: (
            torch.linalg.eigh(T)[0][:, None],
            torch.linalg.eigh(T)[1],
        ),
    )
    nodes, _ = pyhessian_of(A).density(iter=40, n_v=1)
    assert max(nodes[0]) < 0.85 * scale


@create_graph
def test_a_trace_near_zero_comes_with_an_error_bar():
    """200 x 200, indefinite, trace 0.27: one-sample answers have no meaning."""
    values = np.random.default_rng(0).normal(size=200)
    values += (0.27 - values.sum()) / 200
    A = symmetric(values)
    covered = 0
    for seed in range(40):
        probes = random_probes(200, 20, seed)
        for estimate in (
            hutchinson(lambda V: A @ V, probes),
            xtrace(lambda V: A @ V, probes),
        ):
            assert estimate.sem > 1
            covered += abs(estimate.value - 0.27) <= 2 * estimate.sem
    assert covered >= 0.85 * 80
    torch.manual_seed(0)
    samples = pyhessian_of(A).trace(maxIter=100)
    # Its rule "the mean moves little" holds at once where the mean is negative.
    assert len(samples) == 2
    assert abs(np.mean(samples) - 0.27) > 3


def test_ragged_batches_are_weighted_by_their_labels():
    """A mean of batch means is 38 % wrong on 8 + 2 rows; the weighted mean is exact."""
    problem, *_ = network_problem((8, 2))
    whole, *_ = network_problem((10,))
    v = torch.randn(problem.n_parameters, dtype=torch.float64)
    for task in range(3):
        exact = TaskHessian(whole, task).matvec(v)
        torch.testing.assert_close(TaskHessian(problem, task).matvec(v), exact)
        means = [
            TaskHessian(
                TaskProblem(
                    problem.outputs,
                    problem.losses,
                    problem.parameters,
                    [batch],
                    problem.masses[k : k + 1],
                    problem.task_names,
                ),
                task,
            ).matvec(v)
            for k, batch in enumerate(problem.batches)
        ]
        assert (sum(means) / 2 - exact).norm() > 0.05 * exact.norm()


@create_graph
def test_close_eigenvalues_do_not_end_the_iteration_too_early():
    """Power iteration that stops at a small relative change is per cents low."""
    values = np.r_[1.0, 0.99, 0.98, np.linspace(0, 0.9, 97)]
    A = symmetric(values)
    start = random_probes(100, 1, seed=1)[:, 0]
    pairs, converged = top_eigenpairs(
        lambda V: A @ V, start, 3, tol=1e-6, max_steps=100
    )
    assert converged.all()
    np.testing.assert_allclose(pairs.values, values[:3], rtol=1e-9)
    torch.manual_seed(0)
    theirs = pyhessian_of(A).eigenvalues()[0][0]
    assert theirs < 0.995


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.LayerNorm(4),
        torch.nn.BatchNorm1d(4).eval(),
        torch.nn.SiLU(),
        torch.nn.Softplus(),
        torch.nn.GELU(),
        torch.nn.ELU(),
        torch.nn.Tanh(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_second_derivatives_of_every_layer_in_use(layer):
    """The package uses no gradient of a forward-mode product, which may be wrong."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4), layer, torch.nn.Linear(4, 1)
    ).double()
    X = torch.randn(9, 3, dtype=torch.float64)
    parameters = dict(network.named_parameters())
    problem = TaskProblem(
        outputs=network,
        losses=lambda outputs, x: (outputs - 1).square().mean(0),
        parameters=parameters,
        batches=[X],
        masses=torch.ones(1, 1, dtype=torch.float64),
        task_names=("layer",),
    )
    v = torch.randn(problem.n_parameters, dtype=torch.float64)
    product = TaskHessian(problem, 0).matvec(v)
    gauss_newton = TaskGaussNewton(problem, 0).matvec(v)
    flat = torch.nn.utils.parameters_to_vector(parameters.values()).detach()

    def at(theta, function):
        torch.nn.utils.vector_to_parameters(theta, parameters.values())
        return function()

    step = 1e-5
    gradients = [
        at(flat + s * step * v, lambda: problem.gradients()[1][0]) for s in (1, -1)
    ]
    outputs = [at(flat + s * step * v, lambda: network(X).detach()) for s in (1, -1)]
    at(flat, lambda: None)
    difference = (gradients[0] - gradients[1]) / (2 * step)
    assert (product - difference).norm() <= 1e-7 * product.norm()
    pushed = (outputs[0] - outputs[1]) / (2 * step)
    form = 2 * float(pushed.square().mean())  # v^T C v
    np.testing.assert_allclose(float(v @ gauss_newton), form, rtol=1e-7)
