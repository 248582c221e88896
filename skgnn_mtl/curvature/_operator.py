r"""Matrix-free Hessians and Gauss-Newton matrices of each task's loss.

The loss of task t over a fixed set of graphs is the mean over its labels,

.. math:: L_t(\theta) = \frac{1}{N_t} \sum_i m_{it}\, \ell(o_{it}, y_{it}),

with :math:`m_{it}` the weight of a label (0 where it is missing) and :math:`N_t` their
sum over the *whole* set. A batch b contributes :math:`n_{bt}/N_t` times its own mean,
so neither the size of the batches nor a small last one nor a gap in the labels changes
a result. The derivatives are those of two functions, so that no estimator is needed.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._flat import (
    flatten,
    flatten_rows,
    in_chunks_that_fit,
    pull_back_rows,
)

from ._loss_curvature import curvature_blocks, require_convex

# Names of the blocks of parameters; a callable of names is a block, too.
BLOCKS = ("shared", "task", "all")
Block = str | Callable[[str], bool]


@dataclass(frozen=True)
class TaskProblem:
    """The losses of several tasks as functions of common parameters.

    Parameters
    ----------
    outputs : callable
        Maps a batch to the outputs (B, T), deterministically, through ``parameters``;
        (B, k T) for losses of several outputs, the first of all tasks first.
    losses : callable
        Maps (outputs, batch) to the mean loss of each task over its labels in the
        batch, (T,). Each term depends on its own outputs only.
    parameters : dict of str to Tensor
        Leaves to differentiate by.
    batches : sequence
        Arguments of ``outputs``.
    masses : Tensor of float64 of shape (n_batches, T), on the CPU
        Summed label weights of each batch and task.
    task_names : tuple of str
        One name per task.
    heads : tuple of tuple of str
        Names of the parameters that belong to one task alone; () where there are none.
    info : dict
        Records for the result: settings of the model, scales of the targets.

    See Also
    --------
    task_spectra : Spectra of the tasks of any network.
    TaskHessian : Products with the Hessians of the tasks.
    TaskGaussNewton : Products with the Gauss-Newton matrices of the tasks.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import TaskHessian, TaskProblem
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    >>> w = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    >>> problem = TaskProblem(
    ...     outputs=lambda x: x @ w,
    ...     losses=lambda outputs, x: outputs.square().mean(dim=0),
    ...     parameters={"w": w},
    ...     batches=[x],
    ...     masses=torch.tensor([[2.0]], dtype=torch.float64),
    ...     task_names=("height",),
    ... )
    >>> TaskHessian(problem, 0).matvec(torch.tensor([1.0, 0.0], dtype=torch.float64))
    tensor([2., 2.], dtype=torch.float64)
    """

    outputs: Callable[[Any], Tensor]
    losses: Callable[[Tensor, Any], Tensor]
    parameters: Mapping[str, Tensor]
    batches: Sequence[Any]
    masses: Tensor
    task_names: tuple[str, ...]
    heads: tuple[tuple[str, ...], ...] = ()
    info: Mapping[str, Any] | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.task_names)

    @property
    def n_parameters(self) -> int:
        """Number P of scalars to differentiate by."""
        return sum(value.numel() for value in self.parameters.values())

    def block(self, chosen: Block, task: int | None = None) -> TaskProblem:
        """Restrict the parameters.

        Parameters
        ----------
        chosen : {"shared", "task", "all"} or callable
            "shared" excludes all heads, "task" all heads but that of ``task``, and
            "all" excludes nothing. A callable returns True for the names to keep.
        task : int, optional
            Position of the task for "task".

        Returns
        -------
        problem : TaskProblem
            The same losses as functions of fewer parameters.

        Raises
        ------
        ValueError
            If the block is empty, or has another name.
        """
        owned = {name for head in self.heads for name in head}
        own = set(self.heads[task]) if self.heads and task is not None else set()
        blocks: dict[str, Callable[[str], bool]] = {
            "all": lambda name: True,
            "shared": lambda name: name not in owned,
            "task": lambda name: name not in owned or name in own,
        }
        if isinstance(chosen, str) and chosen not in blocks:
            raise ValueError(
                f"parameters must be one of {list(BLOCKS)}, a function of names or a "
                f"dict of those, got {chosen!r}."
            )
        wanted = blocks[chosen] if isinstance(chosen, str) else chosen
        left = {n: p for n, p in self.parameters.items() if wanted(n)}
        if not left:
            raise ValueError(
                f"No parameter is left by parameters={chosen!r}; the names are "
                f"{', '.join(self.parameters)}."
            )
        return replace(self, parameters=left)

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Compute losses and gradients of all tasks, with common forward passes.

        Returns
        -------
        losses : Tensor of float64 of shape (T,)
            Mean losses over the whole set.
        gradients : Tensor of shape (T, P)
            One row per task, zeros for a task without labels.
        """
        leaves = list(self.parameters.values())
        losses = torch.zeros(self.n_tasks, dtype=torch.float64, device=leaves[0].device)
        # In float64, because the shares of many batches are added.
        rows = losses.new_zeros(self.n_tasks, self.n_parameters)
        for batch, share in zip(self.batches, self._shares(), strict=True):
            values = self.losses(self.outputs(batch), batch)
            present = np.flatnonzero(share)
            for task in present:
                keep = bool(task != present[-1])
                gradient = torch.autograd.grad(
                    values[task], leaves, retain_graph=keep, allow_unused=True
                )
                losses[task] += share[task] * values[task].detach().double()
                rows[task] += share[task] * flatten(gradient, leaves).double()
        return losses, rows.to(leaves[0].dtype)

    def _shares(self) -> np.ndarray:
        """Compute the share of each batch in each task's labels, (n_batches, T)."""
        masses: np.ndarray = self.masses.numpy()
        total = masses.sum(axis=0)
        shares: np.ndarray = masses / np.where(total > 0, total, 1.0)
        return shares

    def check_deterministic(self) -> None:
        """Check that two computations of the first batch give the same result.

        Raises
        ------
        ValueError
            If losses or gradients differ.
        """
        first = replace(self, batches=self.batches[:1], masses=self.masses[:1])
        (loss, gradient), (again, repeated) = first.gradients(), first.gradients()
        tol = 1e-6 if gradient.dtype == torch.float32 else 1e-12
        for value, other in ((loss, again), (gradient, repeated)):
            error = torch.linalg.vector_norm((value - other).double())
            if float(error) > tol * float(torch.linalg.vector_norm(value.double())):
                raise ValueError(
                    "The loss and its gradient differ between two calls at the same "
                    f"parameters (relative difference above {tol}). Is dropout on, or "
                    "the model in training mode? On CUDA, sums over neighbours are not "
                    "ordered: try dtype='float64' or "
                    "torch.use_deterministic_algorithms(True)."
                )


class TaskOperator(ABC):
    """A symmetric matrix of order P of one task, given by its products with vectors."""

    def __init__(
        self,
        problem: TaskProblem,
        task: int,
        *,
        keep_graph: bool | str = "auto",
        chunk: int | str = "auto",
    ) -> None:
        self.problem, self.task = problem, task
        self.leaves = list(problem.parameters.values())
        self.shape = (problem.n_parameters, problem.n_parameters)
        self.dtype, self.device = self.leaves[0].dtype, self.leaves[0].device
        self.n_matvec = 0
        default = 1 if self.device.type == "cpu" else 8
        self.chunk = default if isinstance(chunk, str) else int(chunk)
        self._shares = problem._shares()
        self._kept: dict[int, Any] = {}
        self.keep_graph = keep_graph
        if keep_graph == "auto":
            self.keep_graph = self._fits()

    @abstractmethod
    def _differentiate(self, batch: Any) -> Any:
        """Create the graph that all products with a batch's matrix share."""

    @abstractmethod
    def _multiply(self, graph: Any, rows: Tensor) -> Tensor:
        """Multiply a batch's matrix with rows (k, P)."""

    def _contributes(self, b: int) -> bool:
        return bool(self._shares[b, self.task] > 0)

    def _graph(self, b: int) -> Any:
        if b in self._kept:
            return self._kept[b]
        graph = self._differentiate(self.problem.batches[b])
        if self.keep_graph:
            self._kept[b] = graph
        return graph

    def _fits(self) -> bool:
        """Tell whether the graphs of all batches fit into the memory."""
        if self.device.type == "meta":
            return True
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            # By storage, because several views may share one.
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        used = [b for b in range(len(self._shares)) if self._contributes(b)]
        if not used:
            return True
        # The largest batch bounds the others, so that one forward pass is enough.
        largest = max(used, key=lambda b: self.problem.masses[b].sum())
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            graph = self._differentiate(self.problem.batches[largest])
        del graph
        # Parameters are in memory in any case.
        owned = {leaf.untyped_storage().data_ptr() for leaf in self.leaves}
        one = sum(size for pointer, size in sizes.items() if pointer not in owned)
        return one * len(used) <= memory_limit(self.device)

    def free(self) -> None:
        """Delete the kept graphs; the next product computes them again."""
        self._kept.clear()

    @overload
    def matvec(self, v: np.ndarray) -> np.ndarray: ...

    @overload
    def matvec(self, v: Tensor) -> Tensor: ...

    def matvec(self, v: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Multiply with a vector.

        Parameters
        ----------
        v : Tensor or ndarray of shape (P,)
            The vector.

        Returns
        -------
        product : Tensor or ndarray of shape (P,)
            In the type of ``v``, as SciPy's ``LinearOperator`` requires.
        """
        if isinstance(v, np.ndarray):
            row = torch.as_tensor(v, dtype=self.dtype, device=self.device)
            product: np.ndarray = self.matmat(row.reshape(-1, 1))[:, 0].cpu().numpy()
            return product
        return self.matmat(v[:, None])[:, 0]

    def matmat(self, V: Tensor) -> Tensor:
        """Multiply with several vectors.

        Parameters
        ----------
        V : Tensor of shape (P, k)
            One vector per column.

        Returns
        -------
        products : Tensor of shape (P, k)
            One product per column.
        """
        rows = V.T.contiguous()
        total = self._in_chunks(lambda chunk: self._sum(rows, chunk), len(rows))
        self.n_matvec += len(rows)
        return total.to(rows.dtype).T

    def _in_chunks(self, function: Callable[[int], Tensor], n_rows: int) -> Tensor:
        """Call a function of the chunk size; halve it while memory runs out."""
        chunk = max(1, min(self.chunk, n_rows))
        result, fitted = in_chunks_that_fit(function, chunk)
        if fitted < chunk:
            self.chunk = fitted
        return result

    def _sum(self, rows: Tensor, chunk: int) -> Tensor:
        """Sum the products (k, P) over the batches, in float64."""
        total = torch.zeros_like(rows, dtype=torch.float64)
        for b in range(len(self._shares)):
            if not self._contributes(b):
                continue
            graph = self._graph(b)
            for start in range(0, len(rows), chunk):
                part = slice(start, start + chunk)
                products = self._multiply(graph, rows[part])
                total[part].add_(products, alpha=float(self._shares[b, self.task]))
        return total


def memory_limit(device: torch.device) -> float:
    """Compute the bytes that kept graphs may take."""
    if device.type == "cuda":
        return 0.5 * torch.cuda.mem_get_info(device)[0]
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return 2e9  # because the system does not report its memory
    return 0.25 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class TaskHessian(TaskOperator):
    r"""The Hessian of one task's loss, :math:`H_t = \nabla^2_\theta L_t`.

    The matrix (P, P) is in units of the loss; only its products with vectors (P,) are
    computed. The method is reverse over reverse. The gradient of a batch is computed
    once with its graph. Each product :math:`H v = \nabla (g \cdot v)` is one reverse
    pass over that graph. If the graphs of all batches do not fit into memory, every
    call of :meth:`matmat` computes them again for all of its vectors.

    Parameters
    ----------
    problem : TaskProblem
        Losses and parameters.
    task : int
        Position of the task.
    keep_graph : bool or "auto", default="auto"
        Keep the graphs of all batches between products. "auto" keeps them if they take
        at most a quarter of the memory (CUDA: half of the free memory).
    chunk : int or "auto", default="auto"
        Vectors per reverse pass; "auto" is 1 on the CPU, where more are not faster, and
        8 elsewhere. Halved while a CUDA device runs out of memory.

    Raises
    ------
    torch.OutOfMemoryError
        At a product, if the memory of a CUDA device is too small for one vector.

    See Also
    --------
    TaskGaussNewton : Products with the Gauss-Newton matrices of the tasks.
    TaskProblem : Losses of the tasks as functions of parameters.

    References
    ----------
    .. [1] B. A. Pearlmutter, "Fast exact multiplication by the Hessian", Neural
       Computation 6, 147 (1994).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import TaskHessian, TaskProblem
    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> problem = TaskProblem(
    ...     outputs=lambda x: (x * w).prod(dim=1, keepdim=True),
    ...     losses=lambda outputs, x: outputs.mean(dim=0),
    ...     parameters={"w": w},
    ...     batches=[torch.ones(1, 2)],
    ...     masses=torch.ones(1, 1, dtype=torch.float64),
    ...     task_names=("product",),
    ... )
    >>> TaskHessian(problem, 0).matmat(torch.eye(2))
    tensor([[0., 1.],
            [1., 0.]])
    """

    def _differentiate(self, batch: Any) -> Any:
        loss = self.problem.losses(self.problem.outputs(batch), batch)[self.task]
        gradient = torch.autograd.grad(
            loss, self.leaves, create_graph=True, allow_unused=True
        )
        # None, because the gradient of a parameter that enters linearly has no graph.
        return [
            None if part is None or not part.requires_grad else part
            for part in gradient
        ]

    def _multiply(self, graph: Any, rows: Tensor) -> Tensor:
        sizes = [leaf.numel() for leaf in self.leaves]
        pairs = [
            (part, v.reshape(-1, *part.shape))
            for part, v in zip(graph, rows.split(sizes, dim=1), strict=True)
            if part is not None
        ]
        if not pairs:
            return torch.zeros_like(rows)
        outputs, cotangents = zip(*pairs, strict=True)
        parts = pull_back_rows(outputs, self.leaves, cotangents, len(rows))
        return flatten_rows(parts, self.leaves, len(rows))


class TaskGaussNewton(TaskOperator):
    r"""The Gauss-Newton matrix of one task, and of all tasks at once.

    .. math:: C_t = \frac1{N_t} \sum_i m_{it}\,
        \ell''(o_{it}, y_{it})\, \nabla o_{it} \nabla o_{it}^T

    The matrix (P, P) is positive semi-definite for a convex loss. For squared error it
    does not depend on the labels. A product is one Jacobian-vector product, which all
    tasks share, and one vector-Jacobian product per task. The former takes two reverse
    passes. The pull-back h(u) of a cotangent u is linear in u, so its own pull-back
    pushes forward. No forward-mode derivative is used.

    Parameters
    ----------
    problem : TaskProblem
        Losses and parameters.
    task : int
        Position of the task.
    keep_graph : bool or "auto", default="auto"
        Keep the graphs of all batches between products.
    chunk : int or "auto", default="auto"
        Vectors per pass.

    Raises
    ------
    ValueError
        At the first product, if the loss has no second derivative in the outputs.

    See Also
    --------
    TaskHessian : Products with the Hessians of the tasks.
    TaskProblem : Losses of the tasks as functions of parameters.

    References
    ----------
    .. [1] J. Martens, "New insights and perspectives on the natural gradient method",
       J. Mach. Learn. Res. 21 (2020), arXiv 1412.1193.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import TaskGaussNewton, TaskProblem
    >>> w = torch.zeros(2, 1, requires_grad=True)
    >>> problem = TaskProblem(
    ...     outputs=lambda x: x @ w,
    ...     losses=lambda outputs, x: outputs.square().mean(dim=0),
    ...     parameters={"w": w},
    ...     batches=[torch.tensor([[1.0, 0.0], [1.0, 2.0]])],
    ...     masses=torch.tensor([[2.0]], dtype=torch.float64),
    ...     task_names=("height",),
    ... )
    >>> TaskGaussNewton(problem, 0).matmat(torch.eye(2))
    tensor([[2., 2.],
            [2., 4.]])
    """

    def for_task(self, task: int) -> TaskGaussNewton:
        """Create the operator of another task that shares the kept graphs.

        Parameters
        ----------
        task : int
            Position of the task.

        Returns
        -------
        operator : TaskGaussNewton
            It has a counter of its own.
        """
        other = TaskGaussNewton(
            self.problem, task, keep_graph=self.keep_graph, chunk=self.chunk
        )
        other._kept = self._kept
        return other

    def _differentiate(self, batch: Any) -> Any:
        outputs = self.problem.outputs(batch)
        # The pull-back is linear in the cotangent, so its value does not matter.
        cotangent = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(
            outputs, self.leaves, cotangent, create_graph=True, allow_unused=True
        )
        return outputs, cotangent, pulled, self._loss_curvature(outputs, batch)

    def _loss_curvature(self, outputs: Tensor, batch: Any) -> Tensor:
        """Compute second derivatives (B, k, k, T) of the losses in their outputs."""
        second = curvature_blocks(
            lambda values: self.problem.losses(values, batch),
            outputs,
            self.problem.n_tasks,
        )
        # Tensors on the meta device have no values to test.
        if second.device.type != "meta":
            require_convex(second)
        return second

    def _push(self, graph: Any, rows: Tensor) -> Tensor:
        """Compute Jacobian-vector products, of shape (k, *outputs)."""
        outputs: Tensor = graph[0]
        _, cotangent, pulled, _ = graph
        sizes = [leaf.numel() for leaf in self.leaves]
        pairs = [
            (part, v.reshape(-1, *part.shape))
            for part, v in zip(pulled, rows.split(sizes, dim=1), strict=True)
            if part is not None and part.requires_grad
        ]
        if not pairs:
            return outputs.new_zeros(len(rows), *outputs.shape)
        sources, vectors = zip(*pairs, strict=True)
        (moved,) = pull_back_rows(sources, [cotangent], vectors, len(rows))
        assert moved is not None, "every source depends on the cotangent"
        return moved

    def _pull_task(self, graph: Any, moved: Tensor, task: int) -> Tensor:
        """Compute products (k, P) from the Jacobian-vector products."""
        outputs, _, _, second = graph
        cotangents = torch.zeros_like(moved)
        own = slice(task, None, self.problem.n_tasks)
        cotangents[..., own] = torch.einsum(
            "bij,vbj->vbi", second[..., task], moved[..., own]
        )
        parts = pull_back_rows([outputs], self.leaves, [cotangents], len(moved))
        return flatten_rows(parts, self.leaves, len(moved))

    def _multiply(self, graph: Any, rows: Tensor) -> Tensor:
        return self._pull_task(graph, self._push(graph, rows), self.task)

    def matmat_all(self, V: Tensor) -> Tensor:
        """Multiply the matrices of all tasks with the same vectors.

        Parameters
        ----------
        V : Tensor of shape (P, k)
            One vector per column.

        Returns
        -------
        products : Tensor of shape (T, P, k)
            One matrix per task; zeros for a task without labels.
        """
        rows = V.T.contiguous()
        total = self._in_chunks(lambda chunk: self._sum_all(rows, chunk), len(rows))
        self.n_matvec += len(rows)
        return total.to(rows.dtype).transpose(1, 2)

    def _sum_all(self, rows: Tensor, chunk: int) -> Tensor:
        """Sum the products (T, k, P) of all tasks over the batches, in float64."""
        total = rows.new_zeros(self.problem.n_tasks, *rows.shape, dtype=torch.float64)
        for b, share in enumerate(self._shares):
            if not share.any():
                continue
            graph = self._graph(b)
            for start in range(0, len(rows), chunk):
                part = slice(start, start + chunk)
                moved = self._push(graph, rows[part])
                for task in np.flatnonzero(share):
                    products = self._pull_task(graph, moved, int(task))
                    total[task, part].add_(products, alpha=float(share[task]))
        return total
