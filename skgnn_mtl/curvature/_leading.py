"""Largest eigenvalues of all tasks in a few products, from earlier vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from ._lanczos import KrylovUnion, lanczos
from ._operator import TaskGaussNewton, TaskHessian, TaskProblem

# Products with a task's matrix. Later calls need fewer than the first, because they
# begin close to the eigenvector.
_FIRST_STEPS, _LATER_STEPS = 4, 2


def leading_eigenpairs(
    problem: TaskProblem, *, matrix: str, vectors: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Approximate the largest eigenvalue of each task's matrix.

    The method is a few Lanczos steps from the vectors of an earlier call. They maximise
    the Rayleigh quotient over all vectors that the same number of products can reach.
    Power steps with any shift cannot give a larger value.

    Parameters
    ----------
    problem : TaskProblem
        Losses and parameters; few batches, whose graphs fit into memory together.
    matrix : {"hessian", "ggn"}
        Hessian or Gauss-Newton matrix.
    vectors : Tensor of shape (t, P), optional
        Start vectors; the gradients of the tasks if not given.

    Returns
    -------
    values : Tensor of float64 of shape (t,)
        NaN for a task without a label.
    vectors : Tensor of shape (t, P)
        Approximate eigenvectors, unit vectors for tasks with a label.

    Raises
    ------
    ValueError
        If the loss has no second derivative (``matrix="ggn"``).

    See Also
    --------
    top_eigenpairs : Largest eigenvalues with residuals.
    TaskProblem : Losses of the tasks as functions of parameters.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import TaskProblem, leading_eigenpairs
    >>> x = torch.tensor([[1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    >>> w = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    >>> problem = TaskProblem(
    ...     outputs=lambda x: x @ w,
    ...     losses=lambda outputs, x: (outputs - 1).square().mean(dim=0),
    ...     parameters={"w": w},
    ...     batches=[x],
    ...     masses=torch.tensor([[2.0]], dtype=torch.float64),
    ...     task_names=("height",),
    ... )
    >>> leading_eigenpairs(problem, matrix="ggn")[0].round(decimals=4)
    tensor([5.2361], dtype=torch.float64)
    """
    n_steps = _FIRST_STEPS if vectors is None else _LATER_STEPS
    vectors = problem.gradients()[1] if vectors is None else vectors.clone()
    values = vectors.new_full((problem.n_tasks,), torch.nan, dtype=torch.float64)
    # Tasks share the graphs of the Gauss-Newton matrix.
    ggn = TaskGaussNewton(problem, 0, keep_graph=True)
    for task in (problem.masses.sum(dim=0) > 0).nonzero()[:, 0].tolist():
        start = vectors[task]
        if not bool(start.any()):  # without a gradient, or a label in the last call
            start = torch.ones_like(start)
        operator = (
            ggn.for_task(task)
            if matrix == "ggn"
            else TaskHessian(problem, task, keep_graph=True)
        )
        runs = lanczos(operator.matmat, start[:, None], n_steps)
        pairs = KrylovUnion(runs).largest(1)
        values[task], vectors[task] = float(pairs.values[0]), pairs.vectors[0]
    return values, vectors
