"""Scorer objects for predicted widths and probabilities.

They call ``predict(X, return_std=True)``, ``predict_interval(X, coverage=...)`` or
``predict_proba(X)`` of the estimator, a pipeline's last step or a search's best.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics._scorer import _BaseScorer

from ._probabilities import (
    nan_brier_score,
    nan_expected_calibration_error,
    nan_log_loss,
)
from ._scorers import OutputScorer, class_scores, inside, with_method
from ._widths import (
    check_coverage,
    nan_calibration_error,
    nan_error_rank_correlation,
    nan_gaussian_nll,
    nan_interval_coverage,
    nan_interval_width,
)


class WidthScorer(OutputScorer):
    """Score means and standard deviations of ``predict(X, return_std=True)``."""

    def _value(self, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        mean, std = predict_with_std(estimator, X)
        value: float = self._score_func(y_true, mean, std, **kwargs)
        return value


class IntervalScorer(OutputScorer):
    """Score intervals; made by :func:`interval_scorer`."""

    def __repr__(self) -> str:
        metric = self._score_func.__name__.removeprefix("nan_interval_")
        return f"interval_scorer({metric!r}, coverage={self._kwargs['coverage']!r})"

    def _value(self, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        interval = predict_interval(estimator, X, self._kwargs["coverage"])
        value: float = self._score_func(y_true, interval, **kwargs)
        return value


class ProbabilityScorer(OutputScorer):
    """Score probabilities of the classes of each task."""

    def _value(self, estimator: Any, X: Any, y_true: Any, **kwargs: Any) -> float:
        proba, labels = class_scores(estimator, X, y_true, logits=False)
        value: float = self._score_func(y_true, proba, labels=labels, **kwargs)
        return value


def predict_with_std(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Predict means and deviations, also by a search, which takes X alone."""
    while (within := inside(estimator, X)) is not None:
        estimator, X = within
    mean, std = estimator.predict(X, return_std=True)
    return mean, std


def predict_interval(estimator: Any, X: Any, coverage: float) -> np.ndarray:
    """Predict intervals (n, t, 2), also by a pipeline or a search."""
    last, X = with_method(estimator, X, "predict_interval")
    interval: np.ndarray = last.predict_interval(X, coverage=coverage)
    return interval


def interval_scorer(metric: str, *, coverage: float = 0.9) -> _BaseScorer:
    """Make a scorer of ``predict_interval``, for ``scoring=``.

    Parameters
    ----------
    metric : {"coverage", "width"}
        The share of labels inside, or the mean width, which is negated, so that higher
        is better. A coverage is best near `coverage`, and so is one to report, not to
        choose by.
    coverage : float, default=0.9
        What the intervals are made for, between 0 and 1.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``, where ``y`` has shape
        (n_samples,) or (n_samples, n_tasks). Coverage is a share, "width" is the
        negated mean over the tasks in units of ``y``.

    Raises
    ------
    ValueError
        If `metric` is unknown, or `coverage` is not between 0 and 1.

    See Also
    --------
    nan_interval_coverage : Share of labels inside of intervals.
    nan_interval_width : Mean width of intervals.

    Examples
    --------
    >>> from skgnn_mtl.metrics import interval_scorer
    >>> {f"covered_{c}": interval_scorer("coverage", coverage=c) for c in (0.5, 0.9)}
    {'covered_0.5': interval_scorer('coverage', coverage=0.5),
     'covered_0.9': interval_scorer('coverage', coverage=0.9)}
    """
    functions = {
        "coverage": (nan_interval_coverage, 1),
        "width": (nan_interval_width, -1),
    }
    if metric not in functions:
        raise ValueError(
            f"metric must be one of {sorted(functions)}, but is {metric!r}."
        )
    function, sign = functions[metric]
    return IntervalScorer(function, sign, {"coverage": check_coverage(coverage)})


neg_nan_gaussian_nll_scorer = WidthScorer(nan_gaussian_nll, -1, {})
neg_nan_calibration_error_scorer = WidthScorer(nan_calibration_error, -1, {})
nan_error_rank_correlation_scorer = WidthScorer(nan_error_rank_correlation, 1, {})

neg_nan_log_loss_scorer = ProbabilityScorer(nan_log_loss, -1, {}, "predict_proba")
neg_nan_brier_score_scorer = ProbabilityScorer(nan_brier_score, -1, {}, "predict_proba")
neg_nan_expected_calibration_error_scorer = ProbabilityScorer(
    nan_expected_calibration_error, -1, {}, "predict_proba"
)
