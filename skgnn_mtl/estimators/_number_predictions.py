"""Predictions of numbers, with their standard deviations and intervals."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from skgnn_mtl.curvature import LastLayerPosterior
from skgnn_mtl.graphs import GraphBatch
from skgnn_mtl.training import MultiTaskModel, standard_deviations

from ._base import BaseGNN
from ._inputs import read_graphs
from ._state import FittedState
from ._widths import predict_with_variances


class PredictsNumbers(BaseGNN, ABC):
    """Means of all tasks in the units of ``y``, and how wrong they may be."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        r"""Predict all tasks, with standard deviations if wanted.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        return_std : bool, default=False
            Return the standard deviation of a new label around each prediction, too.

        Returns
        -------
        predictions : ndarray of float64, (n_samples,) or (n_samples, n_tasks)
            In the units and the dimensions of the ``y`` of fit, columns as
            ``task_names_``; NaN for an invalid graph.
        std : ndarray of float64, of the same shape
            With ``return_std``: in the units of ``y``; see Notes.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit, or if there is no width; the
            message says what to set.

        Notes
        -----
        The width is that of Laplace's approximation at the last linear map of each task
        [1]_: Bayesian linear regression on the vectors that the map reads, around the
        weights of the network, over the task's labelled training rows. It grows for
        graphs whose vectors are unlike those of these rows, and includes the noise of a
        label.

        Residuals of the training rows are too small to tell the noise, because the
        network knows these labels. Noise and prior come from estimates of the errors at
        left-out labels, in closed form: those of kernel ridge regression with the
        derivatives by the weights of the last hidden layer, which fits the training
        labels as closely as the network does. On held-out molecules of ESOL and
        FreeSolv the widths are 0.6 to 1.0 of the root mean square error, where the
        residuals suggest 0.3 to 0.7. They stay too small on graphs of another kind, and
        without a hidden layer (``head_hidden_dims=()``). With another loss than the
        squared error the errors are still taken as normal. For a guaranteed coverage
        calibrate on rows that were not trained on.

        With ``target_transform`` the deviation is exact for logarithms (of a lognormal
        variable); otherwise it is half of the distance between what the transform makes
        of mean minus and plus one deviation. The prediction is then the median.

        References
        ----------
        .. [1] E. Daxberger et al., "Laplace Redux - Effortless Bayesian Deep Learning",
           NeurIPS 2021.
        """
        fitted = self._at_rest()
        order, targets = _output_order(fitted._state), fitted.targets_
        if return_std:
            outputs, std = fitted._outputs_with_std(X)
            deviations = targets.decode_std(outputs[:, order], std[:, order])
            return targets.decode(outputs[:, order]), deviations
        outputs = fitted._apply(X, MultiTaskModel.__call__)
        return targets.decode(outputs[:, order])

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that a share of new labels is expected to lie in.

        They are central intervals of the normal distributions of
        ``predict(X, return_std=True)``; with ``target_transform`` those of the
        transformed labels, whose ends are transformed back.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        coverage : float, default=0.9
            Expected share, between 0 and 1.

        Returns
        -------
        intervals : ndarray of float64, (n_samples, 2) or (n_samples, n_tasks, 2)
            Lower and upper end behind the dimensions of the predictions, in the units
            of ``y``; NaN for an invalid graph.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``coverage`` is not between 0 and 1, and as :meth:`predict` raises.
        """
        factor = float(norm.ppf(0.5 + check_coverage(coverage) / 2))
        fitted = self._at_rest()
        order, targets = _output_order(fitted._state), fitted.targets_
        outputs, std = fitted._outputs_with_std(X)
        intervals: np.ndarray = targets.decode_ends(
            outputs[:, order], std[:, order], factor
        )
        return intervals

    def _outputs_with_std(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Predict standardised targets and standard deviations, as the network."""
        state, module = self._state, self.module_
        if isinstance(module, MultiTaskModel) and module.log_variances is not None:
            outputs = self._apply(X, _means_and_deviations)
            means, std = np.split(outputs, 2, axis=1)
            return means, std
        widths = _widths_of(state, type(self).__name__)
        network = self._at_work()
        outputs, variances = predict_with_variances(
            network, read_graphs(self, X), widths
        )
        return outputs, np.sqrt(variances)


def _means_and_deviations(module: MultiTaskModel, batch: GraphBatch) -> Tensor:
    return torch.cat(standard_deviations(module.evaluate(batch)), dim=1)


def check_coverage(coverage: Any) -> float:
    """Refuse a coverage that is not between 0 and 1.

    Raises
    ------
    ValueError
        Naming what was passed.
    """
    # A bool is a number in Python, and NaN compares as False.
    is_number = isinstance(coverage, Real) and not isinstance(coverage, bool)
    if not is_number or not 0 < float(coverage) < 1:
        raise ValueError(
            "coverage must be a number above 0 and below 1, such as 0.9 for nine "
            f"labels in ten; got {coverage!r}."
        )
    return float(coverage)


def _output_order(state: FittedState) -> list[int]:
    """List the outputs of the network in the order of the columns of y."""
    names = state.targets.names
    return [_module_order(state).index(name) for name in names]


def _module_order(state: FittedState) -> Sequence[str]:
    # The outputs of GATE are in the order of additions, which y need not follow.
    additions = state.additions
    return state.targets.names if additions is None else additions.module_order


def _widths_of(state: FittedState, estimator: str) -> list[LastLayerPosterior]:
    """List the posteriors of all outputs, or say why there are none."""
    missing = [name for name in state.targets.names if name not in state.widths]
    if not missing:
        return [state.widths[name] for name in _module_order(state)]
    if not state.targets.has_widths:
        raise ValueError(
            "return_std and predict_interval need a loss whose errors can be taken as "
            "normal, but loss is a function. Set loss='squared_error', "
            "'absolute_error', 'huber' or 'gaussian_nll', and fit again."
        )
    raise ValueError(
        "return_std and predict_interval need widths, which fit leaves at its end, but "
        f"this {estimator} has none for {missing}: partial_fit, a pretrained network "
        "without widths or add_task(train_encoder=True) made the present one. Call fit; with "
        "warm_start=True it goes on from this network."
    )
