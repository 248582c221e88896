"""The last step of a pipeline, and what it receives."""

from __future__ import annotations

from typing import Any


def last_step(estimator: Any) -> Any:
    """Find the last step of a pipeline, or of pipelines inside of it.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Need not be fitted.

    Returns
    -------
    step : estimator
        The estimator itself, if it is no pipeline.
    """
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def at_last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Run the transformers of a pipeline, and of pipelines inside of it.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Fitted.
    X : object
        What it reads.

    Returns
    -------
    X : object
        What the last step reads.
    step : estimator
        As :func:`last_step` finds it.
    """
    while hasattr(estimator, "steps"):
        # Not with one step, because an empty pipeline does not transform.
        if len(estimator.steps) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    return X, estimator
