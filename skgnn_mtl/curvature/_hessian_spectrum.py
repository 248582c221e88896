"""From a fitted estimator, or a problem, to the spectra of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from ._compute import Computation, Options
from ._operator import BLOCKS, TaskProblem
from ._spectrum import HessianSpectrum

# A task keeps this many labels among the drawn graphs, or all it has.
_FEWEST_LABELS = 64


def hessian_spectrum(
    estimator,
    X,
    y,
    *,
    matrix="hessian",
    parameters="shared",
    method="lanczos",
    n_eigenvalues=10,
    n_lanczos=30,
    n_probes=4,
    trace="deflated",
    n_samples=512,
    batch_size=None,
    chunk="auto",
    dtype=None,
    pairwise=True,
    keep_vectors=False,
    tol=1e-3,
    max_seconds=None,
    random_state=None,
    verbose=0,
):
    r"""Compute the spectrum of the Hessian of each task's loss.

    Every task's loss is that of ``fit``: the mean over its labelled graphs, of
    standardised targets, without weights of tasks, rows or parameters (decay); the
    model is in evaluation mode. The
    estimator is left as it is. For a network with P parameters the cost is about
    1.8 ``n_lanczos`` ``n_probes`` gradients a task, so see ``max_seconds``.

    Parameters
    ----------
    estimator : MultiTaskGNNRegressor, MultiTaskGNNClassifier or Pipeline
        Fitted; a pipeline ends with one of these.
    X : GraphArray or array-like of shape (n, n_features)
        What the estimator (or pipeline) predicts from.
    y : array-like of shape (n,) or (n, t)
        Labels in the units of ``fit``, NaN where missing.
    matrix : {"hessian", "ggn"}, default="hessian"
        The Hessian, or the Gauss-Newton matrix: semi-definite, and equal to the
        Hessian where residuals vanish.
    parameters : {"shared", "task", "all"}, callable or dict, default="shared"
        All but the heads, where alone tasks meet; these and the task's own head; all;
        those whose name a callable accepts. A dict of blocks gives a dict of spectra.
    method : {"lanczos", "nystrom"}, default="lanczos"
        "nystrom" is a quick look for ``matrix="ggn"``: one random sketch of
        ``n_lanczos`` vectors that all tasks share. Its eigenvalues are lower bounds
        without an error bar, and there is no density.
    n_eigenvalues : int, default=10
        Number k of largest eigenvalues.
    n_lanczos : int, default=30
        Lanczos steps m of each probe.
    n_probes : int, default=4
        Number of probes, the same for all tasks. Eigenvalues and traces use the space
        of all runs together; with one probe nothing has an error bar.
    trace : {"deflated", "hutchinson", "hutch++", "xtrace"}, default="deflated"
        "deflated" and "hutchinson" cost no further product; the others take about 40.
    n_samples : int or None, default=512
        Graphs to draw, once for all tasks; of each task at least 64 labels, or all
        that there are, are among them. None takes all.
    batch_size : int, optional
        Graphs in a batch; no result depends on it. Default: 128.
    chunk : int or "auto", default="auto"
        Vectors in one reverse pass; "auto" is 1 on the CPU, 8 elsewhere.
    dtype : {"float32", "float64"}, optional
        Precision of the products; default: that of the model. Scalars are in float64.
    pairwise : bool, default=True
        Compute the (t, t) matrices: t further products a task. Not for
        ``parameters="task"``, whose parameters differ.
    keep_vectors : bool, default=False
        Keep the eigenvectors, t k P numbers.
    tol : float, default=1e-3
        An eigenvalue has converged if its residual is below ``tol`` times the largest
        modulus; one warning tells of the others.
    max_seconds : float, optional
        Time to aim at, for all blocks of a dict together. One product is timed first;
        then ``n_probes``, down to two, and ``n_lanczos``, down to five, are lowered. A
        warning says so, and what the time will be.
    random_state : int, RandomState or None, default=None
        Seed of the samples and probes.
    verbose : int, default=0
        1 announces the number of products, time and memory, and shows a bar.

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
        If the estimator is another one.
    NotFittedError
        If the estimator is not fitted.

    See Also
    --------
    HessianSpectrum : What it returns, with all definitions.

    References
    ----------
    .. [1] A. New et al., "Curvature-informed multi-task learning for graph networks",
       arXiv 2208.01684 (2022), the idea; definitions and algorithms are ours.
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
    steps = getattr(estimator, "steps", None)
    if steps is not None:
        X = estimator[:-1].transform(X) if len(steps) > 1 else X
        estimator = steps[-1][1]
    if not hasattr(estimator, "_curvature_problem"):
        raise TypeError(
            "hessian_spectrum needs a fitted MultiTaskGNNRegressor or "
            "MultiTaskGNNClassifier, or a pipeline that ends with one, got "
            f"{type(estimator).__name__}; of a search, pass best_estimator_."
        )
    problem = estimator._curvature_problem(
        X,
        y,
        choose=lambda labelled: _choose_rows(labelled, n_samples, rng),
        batch_size=128 if batch_size is None else batch_size,
        dtype=dtype,
    )
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
    *, parameters, n_samples, batch_size, dtype, random_state, **options
) -> Options:
    """Check the parameters of :func:`hessian_spectrum`, before anything is computed.

    Parameters
    ----------
    parameters, n_samples, batch_size, dtype, random_state : object
        As there.
    **options : object
        All others.

    Returns
    -------
    options : Options
        The others, without a seed.

    Raises
    ------
    ValueError
        If one is wrong.
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
    """Rows to compute on, sorted; each task keeps at least 64 labels or all."""
    rows = rng.permutation(np.flatnonzero(labelled.any(axis=1)))
    if n_samples is None or n_samples >= len(rows):
        return np.sort(rows)
    chosen = np.zeros(len(labelled), dtype=bool)
    for task in np.argsort(labelled.sum(axis=0), kind="stable"):
        mine = rows[labelled[rows, task]]
        wanted = min(_FEWEST_LABELS, len(mine)) - chosen[mine].sum()
        chosen[mine[~chosen[mine]][: max(wanted, 0)]] = True
    rest = rows[~chosen[rows]]
    chosen[rest[: max(n_samples - chosen.sum(), 0)]] = True
    return np.flatnonzero(chosen)


def task_spectra(
    problem: TaskProblem,
    *,
    matrix="hessian",
    parameters: str | Callable[[str], bool] = "shared",
    method="lanczos",
    n_eigenvalues=10,
    n_lanczos=30,
    n_probes=4,
    trace="deflated",
    chunk="auto",
    pairwise=True,
    keep_vectors=False,
    tol=1e-3,
    max_seconds=None,
    seed=0,
    verbose=0,
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
        One row a task.

    Raises
    ------
    ValueError
        As :func:`hessian_spectrum`.

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


def _spectrum(problem: TaskProblem, parameters, options: Options) -> HessianSpectrum:
    # The plan of one block may lower a number; the next block starts anew.
    options = replace(options, pairwise=options.pairwise and parameters != "task")
    return Computation(problem, parameters, options).spectrum()
