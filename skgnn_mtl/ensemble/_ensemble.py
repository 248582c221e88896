"""Members of one kind, with seeds, folds or samples of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from joblib import delayed
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import has_fit_parameter

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl._component import Numbers
from skgnn_mtl._pipelines import last_step
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.model_selection._fitting import (
    as_rows,
    fit_arguments,
    fit_member,
    seeded_clone,
    take,
)
from skgnn_mtl.model_selection._folds import table_folds

from ._jobs import Jobs
from ._members import mean_of, require_kind
from ._tables import ClassTable, Table
from ._widths import Mixture, MixtureTable, mixture_of, takes_return_std

# A sample has a given row with probability 0.63, so that failures mean many scarce
# columns.
_DRAWS = 100
_CURE = "Use resample='folds', members that accept return_std, or ConformalRegressor."


class Ensemble(Table):
    """Abstract base: ``n_members`` clones of ``estimator``."""

    estimator: Any
    n_members: int
    resample: str
    n_jobs: int | None
    random_state: Any
    checkpoint: str | PathLike[str] | None
    estimators_: list[Any]
    oof_predictions_: np.ndarray
    oof_mse_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Table._parameter_constraints,
        "n_members": [Numbers(Integral, 1, None, closed="left")],
        "resample": [StrOptions({"seeds", "folds", "bootstrap"})],
    }

    def _parts(self) -> Sequence[Any]:
        return [self.estimator]

    def _fit_members(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> None:
        self._validate_params()
        X, y = as_rows(X), as_rows(y)
        labels = self._read_y(X, y, sample_weight, groups)
        table, estimator = labels.exact, self._ready(self.estimator)
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        generator = check_random_state(jobs.random_state(self.random_state))
        # All seeds before the jobs, because n_jobs must not change the numbers. The
        # first is drawn in any case, so that theirs do not depend on resample.
        first = int(generator.randint(MAX_SEED))
        seeds = generator.randint(MAX_SEED, size=self.n_members).tolist()
        folds = self._folds(X, y, self._presence(table), groups, first)
        draws = self._draws(folds, self._presence(table), groups, seeds)
        groups = self._inner_groups(groups, len(table))
        arguments = fit_arguments({"estimator": estimator}, sample_weight, groups)
        y = labels.of(estimator)
        self.estimators_ = jobs.run(
            "member",
            [
                delayed(fit_member)(
                    seeded_clone(estimator, seed),
                    X,
                    take(y, rows),
                    rows,
                    arguments["estimator"],
                    f"Member {k}",
                )
                for k, (seed, rows) in enumerate(zip(seeds, draws, strict=True))
            ],
        )
        self._note_features(self.estimators_[0])
        self._forget("oof_predictions_", "oof_mse_")
        if folds:
            held_out = self._held_out(X, len(table), folds)
            self.oof_predictions_ = self._out_of_fold(held_out)
            self.oof_mse_ = self._mean_squares(table, held_out, sample_weight)
        jobs.finish()

    def _folds(
        self, X: Any, y: Any, presence: pd.DataFrame, groups: Any, seed: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        if self.resample != "folds":
            return []
        # Here and not in the constraints, because one member is enough otherwise.
        if self.n_members < 2:
            raise ValueError(
                "n_members must be at least 2 with resample='folds', because each "
                f"member leaves one fold out, but is {self.n_members}."
            )
        return table_folds(self.n_members, X, y, presence, groups, seed)

    def _draws(
        self,
        folds: list[tuple[np.ndarray, np.ndarray]],
        presence: pd.DataFrame,
        groups: Any,
        seeds: Sequence[int],
    ) -> list[np.ndarray | None]:
        """Choose the training rows of each member, None for all rows."""
        if self.resample == "folds":
            return [train for train, _ in folds]
        if self.resample == "bootstrap":
            return [draw_rows(presence, groups, seed) for seed in seeds]
        return [None] * self.n_members

    def _inner_groups(self, groups: Any, n_rows: int) -> Any:
        """Let copies of a row stay on one side of a split that a member makes."""
        if (
            self.resample == "bootstrap"
            and groups is None
            and has_fit_parameter(last_step(self.estimator), "groups")
        ):
            return np.arange(n_rows)
        return groups

    def _held_out(
        self,
        X: Any,
        n_rows: int,
        folds: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> np.ndarray:
        # No entry stays empty, because each row is in one test fold.
        table = np.empty((n_rows, len(self._owners())))
        for k, (member, (_, test)) in enumerate(
            zip(self.estimators_, folds, strict=True)
        ):
            table[test] = self._outputs(member, take(X, test), f"Member {k}")
        return table

    @abstractmethod
    def _out_of_fold(self, table: np.ndarray) -> Any:
        """Lay out predictions (n, c) for ``oof_predictions_``."""

    def _names(self) -> list[str]:
        return [f"Member {k}" for k in range(len(self.estimators_))]

    def _predict_table(self, X: Any) -> np.ndarray:
        X, names = as_rows(X), self._names()
        tables = [
            self._outputs(member, X, name)
            for member, name in zip(self.estimators_, names, strict=True)
        ]
        return mean_of(np.stack(tables), names)


class EnsembleRegressor(MixtureTable, Ensemble):
    r"""Mean of members of one kind that differ in seeds, folds or samples.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Regressor of the whole table, such as a ``MultiTaskGNNRegressor`` with its
        featurizer, or a :class:`PerTaskRegressor`. It is cloned for each member. Each
        of its parameters named ``random_state``, at any depth, gets its own seed.
    n_members : int, default=5
        Number of members.
    resample : {"seeds", "folds", "bootstrap"}, default="seeds"
        Rows that a member is fitted on. "seeds" are all rows. "folds" are all but one
        of ``n_members`` folds, with labels of each task in each fold.
        "bootstrap" are as many rows, drawn with replacement until each task has a
        label.
    target_transform : None, "log", "log10", transformer or dict, default=None
        Transform of the labels of each task, as in :class:`PerTaskRegressor`. Members
        learn transformed labels. Mean and width are those of transformed predictions,
        and are brought back into the units of ``y``.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100", does: it is an error, it is
        left out, or members learn it, as in :class:`BlendRegressor`.
    n_jobs : int, default=None
        Number of members that are fitted in parallel. It does not change the numbers.
    random_state : int, RandomState instance or None, default=None
        Seed of the members, folds and samples.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted members.
    target_transforms_ : TargetTransforms
        The fitted transforms.
    oof_predictions_ : ndarray of the shape of y
        With ``resample="folds"``: predictions of each row by the member that was
        fitted without it, in the units of ``y``; also of rows without a label.
    oof_mse_ : ndarray of shape (t,)
        With ``resample="folds"``: mean squared error of these predictions on the rows
        with an exact label; of transformed ones, if there is a transform.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the members count them.
    feature_names_in_ : ndarray of str
        Column names of X, if the members have them.

    See Also
    --------
    BlendRegressor : Members of different kinds.

    Notes
    -----
    Groups of ``fit`` stay together in folds and samples. If a member of "bootstrap"
    takes groups and there are none, each row is a group of its own, because copies of a
    row would otherwise stand on both sides of the member's validation split.

    The variance of :math:`M` members with means :math:`\mu_m` and deviations
    :math:`\sigma_m` is that of their mixture [1]_,

    .. math::
        \sigma^2 = \frac{1}{M} \sum_m \sigma_m^2
            + \frac{1}{M} \sum_m (\mu_m - \bar\mu)^2 .

    :math:`\sigma_m` comes from a member that accepts ``return_std``, also inside of
    pipelines. For other members :math:`\sigma_m^2` is ``oof_mse_`` of the task, the
    same for all rows. It holds the member's own deviation from the mean as well, so
    that the sum is rather too large than too small. Without folds it is not known: the
    deviation is then the spread of the members only (epistemic), and
    ``predict_interval`` is refused, because the noise of the labels is not in it.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and Scalable Predictive
       Uncertainty Estimation using Deep Ensembles", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> from skgnn_mtl.ensemble import EnsembleRegressor, PerTaskRegressor
    >>> X = np.linspace(0, 1, 40)[:, None]
    >>> y = np.column_stack([np.sin(6 * X[:, 0]), X[:, 0] ** 2])
    >>> y[::4, 1] = np.nan
    >>> member = PerTaskRegressor(DecisionTreeRegressor())
    >>> model = EnsembleRegressor(member, 5, resample="folds", random_state=0)
    >>> mean, std = model.fit(X, y).predict(X, return_std=True)
    >>> mean.shape, std.shape, model.oof_predictions_.shape
    ((40, 2), (40, 2), (40, 2))
    """

    def __init__(
        self,
        estimator: Any,
        n_members: int = 5,
        *,
        resample: str = "seeds",
        target_transform: Any = None,
        censored: str = "raise",
        n_jobs: int | None = None,
        random_state: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_members = n_members
        self.resample = resample
        self.target_transform = target_transform
        self.censored = censored
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: ensemble.n_members)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit all members.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: graphs, strings, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels; NaN where missing, if the estimator takes gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which folds and samples keep together; passed on where
            the estimator takes them.

        Returns
        -------
        self : EnsembleRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no label in the rows of a member.
        FloatingPointError
            If the training of a member diverges; the member is named.
        """
        require_kind(self.estimator, classifier=False, name="estimator")
        self._fit_members(X, y, sample_weight, groups)
        return self

    def _takes_return_std(self) -> bool:
        # Several members have their spread, at least.
        return self.n_members != 1 or takes_return_std(self.estimator)

    def _out_of_fold(self, table: np.ndarray) -> np.ndarray:
        return self._shaped(self._in_units(table))

    def _mixture(self, X: Any) -> Mixture:
        members, squares = self.estimators_, getattr(self, "oof_mse_", None)
        return mixture_of(X, members, self._names(), self.n_tasks_, _CURE, squares)


class EnsembleClassifier(ClassTable, Ensemble):
    """Mean probability of members that differ in seeds, folds or samples.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Classifier of the whole table with ``predict_proba``, such as a
        ``MultiTaskGNNClassifier`` with its featurizer, or a
        :class:`PerTaskClassifier`. It is cloned for each member. Each of its parameters
        named ``random_state``, at any depth, gets its own seed.
    n_members : int, default=5
        Number of members.
    resample : {"seeds", "folds", "bootstrap"}, default="seeds"
        Rows that a member is fitted on. "seeds" are all rows. "folds" are all but one
        of ``n_members`` folds, with each class of each task in each fold.
        "bootstrap" are as many rows, drawn with replacement until each task has all
        classes.
    n_jobs : int, default=None
        Number of members that are fitted in parallel. It does not change the numbers.
    random_state : int, RandomState instance or None, default=None
        Seed of the members, folds and samples.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted members.
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    oof_predictions_ : ndarray of the shape of y
        With ``resample="folds"``: probability of the second class of each task by the
        member that was fitted without the row; also of rows without a label. If a task
        has more than two classes, what ``predict_proba`` returns.
    oof_mse_ : ndarray of shape (t,)
        With ``resample="folds"``: mean squared error (Brier score) of these
        probabilities on the labelled rows; summed over more than two classes.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the members count them.
    feature_names_in_ : ndarray of str
        Column names of X, if the members have them.

    See Also
    --------
    EnsembleRegressor : The same for numbers.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and Scalable Predictive
       Uncertainty Estimation using Deep Ensembles", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skgnn_mtl.ensemble import EnsembleClassifier, PerTaskClassifier
    >>> X = np.linspace(0, 1, 40)[:, None]
    >>> y = np.column_stack([X[:, 0] > 0.5, X[:, 0] > 0.3]).astype(float)
    >>> y[::4, 1] = np.nan
    >>> member = PerTaskClassifier(DecisionTreeClassifier(max_depth=2))
    >>> model = EnsembleClassifier(member, 3, resample="bootstrap", random_state=0)
    >>> model.fit(X, y).predict([[0.1], [0.9]])
    array([[0., 0.],
           [1., 1.]])
    """

    def __init__(
        self,
        estimator: Any,
        n_members: int = 5,
        *,
        resample: str = "seeds",
        n_jobs: int | None = None,
        random_state: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.n_members = n_members
        self.resample = resample
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.checkpoint = checkpoint

    @fit_of_members(lambda ensemble, y: ensemble.n_members)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit all members.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            What the estimator takes: graphs, strings, an array or a frame.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing, if the
            estimator takes gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which folds and samples keep together; passed on where
            the estimator takes them.

        Returns
        -------
        self : EnsembleClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task lacks a class in the rows of a member.
        FloatingPointError
            If the training of a member diverges; the member is named.
        """
        require_kind(self.estimator, classifier=True, name="estimator")
        self._fit_members(X, y, sample_weight, groups)
        return self

    def _out_of_fold(self, table: np.ndarray) -> Any:
        # One column per task, if that says all.
        is_binary = table.shape[1] == self.n_tasks_
        return self._shaped(table) if is_binary else self._probabilities(table)


def draw_rows(presence: pd.DataFrame, groups: Any, seed: int) -> np.ndarray:
    """Draw rows, or whole groups, with replacement until each column has a mark.

    Parameters
    ----------
    presence : DataFrame of shape (n, c)
        Not NaN where a row has what each column stands for.
    groups : array-like of shape (n,) or None
        Groups of the rows, each drawn as a whole.
    seed : int
        Seed of the draw.

    Returns
    -------
    rows : ndarray of int
        Sorted positions, n of them without groups.

    Raises
    ------
    ValueError
        If no draw of many has a mark in each column.
    """
    present = presence.notna().to_numpy()
    keys = np.arange(len(present)) if groups is None else np.asarray(groups)
    unit_of_row = np.unique(keys, return_inverse=True)[1]
    n_units = int(unit_of_row.max()) + 1
    rows_by_unit = np.split(
        np.argsort(unit_of_row, kind="stable"),
        np.cumsum(np.bincount(unit_of_row))[:-1],
    )
    generator = np.random.default_rng(seed)
    wanted = present.any(axis=0)
    for _ in range(_DRAWS):
        units = generator.integers(n_units, size=n_units)
        rows = np.sort(np.concatenate([rows_by_unit[unit] for unit in units]))
        if (present[rows].any(axis=0) == wanted).all():
            return rows
    scarce = int(np.argmin(np.where(wanted, present.sum(axis=0), np.inf)))
    raise ValueError(
        f"None of {_DRAWS} bootstrap samples has a label of each task; "
        f"{presence.columns[scarce]!r} has {present[:, scarce].sum()} label(s). Use "
        "resample='seeds', or drop the task."
    )
