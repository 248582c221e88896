"""Spectra of the tasks of a fitted estimator, or of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skgnn_mtl._pipelines import at_last_step

from ._compute import Computation, Options
from ._operator import BLOCKS, Block, TaskProblem
from ._spectrum import HessianSpectrum

# Smallest number of labels per task among the drawn graphs, unless it has fewer.
_FEWEST_LABELS = 64


def hessian_spectrum(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    matrix: str = "hessian",
    parameters: Block | Mapping[str, Block] = "shared",
    method: str = "lanczos",
    n_eigenvalues: int = 10,
    n_lanczos: int = 30,
    n_probes: int = 4,
    trace: str = "deflated",
    n_samples: int | None = 512,
    batch_size: int | None = None,
    chunk: int | str = "auto",
    dtype: str | None = None,
    pairwise: bool = True,
    keep_vectors: bool = False,
    tol: float = 1e-3,
    max_seconds: float | None = None,
    random_state: int | np.random.RandomState | None = None,
    verbose: int = 0,
) -> Any:
    r"""Compute the spectrum of the Hessian of each task's loss.

    Every task's loss is that of ``fit``: the mean over its labelled graphs, of
    standardised targets. It has no weights of tasks or rows and no weight decay. The
    model is in evaluation mode, and the estimator does not change. The cost is about
    1.8 ``n_lanczos`` ``n_probes`` gradients per task. ``max_seconds`` bounds it.

    Parameters
    ----------
    estimator : MultiTaskGNNRegressor, MultiTaskGNNClassifier or Pipeline
        Fitted; a pipeline ends with one of these.
    X : GraphArray or array-like of shape (n, n_features)
        Input that the estimator (or pipeline) predicts from.
    y : array-like of shape (n,) or (n, t)
        Labels in the units of ``fit``, NaN where missing.
    matrix : {"hessian", "ggn"}, default="hessian"
        The Hessian, or the Gauss-Newton matrix: semi-definite, and equal to the
        Hessian where residuals vanish.
    parameters : {"shared", "task", "all"}, callable or dict, default="shared"
        Parameters to differentiate by. "shared" are all but the heads, "task" also the
        task's own head. "all" are all of them, and a callable accepts names. A dict of
        blocks gives a dict of spectra.
    method : {"lanczos", "nystrom"}, default="lanczos"
        "nystrom" is a quick estimate for ``matrix="ggn"`` by one random sketch of
        ``n_lanczos`` vectors that all tasks share. Its eigenvalues are lower bounds
        without an error bar, and there is no density.
    n_eigenvalues : int, default=10
        Number k of largest eigenvalues.
    n_lanczos : int, default=30
        Lanczos steps m per probe.
    n_probes : int, default=4
        Number of probes, the same for all tasks. Eigenvalues and traces use the space
        of all runs together; with one probe nothing has an error bar.
    trace : {"deflated", "hutchinson", "hutch++", "xtrace"}, default="deflated"
        "deflated" and "hutchinson" cost no further product; the others take about 40.
        Frobenius norms and cosines of Hessians are deflated unless it is "hutchinson".
    n_samples : int or None, default=512
        Graphs to draw, once for all tasks. They contain at least 64 labels of each
        task, or all of its labels. None takes all graphs.
    batch_size : int, optional
        Graphs per batch; no result depends on it. Default: 128.
    chunk : int or "auto", default="auto"
        Vectors per reverse pass; "auto" is 1 on the CPU, 8 elsewhere.
    dtype : {"float32", "float64"}, optional
        Precision of the products; default: that of the model. Scalars are in float64.
    pairwise : bool, default=True
        Compute the (t, t) matrices, which need t further products per task, and keep at
        least 10 ``n_probes`` vectors per task. They do not exist for
        ``parameters="task"``, where the parameters of tasks differ.
    keep_vectors : bool, default=False
        Keep the eigenvectors, t k P numbers.
    tol : float, default=1e-3
        An eigenvalue has converged if its residual is below ``tol`` times the largest
        modulus; one warning counts the others.
    max_seconds : float, optional
        Time limit in seconds, for all blocks of a dict together. The function times one
        product first. It then lowers ``n_probes``, at most to two, and ``n_lanczos``,
        at most to five. A warning states the new numbers and the expected time.
    random_state : int, RandomState or None, default=None
        Seed of the samples and probes.
    verbose : int, default=0
        1 prints the number of products, time and memory, and shows a bar.

    Returns
    -------
    spectrum : HessianSpectrum or dict
        A dict if ``parameters`` is one.

    Raises
    ------
    ValueError
        If a parameter is wrong, y has other tasks than in fit, or the loss has no
        second derivative (``matrix="ggn"``).
    TypeError
        If the estimator has another class.
    NotFittedError
        If the estimator is not fitted.

    See Also
    --------
    HessianSpectrum : The result, with all definitions.

    References
    ----------
    .. [1] A. New et al., "Curvature-informed multi-task learning for graph networks",
       arXiv 2208.01684 (2022). The idea; definitions and algorithms differ.
    .. [2] B. Ghorbani, S. Krishnan, Y. Xiao, "An Investigation into Neural Net
       Optimization via Hessian Eigenvalue Density", ICML 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.curvature import hessian_spectrum
    >>> from skgnn_mtl.encoders import GIN
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    >>> encoder = GIN(16, n_layers=2, activation="silu")
    >>> model = MultiTaskGNNRegressor(encoder, max_epochs=2, random_state=0).fit(X, y)
    >>> spectrum = hessian_spectrum(
    ...     model, X, y, matrix="ggn", n_eigenvalues=2, n_lanczos=10, random_state=0
    ... )
    >>> bool((spectrum.eigenvalues > 0).all())
    True
    """
    options = check_spectrum_options(
        matrix=matrix, parameters=parameters, method=method,
        n_eigenvalues=n_eigenvalues, n_lanczos=n_lanczos, n_probes=n_probes,
        trace=trace, n_samples=n_samples, batch_size=batch_size, chunk=chunk,
        dtype=dtype, pairwise=pairwise, keep_vectors=keep_vectors, tol=tol,
        max_seconds=max_seconds, random_state=random_state, verbose=verbose,
    )  # fmt: skip
    rng = check_random_state(random_state)
    X, estimator = at_last_step(estimator, X)
    if not hasattr(estimator, "task_problem"):
        raise TypeError(
            "hessian_spectrum needs a fitted MultiTaskGNNRegressor or "
            "MultiTaskGNNClassifier, or a pipeline that ends with one, got "
            f"{type(estimator).__name__}; of a search, pass best_estimator_."
        )
    problem = estimator.task_problem(
        X,
        y,
        rows=lambda labelled: _choose_rows(labelled, n_samples, rng),
        batch_size=128 if batch_size is None else batch_size,
        dtype=dtype,
    )
    # Drawn after the rows, so that one random_state decides both.
    options = replace(options, seed=int(rng.randint(2**31 - 1)))
    if isinstance(parameters, Mapping):
        if options.max_seconds is not None:
            share = options.max_seconds / len(parameters)
            options = replace(options, max_seconds=share)
        return {
            name: replace(_spectrum(problem, chosen, options), parameters=name)
            for name, chosen in parameters.items()
        }
    return _spectrum(problem, parameters, options)


def check_spectrum_options(
    *,
    parameters: Block | Mapping[str, Block],
    n_samples: int | None,
    batch_size: int | None,
    dtype: str | None,
    random_state: int | np.random.RandomState | None,
    **options: Any,
) -> Options:
    """Check the parameters of :func:`hessian_spectrum` before the computation.

    Parameters
    ----------
    parameters, n_samples, batch_size, dtype, random_state : object
        As for :func:`hessian_spectrum`.
    **options : object
        All other parameters.

    Returns
    -------
    options : Options
        The other parameters, without a seed.

    Raises
    ------
    ValueError
        If a parameter has a value that it cannot have.
    """
    blocks = parameters.values() if isinstance(parameters, Mapping) else [parameters]
    for chosen in blocks:
        if not callable(chosen) and chosen not in BLOCKS:
            raise ValueError(
                f"parameters must be one of {list(BLOCKS)}, a callable or a dict of "
                f"these, got {parameters!r}."
            )
    for name, number in (("n_samples", n_samples), ("batch_size", batch_size)):
        if number is not None and not (
            isinstance(number, Integral) and int(number) >= 1
        ):
            raise ValueError(f"{name} must be an integer >= 1 or None, got {number!r}.")
    if dtype not in (None, "float32", "float64"):
        raise ValueError(f"dtype must be 'float32', 'float64' or None, got {dtype!r}.")
    check_random_state(random_state)
    return Options(**options, seed=0)


def _choose_rows(
    labelled: np.ndarray, n_samples: int | None, rng: np.random.RandomState
) -> np.ndarray:
    """Choose the rows to compute on, sorted, with at least 64 labels per task."""
    rows = rng.permutation(np.flatnonzero(labelled.any(axis=1)))
    if n_samples is None or n_samples >= len(rows):
        return np.sort(rows)
    chosen = np.zeros(len(labelled), dtype=bool)
    # Rare tasks first, because their rows also count for the frequent tasks.
    for task in np.argsort(labelled.sum(axis=0), kind="stable"):
        own = rows[labelled[rows, task]]
        wanted = min(_FEWEST_LABELS, len(own)) - chosen[own].sum()
        chosen[own[~chosen[own]][: max(wanted, 0)]] = True
    rest = rows[~chosen[rows]]
    chosen[rest[: max(n_samples - chosen.sum(), 0)]] = True
    return np.flatnonzero(chosen)


def task_spectra(
    problem: TaskProblem,
    *,
    matrix: str = "hessian",
    parameters: Block = "shared",
    method: str = "lanczos",
    n_eigenvalues: int = 10,
    n_lanczos: int = 30,
    n_probes: int = 4,
    trace: str = "deflated",
    chunk: int | str = "auto",
    pairwise: bool = True,
    keep_vectors: bool = False,
    tol: float = 1e-3,
    max_seconds: float | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> HessianSpectrum:
    """Compute the spectra of a problem given by functions, without an estimator.

    Parameters
    ----------
    problem : TaskProblem
        Losses, parameters and batches of any model.
    matrix, parameters, method, n_eigenvalues, n_lanczos, n_probes : object
        As in :func:`hessian_spectrum`; ``parameters`` may not be a dict.
    trace, chunk, pairwise, keep_vectors, tol, max_seconds : object
        As in :func:`hessian_spectrum`.
    seed : int, default=0
        Seed of the probes.
    verbose : int, default=0
        As in :func:`hessian_spectrum`.

    Returns
    -------
    spectrum : HessianSpectrum
        One row per task: eigenvalues of shape (n_tasks, n_eigenvalues), traces of shape
        (n_tasks,).

    Raises
    ------
    ValueError
        If a parameter has a value that it cannot have.

    See Also
    --------
    hessian_spectrum : Spectra of a fitted estimator.
    TaskProblem : Losses of the tasks as functions of parameters.
    HessianSpectrum : The result: eigenvalues, traces, densities per task.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import TaskProblem, task_spectra
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
    >>> task_spectra(problem, n_eigenvalues=2).eigenvalues.round(6)
    array([[5.236068, 0.763932]])
    """
    options = Options(
        matrix=matrix, method=method, n_eigenvalues=n_eigenvalues, n_lanczos=n_lanczos,
        n_probes=n_probes, trace=trace, chunk=chunk, pairwise=pairwise,
        keep_vectors=keep_vectors, tol=tol, max_seconds=max_seconds, seed=seed,
        verbose=verbose,
    )  # fmt: skip
    return _spectrum(problem, parameters, options)


def _spectrum(
    problem: TaskProblem, parameters: Block, options: Options
) -> HessianSpectrum:
    # A copy, because the plan of one block may lower numbers of its options.
    options = replace(options, pairwise=options.pairwise and parameters != "task")
    return Computation(problem, parameters, options).spectrum()
