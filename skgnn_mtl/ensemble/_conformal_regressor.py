"""Intervals around predictions that cover a wanted share of labels."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl._warn import warn
from skgnn_mtl.model_selection._fitting import as_rows

from ._conformal import Conformal
from ._crepes import intervals
from ._members import numbers_of
from ._repeats import warn_of_exact, warn_of_training_labels
from ._tables import NumericTable
from ._widths import moments_of, takes_return_std


class ConformalRegressor(NumericTable, Conformal):
    r"""Intervals of any regressor that cover a wanted share of labels, for each task.

    The interval of a task is a quantile of the errors of its labelled calibration rows,
    which the regressor was not fitted on. It holds for any regressor and any
    distribution of the labels.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Regressor of the whole table; put one of a single target into
        :class:`PerTaskRegressor`.
    method : {"split", "cross", "prefit"}, default="split"
        Where the errors come from. "split" fits the estimator on the training rows of
        the first fold and calibrates on the others. "cross" fits it on all rows, and
        takes the errors of all rows out of fold. "prefit" takes ``estimator`` as it is
        fitted; all rows of ``fit`` calibrate, and must not be training rows.
    normalise : None or "std", default=None
        "std" divides errors by the deviations that the estimator predicts
        (``return_std``), so that intervals are as wide as the estimator is unsure. None
        gives all rows of a task the same width.
    categories : callable, default=None
        Function of X that gives the category of each row, such as a class of compounds.
        Each category has a quantile of its own, and coverage holds in each
        (Mondrian) [4]_.
    groups : callable, default=None
        Function of X that gives the group of each row, such as
        :func:`~skgnn_mtl.model_selection.scaffold_groups`, where ``fit`` is not given
        groups. Groups are whole on one side of each split, so that errors are those on
        new groups.
    cv : int or splitter, default=5
        Folds. "split" calibrates on the test rows of the first, a fifth of the rows. A
        number stands for shuffled folds with labels of each task, or with whole groups.
    coverage : float, default=0.9
        Share of labels that the intervals hold, between 0 and 1. ``predict_interval``
        takes others, too.
    target_transform : None, "log", "log10", transformer or dict, default=None
        Transform of the labels of each task, as in :class:`PerTaskRegressor`. The
        estimator learns transformed labels, errors are those of transformed
        predictions, and intervals are brought back into the units of ``y``.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100", does: it is an error, it is
        left out, or the estimator learns it, as in :class:`BlendRegressor`. It never
        calibrates.
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
    residuals_ : ndarray of shape (n_calibration, n_tasks)
        Labels minus predictions of the calibration rows, NaN where there is none. Both
        are transformed, if there is a transform.
    widths_ : ndarray of shape (n_calibration, n_tasks) or None
        Predicted deviations of these rows, with ``normalise="std"``.
    categories_ : ndarray of str of shape (n_calibration,) or None
        Their categories.
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
    ConformalClassifier : Sets of classes.
    EnsembleRegressor : Deviations by members.

    Notes
    -----
    With :math:`n` calibration labels of a task, predictions :math:`\mu` and deviations
    :math:`\sigma` (1 without ``normalise``), the interval of coverage :math:`c` is

    .. math::
        \mu(x) \pm q \, \sigma(x), \qquad
        q = \lceil (n + 1) c \rceil \text{-th smallest of }
            |y_i - \mu(x_i)| / \sigma(x_i) .

    A task with :math:`\lceil (n + 1) c \rceil > n`, for instance with fewer than 9
    labels for 0.9, is refused.

    "split" and "prefit" cover a new label of each task with a probability of at least
    :math:`c`, and of at most :math:`c + 1 / (n + 1)` without ties, if calibration and
    new rows are exchangeable [1]_. It is a mean over new rows and over calibration
    sets. A random split says nothing about new scaffolds: there, give groups, which
    makes it a statement about new groups as far as their rows are alike [2]_.

    "cross" pools the errors out of fold around the estimator of all rows. It uses all
    labels, but has no guarantee for each :math:`n`: that needs an estimator which
    changes little without one fold [3]_. As the estimators of folds have fewer training
    rows, intervals are rather too wide.

    Labels of weight zero, bounds and rows that cannot be read do not calibrate, so that
    the coverage is that of exact labels; other weights are for the estimator only. A
    row of a category without calibration labels has an infinite interval.

    Equal rows on both sides of a split are reported. Training rows of a fitted
    estimator are noticed only if most labels are reproduced exactly, or if their means
    are those by which a network of this package has standardised its targets. A network
    that was fitted on some of the rows, or with ``early_stopping``, has other means.

    References
    ----------
    .. [1] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani, L. Wasserman,
       "Distribution-Free Predictive Inference for Regression", JASA 2018.
    .. [2] R. Dunn, L. Wasserman, A. Ramdas, "Distribution-Free Prediction Sets for
       Two-Layer Hierarchical Models", JASA 2023.
    .. [3] R. F. Barber, E. J. Candès, A. Ramdas, R. J. Tibshirani, "Predictive
       Inference with the Jackknife+", Annals of Statistics 2021.
    .. [4] H. Boström, U. Johansson, "Mondrian Conformal Regressors", COPA 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from skgnn_mtl.ensemble import ConformalRegressor, PerTaskRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = X + [0.1, 1.0] * rng.normal(size=(300, 2))  # the second task is noisier
    >>> y[::5, 1] = np.nan
    >>> model = ConformalRegressor(PerTaskRegressor(BayesianRidge()), random_state=0)
    >>> ends = model.fit(X[:200], y[:200]).predict_interval(X[200:], coverage=0.9)
    >>> ends.shape
    (100, 2, 2)
    >>> (ends[0, :, 1] - ends[0, :, 0]).round(1)
    array([0.3, 3.2])
    """

    residuals_: np.ndarray
    widths_: np.ndarray | None
    categories_: np.ndarray | None
    _category_of: Callable[[Any], Any] | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Conformal._parameter_constraints,
        "normalise": [None, StrOptions({"std"})],
        "categories": [None, callable],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: str = "split",
        normalise: str | None = None,
        categories: Callable[[Any], Any] | None = None,
        groups: Callable[[Any], Any] | None = None,
        cv: Any = 5,
        coverage: float = 0.9,
        target_transform: Any = None,
        censored: str = "raise",
        random_state: Any = None,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.normalise = normalise
        self.categories = categories
        self.groups = groups
        self.cv = cv
        self.coverage = coverage
        self.target_transform = target_transform
        self.censored = censored
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
            Labels; NaN where missing, if the estimator takes gaps.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, passed on where the estimator takes them. A label of
            weight zero counts as missing.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which splits keep together; passed on where the
            estimator takes them.

        Returns
        -------
        self : ConformalRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has too few calibration labels for the coverage, the estimator
            does not have the width of ``normalise="std"``, or a row both trains and
            calibrates.
        NotFittedError
            If ``method="prefit"`` and the estimator is not fitted.

        Warns
        -----
        UserWarning
            If calibration rows seem to be training rows.
        """
        self._validate_params()
        self._refuse_transform_of_fitted()
        if self.normalise == "std" and not takes_return_std(self.estimator):
            raise self._no_width()
        labels, outputs = self._fit_conformal(
            X, y, sample_weight, groups, classifier=False
        )
        residuals, widths = labels - outputs[..., 0], outputs[..., 1]
        if self.normalise is not None:
            self._require_positive(widths[~np.isnan(residuals)])
        self.residuals_ = residuals
        self.widths_ = None if self.normalise is None else widths
        # Again, because a calibration row may not be readable.
        self._require_calibration(residuals, self.coverage)
        if self.method == "prefit":
            scale = np.nanmax(np.abs(labels), axis=0)
            warn_of_exact(residuals, scale, self.task_names_)
            warn_of_training_labels(self.estimator_, labels, self.task_names_)
        return self

    def _refuse_transform_of_fitted(self) -> None:
        if self.method == "prefit" and self.target_transform is not None:
            raise ValueError(
                "target_transform must be None with method='prefit', because the "
                "estimator was fitted on labels without it. Use another method, or an "
                "estimator with a target_transform."
            )

    def _takes_return_std(self) -> bool:
        return takes_return_std(self.estimator)

    def _no_width(self) -> ValueError:
        return ValueError(
            f"{type(self.estimator).__name__}: return_std is not possible, because the "
            "width of the predictions is not known. Use normalise=None, or an "
            "estimator that accepts return_std, such as an EnsembleRegressor."
        )

    def _moments(self, member: Any, X: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
        # Also a mere spread, because the quantile brings it to the right size.
        mean, variance = moments_of(member, X, self.n_tasks_, name, spread=True)
        if variance is None:
            raise self._no_width()
        # The error of a search is one number, also beside a row that is not predicted.
        return mean, np.where(np.isnan(mean), np.nan, np.sqrt(variance))

    def _calibration_outputs(self, member: Any, X: Any, name: str) -> np.ndarray:
        return self._scaled(member, X, name, by_std=self.normalise is not None)

    def _scaled(self, member: Any, X: Any, name: str, *, by_std: bool) -> np.ndarray:
        """Predict means and what errors are divided by, (n, t, 2)."""
        if by_std:
            return np.stack(self._moments(member, X, name), axis=2)
        mean = numbers_of(member, X, self.n_tasks_, name)
        return np.stack([mean, np.ones_like(mean)], axis=2)

    def _require_positive(self, widths: np.ndarray) -> None:
        if not (widths > 0).all():
            raise ValueError(
                "normalise='std' divides errors by predicted deviations, but "
                f"{(widths == 0).sum()} of {len(widths)} are zero. Use normalise=None, "
                "or an estimator whose deviations hold the noise of the labels."
            )

    def _note_calibration(self, X: Any) -> None:
        self._category_of = self.categories
        self.categories_ = self._categories_of(X)

    def _categories_of(self, X: Any) -> np.ndarray | None:
        """Ask for the category of each row, as text; None without categories."""
        if self._category_of is None:
            return None
        found = np.asarray(self._category_of(X))
        if found.shape != (len(X),):
            raise ValueError(
                f"categories must give one category for each of {len(X)} rows, but "
                f"gave the shape {found.shape}."
            )
        # Text, because numbers of one kind must equal those of another.
        return found.astype(str)

    def _strata(self, t: int, labels: np.ndarray) -> list[tuple[str, np.ndarray]]:
        if self.categories_ is None:
            return [("", np.ones(len(labels), dtype=bool))]
        return [
            (f" of category {name!r}", self.categories_ == name)
            for name in np.unique(self.categories_).tolist()
        ]

    def _predict_table(self, X: Any) -> np.ndarray:
        return self._outputs(self.estimator_, as_rows(X), "estimator")

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict all tasks by the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs, as in ``fit``.
        return_std : bool, default=False
            Whether to return the standard deviations of the estimator, too. They are
            not calibrated.

        Returns
        -------
        mean : ndarray of float64, (n_samples,) or (n_samples, n_tasks)
            In the units and the dimensions of the ``y`` of fit; NaN for an invalid
            row.
        std : ndarray of the same shape
            Only with ``return_std``, in the same units.

        Raises
        ------
        ValueError
            If a width is asked for, and the estimator does not have one.
        """
        check_is_fitted(self)
        if not return_std:
            return self._shaped(self._in_units(self._predict_table(X)))
        mean, std = self._moments(self.estimator_, as_rows(X), "estimator")
        std = self.target_transforms_.inverse_std(mean, std)
        return self._shaped(self._in_units(mean)), self._shaped(std)

    def predict_interval(self, X: Any, coverage: float | None = None) -> np.ndarray:
        """Predict intervals that hold a wanted share of labels of each task.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs, as in ``fit``.
        coverage : float, default=None
            The share, between 0 and 1. None is the parameter of the estimator.

        Returns
        -------
        intervals : ndarray of shape (n_samples, n_tasks, 2)
            Lower and upper ends in the units of ``y``; NaN for an invalid row.

        Raises
        ------
        ValueError
            If the coverage is not between 0 and 1, or a task has too few calibration
            labels for it.

        Warns
        -----
        UserWarning
            If rows are of a category without calibration labels; their intervals are
            infinite.
        """
        check_is_fitted(self)
        share = self._coverage(coverage)
        self._require_calibration(self.residuals_, share)
        X = as_rows(X)
        # As of the fit, because the parameter may have been set since then.
        by_std = self.widths_ is not None
        outputs = self._scaled(self.estimator_, X, "estimator", by_std=by_std)
        categories = self._categories_of(X)
        ends = np.stack(
            [
                self._intervals_of(t, outputs[:, t], categories, share)
                for t in range(self.n_tasks_)
            ],
            axis=1,
        )
        infinite = np.isinf(ends).any(axis=(1, 2))
        if infinite.any():
            warn(
                f"{infinite.sum()} of {len(ends)} rows are of a category without "
                "calibration labels of a task; their intervals are infinite."
            )
        return self.target_transforms_.inverse_ends(ends)

    def _intervals_of(
        self, t: int, outputs: np.ndarray, categories: np.ndarray | None, share: float
    ) -> np.ndarray:
        """Make the intervals (n, 2) of one task."""
        known = ~np.isnan(self.residuals_[:, t])
        widths, old_categories = self.widths_, self.categories_
        return intervals(
            self.residuals_[known, t],
            None if widths is None else widths[known, t],
            None if old_categories is None else old_categories[known],
            mean=outputs[:, 0],
            std=None if widths is None else outputs[:, 1],
            new_categories=categories,
            coverage=share,
        )
