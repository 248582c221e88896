"""A classifier whose probabilities are corrected by its predictions out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.estimators._class_columns import by_task
from skgnn_mtl.metrics._tables import as_row_weights
from skgnn_mtl.model_selection._fitting import as_rows, fit_arguments
from skgnn_mtl.model_selection._folds import require_partition, table_folds

from ._calibration import (
    at_class_points,
    at_points,
    at_temperature,
    fit_isotonic,
    fit_isotonic_classes,
    fit_temperature,
)
from ._jobs import Jobs
from ._members import require_kind
from ._out_of_fold import fit_and_hold_out
from ._tables import ClassTable, Table


class CalibratedClassifier(ClassTable, Table):
    r"""Correct the probabilities of a classifier for each task, on tables with gaps.

    Of rows with a calibrated probability of 0.8, a share of 0.8 is of that class.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Classifier of the whole table with ``predict_proba``; put one of a single target
        into :class:`PerTaskClassifier`.
    method : {"temperature", "isotonic"}, default="temperature"
        "temperature" divides the logits of a task by a number [1]_, so that the order
        of rows stays and a few dozen labels are enough. "isotonic" is any growing
        function [2]_, for a thousand labels or more; it may give the probabilities 0
        and 1, and makes different rows equal. Of more than two classes each has one
        against the rest, and their values are scaled to the sum 1.
    cv : int or splitter, default=5
        Folds of the predictions that are corrected, each row in one. A number stands
        for shuffled folds with each class of each task, or with whole groups.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds.
    n_jobs : int, default=None
        Number of fits in parallel. It does not change the numbers.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator, on all rows.
    temperatures_ : ndarray of shape (n_tasks,)
        With ``method="temperature"``: above 1 for a task of which the estimator is too
        sure.
    points_ : list of ndarray of shape (2, k), or of lists of them
        With ``method="isotonic"``: arguments and values of the function of each task,
        which is linear between them. A task of more than two classes has a list of
        them, one for each class.
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the estimator counts them.
    feature_names_in_ : ndarray of str
        Column names of X, if the estimator has them.

    See Also
    --------
    ConformalClassifier : Sets of classes with a coverage.
    sklearn.calibration.CalibratedClassifierCV : The same for one task without gaps.

    Notes
    -----
    The function of a task has the smallest log loss on the labelled rows, which are
    predicted by estimators of the other folds. It is then applied to the estimator of
    all rows. It is never worse there than no correction, but for "isotonic" with more
    than two classes. A task with labels of one
    class only is not corrected.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural
       Networks", ICML 2017.
    .. [2] B. Zadrozny, C. Elkan, "Transforming Classifier Scores into Accurate
       Multiclass Probability Estimates", KDD 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skgnn_mtl.ensemble import CalibratedClassifier, PerTaskClassifier
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 1))
    >>> X = np.repeat(x, 4, axis=1)  # four times the same, which makes it too sure
    >>> y = (x + rng.normal(size=(400, 2)) > 0).astype(float)
    >>> y[::5, 1] = np.nan
    >>> model = CalibratedClassifier(PerTaskClassifier(GaussianNB()), random_state=0)
    >>> model.fit(X, y).temperatures_ > 2
    array([ True,  True])
    """

    estimator_: Any
    temperatures_: np.ndarray
    points_: list[Any]

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Table._parameter_constraints,
        "method": [StrOptions({"temperature", "isotonic"})],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: str = "temperature",
        cv: Any = 5,
        random_state: Any = None,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.cv = cv
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    def _parts(self) -> Sequence[Any]:
        return [self.estimator]

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit the estimator, and the correction of each task.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: graphs, strings, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing, if the
            estimator takes gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the correction and, where it takes them, for the
            estimator.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which folds keep together; passed on where the estimator
            takes them.

        Returns
        -------
        self : CalibratedClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task lacks a class in the training rows of a fold.
        FloatingPointError
            If the training of the estimator diverges.
        """
        self._validate_params()
        require_kind(self.estimator, classifier=True, name="estimator")
        X, y = as_rows(X), as_rows(y)
        table = self._read_y(X, y, sample_weight, groups).exact
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        source = check_random_state(jobs.random_state(self.random_state))
        seed = int(source.randint(MAX_SEED))
        folds = table_folds(self.cv, X, y, self._presence(table), groups, seed)
        require_partition(folds, len(table))
        arguments = fit_arguments({"estimator": self.estimator}, sample_weight, groups)
        self.estimator_, held_out = fit_and_hold_out(
            self.estimator,
            X,
            y,
            folds,
            arguments["estimator"],
            self._outputs,
            jobs,
        )
        self._note_features(self.estimator_)
        weight = as_row_weights(sample_weight, len(table))
        self._fit_corrections(held_out, table, weight)
        jobs.finish()
        return self

    def _by_task(self, table: np.ndarray) -> list[np.ndarray]:
        """Cut probabilities (n, c) into those of tasks; (n,) of two classes."""
        parts = by_task(table, self._classes())
        return [part[:, 0] if part.shape[1] == 1 else part for part in parts]

    def _fit_corrections(
        self, held_out: np.ndarray, codes: np.ndarray, weight: np.ndarray
    ) -> None:
        self._forget("temperatures_", "points_")
        data = []
        for predicted, truth in zip(self._by_task(held_out), codes.T, strict=True):
            # Any class of a row, because an invalid one is NaN in all.
            known = ~np.isnan(predicted).reshape(len(predicted), -1).any(axis=1)
            rows = known & ~np.isnan(truth)
            data.append((predicted[rows], truth[rows], weight[rows]))
        # With labels of one class, the best probability would be 0 or 1.
        several = [len(np.unique(truth)) > 1 for _, truth, _ in data]
        if self.method == "temperature":
            self.temperatures_ = np.array(
                [
                    fit_temperature(*part) if learns else 1.0
                    for part, learns in zip(data, several, strict=True)
                ]
            )
        else:
            self.points_ = [
                _fit_points(part) if learns else _unchanged(part[0])
                for part, learns in zip(data, several, strict=True)
            ]

    def _predict_table(self, X: Any) -> np.ndarray:
        table = self._outputs(self.estimator_, as_rows(X), "estimator")
        columns = self._by_task(table)
        # As of the fit, because the parameter may have been set since then.
        if hasattr(self, "temperatures_"):
            pairs = zip(columns, self.temperatures_, strict=True)
            return np.column_stack([at_temperature(p, value) for p, value in pairs])
        steps = zip(columns, self.points_, strict=True)
        return np.column_stack([_at_points(p, points) for p, points in steps])


def _fit_points(part: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Any:
    return (fit_isotonic if part[0].ndim == 1 else fit_isotonic_classes)(*part)


def _unchanged(predicted: np.ndarray) -> Any:
    """Make functions that change nothing."""
    line = np.array([[0.0, 1.0], [0.0, 1.0]])
    return line if predicted.ndim == 1 else [line] * (predicted.shape[1] + 1)


def _at_points(predicted: np.ndarray, points: Any) -> np.ndarray:
    if predicted.ndim == 1:
        return at_points(predicted, points)
    return at_class_points(predicted, points)
