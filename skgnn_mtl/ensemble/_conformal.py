"""Calibration rows of conformal regressors and classifiers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from joblib import delayed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._pipelines import last_step
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.estimators._inputs import in_task_order
from skgnn_mtl.metrics._tables import column_names
from skgnn_mtl.metrics._widths import check_coverage
from skgnn_mtl.model_selection._fitting import as_rows, fit_arguments, fit_member, take
from skgnn_mtl.model_selection._folds import Folds, require_partition, table_folds

from ._crepes import least_labels
from ._jobs import Jobs
from ._members import require_kind
from ._out_of_fold import fit_and_hold_out
from ._repeats import require_apart, warn_of_repeats
from ._tables import Table


class Conformal(Table):
    """Abstract base: an estimator, and its errors on rows that it was not fitted on."""

    estimator: Any
    method: str
    cv: Any
    groups: Any
    coverage: float
    random_state: Any
    n_jobs: int | None
    checkpoint: str | PathLike[str] | None
    estimator_: Any

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Table._parameter_constraints,
        "method": [StrOptions({"split", "cross", "prefit"})],
        "groups": [None, callable],
    }

    def _parts(self) -> Sequence[Any]:
        return [self.estimator]

    @abstractmethod
    def _calibration_outputs(self, member: Any, X: Any, name: str) -> np.ndarray:
        """Predict what the errors are made of, of shape (n, t, ...)."""

    @abstractmethod
    def _note_calibration(self, X: Any) -> None:
        """Keep what the strata depend on: a parameter may be set after the fit."""

    @abstractmethod
    def _strata(self, t: int, labels: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Name and mark, bool (n,), the parts of a task with quantiles of their own."""

    def _fit_conformal(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, classifier: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the estimator, and predict the calibration rows.

        Returns
        -------
        labels : ndarray of shape (n_calibration, t)
            NaN where missing.
        outputs : ndarray of shape (n_calibration, t, ...)
            Of estimators that were fitted without the rows.
        """
        self._validate_params()
        check_coverage(self.coverage)
        require_kind(self.estimator, classifier=classifier, name="estimator")
        X = as_rows(X)
        if self.method == "prefit":
            labels, outputs = self._of_fitted(X, y, sample_weight)
        else:
            labels, outputs = self._of_folds(X, as_rows(y), sample_weight, groups)
        self._note_features(self.estimator_)
        return labels, outputs

    def _of_fitted(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take all rows for the calibration of an estimator that is fitted."""
        try:
            check_is_fitted(self.estimator)
        except NotFittedError as error:
            raise NotFittedError(
                f"method='prefit' calibrates a fitted estimator, but "
                f"{type(self.estimator).__name__} is not fitted. Put it into "
                "sklearn.frozen.FrozenEstimator, which a clone leaves fitted."
            ) from error
        names = getattr(last_step(self.estimator), "task_names_", None)
        y = y if names is None else in_task_order(y, names)
        labels = self._read_y(X, y, sample_weight).exact
        if names is not None and len(names) == self.n_tasks_ and not column_names(y):
            # An array has the columns of the fit.
            self.task_names_ = list(names)
        self._note_calibration(X)
        self._require_calibration(labels, self.coverage)
        self.estimator_ = self.estimator
        return labels, self._calibration_outputs(self.estimator_, X, "estimator")

    def _of_folds(
        self, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit on training rows, and predict the others."""
        if isinstance(self.estimator, FrozenEstimator):
            raise ValueError(
                f"method={self.method!r} fits the estimator, but it is frozen. Set "
                "method='prefit', and give fit rows that it was not fitted on."
            )
        labels = self._read_y(X, y, sample_weight, groups)
        table, estimator = labels.exact, self._ready(self.estimator)
        if groups is None and self.groups is not None:
            groups = np.asarray(self.groups(X))
            if groups.shape != (len(table),):
                raise ValueError(
                    f"groups must return one group for each of {len(table)} rows of X, "
                    f"but returned an array of shape {groups.shape}."
                )
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        folds = self._folds(X, y, table, groups, jobs)
        rows = folds[0][1] if self.method == "split" else np.arange(len(table))
        self._note_calibration(take(X, rows))
        # Before any fit, because a fit may take hours.
        self._require_calibration(table[rows], self.coverage)
        given = fit_arguments({"estimator": estimator}, sample_weight, groups)
        fit = self._fit_split if self.method == "split" else self._fit_cross
        y = labels.of(estimator)
        outputs = fit(estimator, X, y, folds, given["estimator"], jobs)
        jobs.finish()
        return table[rows], outputs

    def _folds(
        self, X: Any, y: Any, table: np.ndarray, groups: Any, jobs: Jobs
    ) -> Folds:
        source = check_random_state(jobs.random_state(self.random_state))
        seed = int(source.randint(MAX_SEED))
        folds = table_folds(self.cv, X, y, self._presence(table), groups, seed)
        folds = folds[:1] if self.method == "split" else folds
        require_apart(folds)
        if self.method == "cross":
            require_partition(folds, len(table))
        warn_of_repeats(X, folds)
        return folds

    def _fit_split(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        folds: Folds,
        arguments: dict[str, Any],
        jobs: Jobs,
    ) -> np.ndarray:
        train, test = folds[0]
        member = clone(estimator)
        fit = delayed(fit_member)(
            member, X, take(y, train), train, arguments, "estimator"
        )
        self.estimator_ = jobs.run_one("estimator", fit)
        return self._calibration_outputs(self.estimator_, take(X, test), "estimator")

    def _fit_cross(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        folds: Folds,
        arguments: dict[str, Any],
        jobs: Jobs,
    ) -> np.ndarray:
        self.estimator_, outputs = fit_and_hold_out(
            estimator,
            X,
            y,
            folds,
            arguments,
            self._calibration_outputs,
            jobs,
        )
        return outputs

    def _require_calibration(self, labels: np.ndarray, coverage: float) -> None:
        """Refuse a task with too few calibration labels; they are NaN if missing."""
        least = least_labels(coverage)
        for t, name in enumerate(self.task_names_):
            for part, rows in self._strata(t, labels[:, t]):
                count = int((rows & ~np.isnan(labels[:, t])).sum())
                if count < least:
                    raise ValueError(
                        f"Task {name!r} has {count} calibration label(s){part}, but "
                        f"coverage={coverage} needs at least {least}. Give more "
                        "labels, lower the coverage, or drop the task; method='cross' "
                        "calibrates on all labels."
                    )

    def _coverage(self, coverage: float | None) -> float:
        return check_coverage(self.coverage if coverage is None else coverage)
