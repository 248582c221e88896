"""Time of a training step under each weighting, and of the solvers.

    python tests/benchmarks/bench_weighting.py [--out PREFIX] [--tasks 12]

One model (GIN, about 1e6 shared parameters, batches of 64 molecules), one process. In
each round every way of stepping is timed once, in turn, on the same batches; the median
over rounds of its ratio to the plain step (forward, one backward of the summed losses,
AdamW) of the same round is reported. One thread is timed by the CPU time of the
process, which neighbours on the machine disturb least. The other sides:

* TorchJD's ``mtl_backward`` from the representation, one task at a time (its fastest on
  a CPU; all at once it cannot pass the sums over neighbours), with its UPGrad, which
  needs qpsolvers and quadprog;
* a loop in the manner of LibMTL: one ``backward`` a task through the heads, gradients
  copied parameter by parameter into a new (tasks, parameters) matrix, whose weighted
  rows are added one by one.

Solvers are timed on random Gramians with norms over two decades. Two of TorchJD's that
call cvxpy take part where it is installed: NashMTL, the published solution with ECOS,
and CAGrad with Clarabel.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
import torch

from skgnn_mtl import SmilesToGraph, weighting
from skgnn_mtl._component import part_names
from skgnn_mtl._flat import flat_size
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import LOSSES, MultiTaskModel, TrainingStep
from skgnn_mtl.weighting import (
    CAGrad,
    Fixed,
    GramianWeighting,
    NashMTL,
    TaskWeighting,
    UPGrad,
)

BATCH = 64


def make_model(schema, n_tasks: int) -> MultiTaskModel:
    torch.manual_seed(0)
    return MultiTaskModel(GIN(width=228, n_layers=5), Mean(), schema, n_tasks).train()


class Side:
    """One way to step; calling it with a batch steps."""

    def __init__(self, schema, n_tasks: int) -> None:
        self.model = make_model(schema, n_tasks)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=True)
        self.n_tasks = n_tasks
        self.evaluation = TrainingStep(Fixed(), LOSSES["squared_error"], n_tasks)

    def losses(self, graphs, labels):
        return self.evaluation.losses(self.model, graphs, labels)[0]

    def gradients(self, graphs, labels) -> None:
        self.losses(graphs, labels).sum().backward()

    def __call__(self, graphs, labels) -> None:
        self.optimizer.zero_grad()
        self.gradients(graphs, labels)
        self.optimizer.step()


class Ours(Side):
    """The package's step."""

    def __init__(self, schema, n_tasks: int, method: TaskWeighting) -> None:
        super().__init__(schema, n_tasks)
        method.build(n_tasks)
        generator = torch.Generator().manual_seed(0)
        self.step = TrainingStep(
            method, LOSSES["squared_error"], n_tasks, generator=generator
        )

    def __call__(self, graphs, labels) -> None:
        self.optimizer.zero_grad()
        record = self.step.backward(self.model, graphs, labels)
        self.optimizer.step()
        if self.step.looks_back:
            self.step.after_step(self.model, graphs, labels, record)


class LoopOfBackwards(Side):
    """As LibMTL computes gradients, with one of our solvers in the end."""

    def gradients(self, graphs, labels) -> None:
        losses, shared = self.losses(graphs, labels), self.model.shared_parameters()
        sizes = [parameter.numel() for parameter in shared]
        J = torch.zeros(self.n_tasks, sum(sizes))
        for task in range(self.n_tasks):
            losses[task].backward(retain_graph=task + 1 < self.n_tasks)
            row = torch.zeros(sum(sizes))
            for part, parameter in zip(row.split(sizes), shared, strict=True):
                part.copy_(parameter.grad.view(-1))
            J[task] = row
            for parameter in shared:
                parameter.grad.zero_()
        weights = UPGrad().task_weights(J @ J.t())
        direction = sum(weights[t] * J[t] for t in range(self.n_tasks))
        for part, parameter in zip(direction.split(sizes), shared, strict=True):
            parameter.grad = part.view_as(parameter).clone()


class TorchJD(Side):
    """``mtl_backward`` from the representation, then the aggregator."""

    def __init__(self, schema, n_tasks: int) -> None:
        super().__init__(schema, n_tasks)
        from torchjd import aggregation, autojac

        self.autojac, self.aggregator = autojac, aggregation.UPGrad()
        # It wants one head a task instead of a fused one.
        width = self.model.heads.in_features
        self.heads = [torch.nn.Linear(width, 1) for _ in range(n_tasks)]
        own = [p for head in self.heads for p in head.parameters()]
        shared = self.model.shared_parameters()
        self.optimizer = torch.optim.AdamW([*shared, *own], 1e-4, fused=True)

    def gradients(self, graphs, labels) -> None:
        z = self.model.represent(graphs)
        targets, weights = labels
        losses = [
            (weights[:, t] * (head(z)[:, 0] - targets[:, t]) ** 2).sum()
            / weights[:, t].sum()
            for t, head in enumerate(self.heads)
        ]
        shared = self.model.shared_parameters()
        self.autojac.mtl_backward(
            losses,
            features=z,
            tasks_params=[list(head.parameters()) for head in self.heads],
            shared_params=shared,
            parallel_chunk_size=1,
        )
        self.autojac.jac_to_grad(shared, self.aggregator)


def sides(schema, n_tasks: int) -> dict[str, Side]:
    result: dict[str, Side] = {"plain": Side(schema, n_tasks)}
    for name, cls in part_names(weighting, TaskWeighting).items():
        method = cls(np.ones(n_tasks)) if cls is Fixed else cls()
        result[name] = Ours(schema, n_tasks, method)
        if name in ("nashmtl", "upgrad"):
            for label, changes in (
                ("every 10", {"update_every": 10}),
                ("representation", {"gradients": "representation"}),
            ):
                result[f"{name}, {label}"] = Ours(schema, n_tasks, cls(**changes))
    result["loop of backwards (LibMTL)"] = LoopOfBackwards(schema, n_tasks)
    try:
        result["TorchJD, one at a time"] = TorchJD(schema, n_tasks)
    except ImportError as error:
        warnings.warn(f"TorchJD is left out: {error}", stacklevel=1)
    return result


def time_steps(n_tasks: int, n_rounds: int, only: list[str] | None) -> pd.DataFrame:
    smiles = load_physchem(return_X_y=True)[0]
    X = SmilesToGraph().fit_transform(smiles)
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(len(X), n_tasks))
    data = GraphDataset(X, targets, np.ones_like(targets))
    contestants = sides(X.schema, n_tasks)
    if only:
        keep = {"plain", *only}
        contestants = {k: v for k, v in contestants.items() if k in keep}
    print(
        f"{flat_size(contestants['plain'].model.shared_parameters()):,} shared "
        f"parameters, {n_tasks} tasks, batches of {BATCH}"
    )
    one_thread = torch.get_num_threads() == 1
    clock = time.process_time if one_thread else time.perf_counter
    rows = []
    for k in range(n_rounds + 1):
        # Ten steps for what acts every tenth step, else one.
        batches = [
            data.__getitems__(rng.choice(len(X), BATCH, replace=False))
            for _ in range(10)
        ]
        seconds = {}
        for name, side in contestants.items():
            some = batches if "every" in name or name == "plain" else batches[:2]
            start = clock()
            for graphs, labels in some:
                side(graphs, labels)
            seconds[name] = (clock() - start) / len(some)
        if k:  # the first round fills caches
            rows.append(seconds)
    table = pd.DataFrame(rows)
    ratios = table.div(table["plain"], axis=0)
    return pd.DataFrame(
        {
            "milliseconds": 1e3 * table.median(),
            "times plain": ratios.median(),
            "lower quartile": ratios.quantile(0.25),
            "upper quartile": ratios.quantile(0.75),
        }
    ).rename_axis("step")


def random_jacobian(n_tasks: int, rng) -> torch.Tensor:
    J = rng.normal(size=(n_tasks, 200)) * 10 ** rng.uniform(-1, 1, size=(n_tasks, 1))
    return torch.from_numpy(J)


def nash_residual(weights: torch.Tensor, G: torch.Tensor) -> float:
    """How unequal the products w_t (G w)_t are, whatever the scale of the weights."""
    w = weights.double()
    products = w * (G @ w)
    return float((products / products.median() - 1).abs().max())


def time_calls(solve, inputs, grams, residual) -> tuple[float, float]:
    """Median milliseconds of a call, and the worst residual."""
    seconds, residuals = [], []
    for matrix, G in zip(inputs, grams, strict=True):
        start = time.perf_counter()
        weights = solve(matrix)
        seconds.append(time.perf_counter() - start)
        residuals.append(residual(weights, G))
    return 1e3 * float(np.median(seconds)), max(residuals)


def time_solvers(n_repeats: int = 50) -> pd.DataFrame:
    rows = []
    for n_tasks in (3, 11, 20, 40):
        rng = np.random.default_rng(n_tasks)
        jacobians = [random_jacobian(n_tasks, rng) for _ in range(n_repeats)]
        grams = [J @ J.T for J in jacobians]
        for name, cls in part_names(weighting, GramianWeighting).items():
            method = cls()
            method.build(n_tasks)
            residual = nash_residual if cls is NashMTL else reported(method)
            found = time_calls(method.task_weights, grams, grams, residual)
            rows.append((name, n_tasks, *found))
        nash, cagrad = "TorchJD's NashMTL, cvxpy", "TorchJD's CAGrad, cvxpy"
        try:
            found = time_calls(
                torchjd_nash(n_tasks), jacobians[:5], grams[:5], nash_residual
            )
            rows.append((nash, n_tasks, *found))
            found = time_calls(
                torchjd_cagrad(), grams, grams, lambda weights, G: np.nan
            )
            rows.append((cagrad, n_tasks, *found))
        except ImportError as error:
            warnings.warn(f"TorchJD's solvers are left out: {error}", stacklevel=1)
    columns = ["solver", "tasks", "milliseconds", "worst residual"]
    return pd.DataFrame(rows, columns=columns)


def reported(method):
    return lambda weights, G: method.decide(G).report.residual


def torchjd_nash(n_tasks: int):
    """The published linearised solution, by cvxpy with ECOS; from a Jacobian."""
    from torchjd.aggregation import NashMTL as TheirNash

    weighting_of_rows = TheirNash(n_tasks=n_tasks, max_norm=0.0).weighting

    def solve(J):
        weighting_of_rows.reset()
        return weighting_of_rows(J)

    return solve


def torchjd_cagrad():
    from torchjd.aggregation import CAGradWeighting

    return CAGradWeighting(c=CAGrad().c)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--solvers", action="store_true", help="time only the solvers")
    parser.add_argument("--out", help="prefix of two CSV files")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    solvers = time_solvers() if options.solvers or not options.only else None
    if solvers is not None:
        print(solvers.to_string(index=False))
    steps = None
    if not options.solvers:
        steps = time_steps(options.tasks, options.rounds, options.only)
        print(steps.round(2).to_string())
    if options.out:
        for name, table in (("steps", steps), ("solvers", solvers)):
            if table is not None:
                table.round(6).to_csv(
                    f"{options.out}_{name}.csv", index=name == "steps"
                )


if __name__ == "__main__":
    main()
