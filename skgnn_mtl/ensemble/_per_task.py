"""One clone of an estimator for each task, on its labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from joblib import delayed
from sklearn.base import clone
from sklearn.dummy import DummyClassifier

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl._warn import warn
from skgnn_mtl.model_selection._fitting import as_rows, fit_arguments, fit_member

from ._jobs import Jobs
from ._members import numbers_of, probabilities_of, require_kind
from ._tables import ClassTable, Table
from ._widths import Mixture, MixtureTable, side_by_side, takes_return_std

_CURE = (
    "Use an estimator that accepts return_std, such as BayesianRidge, "
    "EnsembleRegressor with resample='folds', or ConformalRegressor."
)


class PerTask(Table):
    """Abstract base: fits one clone of ``estimator`` on each column of y."""

    estimator: Any
    n_jobs: int | None
    checkpoint: str | PathLike[str] | None
    estimators_: list[Any]

    def _parts(self) -> Sequence[Any]:
        return [self.estimator]

    def _fit_tasks(
        self,
        X: Any,
        members: Sequence[Any],
        columns: Sequence[np.ndarray],
        labelled: np.ndarray,
        arguments: Mapping[str, Any],
    ) -> None:
        """Fit each member on the labels of one task; ``labelled`` is (n, t)."""
        jobs = Jobs(self, X=X, y=list(columns), labelled=labelled, **arguments)
        fits = []
        for member, y, mask, name in zip(
            members, columns, labelled.T, self.task_names_, strict=True
        ):
            # None for all rows, because X need not be copied then.
            rows = None if mask.all() else np.flatnonzero(mask)
            label = f"Task {name!r} with {len(y)} label(s)"
            # A constant in the place of the estimator takes other arguments.
            own = arguments if type(member) is type(self.estimator) else {}
            fits.append(delayed(fit_member)(member, X, y, rows, own, label))
        self.estimators_ = jobs.run("task", fits)
        self._note_features(self.estimators_[0])
        jobs.finish()


class PerTaskRegressor(MixtureTable, PerTask):
    """Fit one clone of a regressor on each column of y, on its labelled rows.

    It brings any regressor of scikit-learn to a table of properties with gaps. Tasks
    share nothing but the parameters.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Regressor of one target. It is cloned for each task.
    target_transform : None, "log", "log10", transformer or dict, default=None
        Transform of the labels of each task, whose inverse brings the predictions back
        into the units of ``y``. A transformer of scikit-learn is cloned and fitted for
        each task. A dict maps names of tasks to transforms; other tasks are unchanged.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100", does: it is an error, it is
        left out, or it counts. "bound" sets parameters named ``censored`` of the
        estimator that are "raise". An estimator without one, such as trees, learns the
        number of the bound.
    n_jobs : int, default=None
        Number of tasks that are fitted in parallel.
    checkpoint : path or None, default=None
        Folder that keeps estimators and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted estimator of each task.
    target_transforms_ : TargetTransforms
        The fitted transforms.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the estimators count them.
    feature_names_in_ : ndarray of str of shape (n_columns,)
        Column names of X, if the estimators have them.

    See Also
    --------
    EnsembleRegressor : Mean of members that learn all tasks.
    sklearn.multioutput.MultiOutputRegressor : The same without gaps.

    Notes
    -----
    X is passed on as it is, with the rows that have a label of the task. A task with
    few labels may have fewer than the estimator needs; the error names the task.

    Widths are those of estimators that accept ``return_std``; if one of them does not,
    there is no width of the table. A search by the squared error
    (``scoring="neg_mean_squared_error"``) over estimators without a width has that of
    its error on the test rows of its folds, the same for all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skgnn_mtl.ensemble import PerTaskRegressor
    >>> X = np.arange(6.0)[:, None]
    >>> y = np.column_stack([2 * X[:, 0], 10.0 ** X[:, 0]])
    >>> y[1, 0] = y[4, 1] = np.nan
    >>> model = PerTaskRegressor(
    ...     Ridge(alpha=1e-9), target_transform={"task_1": "log10"}
    ... )
    >>> model.fit(X, y).predict([[1.0], [4.0]]).round(3)
    array([[2.e+00, 1.e+01],
           [8.e+00, 1.e+04]])
    """

    def __init__(
        self,
        estimator: Any,
        *,
        target_transform: Any = None,
        censored: str = "raise",
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.target_transform = target_transform
        self.censored = censored
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit one estimator for each task.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: an array, a frame, graphs, or strings.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them. A label of
            weight zero counts as missing.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, passed on where the estimator takes them.

        Returns
        -------
        self : PerTaskRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no label, if a label is outside of the domain of its
            transform, or if the estimator refuses the rows of a task.
        """
        self._validate_params()
        require_kind(self.estimator, classifier=False, name="estimator")
        X = as_rows(X)
        # Transformed outside of the members, because a wrong label is then named with
        # its task and row.
        labels = self._read_y(X, y, sample_weight, groups)
        labelled = ~np.isnan(labels.numbers)
        estimator = self._ready(self.estimator)
        members = [clone(estimator) for _ in self.task_names_]
        cells = labels.cells(estimator)
        columns = [y_t[mask] for y_t, mask in zip(cells.T, labelled.T, strict=True)]
        arguments = fit_arguments({"estimator": estimator}, sample_weight, groups)
        self._fit_tasks(X, members, columns, labelled, arguments["estimator"])
        return self

    def _predict_table(self, X: Any) -> np.ndarray:
        X = as_rows(X)
        columns = [
            numbers_of(member, X, 1, f"Task {name!r}")
            for member, name in zip(self.estimators_, self.task_names_, strict=True)
        ]
        return np.hstack(columns)

    def _takes_return_std(self) -> bool:
        return takes_return_std(self.estimator)

    def _mixture(self, X: Any) -> Mixture:
        tasks = [[name] for name in self.task_names_]
        return side_by_side(X, self.estimators_, tasks, _CURE)


class PerTaskClassifier(ClassTable, PerTask):
    """Fit one clone of a classifier on each column of y, on its labelled rows.

    It brings any classifier of scikit-learn to a table of tasks with gaps.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Classifier of one target with ``predict_proba``. It is cloned for each task.
    n_jobs : int, default=None
        Number of tasks that are fitted in parallel.
    checkpoint : path or None, default=None
        Folder that keeps estimators and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted estimator of each task.
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the estimators count them.
    feature_names_in_ : ndarray of str of shape (n_columns,)
        Column names of X, if the estimators have them.

    See Also
    --------
    sklearn.multioutput.MultiOutputClassifier : The same without gaps.

    Notes
    -----
    A task with one class in the training rows, as in a fold of rare labels, is always
    predicted as this class, with a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skgnn_mtl.ensemble import PerTaskClassifier
    >>> X = np.arange(6.0)[:, None]
    >>> y = np.array([[0, 1], [0, np.nan], [0, 1], [1, 0], [np.nan, 0], [1, 0]])
    >>> PerTaskClassifier(LogisticRegression()).fit(X, y).predict([[0.0], [5.0]])
    array([[0., 1.],
           [1., 0.]])
    """

    def __init__(
        self,
        estimator: Any,
        *,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit one estimator for each task.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: an array, a frame, graphs, or strings.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them. A label of
            weight zero counts as missing.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, passed on where the estimator takes them.

        Returns
        -------
        self : PerTaskClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no label or labels that are no classes, or if the estimator
            refuses the rows of a task.
        """
        self._validate_params()
        require_kind(self.estimator, classifier=True, name="estimator")
        X = as_rows(X)
        table = self._read_y(X, y, sample_weight, groups).exact
        labelled = ~np.isnan(table)
        columns = [
            # Labels and not codes, because classes_ of a member are compared with those
            # of y.
            classes[codes[mask].astype(int)]
            for classes, codes, mask in zip(
                self._classes(), table.T, labelled.T, strict=True
            )
        ]
        arguments = fit_arguments({"estimator": self.estimator}, sample_weight, groups)
        members = list(map(self._member, columns, self.task_names_))
        self._fit_tasks(X, members, columns, labelled, arguments["estimator"])
        return self

    def _member(self, labels: np.ndarray, name: str) -> Any:
        """Clone the estimator, or make a constant one for a single class."""
        found = np.unique(labels)
        if len(found) > 1:
            return clone(self.estimator)
        warn(
            f"Task {name!r} has labels of one class only in the training rows, and is "
            f"always predicted as {found.tolist()[0]!r}."
        )
        # A constant, because most classifiers refuse a single class.
        return DummyClassifier()

    def _predict_table(self, X: Any) -> np.ndarray:
        X = as_rows(X)
        columns = [
            probabilities_of(member, X, [classes], f"Task {name!r}")
            for member, classes, name in zip(
                self.estimators_, self._classes(), self.task_names_, strict=True
            )
        ]
        return np.hstack(columns)
