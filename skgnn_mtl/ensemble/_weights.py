"""Weights of a blend, from predictions out of fold."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import nnls

# Labels at which the learned and the equal weights count alike.
HALFWAY = 100


def simplex_weights(
    predictions: np.ndarray, truth: np.ndarray, sample_weight: np.ndarray
) -> np.ndarray:
    r"""Find the weights of the mean with the smallest squared error.

    They minimise :math:`q(w) = \|E w\|^2` over :math:`w \ge 0, \sum_m w_m = 1`, with
    the errors :math:`E_{im} = \sqrt{s_i} (p_{im} - y_i)`. Non-negative least squares
    solves :math:`\min_{u \ge 0} \|E u\|^2 + (1 - \sum_m u_m)^2`. With :math:`u = c w`
    its minimum over the length :math:`c` is :math:`q / (1 + q)`, which grows with
    :math:`q`. Hence :math:`w = u / \sum_m u_m`, without an approximation.

    Parameters
    ----------
    predictions : ndarray of shape (n, m)
        Predictions of the members.
    truth : ndarray of shape (n,)
        Labels.
    sample_weight : ndarray of shape (n,)
        Weights of the rows.

    Returns
    -------
    weights : ndarray of shape (m,)
        Not negative, of sum 1.
    """
    errors = np.sqrt(sample_weight)[:, None] * (predictions - truth[:, None])
    size = np.sqrt((errors**2).sum() / errors.shape[1])
    # All members are exact, so that no choice is better, and 0 / 0 has no value.
    if size == 0:
        return np.full(errors.shape[1], 1 / errors.shape[1])
    # Relative errors, because the row of ones would be lost beside large numbers.
    system = np.vstack([errors / size, np.ones(errors.shape[1])])
    goal = np.append(np.zeros(len(errors)), 1.0)
    solution: np.ndarray = nnls(system, goal)[0]
    weights: np.ndarray = solution / solution.sum()
    return weights


def shrunk(weights: np.ndarray, n_labels: int) -> np.ndarray:
    r"""Shrink weights towards equal ones where labels are few.

    :math:`\lambda w + (1 - \lambda) / m` with :math:`\lambda = N / (N + 100)` for
    :math:`N` labels.

    Parameters
    ----------
    weights : ndarray of shape (m,)
        Weights of sum 1.
    n_labels : int
        Number of labels that they were learned from.

    Returns
    -------
    weights : ndarray of shape (m,)
        Of sum 1.
    """
    trust = n_labels / (n_labels + HALFWAY)
    return trust * weights + (1 - trust) / len(weights)


def read_weights(given: Any, names: list[str], n_tasks: int) -> np.ndarray:
    """Read weights that the user gives.

    Parameters
    ----------
    given : None or array-like of shape (m,) or (m, t)
        Weights of the members, the same for all tasks or for each; None for equal
        ones.
    names : list of str of length m
        Names of the members.
    n_tasks : int
        Number of tasks.

    Returns
    -------
    weights : ndarray of shape (m, t)
        The sum over members is 1.

    Raises
    ------
    ValueError
        If there are too few or too many, one is negative or not finite, or all those
        of a task are zero.
    """
    m = len(names)
    if given is None:
        return np.full((m, n_tasks), 1 / m)
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"weights must be numbers, but are {given!r}.") from error
    if weights.shape not in ((m,), (m, n_tasks)):
        raise ValueError(
            f"weights must have the shape ({m},) or ({m}, {n_tasks}), one per member "
            f"{names} and task, but has {weights.shape}."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"weights must be finite and not negative, but are {weights.tolist()}."
        )
    table: np.ndarray = np.broadcast_to(weights.reshape(m, -1), (m, n_tasks))
    if (table.sum(axis=0) == 0).any():
        raise ValueError(
            f"weights must not all be zero for a task, but are {weights.tolist()}."
        )
    normalised: np.ndarray = table / table.sum(axis=0)
    return normalised
