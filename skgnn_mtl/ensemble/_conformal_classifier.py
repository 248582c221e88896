"""Sets of classes that hold the true one in a wanted share of rows."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl.estimators._class_columns import by_task
from skgnn_mtl.model_selection._fitting import as_rows

from ._conformal import Conformal
from ._crepes import label_sets
from ._repeats import warn_of_exact
from ._tables import ClassTable


class ConformalClassifier(ClassTable, Conformal):
    r"""Sets of classes that hold the true one in a wanted share of rows, for each task.

    The set of a row holds one class where the classifier is sure enough, and else
    several or, where the row is like no calibration row, none.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Classifier of the whole table with ``predict_proba``; put one of a single target
        into :class:`PerTaskClassifier`.
    method : {"split", "cross", "prefit"}, default="split"
        Where the errors come from, as in :class:`ConformalRegressor`.
    class_conditional : bool, default=False
        Whether each class has a quantile of its own. The true class is then in the set
        in the wanted share of rows of each class, also of a rare one [2]_.
    groups : callable, default=None
        Function of X that gives the group of each row, such as
        :func:`~skgnn_mtl.model_selection.scaffold_groups`, where ``fit`` is not given
        groups. Groups are whole on one side of each split.
    cv : int or splitter, default=5
        Folds. "split" calibrates on the test rows of the first, a fifth of the rows. A
        number stands for shuffled folds with each class of each task, or with whole
        groups.
    coverage : float, default=0.9
        Share of rows whose set holds the true class, between 0 and 1. ``predict_set``
        takes others, too.
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
        The fitted estimator.
    scores_ : ndarray of shape (n_calibration, n_tasks)
        1 minus the predicted probability of the true class of the calibration rows, NaN
        where there is none.
    codes_ : ndarray of shape (n_calibration, n_tasks)
        Positions of the true classes in ``classes_``.
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
    CalibratedClassifier : Probabilities that are true in the mean.
    ConformalRegressor : Intervals.

    Notes
    -----
    With :math:`n` calibration labels of a task, a class of probability :math:`p` is in
    the set of coverage :math:`c` if :math:`1 - p` is at most the
    :math:`\lceil (n + 1) c \rceil`-th smallest of the scores :math:`1 - p_{i, y_i}`
    [1]_. With two classes other usual scores, such as the margin, give the same sets.
    What the methods guarantee is said in :class:`ConformalRegressor`.

    References
    ----------
    .. [1] M. Sadinle, J. Lei, L. Wasserman, "Least Ambiguous Set-Valued Classifiers
       with Bounded Error Levels", JASA 2019.
    .. [2] V. Vovk, "Conditional Validity of Inductive Conformal Predictors", Machine
       Learning 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skgnn_mtl.ensemble import ConformalClassifier, PerTaskClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = (X + rng.normal(size=(300, 2)) > 0).astype(float)
    >>> y[::5, 1] = np.nan
    >>> member = PerTaskClassifier(LogisticRegression())
    >>> model = ConformalClassifier(member, random_state=0).fit(X, y)
    >>> first, second = model.predict_set([[3.0, -3.0], [0.0, 0.0]], coverage=0.9)
    >>> first  # columns: classes 0 and 1 of the first task
    array([[False,  True],
           [ True,  True]])
    """

    scores_: np.ndarray
    codes_: np.ndarray
    _by_class: bool

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Conformal._parameter_constraints,
        "class_conditional": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: str = "split",
        class_conditional: bool = False,
        groups: Callable[[Any], Any] | None = None,
        cv: Any = 5,
        coverage: float = 0.9,
        random_state: Any = None,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.class_conditional = class_conditional
        self.groups = groups
        self.cv = cv
        self.coverage = coverage
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit the estimator, and measure its errors on other rows.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: graphs, strings, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing, if the
            estimator takes gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them. A label of
            weight zero counts as missing.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which splits keep together; passed on where the
            estimator takes them.

        Returns
        -------
        self : ConformalClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task, or one of its classes with ``class_conditional``, has too few
            calibration labels for the coverage, or a row both trains and calibrates.
        NotFittedError
            If ``method="prefit"`` and the estimator is not fitted.

        Warns
        -----
        UserWarning
            If calibration rows seem to be training rows.
        """
        codes, table = self._fit_conformal(X, y, sample_weight, groups, classifier=True)
        if self.method == "prefit":
            self._require_classes()
        several = np.array([len(classes) > 1 for classes in self._classes()])
        scores = np.column_stack(
            [
                _scores(column, part, classes)
                for column, part, classes in zip(
                    codes.T,
                    by_task(table, self._classes()),
                    self._classes(),
                    strict=True,
                )
            ]
        )
        missing = np.isnan(codes) | np.isnan(scores)
        self.scores_, self.codes_ = (
            np.where(missing, np.nan, table) for table in (scores, codes)
        )
        # Again, because a calibration row may not be readable.
        self._require_calibration(self.codes_, self.coverage)
        if self.method == "prefit":
            # Of labels, a score of zero is an exact prediction.
            warn_of_exact(
                self.scores_[:, several],
                np.ones(several.sum()),
                np.array(self.task_names_)[several].tolist(),
            )
        return self

    def _require_classes(self) -> None:
        """Refuse calibration labels that lack a class of the fitted estimator."""
        known = self.estimator.classes_
        known = known if isinstance(known, list) else [known]
        parts = zip(self.task_names_, known, self._classes(), strict=True)
        for name, own, labels in parts:
            if np.asarray(own).tolist() != labels.tolist():
                raise ValueError(
                    f"The calibration labels of task {name!r} are of the classes "
                    f"{labels.tolist()}, but the estimator was fitted on "
                    f"{np.asarray(own).tolist()}. Calibrate on rows of all classes."
                )

    def _calibration_outputs(self, member: Any, X: Any, name: str) -> np.ndarray:
        return self._outputs(member, X, name)

    def _note_calibration(self, X: Any) -> None:
        self._by_class = self.class_conditional

    def _strata(self, t: int, labels: np.ndarray) -> list[tuple[str, np.ndarray]]:
        if not self._by_class:
            return [("", np.ones(len(labels), dtype=bool))]
        return [
            (f" of class {label!r}", labels == code)
            for code, label in enumerate(self._classes()[t].tolist())
        ]

    def _predict_table(self, X: Any) -> np.ndarray:
        return self._outputs(self.estimator_, as_rows(X), "estimator")

    def predict_set(self, X: Any, coverage: float | None = None) -> Any:
        """Predict sets of classes that hold the true one in a wanted share of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs, as in ``fit``.
        coverage : float, default=None
            The share, between 0 and 1. None is the parameter of the estimator.

        Returns
        -------
        sets : ndarray of bool of shape (n_samples, n_classes), or a list of them
            Whether a class is in the set of a row. Columns are those of ``classes_``; a
            list with one array per task for a two-dimensional ``y``. All classes for an
            invalid row, because nothing is known of it.

        Raises
        ------
        ValueError
            If the coverage is not between 0 and 1, or a task has too few calibration
            labels for it.
        """
        check_is_fitted(self)
        share = self._coverage(coverage)
        self._require_calibration(self.codes_, share)
        parts = by_task(self._predict_table(X), self._classes())
        sets = []
        for t, (part, classes) in enumerate(zip(parts, self._classes(), strict=True)):
            known = ~np.isnan(self.scores_[:, t])
            # As of calibration rows, because 1 - (1 - p) is not p, and equal
            # probabilities must have equal scores.
            new = np.column_stack(
                [
                    _scores(np.full(len(part), code), part, classes)
                    for code in range(len(classes))
                ]
            )
            found = label_sets(
                self.scores_[known, t],
                self.codes_[known, t] if self._by_class else None,
                new_scores=new,
                coverage=share,
            )
            sets.append(found | np.isnan(new))
        return sets[0] if self._one_dimensional else sets


def _scores(codes: np.ndarray, part: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Subtract the probabilities of the true classes (n,) from 1.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Positions of the true classes, NaN where missing.
    part : ndarray of shape (n, k)
        Probabilities of all classes but the first, or of the only one.
    classes : ndarray
        The classes.
    """
    # The probability of the only class has a column of its own.
    column = (
        np.zeros(len(codes), int)
        if len(classes) == 1
        else np.nan_to_num(codes).astype(int) - 1
    )
    others = 1 - np.take_along_axis(part, np.maximum(column, 0)[:, None], axis=1)[:, 0]
    # The sum, because it is as exact as the probabilities.
    return np.where(column < 0, part.sum(axis=1), others)
