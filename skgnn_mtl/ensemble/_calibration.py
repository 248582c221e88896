"""Maps from the probabilities of one task to calibrated ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax
from sklearn.isotonic import IsotonicRegression

# The logit of 0 and 1 is infinite; trees give both.
_LEAST = float(np.finfo(np.float64).eps)
# Temperatures between 1 / 1000 and 1000, because the loss of separated classes falls
# without an end.
_RANGE = float(np.log(1000.0))


def log_loss(
    probabilities: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray
) -> float:
    """Average the negative logarithm of the probability of the true class.

    Parameters
    ----------
    probabilities : ndarray of shape (n,) or (n, k)
        Of the second class, or of all classes but the first.
    codes : ndarray of shape (n,)
        Positions of the true classes: 0, 1, ..., k.
    sample_weight : ndarray of shape (n,)
        Weights of the rows.

    Returns
    -------
    loss : float
        In nats.
    """
    if probabilities.ndim == 1:
        clipped = np.clip(probabilities, _LEAST, 1 - _LEAST)
        losses = -np.where(codes == 1, np.log(clipped), np.log1p(-clipped))
    else:
        every = _log_probabilities(probabilities)
        true = codes.astype(int)[:, None]
        losses = -np.take_along_axis(every, true, axis=1)[:, 0]
    return float(np.average(losses, weights=sample_weight))


def _log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Compute logarithms for all classes (n, k + 1) from those of all but the first."""
    clipped = np.clip(_with_first(probabilities), _LEAST, 1 - _LEAST)
    logs: np.ndarray = np.log(clipped)
    return logs


def _with_first(probabilities: np.ndarray) -> np.ndarray:
    """Put the probability of the first class (n, k + 1) before the others."""
    first = 1.0 - probabilities.sum(axis=1, keepdims=True)
    return np.hstack([first, probabilities])


def fit_temperature(
    probabilities: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray
) -> float:
    r"""Find the temperature with the smallest log loss.

    The loss is convex in :math:`1 / T`, so that its minimum is found by a search in one
    dimension.

    Parameters
    ----------
    probabilities, codes, sample_weight : ndarray
        As in :func:`log_loss`.

    Returns
    -------
    temperature : float
        Above 1 for a classifier that is too sure. 1, if no other is better.
    """

    def loss(log_temperature: float) -> float:
        scaled = at_temperature(probabilities, np.exp(log_temperature))
        return log_loss(scaled, codes, sample_weight)

    found = minimize_scalar(loss, bounds=(-_RANGE, _RANGE), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities by a temperature.

    Parameters
    ----------
    probabilities : ndarray of shape (n,) or (n, k)
        Of the second class, or of all classes but the first; NaN for an invalid row.
    temperature : float
        Positive.

    Returns
    -------
    scaled : ndarray of the shape of `probabilities`
        The order of the classes of a row is as before.
    """
    scaled: np.ndarray
    if probabilities.ndim == 1:
        clipped = np.clip(probabilities, _LEAST, 1 - _LEAST)
        scaled = expit(logit(clipped) / temperature)
    else:
        scaled = softmax(_log_probabilities(probabilities) / temperature, axis=1)[:, 1:]
    return scaled


def fit_isotonic(
    probabilities: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray
) -> np.ndarray:
    """Find the growing function of the probabilities with the smallest log loss.

    It has the smallest squared error, too, by which it is found.

    Parameters
    ----------
    probabilities, codes, sample_weight : ndarray of shape (n,)
        As in :func:`log_loss`, of two classes.

    Returns
    -------
    points : ndarray of shape (2, k)
        Arguments and values, between which the function is linear.
    """
    model = IsotonicRegression().fit(probabilities, codes, sample_weight)
    return np.stack([model.X_thresholds_, model.y_thresholds_])


def at_points(probabilities: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Evaluate a function that is linear between points, and constant outside.

    Parameters
    ----------
    probabilities : ndarray of shape (n,)
        Arguments, NaN for an invalid row.
    points : ndarray of shape (2, k)
        Arguments and values.

    Returns
    -------
    values : ndarray of shape (n,)
        NaN for an invalid row.
    """
    values: np.ndarray = np.interp(probabilities, *points)
    return values


def fit_isotonic_classes(
    probabilities: np.ndarray, codes: np.ndarray, sample_weight: np.ndarray
) -> list[np.ndarray]:
    """Find a growing function for each of several classes against the rest.

    Parameters
    ----------
    probabilities, codes, sample_weight : ndarray
        As in :func:`log_loss`, of more than two classes.

    Returns
    -------
    points : list of ndarray of shape (2, k)
        As from :func:`fit_isotonic`, one for each class.
    """
    return [
        fit_isotonic(column, codes == code, sample_weight)
        for code, column in enumerate(_with_first(probabilities).T)
    ]


def at_class_points(
    probabilities: np.ndarray, points: Sequence[np.ndarray]
) -> np.ndarray:
    """Evaluate the functions of several classes, and scale their sum to 1.

    Parameters
    ----------
    probabilities : ndarray of shape (n, k)
        Of all classes but the first, NaN for an invalid row.
    points : sequence of ndarray of shape (2, m)
        From :func:`fit_isotonic_classes`.

    Returns
    -------
    values : ndarray of shape (n, k)
        Equal for all classes, if each function is 0. NaN for an invalid row.
    """
    columns = zip(_with_first(probabilities).T, points, strict=True)
    every = np.column_stack([at_points(column, part) for column, part in columns])
    total = every.sum(axis=1, keepdims=True)
    none = total == 0
    values: np.ndarray = np.where(
        none, 1 / len(points), every / np.where(none, 1, total)
    )
    return values[:, 1:]
