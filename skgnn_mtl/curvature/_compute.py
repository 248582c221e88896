"""Computation of the spectra of a problem: one call of the public functions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from tqdm.auto import tqdm

from skgnn_mtl._overlap import label_overlap
from skgnn_mtl._warn import warn

from ._lanczos import KrylovUnion, RitzPairs, lanczos
from ._operator import (
    Block,
    TaskGaussNewton,
    TaskHessian,
    TaskOperator,
    TaskProblem,
    memory_limit,
)
from ._pairs import (
    cross_curvature,
    gradient_cosine,
    hessian_cosine,
    share_in,
    subspace_overlap,
)
from ._spectrum import PAIRS, HessianSpectrum
from ._trace import (
    Matmat,
    hutchpp,
    make_probes,
    nystrom,
    wide_standard_error,
    xtrace,
)

_MATRICES = ("hessian", "ggn")
_TRACES = ("deflated", "hutchinson", "hutch++", "xtrace")
_METHODS = ("lanczos", "nystrom")
# Probes of Hutch++ and XTrace, whose estimates need a sketch of several vectors.
_TRACE_PROBES = 20
# Numbers to keep for the deflation of the cosines of the tasks' matrices, unless ten
# Ritz vectors per task and probe are more.
_KEPT_NUMBERS = 1 << 26


@dataclass
class Options:
    """The parameters of :func:`hessian_spectrum` that do not need an estimator."""

    matrix: str
    method: str
    n_eigenvalues: int
    n_lanczos: int
    n_probes: int
    trace: str
    chunk: int | str
    pairwise: bool
    keep_vectors: bool
    tol: float
    max_seconds: float | None
    seed: int
    verbose: int

    def __post_init__(self) -> None:
        for name, choices in (
            ("matrix", _MATRICES),
            ("trace", _TRACES),
            ("method", _METHODS),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name} must be one of {list(choices)}, got {value!r}."
                )
        counts = ["n_eigenvalues", "n_lanczos", "n_probes"]
        if self.chunk != "auto":
            counts.append("chunk")
        for name in counts:
            count = getattr(self, name)
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {count!r}.")
            setattr(self, name, int(count))  # because JSON has no integers of NumPy
        if not isinstance(self.tol, Real) or not self.tol >= 0:
            raise ValueError(f"tol must be a number >= 0, got {self.tol!r}.")
        self.tol = float(self.tol)
        if self.max_seconds is not None:
            if not isinstance(self.max_seconds, Real) or not self.max_seconds > 0:
                raise ValueError(
                    f"max_seconds must be a number > 0 or None, got "
                    f"{self.max_seconds!r}."
                )
            self.max_seconds = float(self.max_seconds)
        self.pairwise, self.keep_vectors = bool(self.pairwise), bool(self.keep_vectors)
        self.verbose = int(self.verbose)
        if self.method == "nystrom" and self.matrix != "ggn":
            raise ValueError(
                "method='nystrom' needs a semi-definite matrix: set matrix='ggn', or "
                "use method='lanczos'."
            )


@dataclass
class _Result:
    """Results of one task, by the names of HessianSpectrum."""

    scalars: dict[str, Any]
    vectors: Tensor  # (k, P)
    along_gradients: Tensor  # (P, t or 1)
    probe_products: Tensor  # (v, P)
    independent_pairs: list[RitzPairs] = field(default_factory=list)  # per probe


class Computation:
    """The state of one call: probes, counters and the tasks' results.

    Parameters
    ----------
    problem : TaskProblem
        Losses and parameters.
    parameters : {"shared", "task", "all"} or callable
        Parameters to differentiate by.
    options : Options
        Checked options; the plan may lower numbers among them.
    """

    def __init__(
        self, problem: TaskProblem, parameters: Block, options: Options
    ) -> None:
        self.problem, self.parameters = problem, parameters
        self.options = options
        self.labels = problem.masses.sum(dim=0).numpy()
        info = problem.info or {}
        self.labelled = info.get("labelled")
        self.n_labels = (
            self.labels if self.labelled is None else self.labelled.sum(axis=0)
        )
        self.usable = np.flatnonzero(self.n_labels >= 2)
        self.bar: tqdm | None = None

    def spectrum(self) -> HessianSpectrum:
        """Compute the spectra of all tasks, one task at a time."""
        options, problem = self.options, self.problem
        first = problem.block(self.parameters, 0)
        self.size = first.n_parameters
        # Lanczos assumes one fixed matrix, and noise would pass unnoticed.
        first.check_deterministic()
        self._warn_of_rare_tasks()
        self._plan(first)
        like = next(iter(first.parameters.values()))
        generator = torch.Generator().manual_seed(options.seed)
        draw = max(options.n_probes, 2 * _TRACE_PROBES)
        # The same probes for all tasks, as the cosines of their matrices require.
        probes = make_probes(self.size, draw, generator)
        # XTrace and Hutch++ have probes of their own, independent of those of Lanczos.
        self.probes = probes[:, : options.n_probes].to(like)
        self.further = make_probes(self.size, 2 * _TRACE_PROBES, generator).to(like)
        losses, gradients = self._gradients(first)
        results: list[_Result | None] = [None] * problem.n_tasks
        sketch = self._sketch(first) if options.method == "nystrom" else None
        shared = self._operator(first, 0) if options.matrix == "ggn" else None
        for task in self.usable:
            start = time.perf_counter()
            block = problem.block(self.parameters, int(task))
            operator = self._reuse(shared, block, int(task))
            result = self._task(operator, gradients, int(task), sketch)
            result.scalars["seconds"] = time.perf_counter() - start
            result.scalars["n_matvec"] = operator.n_matvec
            results[task] = result
        if self.bar is not None:
            self.bar.close()
        return self._assemble(results, losses, gradients)

    # -- planning -----------------------------------------------------------------

    def _warn_of_rare_tasks(self) -> None:
        rare = [
            name
            for t, name in enumerate(self.problem.task_names)
            if t not in self.usable
        ]
        if rare:
            warn(
                f"Tasks with fewer than two labels get NaN: {', '.join(rare)}.",
            )

    def _plan(self, block: TaskProblem) -> None:
        """Time one product; fit the work into ``max_seconds``; announce it."""
        options = self.options
        options.n_lanczos = min(options.n_lanczos, self.size)
        if len(self.usable) == 0:
            return
        if options.max_seconds is None and not options.verbose:
            self._check_memory()
            return
        operator = self._operator(block, int(self.usable[0]))
        v = torch.ones(self.size, dtype=operator.dtype, device=operator.device)
        # The second product counts, because the first one computes the graph.
        seconds = [0.0, 0.0]
        for k in range(2):
            start = time.perf_counter()
            operator.matvec(v)
            seconds[k] = time.perf_counter() - start
        operator.free()

        def total() -> int:
            extra = self.problem.n_tasks if options.pairwise else 1
            if options.trace in ("hutch++", "xtrace"):
                extra += 2 * _TRACE_PROBES
            runs = 1 if options.method == "nystrom" else options.n_probes
            return (options.n_lanczos * runs + extra) * len(self.usable)

        wanted = (options.n_probes, options.n_lanczos)
        limit = np.inf if options.max_seconds is None else options.max_seconds
        # Fewer probes save nothing with Nystrom's method, whose sketch needs none.
        least = wanted[0] if options.method == "nystrom" else 2
        # Probes first, because eigenvalues depend more on the steps.
        while total() * seconds[1] > limit and options.n_probes > least:
            options.n_probes -= 1
        while total() * seconds[1] > limit and options.n_lanczos > 5:
            options.n_lanczos -= 1
        left = (options.n_probes, options.n_lanczos)
        if left != wanted or total() * seconds[1] > limit:
            warn(
                f"max_seconds={limit:.3g} lowers n_probes from {wanted[0]} to "
                f"{left[0]} and n_lanczos from {wanted[1]} to {left[1]}: one product "
                f"takes {seconds[1]:.2g} s, all about {total() * seconds[1]:.2g} s.",
            )
        memory = self._check_memory()
        if options.verbose:
            tqdm.write(
                f"hessian_spectrum: {total()} products with matrices of order "
                f"{self.size:,}, about {total() * seconds[1]:.0f} s; vectors take "
                f"about {memory / 1e9:.1f} GB."
            )
            self.bar = tqdm(total=total(), desc="spectrum", unit="product")

    def _check_memory(self) -> float:
        """Compute the bytes of all vectors; warn if they exceed half the memory."""
        options, t = self.options, self.problem.n_tasks
        # Lanczos vectors and their copy, then the vectors kept for each task.
        rows = 2 * options.n_probes * (options.n_lanczos + 1)
        rows += t * (options.n_eigenvalues + options.n_probes + t)
        rows += t * options.n_probes * self._n_independent
        like = next(iter(self.problem.parameters.values()))
        memory: float = rows * self.size * like.dtype.itemsize
        if like.device.type != "meta" and memory > 2 * memory_limit(like.device):
            warn(
                f"The vectors will take about {memory / 1e9:.1f} GB, more than half of "
                "the memory. Lower n_lanczos, n_probes or n_eigenvalues, or set "
                "pairwise=False.",
            )
        return memory

    @property
    def _n_independent(self) -> int:
        """Number of Ritz vectors per task and probe that deflate the cosines."""
        options = self.options
        if not options.pairwise or options.method == "nystrom" or not self._deflates:
            return 0
        fit = _KEPT_NUMBERS // (self.problem.n_tasks * options.n_probes * self.size)
        count: int = max(10, min(options.n_lanczos, fit))
        return count

    @property
    def _deflates(self) -> bool:
        return self.options.trace != "hutchinson" and self.options.n_probes > 1

    # -- one task -----------------------------------------------------------------

    def _operator(self, block: TaskProblem, task: int) -> TaskOperator:
        kinds: dict[str, type[TaskOperator]] = {
            "hessian": TaskHessian,
            "ggn": TaskGaussNewton,
        }
        return kinds[self.options.matrix](block, task, chunk=self.options.chunk)

    def _reuse(
        self, shared: TaskOperator | None, block: TaskProblem, task: int
    ) -> TaskOperator:
        """Share the graphs of Gauss-Newton matrices, if the parameters are the same."""
        if not isinstance(shared, TaskGaussNewton) or self.parameters == "task":
            return self._operator(block, task)
        return shared.for_task(task)

    def _gradients(self, first: TaskProblem) -> tuple[Tensor, Tensor]:
        if self.parameters != "task":
            return first.gradients()
        rows = [self.problem.block("task", t).gradients() for t in range(first.n_tasks)]
        return rows[0][0], torch.stack([row[t] for t, (_, row) in enumerate(rows)])

    def _sketch(self, block: TaskProblem) -> tuple[Tensor, Tensor]:
        """Draw orthonormal vectors, and compute the products of all tasks with them."""
        operator = TaskGaussNewton(block, int(self.usable[0]), chunk=self.options.chunk)
        count = min(self.options.n_lanczos, self.size)
        generator = torch.Generator().manual_seed(self.options.seed)
        Omega = torch.randn(self.size, count, generator=generator, dtype=torch.float64)
        Omega = torch.linalg.qr(Omega)[0].to(operator.device, operator.dtype)
        return Omega, operator.matmat_all(Omega)

    def _task(
        self,
        operator: TaskOperator,
        gradients: Tensor,
        task: int,
        sketch: tuple[Tensor, Tensor] | None,
    ) -> _Result:
        options = self.options

        def matmat(V: Tensor) -> Tensor:
            if self.bar is not None:
                self.bar.update(V.shape[1])
            return operator.matmat(V)

        if sketch is None:
            result = self._lanczos(matmat)
        else:
            result = self._nystrom(sketch[0], sketch[1][task])
        directions = gradients if options.pairwise else gradients[task : task + 1]
        result.along_gradients = matmat(directions.T)
        if options.trace in ("hutch++", "xtrace"):
            result.scalars |= self._further_trace(matmat)
        # Gauss-Newton graphs stay, because the next task shares them.
        if options.matrix == "hessian" or self.parameters == "task":
            operator.free()
        result.scalars["gradient_in_top"] = share_in(result.vectors, gradients[task])
        return result

    def _lanczos(self, matmat: Matmat) -> _Result:
        options = self.options
        runs = lanczos(matmat, self.probes, options.n_lanczos)
        union = KrylovUnion(runs)
        top, low = union.largest(options.n_eigenvalues), union.smallest()
        # The smallest eigenvalue may have the largest modulus.
        scale = max(abs(top.values[0]), abs(low.values[0]))
        shape = (len(runs), options.n_lanczos)
        # Runs may end early; nodes of weight 0 fill the rows.
        nodes, weights = np.zeros(shape), np.zeros(shape)
        for row, run in enumerate(runs):
            values, squares = run.nodes()
            nodes[row, : len(values)], weights[row, : len(values)] = values, squares
        scalars = {
            "eigenvalues": top.values,
            "residuals": top.residuals,
            "converged": top.residuals <= options.tol * scale,
            "lambda_min": low.values[0],
            "lambda_min_residual": low.residuals[0],
            "ritz_values": nodes,
            "ritz_weights": weights,
            **_traces(
                *(union.trace_samples(p, deflate=self._deflates) for p in (1, 2)),
                *(union.trace_error(p, deflate=self._deflates) for p in (1, 2)),
            ),
        }
        pairs = []
        if self._n_independent:
            pairs = union.independent_pairs(self._n_independent)
        products = union.start_products()
        return _Result(scalars, top.vectors, self.probes, products, pairs)

    def _nystrom(self, Omega: Tensor, products: Tensor) -> _Result:
        values, vectors = nystrom(products, Omega)
        k = min(self.options.n_eigenvalues, len(values))
        if self.bar is not None:
            self.bar.update(Omega.shape[1])
        # Scaled by P, because each column of the sketch is uniform on the unit sphere.
        forms = (Omega.double() * products.double()).sum(dim=0).cpu().numpy()
        squares = products.double().square().sum(dim=0).cpu().numpy()
        trace, square = self.size * forms, self.size * squares
        scalars = {
            "eigenvalues": values[:k],
            # A single sketch gives no residuals.
            "residuals": np.full(k, np.nan),
            "converged": np.zeros(k, dtype=bool),
            "lambda_min": np.nan,
            "lambda_min_residual": np.nan,
            "ritz_values": np.zeros((0, 0)),
            "ritz_weights": np.zeros((0, 0)),
            **_traces(
                trace, square, wide_standard_error(trace), wide_standard_error(square)
            ),
        }
        return _Result(scalars, vectors[:, :k].T.contiguous(), Omega, products.T)

    def _further_trace(self, matmat: Matmat) -> dict[str, Any]:
        count = min(_TRACE_PROBES, max(1, self.size // 2))
        if self.options.trace == "xtrace":
            estimate = xtrace(matmat, self.further[:, :count])
        else:
            estimate = hutchpp(matmat, self.further[:, : 2 * (count // 2)])
        return {
            "trace": estimate.value,
            "trace_sem": wide_standard_error(estimate.samples),
            "trace_samples": estimate.samples,
        }

    # -- the result ---------------------------------------------------------------

    def _assemble(
        self, results: Sequence[_Result | None], losses: Tensor, gradients: Tensor
    ) -> HessianSpectrum:
        options, problem = self.options, self.problem
        info = dict(problem.info or {})
        t = problem.n_tasks
        absent = np.isin(np.arange(t), self.usable, invert=True)
        squares = gradients.double().square().sum(dim=1).cpu().numpy()
        vectors = None
        if options.keep_vectors:
            vectors = self._stack([None if r is None else r.vectors for r in results])
            vectors = vectors.astype(np.float32)
        self._warn_of_unconverged(results)
        return HessianSpectrum(
            task_names=tuple(problem.task_names),
            n_labels=np.asarray(self.n_labels, dtype=np.int64),
            loss=np.where(absent, np.nan, losses.cpu().numpy()),
            gradient_norm=np.where(absent, np.nan, np.sqrt(squares)),
            head_norm=self._head_norm(),
            gradient_curvature=self._along_gradients(results, gradients, squares),
            **{name: self._column(results, name) for name in _COLUMNS},
            **self._pairs(results, gradients),
            matrix=options.matrix,
            parameters=self.parameters
            if isinstance(self.parameters, str)
            else getattr(self.parameters, "__name__", "custom"),
            n_parameters=self.size,
            n_samples=int(info.get("n_samples", self.labels.max())),
            target_scale=np.asarray(info.get("target_scale", np.ones(t)), np.float64),
            settings={**asdict(options), **info.get("settings", {})},
            versions={name: version(name) for name in ("skgnn_mtl", "torch", "numpy")},
            eigenvectors=vectors,
        )

    def _warn_of_unconverged(self, results: Sequence[_Result | None]) -> None:
        options = self.options
        if options.method == "nystrom":
            return
        count = sum((~r.scalars["converged"]).sum() for r in results if r is not None)
        if count:
            warn(
                f"{count} of {len(results) * options.n_eigenvalues} eigenvalues have "
                f"not converged to tol={options.tol} (see residuals); raise n_lanczos "
                "or n_probes, or ask for fewer.",
                ConvergenceWarning,
            )

    def _along_gradients(
        self,
        results: Sequence[_Result | None],
        gradients: Tensor,
        squares: np.ndarray,
    ) -> np.ndarray:
        """Compute the curvature of each task's loss along its own gradient."""
        curvature = np.full(len(results), np.nan)
        for task, result in enumerate(results):
            if result is not None and squares[task] > 0:
                column = task if self.options.pairwise else 0
                along = result.along_gradients[:, column].double()
                curvature[task] = float(along @ gradients[task].double())
                curvature[task] /= squares[task]
        return curvature

    def _column(self, results: Sequence[_Result | None], name: str) -> np.ndarray:
        return self._stack([None if r is None else r.scalars[name] for r in results])

    def _stack(self, parts: Sequence[Any]) -> np.ndarray:
        """Stack arrays, padded by NaN; all NaN for a task without any."""
        arrays = [
            p.double().cpu().numpy() if isinstance(p, Tensor) else p for p in parts
        ]
        found = [np.asarray(p) for p in arrays if p is not None]
        if not found:
            return np.full(len(parts), np.nan)
        shape = tuple(
            max(sizes) for sizes in zip(*(p.shape for p in found), strict=True)
        )
        # Booleans have no NaN; False stands for not converged.
        boolean = found[0].dtype == bool
        full = np.full((len(parts), *shape), False if boolean else np.nan)
        for row, part in enumerate(arrays):
            if part is not None:
                where: Any = (row, *map(slice, np.shape(part)))
                full[where] = part
        return full

    def _pairs(
        self, results: Sequence[_Result | None], gradients: Tensor
    ) -> dict[str, np.ndarray]:
        t = self.problem.n_tasks
        nothing = np.full((t, t), np.nan)
        overlap = nothing if self.labelled is None else label_overlap(self.labelled)
        if not self.options.pairwise or not any(results):
            return {**dict.fromkeys(PAIRS, nothing), "label_overlap": overlap}
        cosines, errors = self._hessian_cosine(results)
        along = [None if r is None else r.along_gradients for r in results]
        return {
            "gradient_cosine": gradient_cosine(gradients),
            "label_overlap": overlap,
            "subspace_overlap": subspace_overlap(
                [None if r is None else r.vectors for r in results]
            ),
            "cross_curvature": cross_curvature(gradients, along),
            "hessian_cosine": cosines,
            "hessian_cosine_error": errors,
        }

    def _hessian_cosine(
        self, results: Sequence[_Result | None]
    ) -> tuple[np.ndarray, np.ndarray]:
        first = next(r for r in results if r is not None)
        empty = RitzPairs(np.zeros(0), np.zeros(0), first.vectors[:0])
        products = torch.stack(
            [
                torch.zeros_like(first.probe_products)
                if r is None
                else r.probe_products
                for r in results
            ]
        )
        pairs = [
            [empty if r is None else r.independent_pairs[row] for r in results]
            for row in range(len(first.independent_pairs))
        ]
        return hessian_cosine(products, self.probes.T, pairs)

    def _head_norm(self) -> np.ndarray:
        """Compute the norms of the heads' matrices; biases do not affect the body."""
        norms = np.full(self.problem.n_tasks, np.nan)
        for task, names in enumerate(self.problem.heads):
            weights = [
                self.problem.parameters[name]
                for name in names
                if name in self.problem.parameters and not name.endswith(".bias")
            ]
            if weights:
                squares = [float(w.detach().double().square().sum()) for w in weights]
                norms[task] = np.sqrt(sum(squares))
        return norms


def _traces(trace: np.ndarray, square: np.ndarray, *errors: Any) -> dict[str, Any]:
    """Average samples of the traces of a matrix and of its square, with errors."""
    return {
        "trace": trace.mean(),
        "trace_sem": errors[0],
        "trace_samples": trace,
        "frobenius_sq": square.mean(),
        "frobenius_sem": errors[1],
    }


_COLUMNS = (
    "eigenvalues", "residuals", "converged", "lambda_min", "lambda_min_residual",
    "trace", "trace_sem", "trace_samples", "frobenius_sq", "frobenius_sem",
    "ritz_values", "ritz_weights", "gradient_in_top", "n_matvec", "seconds",
)  # fmt: skip
