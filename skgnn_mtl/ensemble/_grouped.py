"""One clone of an estimator for each group of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from joblib import delayed
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl._listed import listed
from skgnn_mtl.estimators._class_columns import by_task
from skgnn_mtl.metrics._tables import as_cells, find_task
from skgnn_mtl.model_selection import suggest_task_groups
from skgnn_mtl.model_selection._fitting import (
    as_rows,
    fit_arguments,
    fit_member,
    without_tasks,
)

from ._jobs import Jobs
from ._labels import MemberLabels
from ._members import numbers_of, probabilities_of, require_kind
from ._tables import ClassTable, Table
from ._widths import Mixture, MixtureTable, side_by_side, takes_return_std

_CURE = "Use an estimator that accepts return_std, or ConformalRegressor."


class Grouped(Table):
    """Abstract base: fits one clone of ``estimator`` on each group of columns of y."""

    estimator: Any
    task_groups: Any
    n_trials: int | None
    n_jobs: int | None
    random_state: Any
    checkpoint: str | PathLike[str] | None
    estimators_: list[Any]
    task_groups_: list[list[str]]
    effects_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Table._parameter_constraints,
        "task_groups": [None, StrOptions({"suggest"}), "array-like"],
    }

    def _parts(self) -> Sequence[Any]:
        return [self.estimator]

    def _fit_groups(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, classifier: bool
    ) -> None:
        self._validate_params()
        require_kind(self.estimator, classifier=classifier, name="estimator")
        X, y = as_rows(X), as_rows(y)
        labels = self._read_y(X, y, sample_weight, groups)
        estimator = self._ready(self.estimator)
        columns = self._columns(labels, labels.of(estimator))
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        self._forget("effects_")
        # One task has no other beside it.
        if self.task_groups is None or self.n_tasks_ == 1:
            self.task_groups_ = [list(self.task_names_)]
        elif isinstance(self.task_groups, str):
            found = suggest_task_groups(
                estimator,
                X,
                # Without bounds, because trials are compared by their errors.
                columns.mask(np.isnan(labels.exact)),
                n_trials=self.n_trials,
                groups=groups,
                n_jobs=self.n_jobs,
                random_state=jobs.random_state(self.random_state),
            )
            self.task_groups_ = found.groups
            self.effects_ = found.effects.to_numpy()
        else:
            self.task_groups_ = _read_groups(self.task_groups, self.task_names_)
        arguments = fit_arguments({"estimator": estimator}, sample_weight, groups)
        self.estimators_ = jobs.run(
            "group",
            [
                delayed(fit_member)(
                    without_tasks(estimator, set(self.task_names_) - set(group)),
                    X,
                    columns[group],
                    None,
                    arguments["estimator"],
                    f"Group {listed(group)}",
                )
                for group in self.task_groups_
            ],
        )
        self._note_features(self.estimators_[0])
        jobs.finish()

    def _columns(self, labels: MemberLabels, y: Any) -> pd.DataFrame:
        """Make a frame of the labels that count."""
        cells = as_cells(y, "y").reshape(labels.table.shape)
        # A label of weight zero must not count, also where weights are not taken.
        return pd.DataFrame(cells, columns=self.task_names_).mask(
            np.isnan(labels.numbers)
        )

    def _in_order(self, tables: Sequence[np.ndarray]) -> np.ndarray:
        """Put the columns of all groups into the order of the tasks of y."""
        names = [name for group in self.task_groups_ for name in group]
        order = [names.index(name) for name in self.task_names_]
        return np.hstack(tables)[:, order]


class GroupedRegressor(MixtureTable, Grouped):
    """Fit one clone of a regressor of tables on each group of tasks.

    Tasks of one group are learned together, and those of different groups apart. It is
    in between one model of all tasks and :class:`PerTaskRegressor`.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Regressor of a table with gaps, such as a ``MultiTaskGNNRegressor`` with its
        featurizer. It is cloned for each group, and a dict ``target_transform`` of its
        own is cut to the tasks of the group.
    task_groups : "suggest", list of lists of str or int, or None, default="suggest"
        Names of the tasks of each group, or their positions; each task is in one. None
        is one group of all.
        "suggest" finds them by trial fits on the rows of ``fit``, so that a
        cross-validation of this estimator counts their choice, too; see
        :func:`~skgnn_mtl.model_selection.suggest_task_groups`.
    n_trials : int, default=None
        Number of random sets of tasks of "suggest"; None means twice the number of
        tasks.
    target_transform : None, "log", "log10", transformer or dict, default=None
        Transform of the labels of each task, as in :class:`PerTaskRegressor`. The
        estimators learn transformed labels.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100", does: it is an error, it is
        left out, or the estimators learn it, as in :class:`BlendRegressor`. Trial fits
        of "suggest" leave it out.
    n_jobs : int, default=None
        Number of fits in parallel.
    random_state : int, RandomState instance or None, default=None
        Seed of "suggest".
    checkpoint : path or None, default=None
        Folder that keeps the members and networks in training, but not the trial fits,
        so that the next ``fit`` with the same data and parameters goes on from it; see
        :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted estimator of each group.
    task_groups_ : list of list of str
        Names of the tasks of each group.
    target_transforms_ : TargetTransforms
        The fitted transforms.
    effects_ : ndarray of shape (t, t)
        With "suggest": the estimated change, in percent, of the error of the task of a
        row if the task of a column is learned beside it.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the estimators count them.
    feature_names_in_ : ndarray of str
        Column names of X, if the estimators have them.

    See Also
    --------
    PerTaskRegressor : One estimator of a single target for each task.
    skgnn_mtl.model_selection.suggest_task_groups : Finds groups.

    References
    ----------
    .. [1] T. Standley et al., "Which Tasks Should Be Learned Together in Multi-task
       Learning?", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.ensemble import GroupedRegressor
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1] ** 2, -X[:, 0]])
    >>> model = GroupedRegressor(MultiTaskGNNRegressor(max_epochs=1), [[0, 2], [1]])
    >>> model.fit(X, y).predict(X).shape, len(model.estimators_)
    ((40, 3), 2)
    """

    def __init__(
        self,
        estimator: Any,
        task_groups: Any = "suggest",
        *,
        n_trials: int | None = None,
        target_transform: Any = None,
        censored: str = "raise",
        n_jobs: int | None = None,
        random_state: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.task_groups = task_groups
        self.n_trials = n_trials
        self.target_transform = target_transform
        self.censored = censored
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Find the groups, if asked, and fit one estimator for each.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: graphs, strings, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them; trial fits of
            "suggest" do not have weights.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which stay on one side of splits; passed on where the
            estimator takes them.

        Returns
        -------
        self : GroupedRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If the groups are not a partition of the tasks, or a task has no label.
        FloatingPointError
            If the training of an estimator diverges; its group is named.
        """
        self._fit_groups(X, y, sample_weight, groups, classifier=False)
        return self

    def _predict_table(self, X: Any) -> np.ndarray:
        X = as_rows(X)
        pairs = zip(self.estimators_, self.task_groups_, strict=True)
        return self._in_order(
            [
                numbers_of(member, X, len(group), f"Group {listed(group)}")
                for member, group in pairs
            ]
        )

    def _takes_return_std(self) -> bool:
        return takes_return_std(self.estimator)

    def _mixture(self, X: Any) -> Mixture:
        members, tasks = self.estimators_, self.task_groups_
        return side_by_side(X, members, tasks, _CURE, self._in_order)


class GroupedClassifier(ClassTable, Grouped):
    """Fit one clone of a classifier of tables on each group of tasks.

    Tasks of one group are learned together, and those of different groups apart.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Classifier of a table with gaps, with ``predict_proba``, such as a
        ``MultiTaskGNNClassifier`` with its featurizer. It is cloned for each group.
    task_groups : "suggest", list of lists of str or int, or None, default="suggest"
        Names of the tasks of each group, or their positions; each task is in one. None
        is one group of all.
        "suggest" finds them by trial fits, as in :class:`GroupedRegressor`.
    n_trials : int, default=None
        Number of random sets of tasks of "suggest"; None means twice the number of
        tasks.
    n_jobs : int, default=None
        Number of fits in parallel.
    random_state : int, RandomState instance or None, default=None
        Seed of "suggest".
    checkpoint : path or None, default=None
        Folder that keeps the members and networks in training, but not the trial fits,
        so that the next ``fit`` with the same data and parameters goes on from it; see
        :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted estimator of each group.
    task_groups_ : list of list of str
        Names of the tasks of each group.
    effects_ : ndarray of shape (t, t)
        With "suggest": the estimated change, in percent, of the error of the task of a
        row if the task of a column is learned beside it.
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the estimators count them.
    feature_names_in_ : ndarray of str
        Column names of X, if the estimators have them.

    See Also
    --------
    GroupedRegressor : The same for numbers.

    References
    ----------
    .. [1] T. Standley et al., "Which Tasks Should Be Learned Together in Multi-task
       Learning?", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNClassifier
    >>> from skgnn_mtl.ensemble import GroupedClassifier
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = (X > 0).astype(float)
    >>> model = GroupedClassifier(MultiTaskGNNClassifier(max_epochs=1), [[0, 2], [1]])
    >>> model.fit(X, y).predict(X).shape, len(model.estimators_)
    ((40, 3), 2)
    """

    def __init__(
        self,
        estimator: Any,
        task_groups: Any = "suggest",
        *,
        n_trials: int | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.task_groups = task_groups
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Find the groups, if asked, and fit one estimator for each.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: graphs, strings, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them; trial fits of
            "suggest" do not have weights.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which stay on one side of splits; passed on where the
            estimator takes them.

        Returns
        -------
        self : GroupedClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If the groups are not a partition of the tasks, or a task lacks a class.
        FloatingPointError
            If the training of an estimator diverges; its group is named.
        """
        self._fit_groups(X, y, sample_weight, groups, classifier=True)
        return self

    def _predict_table(self, X: Any) -> np.ndarray:
        X, classes = (
            as_rows(X),
            dict(zip(self.task_names_, self._classes(), strict=True)),
        )
        columns: dict[str, np.ndarray] = {}
        for member, group in zip(self.estimators_, self.task_groups_, strict=True):
            own = [classes[name] for name in group]
            table = probabilities_of(member, X, own, f"Group {listed(group)}")
            columns.update(zip(group, by_task(table, own), strict=True))
        return np.hstack([columns[name] for name in self.task_names_])


def _read_groups(task_groups: Any, names: Sequence[str]) -> list[list[str]]:
    """Read groups of names or positions as names.

    Raises
    ------
    ValueError
        If they are not a partition of the tasks.
    """
    found: list[list[str]] = []
    for group in task_groups:
        if isinstance(group, str) or not hasattr(group, "__iter__"):
            raise ValueError(
                "task_groups must be a list of lists of tasks, such as "
                f"[[{names[0]!r}], ...], but has the entry {group!r}."
            )
        positions = [find_task(task, names) for task in group]
        for task, position in zip(group, positions, strict=True):
            if position is None:
                raise ValueError(
                    f"task_groups names the task {task!r}, but y has {listed(names)}."
                )
        found.append([names[k] for k in positions if k is not None])
    flat = [name for group in found for name in group]
    missing = [name for name in names if name not in flat]
    twice = sorted({name for name in flat if flat.count(name) > 1})
    for tasks, where in ((missing, "none"), (twice, "several")):
        if tasks:
            raise ValueError(
                "task_groups must have each task in one group, but has "
                f"{listed(tasks)} in {where}."
            )
    return [group for group in found if group]
