"""Members of different kinds, and the weights of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import _BaseComposition

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl.metrics._tables import as_row_weights
from skgnn_mtl.model_selection._fitting import as_rows, fit_arguments, fit_member
from skgnn_mtl.model_selection._folds import Folds, require_partition, table_folds

from ._jobs import Jobs
from ._members import mean_of, require_kind
from ._out_of_fold import fit_and_predict, gathered
from ._tables import ClassTable, Table
from ._weights import read_weights, shrunk, simplex_weights
from ._widths import Mixture, MixtureTable, mixture_of, takes_return_std

_CURE = "Use weights='oof', members that accept return_std, or ConformalRegressor."


# A private base, because scikit-learn has no public one for parameters of named parts.
class Blend(Table, _BaseComposition):  # type: ignore[misc]
    """Abstract base: a weighted mean of named members."""

    estimators: Any
    weights: Any
    cv: Any
    n_jobs: int | None
    checkpoint: str | PathLike[str] | None
    estimators_: list[Any]
    names_: list[str]
    weights_: np.ndarray
    oof_mse_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Table._parameter_constraints,
        "weights": [None, StrOptions({"oof"}), "array-like"],
    }

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, and those of the members by their names.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return members and their parameters, too.

        Returns
        -------
        params : dict
            Parameters by name.
        """
        # fit complains of members that are no pairs.
        deep = deep and _are_pairs(self.estimators)
        params: dict[str, Any] = self._get_params("estimators", deep=deep)
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, members by their names, or parameters of members.

        Parameters
        ----------
        **params : object
            Such as ``network=None`` to leave a member out, or ``trees__n_jobs=2``.

        Returns
        -------
        self : estimator
            The same object.
        """
        self._set_params("estimators", **params)
        return self

    @property
    def named_estimators_(self) -> Bunch:
        """Fitted members by their names."""
        return Bunch(**dict(zip(self.names_, self.estimators_, strict=True)))

    def _parts(self) -> Sequence[Any]:
        if not _are_pairs(self.estimators):
            return []  # fit complains of it
        return [part for _, part in self.estimators if not _is_left_out(part)]

    def _chosen(self, *, classifier: bool) -> dict[str, Any]:
        """Check the members, and leave out those that are None or "drop"."""
        pairs = self.estimators
        if not _are_pairs(pairs):
            raise TypeError(
                "estimators must be a list of pairs (name, estimator), but is "
                f"{pairs!r}."
            )
        self._validate_names([name for name, _ in pairs])
        chosen = {name: part for name, part in pairs if not _is_left_out(part)}
        if not chosen:
            raise ValueError("estimators must have a member that is not left out.")
        for name, part in chosen.items():
            require_kind(part, classifier=classifier, name=f"Member {name!r}")
        return {name: self._ready(part) for name, part in chosen.items()}

    def _fit_blend(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, classifier: bool
    ) -> None:
        self._validate_params()
        chosen = self._chosen(classifier=classifier)
        X, y = as_rows(X), as_rows(y)
        labels = self._read_y(X, y, sample_weight, groups)
        table = labels.exact
        # The only text is "oof", because the constraints refuse others.
        learned = isinstance(self.weights, str)
        given = (
            None if learned else read_weights(self.weights, list(chosen), self.n_tasks_)
        )
        # Before any fit, because folds that lack labels must be refused at once.
        folds = self._folds(X, y, table, groups) if learned else []
        arguments = fit_arguments(chosen, sample_weight, groups)
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        fits = [
            delayed(fit_member)(
                clone(part), X, labels.of(part), None, arguments[name], label_of(name)
            )
            for name, part in chosen.items()
        ]
        # One list of jobs, because there may be fewer members than processes.
        fits += [
            delayed(fit_and_predict)(
                clone(part),
                X,
                labels.of(part),
                fold,
                arguments[name],
                label_of(name),
                self._outputs,
            )
            for name, part in chosen.items()
            for fold in folds
        ]
        done = jobs.run("member", fits, names=chosen)
        self.names_, self.estimators_ = list(chosen), done[: len(chosen)]
        self._note_features(self.estimators_[0])
        self._forget("oof_mse_")
        if given is None:
            shape = (len(table), len(self._owners()))
            tables = gathered(done[len(chosen) :], folds, shape)
            weight = as_row_weights(sample_weight, len(table))
            given = self._learned_weights(self._errors(table, tables), table, weight)
            self.oof_mse_ = self._mean_squares(table, tables, sample_weight)
        self.weights_ = given
        jobs.finish()

    def _folds(self, X: Any, y: Any, table: np.ndarray, groups: Any) -> Folds:
        presence = self._presence(table)
        # A fixed seed, because a blend has no random_state and two fits must agree.
        folds = table_folds(self.cv, X, y, presence, groups, random_state=0)
        require_partition(folds, len(table))
        return folds

    def _learned_weights(
        self,
        all_errors: list[np.ndarray],
        truth: np.ndarray,
        sample_weight: np.ndarray,
    ) -> np.ndarray:
        """Learn weights (m, t) from errors out of fold (m, n, k) of each task."""
        weights = np.empty((len(all_errors[0]), self.n_tasks_))
        for t, (name, errors) in enumerate(
            zip(self.task_names_, all_errors, strict=True)
        ):
            labelled = ~np.isnan(truth[:, t])
            known = ~np.isnan(errors).any(axis=2)
            for member, rows in zip(self.names_, known, strict=True):
                if not rows.any():
                    raise ValueError(
                        f"Member {member!r} predicts only NaN out of fold for the "
                        f"{labelled.sum()} labelled row(s) of task {name!r}; it has "
                        "diverged, or cannot read these rows."
                    )
            # Rows that all members predict, because only there they can be compared.
            rows = known.all(axis=0)
            m, _, k = errors.shape
            # One equation for each error, because those of all classes count.
            table = errors[:, rows].reshape(m, -1).T
            found = simplex_weights(
                table, np.zeros(len(table)), np.repeat(sample_weight[rows], k)
            )
            weights[:, t] = shrunk(found, int(rows.sum()))
        return weights

    def _predict_table(self, X: Any) -> np.ndarray:
        X = as_rows(X)
        labels = list(map(label_of, self.names_))
        tables = [
            self._outputs(member, X, label)
            for member, label in zip(self.estimators_, labels, strict=True)
        ]
        return mean_of(np.stack(tables), labels, self.weights_[:, self._owners()])


class BlendRegressor(MixtureTable, Blend):
    r"""Weighted mean of regressors of different kinds, for tables with gaps.

    Members whose errors have little to do with each other, such as a network on graphs
    and trees on descriptors, are together often better than the best of them.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Named regressors of the whole table; put one of a single target into
        :class:`PerTaskRegressor`. None or "drop" leaves a member out. Members and
        their parameters are set and searched by name, as in ``trees__n_jobs``.
    weights : None, "oof" or array-like of shape (m,) or (m, t), default=None
        Weights of the members that are not left out. None weighs them alike. "oof"
        learns weights of each task from predictions out of fold, see Notes. An array
        is scaled to the sum 1 over members.
    cv : int, splitter or iterable, default=5
        Folds of ``weights="oof"``, each row in one. A number stands for shuffled folds
        with labels of each task, or with whole groups.
    target_transform : None, "log", "log10", transformer or dict, default=None
        Transform of the labels of each task, as in :class:`PerTaskRegressor`. All
        members learn transformed labels. Weights, mean and widths are those of
        transformed predictions, which are then brought back into the units of ``y``.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100", does: it is an error, it is
        left out, or members learn it. "bound" sets parameters named ``censored`` of
        the members that are "raise". A member without one, such as trees, learns the
        number of the bound. Folds, weights and errors out of fold count exact labels.
    n_jobs : int, default=None
        Number of fits in parallel.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted members, on all rows.
    names_ : list of str
        Their names.
    target_transforms_ : TargetTransforms
        The fitted transforms.
    named_estimators_ : Bunch
        Fitted members by their names.
    weights_ : ndarray of shape (m, t)
        Weight of each member for each task; the sum over members is 1.
    oof_mse_ : ndarray of shape (m, t)
        With ``weights="oof"``: mean squared error of each member out of fold, of
        transformed labels if there is a transform.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the first member counts them.
    feature_names_in_ : ndarray of str
        Column names of X, if the first member has them.

    See Also
    --------
    HybridRegressor : A network and a learner on descriptors, ready to use.
    sklearn.ensemble.VotingRegressor : The same for one task without gaps.

    Notes
    -----
    With predictions out of fold :math:`p_{im}` of task :math:`t`, ``weights="oof"`` are

    .. math::
        w = \lambda \arg\min_{v \ge 0, \sum_m v_m = 1}
                \sum_i s_i \Bigl(y_i - \sum_m v_m p_{im}\Bigr)^2
            + \frac{1 - \lambda}{m},
        \qquad \lambda = \frac{N}{N + 100},

    over the :math:`N` labelled rows that all members predict, with row weights
    :math:`s_i`. Few labels thus give nearly equal weights. Each member is fitted once
    on all rows and once for each fold.

    The prediction of a row is NaN where a member of positive weight predicts NaN, with
    a warning if another member does not.

    The variance is that of the mixture of members with means :math:`\mu_m` and
    deviations :math:`\sigma_m`,

    .. math::
        \sigma^2 = \sum_m w_m \sigma_m^2 + \sum_m w_m (\mu_m - \bar\mu)^2 .

    :math:`\sigma_m` comes from a member that accepts ``return_std``, also inside of
    pipelines. For other members :math:`\sigma_m^2` is ``oof_mse_``, with
    ``weights="oof"``. If the width of some members is known and that of others is not,
    ``return_std`` is refused. If none is known, the deviation is the spread of the
    members only, and ``predict_interval`` is refused.

    References
    ----------
    .. [1] L. Breiman, "Stacked Regressions", Machine Learning 24, 49 (1996).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> from skgnn_mtl.ensemble import BlendRegressor, PerTaskRegressor
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> y = np.column_stack([X[:, 0], np.sign(X[:, 1])])
    >>> y[::7, 1] = np.nan
    >>> model = BlendRegressor([
    ...     ("line", PerTaskRegressor(Ridge())),
    ...     ("neighbours", PerTaskRegressor(KNeighborsRegressor(3))),
    ... ], weights="oof")
    >>> model.fit(X, y).weights_.round(2)
    array([[0.67, 0.35],
           [0.33, 0.65]])
    """

    def __init__(
        self,
        estimators: Any,
        *,
        weights: str | ArrayLike | None = None,
        cv: Any = 5,
        target_transform: Any = None,
        censored: str = "raise",
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimators = estimators
        self.weights = weights
        self.cv = cv
        self.target_transform = target_transform
        self.censored = censored
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit all members, and learn their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What all members take: strings, graphs, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels; NaN where missing, if the members take gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the weights of members and for the members that
            take them.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, for the folds and the members that take them.

        Returns
        -------
        self : BlendRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a name is given twice, weights do not fit, a task has no label in the
            training rows of a fold, or a member predicts only NaN out of fold.
        FloatingPointError
            If the training of a member diverges; the member is named.
        """
        self._fit_blend(X, y, sample_weight, groups, classifier=False)
        return self

    def _takes_return_std(self) -> bool:
        if isinstance(self.weights, str):
            return True
        known = [takes_return_std(part) for part in self._parts()]
        # None, too, because the means of several members have a spread.
        return all(known) or (not any(known) and len(known) > 1)

    def _mixture(self, X: Any) -> Mixture:
        return mixture_of(
            X,
            self.estimators_,
            list(map(label_of, self.names_)),
            self.n_tasks_,
            _CURE,
            getattr(self, "oof_mse_", None),
            self.weights_,
        )


class BlendClassifier(ClassTable, Blend):
    """Weighted mean of the probabilities of classifiers of different kinds.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Named classifiers of the whole table with ``predict_proba``; put one of a single
        target into :class:`PerTaskClassifier`. None or "drop" leaves a member out.
        Members and their parameters are set and searched by name.
    weights : None, "oof" or array-like of shape (m,) or (m, t), default=None
        Weights of the members that are not left out. None weighs them alike. "oof"
        learns weights of each task from probabilities out of fold, by the squared
        error (Brier score, summed over classes) and the formula of
        :class:`BlendRegressor`. An array is scaled to the sum 1 over members.
    cv : int, splitter or iterable, default=5
        Folds of ``weights="oof"``, each row in one. A number stands for shuffled folds
        with each class of each task, or with whole groups.
    n_jobs : int, default=None
        Number of fits in parallel.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted members, on all rows.
    names_ : list of str
        Their names.
    named_estimators_ : Bunch
        Fitted members by their names.
    weights_ : ndarray of shape (m, t)
        Weight of each member for each task; the sum over members is 1.
    oof_mse_ : ndarray of shape (m, t)
        With ``weights="oof"``: mean squared error (Brier score) of each member out of
        fold.
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the first member counts them.
    feature_names_in_ : ndarray of str
        Column names of X, if the first member has them.

    See Also
    --------
    BlendRegressor : The same for numbers.

    References
    ----------
    .. [1] L. Breiman, "Stacked Regressions", Machine Learning 24, 49 (1996).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skgnn_mtl.ensemble import BlendClassifier, PerTaskClassifier
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> y = (X > 0).astype(float)
    >>> y[::7, 1] = np.nan
    >>> model = BlendClassifier([
    ...     ("line", PerTaskClassifier(LogisticRegression())),
    ...     ("neighbours", PerTaskClassifier(KNeighborsClassifier(3))),
    ... ])
    >>> model.fit(X, y).predict([[2.0, -1.0], [-2.0, 2.0]])
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(
        self,
        estimators: Any,
        *,
        weights: str | ArrayLike | None = None,
        cv: Any = 5,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimators = estimators
        self.weights = weights
        self.cv = cv
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: None)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit all members, and learn their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What all members take: strings, graphs, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing, if the
            members take gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, for the weights of members and for the members that
            take them.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, for the folds and the members that take them.

        Returns
        -------
        self : BlendClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a name is given twice, weights do not fit, a task lacks a class in the
            training rows of a fold, or a member predicts only NaN out of fold.
        FloatingPointError
            If the training of a member diverges; the member is named.
        """
        self._fit_blend(X, y, sample_weight, groups, classifier=True)
        return self


def label_of(name: str) -> str:
    """Name a member in a message."""
    return f"Member {name!r}"


def _are_pairs(members: Any) -> bool:
    return isinstance(members, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in members
    )


def _is_left_out(part: Any) -> bool:
    return part is None or (isinstance(part, str) and part == "drop")
