"""Predicted numbers against the labels."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier

from skgnn_mtl.estimators._inputs import in_task_order
from skgnn_mtl.metrics._scorers import fitted_task_names
from skgnn_mtl.metrics._scores import NUMBERS
from skgnn_mtl.metrics._tables import column_names, name_of, read_scored

from ._shown_tasks import shown_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE = "#0072B2"


class ParityDisplay:
    """Draw predictions against labels, one panel per task, in the units of the labels.

    Points on the diagonal have no error. The title of a panel is the number of labels,
    with :math:`R^2` and the mean absolute error on them.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels, NaN where missing.
    y_pred : array-like of the shape of `y_true`
        Predictions. A row that is NaN in every task (an invalid graph) is left out,
        with a warning.
    task_names : sequence of str, optional
        Names of the tasks; by default the columns of `y_true`, or ``task_0``,
        ``task_1``, ...

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_drawn_tasks,)
        Its axes, after :meth:`plot`.

    Raises
    ------
    ValueError
        In ``plot``, if labels and predictions differ in shape, or if a task is unknown.

    See Also
    --------
    skgnn_mtl.metrics.nan_r2_score : The first score of a title.
    skgnn_mtl.metrics.nan_mean_absolute_error : The second score.
    sklearn.metrics.PredictionErrorDisplay : One task without gaps, also residuals.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from skgnn_mtl.inspection import ParityDisplay
    >>> nan = float("nan")
    >>> display = ParityDisplay.from_predictions(
    ...     [[300.0, 1.0], [350.0, nan], [400.0, 3.0]],
    ...     [[310.0, 1.5], [350.0, 2.0], [390.0, 2.5]],
    ...     task_names=["Tb (K)", "logP"],
    ... )
    >>> print(display.axes_[1].get_title())
    logP
    2 labels, R² 0.750, MAE 0.5
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        task_names: Sequence[str] | None = None,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        tasks: Sequence[str] | None = None,
        axes: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Predict and draw.

        Parameters
        ----------
        estimator : fitted regressor or Pipeline
            Its tasks are the columns of `y`.
        X : GraphArray or array-like of shape (n_samples, ...)
            Inputs of the estimator, preferably not from its training.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing. Columns of a DataFrame may have another order
            than in fit.
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : matplotlib Axes or sequence of them, optional
            Axes to draw into, one per task; by default those of a new figure.

        Returns
        -------
        display : ParityDisplay
            The drawn display.

        Raises
        ------
        TypeError
            If the estimator is a classifier.
        ValueError
            If y has other columns than in fit.
        """
        if is_classifier(estimator):
            raise TypeError(
                "ParityDisplay draws predicted numbers, but "
                f"{type(estimator).__name__} predicts classes; use a regressor."
            )
        names = fitted_task_names(estimator)
        if names:
            y = in_task_order(y, names)
        return cls.from_predictions(
            y,
            estimator.predict(X),
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
        *,
        task_names: Sequence[str] | None = None,
        tasks: Sequence[str] | None = None,
        axes: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw given predictions, for instance those of a cross-validation.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        y_pred : array-like of the shape of `y_true`
            Predictions.
        task_names : sequence of str, optional
            Names of the tasks; by default the columns of `y_true`.
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : matplotlib Axes or sequence of them, optional
            Axes to draw into, one per task; by default those of a new figure.

        Returns
        -------
        display : ParityDisplay
            The drawn display.
        """
        return cls(y_true, y_pred, task_names=task_names).plot(tasks=tasks, axes=axes)

    def plot(
        self,
        *,
        tasks: Sequence[str] | None = None,
        axes: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw one panel per task.

        Parameters
        ----------
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : matplotlib Axes or sequence of them, optional
            Axes to draw into, one per task; by default those of a new figure.

        Returns
        -------
        display : ParityDisplay
            The display itself.

        Raises
        ------
        ValueError
            If labels and predictions differ in shape, if a task is unknown, or if the
            number of names or `axes` is wrong.
        """
        scored = read_scored(self.y_true, self.y_pred, None)
        given = scored.names if self.task_names is None else self.task_names
        names = list(map(name_of, given))
        if len(names) != len(scored.names):
            raise ValueError(
                f"y_true has {len(scored.names)} column(s), but task_names are {names}."
            )
        chosen = shown_tasks(tasks, names)
        panels = np.ravel(
            np.asarray(_grid(len(chosen)) if axes is None else axes, dtype=object)
        )
        if len(panels) != len(chosen):
            raise ValueError(f"{len(panels)} axes were given for {len(chosen)} tasks.")
        labelled = scored.weight > 0
        r2, mae = (
            NUMBERS[name].per_task(scored.true, scored.pred, scored.weight)
            for name in ("r2", "mae")
        )
        for ax, k in zip(panels, chosen, strict=True):
            rows = labelled[:, k]
            _draw(ax, scored.true[rows, k], scored.pred[rows, k])
            summary = _summary(rows.sum(), r2[k], mae[k])
            ax.set_title(f"{names[k]}\n{summary}", fontsize=10)
        self.axes_, self.figure_ = panels, panels[0].figure
        return self


def _grid(n_tasks: int) -> list[Axes]:
    """Make the axes of a new figure, up to four per row."""
    import matplotlib.pyplot as plt

    n_columns = min(4, n_tasks)
    n_rows = ceil(n_tasks / n_columns)
    _, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(3.2 * n_columns + 0.4, 3.6 * n_rows),
        layout="constrained",
        squeeze=False,
    )
    for ax in axes.flat[n_tasks:]:
        ax.remove()
    return list(axes.flat[:n_tasks])


def _draw(ax: Axes, labels: np.ndarray, predictions: np.ndarray) -> None:
    """Draw points and the diagonal, with equal limits of both axes."""
    ax.axline((0, 0), slope=1, color="0.35", linewidth=1, zorder=1)
    ax.scatter(labels, predictions, s=8, alpha=0.4, color=_BLUE, linewidths=0)
    if len(labels):
        both = np.concatenate([labels, predictions])
        low, high = both.min(), both.max()
        margin = 0.04 * (high - low) or abs(high) or 1.0
        ax.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
    ax.set(aspect="equal", xlabel="label", ylabel="prediction")
    ax.locator_params(nbins=4)  # because long numbers need space


def _summary(n_labels: int, r2: float, mae: float) -> str:
    if not n_labels:
        return "no labels"
    noun = "label" if n_labels == 1 else "labels"
    fit = "–" if np.isnan(r2) else f"{r2:.3f}"
    return f"{n_labels:,} {noun}, R² {fit}, MAE {mae:.4g}"
