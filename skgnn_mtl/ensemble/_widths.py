"""Widths of predictions: variances of members, their mixture, and intervals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._listed import listed
from skgnn_mtl._pipelines import at_last_step, last_step
from skgnn_mtl.metrics._widths import half_width
from skgnn_mtl.model_selection._fitting import as_rows, is_search

from ._members import in_columns, mean_of, numbers_of
from ._tables import NumericTable

_SQUARED_ERROR = "neg_mean_squared_error"


def takes_return_std(estimator: Any) -> bool:
    """Tell whether ``predict`` of an estimator or of its last step gives deviations.

    Parameters
    ----------
    estimator : estimator
        Fitted or not.

    Returns
    -------
    answer : bool
        True for a search by the squared error, too, because its score is a variance.
    """
    estimator = last_step(estimator)
    if is_search(estimator):
        known = getattr(estimator, "scoring", None) == _SQUARED_ERROR
        return known or takes_return_std(estimator.estimator)
    # An ensemble has the argument in any case, but not always an answer.
    own: Callable[[], bool] | None = getattr(estimator, "_takes_return_std", None)
    if own is not None:
        return own()
    # By the signature, because a trial would need data.
    predict: Callable[..., Any] | None = getattr(estimator, "predict", None)
    return predict is not None and "return_std" in signature(predict).parameters


def moments_of(
    member: Any, X: Any, n_tasks: int, name: str, *, spread: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict means and variances by one member.

    Parameters
    ----------
    member : estimator
        A fitted regressor.
    X : array-like of shape (n,)
        Inputs.
    n_tasks : int
        Wanted number of columns.
    name : str
        Name of the member, for errors.
    spread : bool, default=False
        Whether the mere spread of an ensemble is taken, which does not hold the noise
        of the labels.

    Returns
    -------
    mean : ndarray of shape (n, t)
        Predictions, NaN for an invalid row.
    variance : ndarray of shape (n, t) or (1, 1), or None
        Their variances; None for a member without. A search by the squared error whose
        best estimator has none gives its error on the test rows of its folds.
    """
    if is_search(last_step(member)):
        # A search at the end of a pipeline, too, predicts from X alone.
        X, member = at_last_step(member, X)
    if is_search(member) and hasattr(member, "best_estimator_"):
        best = member.best_estimator_
        mean, variance = moments_of(best, X, n_tasks, name, spread=spread)
        # Of one task only, because the score is a mean over tasks.
        scored = n_tasks == 1 and member.scoring == _SQUARED_ERROR
        if variance is None and scored:
            variance = np.full((1, 1), -member.best_score_)
        return mean, variance
    if isinstance(member, FrozenEstimator):
        return moments_of(member.estimator, X, n_tasks, name, spread=spread)
    if not spread and isinstance(last_step(member), MixtureTable):
        return _known_moments(member, X)
    if takes_return_std(member):
        try:
            mean, std = member.predict(X, return_std=True)
        except (AttributeError, ValueError) as error:
            # Some estimators have the argument, but need a setting to answer it.
            if "return_std" not in str(error):
                raise
        else:
            mean, std = in_columns(mean, n_tasks, name), in_columns(std, n_tasks, name)
            return mean, std**2
    return numbers_of(member, X, n_tasks, name), None


def _known_moments(member: Any, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict by an ensemble, in a pipeline or not; no variance without the noise."""
    X, member = at_last_step(member, X)
    # Not by predict, which gives a mere spread where the noise is not known.
    mixture: Mixture = member._mixture(X)
    mean, back = mixture.mean(), member.target_transforms_
    variance = None
    if mixture.knows_noise:
        variance = back.inverse_std(mean, np.sqrt(mixture.variance())) ** 2
    return back.inverse_transform(mean), variance


@dataclass(frozen=True)
class Mixture:
    r"""Predictive distributions of members, of which each has a weight.

    The variance follows from the law of total variance. With weights :math:`w_m` of
    sum 1,

    .. math::
        \sigma^2 = \sum_m w_m \sigma_m^2 + \sum_m w_m (\mu_m - \bar\mu)^2,
        \qquad \bar\mu = \sum_m w_m \mu_m .

    Parameters
    ----------
    means : ndarray of shape (m, n, t)
        Means of the members.
    variances : sequence of length m of (ndarray of shape (n, t) or similar, or None)
        Their variances, which are broadcast; None for a member without.
    names : sequence of str of length m
        Names of the members, for messages.
    cure : str
        What to do about members without a variance, for errors.
    weights : ndarray of shape (m, t), optional
        Weights of the members, None for equal ones.
    """

    means: np.ndarray
    variances: Sequence[np.ndarray | None]
    names: Sequence[str]
    cure: str
    weights: np.ndarray | None = None

    def _bare(self) -> list[str]:
        pairs = zip(self.names, self.variances, strict=True)
        return [name for name, variance in pairs if variance is None]

    @property
    def knows_noise(self) -> bool:
        """Whether a member has a variance."""
        return len(self._bare()) < len(self.names)

    def mean(self) -> np.ndarray:
        """Average the means, (n, t)."""
        return mean_of(self.means, self.names, self.weights)

    def variance(self) -> np.ndarray:
        """Add the variances of the members and the variance of their means.

        Returns
        -------
        variance : ndarray of shape (n, t)
            NaN where a mean is. The second term alone, if no member has a variance.

        Raises
        ------
        ValueError
            If some members have a variance and others do not, or the only one has none.
        """
        bare = self._bare()
        # The spread of one member is 0, which is no width either.
        if bare and (self.knows_noise or len(bare) == 1):
            raise self._refusal()
        m, _, n_tasks = self.means.shape
        weights = (
            np.full((m, n_tasks), 1 / m) if self.weights is None else self.weights
        )[:, None, :]
        # A member of weight 0 must not count, but 0 * NaN is NaN.
        means = np.where(weights > 0, self.means, 0.0)
        centre = (weights * means).sum(axis=0)
        total: np.ndarray = (weights * (means - centre) ** 2).sum(axis=0)
        if not bare:
            known = [v for v in self.variances if v is not None]
            parts = [np.broadcast_to(v, centre.shape) for v in known]
            within = np.where(weights > 0, np.stack(parts), 0.0)
            total += (weights * within).sum(axis=0)
        return total

    def require_noise(self) -> None:
        """Refuse members that all have no variance.

        Raises
        ------
        ValueError
            Because the variance of their means does not count the noise of the labels.
        """
        if not self.knows_noise:
            raise self._refusal()

    def _refusal(self) -> ValueError:
        return ValueError(
            f"{listed(self._bare())}: return_std is not possible, because the width of "
            f"the predictions is not known. {self.cure}"
        )


def mixture_of(
    X: Any,
    members: Sequence[Any],
    names: Sequence[str],
    n_tasks: int,
    cure: str,
    squares: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Mixture:
    """Predict by members that know all tasks.

    Parameters
    ----------
    X : array-like of shape (n,)
        Inputs.
    members : sequence of length m of estimator
        Fitted regressors.
    names : sequence of str of length m
        Their names, for messages.
    n_tasks : int
        Number of columns of each.
    cure : str
        What to do about members without a variance, for errors.
    squares : ndarray of shape (t,) or (m, t), optional
        Squared errors out of fold, the variances of members without a width.
    weights : ndarray of shape (m, t), optional
        Weights of the members, None for equal ones.

    Returns
    -------
    mixture : Mixture
        Of the members.
    """
    X, means, variances = as_rows(X), [], []
    for m, (member, name) in enumerate(zip(members, names, strict=True)):
        mean, variance = moments_of(member, X, n_tasks, name)
        if variance is None and squares is not None:
            variance = np.broadcast_to(squares, (len(members), n_tasks))[m]
        means.append(mean)
        variances.append(variance)
    return Mixture(np.stack(means), variances, names, cure, weights)


def side_by_side(
    X: Any,
    estimators: Sequence[Any],
    tasks: Sequence[Sequence[str]],
    cure: str,
    in_order: Callable[[list[np.ndarray]], np.ndarray] = np.hstack,
) -> Mixture:
    """Join estimators of different tasks to one member that predicts all of them.

    Parameters
    ----------
    X : array-like of shape (n,)
        Inputs.
    estimators : sequence of length k of estimator
        Fitted regressors.
    tasks : sequence of length k of sequence of str
        Names of the tasks of each.
    cure : str
        What to do about an estimator without a width, for errors.
    in_order : callable, default=np.hstack
        Joins the columns of the estimators, (n, t_k) each, in the order of the table.

    Returns
    -------
    mixture : Mixture
        Of one member. A width of some tasks only is no width of the table.
    """
    X, means, variances, bare = as_rows(X), [], [], []
    for estimator, names in zip(estimators, tasks, strict=True):
        label = f"Task {listed(names)}"
        mean, variance = moments_of(estimator, X, len(names), label)
        means.append(mean)
        if variance is None:
            bare.append(listed(names))
        else:
            variances.append(np.broadcast_to(variance, mean.shape))
    name, width = type(estimators[0]).__name__, None
    if bare:
        name += f" of task {bare[0]}"
    else:
        width = in_order(variances)
    return Mixture(in_order(means)[None], [width], [name], cure)


class MixtureTable(NumericTable):
    """Numbers with gaps, predicted by a mixture of members."""

    _shaped: Callable[[np.ndarray], np.ndarray]

    @abstractmethod
    def _mixture(self, X: Any) -> Mixture:
        """Predict by all members."""

    def predict(
        self, X: Any, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predict all tasks.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs, as in ``fit``.
        return_std : bool, default=False
            Whether to return the standard deviation of the mixture of members, too.

        Returns
        -------
        mean : ndarray of float64, (n_samples,) or (n_samples, n_tasks)
            In the units and the dimensions of the ``y`` of fit; NaN for a row that
            cannot be read.
        std : ndarray of the same shape
            Only with ``return_std``, in the same units. If there are several members
            without a width, it is the spread of their means, which does not count the
            noise of the labels.

        Raises
        ------
        ValueError
            If a width is asked for, and some members have one and others do not, or the
            only member or the estimator of a task has none.
        """
        check_is_fitted(self)
        back = self.target_transforms_
        if not return_std:
            return self._shaped(back.inverse_transform(self._predict_table(X)))
        mixture = self._mixture(X)
        mean, std = mixture.mean(), np.sqrt(mixture.variance())
        return (
            self._shaped(back.inverse_transform(mean)),
            self._shaped(back.inverse_std(mean, std)),
        )

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict central intervals of a normal distribution.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs, as in ``fit``.
        coverage : float, default=0.9
            Share of labels that the intervals should hold, between 0 and 1. It is
            reached as far as mean and width are right; :class:`ConformalRegressor`
            measures it.

        Returns
        -------
        intervals : ndarray of shape (n_samples, n_tasks, 2)
            Lower and upper ends in the units of ``y``; NaN for a row that cannot be
            read.

        Raises
        ------
        ValueError
            If the coverage is not between 0 and 1, or a member does not have a width.
        """
        check_is_fitted(self)
        half = half_width(coverage)
        mixture = self._mixture(X)
        mixture.require_noise()
        mean, std = mixture.mean(), np.sqrt(mixture.variance())
        ends = np.stack([mean - half * std, mean + half * std], axis=2)
        return self.target_transforms_.inverse_ends(ends)
