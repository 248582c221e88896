"""Estimators whose tasks have linear heads on one network."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl._activations import ACTIVATIONS
from skgnn_mtl.curvature import TaskProblem
from skgnn_mtl.training import MultiTaskModel
from skgnn_mtl.weighting import TaskWeighting

from ._base import WIDTHS, BaseGNN
from ._compute import present_device
from ._curvature import StateProblem
from ._files import entries_of
from ._inputs import read_graphs, require_labels
from ._recipe import MultiTaskRecipe
from ._state import Spectra

# Of all estimators of this kind, and of those that predict y.
WEIGHTING_CONSTRAINTS: dict[str, list[Any]] = {
    "task_weighting": [str, TaskWeighting, callable],
    "auxiliary_tasks": [list, tuple],
}
PREDICTOR_CONSTRAINTS: dict[str, list[Any]] = {
    **WEIGHTING_CONSTRAINTS,
    "head_hidden_dims": [WIDTHS],
    "head_activation": [StrOptions(set(ACTIVATIONS))],
    "target_tasks": [None, str, Integral, list, tuple, np.ndarray],
    "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
    "hessian_spectrum": ["boolean", dict],
}


def predictor_recipe(estimator: Any, *, variances: bool = False) -> MultiTaskRecipe:
    """Read the parameters of a regressor or classifier that describe its network."""
    return MultiTaskRecipe(
        estimator.encoder,
        estimator.readout,
        estimator.task_weighting,
        estimator.auxiliary_tasks,
        hidden_dims=estimator.head_hidden_dims,
        activation=estimator.head_activation,
        target_tasks=estimator.target_tasks,
        variances=variances,
    )


class LinearHeadGNN(BaseGNN, ABC):
    """A task weighting, auxiliary tasks, and the losses as functions of parameters."""

    task_weighting: Any
    auxiliary_tasks: Any

    @property
    def task_weighting_(self) -> TaskWeighting:
        """The task weighting with its state."""
        weighting = self._state.weighting
        # Always true, because each recipe of linear heads has a weighting.
        assert weighting is not None
        return weighting

    @property
    def task_weights_(self) -> np.ndarray:
        """Weights of the last epoch, divided by their mean."""
        return self._state.task_weights

    @property
    def auxiliary_names_(self) -> list[str]:
        """Names of the auxiliary tasks."""
        return entries_of(self._state)[self.n_tasks_ :]

    @property
    def held_out_rows_(self) -> np.ndarray:
        """Training rows that the task weighting learns from."""
        rows = self._state.held_out_rows
        # An AttributeError, because hasattr must tell whether there are such rows.
        if rows is None:
            raise AttributeError(
                f"{type(self).__name__} does not have held_out_rows_: its task "
                "weighting does not learn from held-out rows."
            )
        return rows

    @property
    def hessian_spectrum_(self) -> Spectra:
        """Curvature of each task's loss at the end of fit."""
        found: Spectra = self._spectra("spectrum", "hessian_spectrum_", "True")
        return found

    @property
    def hessian_spectrum_path_(self) -> list[Spectra]:
        """Curvature of each task's loss along the training."""
        wanted = "{'at': (0, 0.5, 1)}"
        found: list[Spectra] = self._spectra(
            "spectrum_path", "hessian_spectrum_path_", wanted
        )
        return found

    def _spectra(self, field: str, name: str, wanted: str) -> Any:
        """Return spectra of the fitted state, or say how to get them."""
        # The same error before a fit, because the advice is the same.
        fitted = self.__sklearn_is_fitted__()
        found = getattr(self._state, field) if fitted else None
        if found is not None:
            return found
        how = "call skgnn_mtl.curvature.hessian_spectrum(estimator, X, y) on "
        # Asked, because the pretrainer does not have this parameter.
        if "hessian_spectrum" in self._get_param_names():
            how = f"fit it with hessian_spectrum={wanted}, or {how}a fitted one."
        else:
            how += "one that was fitted with y."
        raise AttributeError(f"{type(self).__name__} does not have {name}: {how}")

    def embed(self, X: Any) -> np.ndarray:
        """Embed graphs in the space behind the readout, which all tasks share.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            The graphs.

        Returns
        -------
        embedding : ndarray of shape (n_samples, width)
            One row per graph, NaN for an invalid one; graph features come last.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit.
        """
        return self._apply(X, MultiTaskModel.embed)

    def task_problem(
        self,
        X: Any,
        y: ArrayLike,
        *,
        rows: ArrayLike | Callable[[np.ndarray], ArrayLike] | None = None,
        batch_size: int = 128,
        dtype: str | None = None,
    ) -> TaskProblem:
        """State the losses of the tasks as functions of the network's parameters.

        The parameters, the functions and the batches belong to a copy of the network in
        evaluation mode: nothing that happens to them can touch the estimator.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels in the units of fit, NaN where missing; columns of a DataFrame may
            have another order.
        rows : array-like of int, callable or None, default=None
            Rows to use; a callable maps the labelled entries, bool
            (n_samples, n_tasks), to them. None takes all rows with a label.
        batch_size : int, default=128
            Graphs in a batch.
        dtype : {"float32", "float64"}, optional
            Precision of the copy; that of the network if not given.

        Returns
        -------
        problem : TaskProblem
            Rows of the linear heads are parameters of their own, one pair per task.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If y has other tasks than in fit, ``dtype`` is not a floating type or no
            row has a label.

        See Also
        --------
        skgnn_mtl.curvature.task_spectra : Spectra of such a problem.
        """
        state = self._state
        graphs = read_graphs(self, X)
        require_labels(self, y)
        labels = state.targets.read_in_order(graphs, y)
        problem = StateProblem(state, present_device(self.device))
        return problem.task_problem(
            graphs, labels, rows=rows, batch_size=batch_size, dtype=dtype
        )
