"""Comparing methods over many tasks with one number each."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from ._tables import listed


def delta_m(
    errors, reference_errors, *, higher_is_better=False, average: str | None = "mean"
) -> float | np.ndarray:
    r"""Relative change against single-task models, in percent; lower is better.

    Maninis et al. [1]_ define, for a method :math:`m` and single-task models
    :math:`b` on :math:`T` tasks,

    .. math::
        \Delta_m = \frac{100}{T} \sum_{t=1}^{T}
            (-1)^{l_t} \, \frac{M_{m,t} - M_{b,t}}{M_{b,t}},

    with :math:`l_t = 1` where a higher value is better. In [1]_ it is the other way
    round (:math:`l_t = 1` where lower is better) and a gain is positive; here, as in
    the tables since Nash-MTL [2]_, a gain is **negative**. 0 means as good as
    single-task models on average.

    Parameters
    ----------
    errors : array-like of shape (n_tasks,) or (n_methods, n_tasks)
        Errors (or scores) of the method or methods, each task in its own unit.
    reference_errors : array-like of shape (n_tasks,)
        Errors (or scores) of the single-task models, positive.
    higher_is_better : bool or array-like of bool of shape (n_tasks,), default=False
        Where the entries are scores instead of errors.
    average : {"mean", "median", None}, default="mean"
        Over tasks: the mean is :math:`\Delta_m`; the median is not ruled by a task with
        a tiny reference error; None gives each task's change.

    Returns
    -------
    change : float, ndarray of shape (n_methods,), or of the shape of `errors`
        Percent.

    Raises
    ------
    ValueError
        If shapes differ, a value is missing or infinite, the labels of a DataFrame and
        a Series differ, or a reference is not positive.

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
            f"The reference of task {_labels(reference_errors)[k]!r} is "
            f"{reference[k]}; a relative change needs a positive one."
        )
    sign = _signs(higher_is_better, len(reference))
    change = 100 * sign * (values - reference) / reference
    if average is None:
        return change
    if average not in ("mean", "median"):
        raise ValueError(
            f"average must be 'mean', 'median' or None, but is {average!r}."
        )
    over_tasks = np.mean if average == "mean" else np.median
    averaged = over_tasks(change, axis=-1)
    return float(averaged) if values.ndim == 1 else averaged


def mean_rank(errors, *, higher_is_better=False) -> np.ndarray:
    """Mean over tasks of the rank of each method; rank 1 is the best.

    Tied methods share the mean of their ranks, so that the mean ranks of ``m`` methods
    always add up to ``m (m + 1) / 2``. Ranks compare only inside one table: another
    method in it may exchange the places of two others [1]_.

    Parameters
    ----------
    errors : array-like of shape (n_methods, n_tasks)
        Errors (or scores) of all methods, each task in its own unit.
    higher_is_better : bool or array-like of bool of shape (n_tasks,), default=False
        Where the entries are scores instead of errors.

    Returns
    -------
    ranks : ndarray of shape (n_methods,)
        Between 1 and ``n_methods``.

    Raises
    ------
    ValueError
        If `errors` is not two-dimensional, or a value is missing or infinite: a method
        that failed on a task has no rank there.

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
    return rankdata(sign * values, axis=0).mean(axis=1)


def _finite(values: Any, name: str, ndims: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndims or array.size == 0:
        wanted = {1: "(n_tasks,)", 2: "(n_methods, n_tasks)"}
        raise ValueError(
            f"{name} must have shape {' or '.join(wanted[d] for d in ndims)}, "
            f"but has shape {array.shape}."
        )
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
    """-1 where higher is better, 1 elsewhere, shape (n_tasks,)."""
    higher = np.asarray(higher_is_better)
    if higher.dtype != bool or higher.shape not in ((), (n_tasks,)):
        raise ValueError(
            f"higher_is_better must be a bool or one bool for each of {n_tasks} tasks, "
            f"but is {higher_is_better!r}."
        )
    return np.broadcast_to(np.where(higher, -1.0, 1.0), n_tasks)


def _labels(values: Any) -> list:
    """Names of the tasks: columns of a frame, index of a Series, else positions."""
    labels = getattr(values, "columns", None)
    if labels is None and hasattr(values, "iloc"):
        labels = values.index
    return list(range(np.shape(values)[-1])) if labels is None else list(labels)


def _same_labels(errors: Any, reference_errors: Any) -> None:
    labels, reference = _labels(errors), _labels(reference_errors)
    positions = list(range(len(labels)))
    if labels != reference and positions not in (labels, reference):
        raise ValueError(
            f"The tasks of errors ({listed(labels)}) and of reference_errors "
            f"({listed(reference)}) differ; put them into one order."
        )
