"""Comparisons of methods over many tasks, with one number per method."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from skgnn_mtl._listed import listed

from ._tables import as_cells, as_numbers, column_names, is_frame, name_of


def delta_m(
    errors: ArrayLike,
    reference_errors: ArrayLike,
    *,
    higher_is_better: ArrayLike = False,
    average: Literal["mean", "median"] | None = "mean",
) -> float | np.ndarray:
    r"""Compute the relative change against single-task models, in percent.

    Lower is better. Maninis et al. [1]_ define, for a method :math:`m` and single-task
    models :math:`b` on :math:`T` tasks,

    .. math::
        \Delta_m = \frac{100}{T} \sum_{t=1}^{T}
            (-1)^{l_t} \, \frac{M_{m,t} - M_{b,t}}{M_{b,t}},

    with :math:`l_t = 1` where a higher value is better. A gain is **negative**, as in
    the tables since Nash-MTL [2]_; in [1]_ the sign is opposite. 0 means as good as
    single-task models on average.

    Parameters
    ----------
    errors : array-like of shape (n_tasks,) or (n_methods, n_tasks)
        Errors (or scores) of the method or methods, each task in its own unit.
    reference_errors : array-like of shape (n_tasks,)
        Errors (or scores) of the single-task models, positive.
    higher_is_better : bool or array-like of bool of shape (n_tasks,), default=False
        True where the entries are scores instead of errors.
    average : {"mean", "median", None}, default="mean"
        Average over tasks. The mean is :math:`\Delta_m`. The median is robust to a task
        with a very small reference error. None gives the change of each task.

    Returns
    -------
    change : float, ndarray of shape (n_methods,), or of the shape of `errors`
        Percent.

    Raises
    ------
    ValueError
        If shapes differ, if a value is missing or infinite, if the labels of a
        DataFrame and a Series differ, or if a reference is not positive.

    See Also
    --------
    mean_rank : Mean rank of models over tasks.

    References
    ----------
    .. [1] K.-K. Maninis, I. Radosavovic, I. Kokkinos, "Attentive single-tasking of
       multiple tasks", CVPR 2019.
    .. [2] A. Navon et al., "Multi-task learning as a bargaining game", ICML 2022.

    Examples
    --------
    >>> from skgnn_mtl.metrics import delta_m
    >>> delta_m([1.25, 30.0], [1.0, 40.0])
    0.0
    >>> delta_m([[1.25, 30.0], [1.0, 40.0]], [1.0, 40.0], average=None)
    array([[ 25., -25.],
           [  0.,   0.]])
    """
    values = _finite(errors, "errors", ndims=(1, 2))
    reference = _finite(reference_errors, "reference_errors", ndims=(1,))
    if values.shape[-1] != len(reference):
        raise ValueError(
            f"errors has {values.shape[-1]} tasks, but {len(reference)} reference "
            "errors were given."
        )
    _same_labels(errors, reference_errors)
    if (reference <= 0).any():
        k = int(np.argmax(reference <= 0))
        raise ValueError(
            f"The reference of task {_labels(reference_errors)[k]!r} must be positive "
            f"for a relative change, but is {reference[k]}."
        )
    sign = _signs(higher_is_better, len(reference))
    change: np.ndarray = 100 * sign * (values - reference) / reference
    if average is None:
        return change
    if average not in ("mean", "median"):
        raise ValueError(
            f"average must be 'mean', 'median' or None, but is {average!r}."
        )
    over_tasks = np.mean if average == "mean" else np.median
    averaged: np.ndarray = over_tasks(change, axis=-1)
    return float(averaged) if values.ndim == 1 else averaged


def mean_rank(errors: ArrayLike, *, higher_is_better: ArrayLike = False) -> np.ndarray:
    """Average the rank of each method over tasks; rank 1 is the best.

    Tied methods share the mean of their ranks, so that the mean ranks of ``m`` methods
    add up to ``m (m + 1) / 2``. Compare ranks within one table only, because a further
    method may change the order of two others [1]_.

    Parameters
    ----------
    errors : array-like of shape (n_methods, n_tasks)
        Errors (or scores) of all methods, each task in its own unit.
    higher_is_better : bool or array-like of bool of shape (n_tasks,), default=False
        True where the entries are scores instead of errors.

    Returns
    -------
    ranks : ndarray of shape (n_methods,)
        Between 1 and ``n_methods``.

    Raises
    ------
    ValueError
        If `errors` is not two-dimensional, or if a value is missing or infinite,
        because a method that failed on a task does not have a rank on it.

    See Also
    --------
    delta_m : Mean relative change against single-task models.

    References
    ----------
    .. [1] J. Demsar, "Statistical comparisons of classifiers over multiple data sets",
       Journal of Machine Learning Research 7 (2006).

    Examples
    --------
    >>> from skgnn_mtl.metrics import mean_rank
    >>> mean_rank([[0.1, 3.0], [0.2, 3.0], [0.3, 9.0]])
    array([1.25, 1.75, 3.  ])
    """
    values = _finite(errors, "errors", ndims=(2,))
    sign = _signs(higher_is_better, values.shape[1])
    ranks: np.ndarray = rankdata(sign * values, axis=0).mean(axis=1)
    return ranks


def _finite(values: Any, name: str, ndims: tuple[int, ...]) -> np.ndarray:
    cells = as_cells(values, name)
    if cells.ndim not in ndims or cells.size == 0:
        wanted = {1: "(n_tasks,)", 2: "(n_methods, n_tasks)"}
        raise ValueError(
            f"{name} must have shape {' or '.join(wanted[d] for d in ndims)}, "
            f"but has shape {cells.shape}."
        )
    labels = list(map(name_of, _labels(values)))
    array = as_numbers(np.atleast_2d(cells), labels, name).reshape(cells.shape)
    if not np.isfinite(array).all():
        position = np.argwhere(~np.isfinite(array))[0].tolist()
        method = f" of method {position[0]}" if array.ndim == 2 else ""
        raise ValueError(
            f"{name} has {(~np.isfinite(array)).sum()} missing or infinite value(s), "
            f"the first at task {_labels(values)[position[-1]]!r}{method}; compare on "
            "tasks that all methods have."
        )
    return array


def _signs(higher_is_better: Any, n_tasks: int) -> np.ndarray:
    """Return -1 where higher is better, 1 elsewhere, shape (n_tasks,)."""
    higher = np.asarray(higher_is_better)
    if higher.dtype != bool or higher.shape not in ((), (n_tasks,)):
        raise ValueError(
            f"higher_is_better must be a bool or one bool for each of {n_tasks} tasks, "
            f"but is {higher_is_better!r}."
        )
    return np.broadcast_to(np.where(higher, -1.0, 1.0), n_tasks)


def _labels(values: Any) -> list[Any]:
    """Name the tasks: columns of a frame, index of a Series, else positions."""
    if is_frame(values):
        return column_names(values)
    if hasattr(values, "iloc"):
        return list(values.index)
    return list(range(as_cells(values, "errors").shape[-1]))


def _same_labels(errors: Any, reference_errors: Any) -> None:
    labels, reference = (
        list(map(name_of, _labels(values))) for values in (errors, reference_errors)
    )
    positions = list(map(str, range(len(labels))))
    if labels != reference and positions not in (labels, reference):
        raise ValueError(
            f"The tasks of errors ({listed(labels)}) and of reference_errors "
            f"({listed(reference)}) differ; put them into one order."
        )
