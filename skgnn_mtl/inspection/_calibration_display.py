"""Predicted widths against what the labels show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skgnn_mtl._warn import warnings_once
from skgnn_mtl.estimators._inputs import in_task_order
from skgnn_mtl.metrics import nan_interval_coverage
from skgnn_mtl.metrics._probabilities import check_bins
from skgnn_mtl.metrics._scorers import fitted_task_names, with_method
from skgnn_mtl.metrics._tables import column_names, name_of
from skgnn_mtl.metrics._width_scorers import predict_with_std
from skgnn_mtl.metrics._widths import (
    check_coverage,
    error_by_width,
    half_width,
    read_std,
)

from ._shown_tasks import shown_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class CalibrationDisplay:
    """Draw how honest predicted widths are, one curve per task.

    Left: the share of labels inside their intervals against the coverage that the
    intervals were made for. Below the diagonal, intervals are too narrow. Right: the
    root mean squared error against the root mean squared width, in bins of the width,
    both divided by the standard deviation of the task's labels. Above the diagonal,
    widths are too small; a flat curve means that widths do not rank the errors.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels; NaN, or a bound such as ">100", where missing.
    y_pred : array-like of the shape of `y_true`
        Means. A row that is NaN in every task (an invalid graph) is left out, with a
        warning.
    y_std : array-like of the shape of `y_true`
        Standard deviations.
    intervals : dict of float to array-like of shape (n_samples, n_tasks, 2), optional
        Intervals by their coverage; by default those of normal distributions for
        coverages from 0.1 to 0.95.
    n_bins : int, default=10
        Bins of the width, with equal counts; fewer where a bin would have fewer than
        10 labels.
    task_names : sequence of str, optional
        Names of the tasks; by default the columns of `y_true`, or ``task_0``,
        ``task_1``, ...

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (2,)
        Its axes, of the coverage and of the error, after :meth:`plot`.

    Raises
    ------
    ValueError
        In ``plot``, if shapes differ, a width is not above 0, a coverage is not
        between 0 and 1, or a task is unknown.

    See Also
    --------
    skgnn_mtl.metrics.nan_interval_coverage : The values of the left panel.
    skgnn_mtl.metrics.nan_calibration_error : The distance from the diagonal on the
        right.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skgnn_mtl.inspection import CalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> std = rng.uniform(0.5, 2.0, size=(300, 2))
    >>> y = std * rng.normal(size=(300, 2))
    >>> display = CalibrationDisplay.from_predictions(y, 0 * y, std)
    >>> [ax.get_title() for ax in display.axes_]
    ['Coverage', 'Error and width']
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        y_std: ArrayLike,
        *,
        intervals: Mapping[float, ArrayLike] | None = None,
        n_bins: int = 10,
        task_names: Sequence[str] | None = None,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.y_std = y_std
        self.intervals = intervals
        self.n_bins = n_bins
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        coverages: Sequence[float] = COVERAGES,
        n_bins: int = 10,
        tasks: Sequence[str] | None = None,
        axes: Sequence[Axes] | None = None,
    ) -> Self:
        """Predict and draw.

        Parameters
        ----------
        estimator : fitted regressor, Pipeline or search
            It has ``predict(X, return_std=True)``. If it also has
            ``predict_interval(X, coverage=...)``, these are the intervals, else those
            of normal distributions.
        X : GraphArray or array-like of shape (n_samples, ...)
            Inputs of the estimator, not from its training.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing. Columns of a DataFrame may have another order
            than in fit.
        coverages : sequence of float, default=(0.1, ..., 0.9, 0.95)
            Coverages of the intervals.
        n_bins : int, default=10
            Bins of the width.
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : sequence of two matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : CalibrationDisplay
            The drawn display.

        Raises
        ------
        ValueError
            If y has other columns than in fit.
        """
        names = fitted_task_names(estimator)
        if names:
            y = in_task_order(y, names)
        mean, std = predict_with_std(estimator, X)
        try:
            last, rows = with_method(estimator, X, "predict_interval")
        except TypeError:  # because it only predicts standard deviations
            intervals = _normal_intervals(mean, std, coverages)
        else:
            intervals = {c: last.predict_interval(rows, coverage=c) for c in coverages}
        return cls.from_predictions(
            y,
            mean,
            std,
            intervals=intervals,
            n_bins=n_bins,
            # The names of fit, because the labels may be an array.
            task_names=column_names(y) or names or None,
            tasks=tasks,
            axes=axes,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        y_std: ArrayLike,
        *,
        intervals: Mapping[float, ArrayLike] | None = None,
        n_bins: int = 10,
        task_names: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        axes: Sequence[Axes] | None = None,
    ) -> Self:
        """Draw given predictions, for instance those of a cross-validation.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        y_pred, y_std : array-like of the shape of `y_true`
            Means and standard deviations.
        intervals : dict of float to array-like of shape (n_samples, n_tasks, 2), \
optional
            Intervals by their coverage.
        n_bins : int, default=10
            Bins of the width.
        task_names : sequence of str, optional
            Names of the tasks; by default the columns of `y_true`.
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : sequence of two matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : CalibrationDisplay
            The drawn display.
        """
        display = cls(
            y_true,
            y_pred,
            y_std,
            intervals=intervals,
            n_bins=n_bins,
            task_names=task_names,
        )
        return display.plot(tasks=tasks, axes=axes)

    def plot(
        self,
        *,
        tasks: Sequence[str] | None = None,
        axes: Sequence[Axes] | None = None,
    ) -> Self:
        """Draw one curve per task into both panels.

        Parameters
        ----------
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : sequence of two matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : CalibrationDisplay
            The display itself.

        Raises
        ------
        ValueError
            If shapes differ, a width is not above 0, a task is unknown, or the number
            of names or `axes` is wrong.
        """
        import matplotlib.pyplot as plt

        with warnings_once():
            names, coverages, observed, bins = self._curves()
        chosen = shown_tasks(tasks, names)
        if axes is None:
            _, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
        panels = np.ravel(np.asarray(axes, dtype=object))
        if len(panels) != 2:
            raise ValueError(
                "axes must be two matplotlib Axes, of the coverage and of the error, "
                f"got {len(panels)}."
            )
        n_colours = 10 if len(chosen) <= 10 else 20
        colours = plt.get_cmap(f"tab{n_colours}")(np.arange(n_colours))
        left, right = panels
        for i, k in enumerate(chosen):
            style = {"color": colours[i % n_colours], "marker": "o", "markersize": 4}
            left.plot(coverages, observed[:, k], lw=1.5, label=names[k], **style)
            right.plot(*bins[k].T, lw=1.5, label=names[k], **style)
        left.set(title="Coverage", xlabel="predicted", ylabel="observed")
        right.set(
            title="Error and width",
            xlabel="predicted width / deviation of labels",
            ylabel="RMSE / deviation of labels",
        )
        shown = np.concatenate([bins[k] for k in chosen])
        for ax, high in ((left, 1.0), (right, 1.05 * shown.max(initial=1e-12))):
            ax.plot([0, high], [0, high], color="0.35", linewidth=1, zorder=1)
            ax.set(xlim=(0, high), ylim=(0, high), aspect="equal")
            ax.spines[["top", "right"]].set_visible(False)
        right.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8
        )
        self.axes_, self.figure_ = panels, left.figure
        return self

    def _curves(
        self,
    ) -> tuple[list[str], np.ndarray, np.ndarray, list[np.ndarray]]:
        """Compute names, coverages (c,), observed ones (c, t), and bins per task."""
        check_bins(self.n_bins)
        scored, std = read_std(self.y_true, self.y_pred, self.y_std, None)
        given = scored.names if self.task_names is None else self.task_names
        names = list(map(name_of, given))
        if len(names) != len(scored.names):
            raise ValueError(
                f"y_true has {len(scored.names)} column(s), but task_names are {names}."
            )
        intervals = self.intervals
        if intervals is None:
            intervals = _normal_intervals(self.y_pred, self.y_std, COVERAGES)
        if not intervals:
            raise ValueError("There must be intervals of one coverage at least.")
        coverages = np.array(sorted(map(check_coverage, intervals)))
        observed = [
            nan_interval_coverage(self.y_true, intervals[c], multioutput="raw_values")
            for c in sorted(intervals)
        ]
        bins = []
        for k, rows in enumerate((scored.weight > 0).T):
            # 1 for equal labels, because their deviation is no unit.
            deviation = np.std(scored.true[rows, k]) if rows.any() else 1.0
            found = error_by_width(scored, std, k, self.n_bins)
            bins.append(found / (deviation or 1.0))
        return names, coverages, np.array(observed), bins


def _normal_intervals(
    mean: ArrayLike, std: ArrayLike, coverages: Sequence[float]
) -> dict[float, np.ndarray]:
    """Compute the central intervals (n, t, 2) of normal distributions."""
    middle, width = (np.asarray(table, dtype=np.float64) for table in (mean, std))
    halves = {c: half_width(c) * width for c in coverages}
    return {c: np.stack([middle - h, middle + h], axis=-1) for c, h in halves.items()}
