"""Predictions of numbers, with their standard deviations and intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from skgnn_mtl.curvature import LastLayerPosterior
from skgnn_mtl.metrics._widths import half_width
from skgnn_mtl.training import MultiTaskModel

from ._inputs import read_graphs
from ._state import FittedState
from ._widths import predict_with_variances


def predict_numbers(estimator: Any, X: Any, *, return_std: bool = False) -> Any:
    """Predict all tasks of a regressor in the units of y.

    Parameters
    ----------
    estimator : MultiTaskGNNRegressor or GATERegressor
        Fitted.
    X : GraphArray or array-like of shape (n_samples, n_features)
        The graphs.
    return_std : bool, default=False
        Whether to return standard deviations, too.

    Returns
    -------
    predictions : ndarray of float64, (n_samples,) or (n_samples, n_tasks)
        Columns as in y; with ``return_std`` followed by the deviations.

    Raises
    ------
    ValueError
        If there is no width; the message says what to set.
    """
    fitted = estimator._at_rest()
    state, targets = fitted._state, fitted.targets_
    if not return_std:
        outputs = fitted._apply(X, MultiTaskModel.__call__)
        return targets.decode(outputs[:, state.output_order])
    outputs, std = _outputs_with_std(fitted, X)
    return targets.decode(outputs), targets.decode_std(outputs, std)


def predict_intervals(estimator: Any, X: Any, coverage: Any) -> np.ndarray:
    """Predict central intervals in the units of y.

    Parameters
    ----------
    estimator : MultiTaskGNNRegressor or GATERegressor
        Fitted.
    X : GraphArray or array-like of shape (n_samples, n_features)
        The graphs.
    coverage : float
        Expected share of labels in them.

    Returns
    -------
    intervals : ndarray of float64, (n_samples, n_tasks, 2)
        Lower and upper end.

    Raises
    ------
    ValueError
        If the coverage is not between 0 and 1, or there is no width.
    """
    half = half_width(coverage)
    fitted = estimator._at_rest()
    outputs, std = _outputs_with_std(fitted, X)
    intervals: np.ndarray = fitted.targets_.decode_ends(outputs, std, half)
    return intervals


def _outputs_with_std(fitted: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Predict standardised targets and their deviations, columns as in y."""
    state = fitted._state
    widths = _widths_of(state, type(fitted).__name__)
    graphs = read_graphs(fitted, X)
    outputs, variances = predict_with_variances(fitted._at_work(), graphs, widths)
    order = state.output_order
    return outputs[:, order], np.sqrt(variances[:, order])


def _widths_of(state: FittedState, estimator: str) -> list[LastLayerPosterior] | None:
    """List the posteriors of all outputs, or say why there are none.

    None if the network itself predicts variances, and has been trained on without them.
    """
    missing = [name for name in state.targets.names if name not in state.widths]
    if not missing:
        return [state.widths[name] for name in state.output_names]
    module = state.module
    if isinstance(module, MultiTaskModel) and module.log_variances is not None:
        return None
    if not state.targets.has_widths:
        raise ValueError(
            "return_std and predict_interval need a loss whose errors can be taken as "
            "normal, but loss is a function. Set loss='squared_error', "
            "'absolute_error', 'huber' or 'gaussian_nll', and fit again."
        )
    raise ValueError(
        "return_std and predict_interval need widths, which fit leaves at its end, but "
        f"this {estimator} has none for {missing}: partial_fit, a table without their "
        "labels, a pretrained network without widths or add_task(train_encoder=True) "
        "made the present one. Call fit; with warm_start=True it goes on from this "
        "network."
    )
