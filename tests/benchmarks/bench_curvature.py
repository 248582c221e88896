"""Cost of curvature: products in gradients, and whole reports beside other tools.

    python tests/benchmarks/bench_curvature.py products --data-home FOLDER
    python tests/benchmarks/bench_curvature.py report --data-home FOLDER --out FILE.csv

``products`` measures one product with the Hessian and the Gauss-Newton matrix in units
of one gradient (forward and backward of one loss), alternating in one process.

``report`` makes the same report with three tools, task by task, alternating in one
process: 10 largest eigenvalues to a relative accuracy of 1e-3, the trace with a
standard error, and a spectral density from 4 probes of 30 Lanczos steps. PyHessian gets
the whole set as one batch, its fastest way (it keeps the graph); curvlinops gets the
batches of ours. Neither knows the gaps, so all rows are labelled. curvlinops works by
functorch transforms, for which sums over neighbours are replaced by ``index_add``, and
the activation is tanh, since SiLU has no forward derivative of its backward in torch
2.13; for PyHessian 0.1 the removed ``torch.eig`` is supplied. Rows are appended to the
file, and tasks already there are skipped: long runs can be cut.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import time
from collections import UserDict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from scipy.sparse.linalg import eigsh

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.curvature import TaskGaussNewton, TaskHessian, task_spectra
from skgnn_mtl.datasets import fetch_qm8
from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.graphs import Incidence

K, STEPS, PROBES, TRACE_PROBES, TOL = 10, 30, 4, 20, 1e-3


def fitted(options):
    """A 12-task network after a few epochs on QM8, with its data."""
    smiles, y = fetch_qm8(data_home=options.data_home, return_X_y=True)
    rows = np.random.RandomState(0).permutation(len(smiles))[: options.n_samples]
    X = SmilesToGraph(options.features).fit_transform(smiles.iloc[rows])
    encoder = {
        "gin": GIN(options.width, n_layers=5, norm=None, activation="tanh"),
        "dmpnn": DMPNN(options.width, activation="tanh"),
    }[options.encoder]
    model = MultiTaskGNNRegressor(
        encoder,
        readout="mean",
        head_hidden_dims=(),
        max_epochs=3,
        random_state=0,
        device="cpu",
    )
    return model.fit(X, y.iloc[rows]), X, y.iloc[rows]


def shared_problem(model, X, y, batch_size):
    return model.task_problem(
        X,
        y,
        rows=lambda labelled: np.arange(len(labelled)),
        batch_size=batch_size,
        dtype=None,
    ).block("shared")


def clock(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# -- products ---------------------------------------------------------------------


def products(options) -> pd.DataFrame:
    model, X, y = fitted(options)
    problem = shared_problem(model, X, y, options.batch_size)
    leaves = list(problem.parameters.values())
    v = torch.randn(problem.n_parameters, 1)
    kept = TaskHessian(problem, 0, keep_graph=True)
    rebuilt = TaskHessian(problem, 0, keep_graph=False)
    gauss = TaskGaussNewton(problem, 0, keep_graph=True)
    many = torch.randn(problem.n_parameters, 4)
    batched = TaskHessian(problem, 0, keep_graph=True, chunk=4)
    batched._kept = kept._kept

    def gradient():
        for batch in problem.batches:
            loss = problem.losses(problem.outputs(batch), batch)[0]
            torch.autograd.grad(loss, leaves)

    sides = {
        "gradient": (gradient, 1),
        "hessian, graph kept": (lambda: kept.matmat(v), 1),
        "hessian, graph rebuilt": (lambda: rebuilt.matmat(v), 1),
        "hessian, 4 probes vmapped, each": (lambda: batched.matmat(many), 4),
        "gauss-newton, one task": (lambda: gauss.matmat(v), 1),
        "gauss-newton, 12 tasks, each": (lambda: gauss.matmat_all(v), problem.n_tasks),
    }
    seconds = {name: [] for name in sides}
    for repeat in range(options.repeats + 1):
        for name, (side, share) in sides.items():
            elapsed = clock(side) / share
            if repeat:  # the first round makes the graphs
                seconds[name].append(elapsed)
    table = pd.DataFrame(seconds)
    ratios = table.median() / table["gradient"].median()
    return pd.DataFrame(
        {
            "encoder": options.encoder,
            "parameters": problem.n_parameters,
            "molecules": len(X),
            "what": ratios.index,
            "seconds": table.median().to_numpy(),
            "gradients": ratios.to_numpy(),
        }
    )


# -- reports ----------------------------------------------------------------------


class OneTask(torch.nn.Module):
    """The network as a single-task model whose only free parameters are shared."""

    def __init__(self, model, task: int) -> None:
        super().__init__()
        self.network, self.task = model, task
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not name.startswith("heads"))

    def forward(self, x):
        graphs = x["graphs"] if isinstance(x, UserDict) else x
        return self.network(graphs)[:, self.task : self.task + 1]


def data(model, X, y, task, size):
    values = (y.to_numpy()[:, task] - model.target_mean_[task]) / model.target_scale_[
        task
    ]
    for start in range(0, len(X), size):
        rows = np.arange(start, min(start + size, len(X)))
        yield X.batch(rows), torch.from_numpy(values[rows, None]).float()


def ours(model, X, y, task, size):
    problem = shared_problem(model, X, y, size)
    single = replace(
        problem,
        losses=lambda o, b: problem.losses(o, b)[task : task + 1],
        masses=problem.masses[:, task : task + 1],
        task_names=(problem.task_names[task],),
        info=None,
    )
    s = task_spectra(
        single,
        parameters="all",  # of the shared block
        n_eigenvalues=K,
        n_lanczos=STEPS,
        n_probes=PROBES,
        pairwise=False,
        tol=TOL,
    )
    return s.eigenvalues[0], s.trace[0], s.trace_sem[0], int(s.n_matvec[0])


def with_pyhessian(model, X, y, task, size):
    torch.eig = lambda T, eigenvectors: (
        torch.stack([torch.linalg.eigh(T)[0]] * 2, 1),
        torch.linalg.eigh(T)[1],
    )
    module = OneTask(model.module_, task)
    ((graphs, target),) = data(model, X, y, task, len(X))
    counter = {"n": 0}
    # The package hides its module behind the class of the same name.
    room = importlib.import_module("pyhessian.hessian")
    product = room.hessian_vector_product

    def counted(*args):
        counter["n"] += 1
        return product(*args)

    room.hessian_vector_product = counted
    try:
        tool = room.hessian(
            module, torch.nn.MSELoss(), data=(graphs, target), cuda=False
        )
        values, _ = tool.eigenvalues(maxIter=100, tol=TOL, top_n=K)
        samples = tool.trace(maxIter=TRACE_PROBES, tol=0)
        tool.density(iter=STEPS, n_v=PROBES)
    finally:
        room.hessian_vector_product = product
        module.zero_grad(set_to_none=True)
    sem = np.std(samples, ddof=1) / np.sqrt(len(samples))
    return np.sort(values)[::-1], np.mean(samples), sem, counter["n"]


@contextmanager
def plain_operations(model):
    """Sums over neighbours that functorch can trace, edge classes found beforehand."""
    plain = {
        "gather": lambda self, x: x.index_select(0, self.owner),
        "sum": lambda self, x: x.new_zeros(self.n_owners, x.shape[1]).index_add(
            0, self.owner, x
        ),
        "transfer": lambda self, x, source: self.sum(source.gather(x)),
    }
    original = {name: getattr(Incidence, name) for name in plain}
    for name, operation in plain.items():
        setattr(Incidence, name, operation)
    encoder, found = model.module_.encoder, {}
    if isinstance(encoder, DMPNN):
        find = encoder._edge_classes

        def known(batch):
            if id(batch) not in found:
                found[id(batch)] = find(batch)
            return found[id(batch)]

        encoder._edge_classes = known
    try:
        yield
    finally:
        for name, operation in original.items():
            setattr(Incidence, name, operation)
        if isinstance(encoder, DMPNN):
            del encoder._edge_classes


def with_curvlinops(model, X, y, task, size):
    from curvlinops import HessianLinearOperator, lanczos_approximate_spectrum

    with plain_operations(model):
        module = OneTask(model.module_, task)
        batches = [
            (UserDict(graphs=graphs), target)
            for graphs, target in data(model, X, y, task, size)
        ]
        for x, _ in batches:
            # What is made inside a functorch transform cannot be used outside.
            module(x)
        H = HessianLinearOperator(
            module,
            torch.nn.MSELoss(),
            [p for p in module.parameters() if p.requires_grad],
            batches,
            check_deterministic=False,
            batch_size_fn=lambda x: len(x["graphs"]),
        )
        counter = {"n": 0}
        product = H._matmat

        def counted(M):
            counter["n"] += M[0].shape[-1]
            return product(M)

        H._matmat = counted
        values = eigsh(H.to_scipy(), k=K, which="LA", tol=TOL)[0]
        samples = []
        for _ in range(TRACE_PROBES):
            v = torch.randint(0, 2, (H.shape[1],)).float() * 2 - 1
            samples.append(float(v @ (H @ v)))
        lanczos_approximate_spectrum(
            H, STEPS, num_repeats=PROBES, boundaries=(-abs(values[0]), values[-1])
        )
    sem = np.std(samples, ddof=1) / np.sqrt(len(samples))
    return np.sort(values)[::-1], np.mean(samples), sem, counter["n"]


SIDES = {"ours": ours, "pyhessian": with_pyhessian, "curvlinops": with_curvlinops}


def report(options) -> pd.DataFrame:
    out = Path(options.out)
    done = pd.read_csv(out) if out.is_file() else pd.DataFrame()
    model, X, y = fitted(options)
    n_shared = shared_problem(model, X, y, len(X)).n_parameters
    key = {
        "encoder": options.encoder,
        "parameters": n_shared,
        "molecules": len(X),
        "batch_size": options.batch_size,
    }
    started = time.perf_counter()
    for task in options.tasks:
        for side in options.sides:
            row = {**key, "task": y.columns[task], "side": side}
            if len(done) and (done[list(row)] == pd.Series(row)).all(axis=1).any():
                continue
            if time.perf_counter() - started > options.max_seconds:
                return pd.read_csv(out)
            torch.manual_seed(0)
            start = time.process_time()
            values, trace, sem, count = SIDES[side](
                model, X, y, task, options.batch_size
            )
            row |= {
                # Of the processor: other work on the machine does not count.
                "seconds": time.process_time() - start,
                "products": count,
                "trace": trace,
                "trace_sem": sem,
                # Of this process so far: only grows.
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                **{f"lambda_{k}": value for k, value in enumerate(values)},
            }
            print(row, flush=True)
            pd.DataFrame([row]).to_csv(
                out, mode="a", header=not out.is_file(), index=False
            )
    return pd.read_csv(out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["products", "report"])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--encoder", default="gin", choices=["gin", "dmpnn"])
    parser.add_argument("--width", type=int, default=222)
    parser.add_argument("--features", default="ogb")
    parser.add_argument("--n-samples", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(12)))
    parser.add_argument("--sides", nargs="+", default=list(SIDES))
    parser.add_argument("--max-seconds", type=float, default=1e9)
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "report":
        table = report(options)
        wide = table.pivot_table(index="task", columns="side", values="seconds")
        print(wide.to_string())
        others = [side for side in wide if side != "ours"]
        ratio = wide["ours"] / wide[others].min(axis=1)
        print("ours / fastest other:", [round(r, 3) for r in ratio], median(ratio))
        return
    table = products(options)
    print(table.to_string())
    if options.out:
        out = Path(options.out)
        table.to_csv(out, mode="a", header=not out.is_file(), index=False)


if __name__ == "__main__":
    main()
