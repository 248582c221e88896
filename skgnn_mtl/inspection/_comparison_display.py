"""Picture of a comparison of multi-task with single-task models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAIN, _LOSS = "#0072B2", "#D55E00"


class SingleTaskComparisonDisplay:
    """Draw the change of the error of each task against single-task models.

    Parameters
    ----------
    comparison : SingleTaskComparison
        Result of :func:`~skgnn_mtl.model_selection.compare_with_single_task`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (1,)
        Its axes, after :meth:`plot`. The unit is percent of the single-task error.

    See Also
    --------
    skgnn_mtl.model_selection.compare_with_single_task : Computes the comparison.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.inspection import SingleTaskComparisonDisplay
    >>> from skgnn_mtl.model_selection import compare_with_single_task
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    >>> comparison = compare_with_single_task(
    ...     MultiTaskGNNRegressor(max_epochs=2), X, y, cv=2
    ... )
    >>> display = SingleTaskComparisonDisplay.from_comparison(comparison)
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(self, comparison: Any) -> None:
        self.comparison = comparison

    @classmethod
    def from_comparison(cls, comparison: Any) -> Self:
        """Draw a comparison.

        Parameters
        ----------
        comparison : SingleTaskComparison
            The errors.

        Returns
        -------
        display : SingleTaskComparisonDisplay
            The drawn display.
        """
        return cls(comparison).plot()

    def plot(self) -> Self:
        """Draw into a new figure: one row per task, pairs as dots, means with errors.

        Returns
        -------
        display : SingleTaskComparisonDisplay
            The display itself.
        """
        import matplotlib.pyplot as plt

        pairs, table = self.comparison.paired(), self.comparison.summary()
        self.figure_, ax = plt.subplots(
            figsize=(8, 0.42 * len(table) + 1.7), layout="constrained"
        )
        for row, (task, line) in enumerate(table.iterrows()):
            dots = pairs.loc[pairs["task"] == task, "change"]
            colour = _GAIN if line["change"] < 0 else _LOSS
            ax.plot(dots, np.full(len(dots), row), "o", color="0.75", markersize=4)
            error = line["standard_error"]
            ax.errorbar(
                line["change"],
                row,
                xerr=2 * error if np.isfinite(error) else None,
                fmt="D",
                color=colour,
                markersize=6,
                capsize=3,
                zorder=3,
            )
        ax.axvline(0, color="0.3", linewidth=1)
        ax.set_yticks(range(len(table)), [str(task) for task in table.index])
        ax.invert_yaxis()
        ax.grid(axis="x", color="0.92")
        ax.set_axisbelow(True)
        ax.set_xlabel(
            f"change of the {self.comparison.metric.upper()} against a single-task "
            "model, %\n(left of 0: multi-task is better; grey: folds and seeds; bars: "
            "two standard errors)"
        )
        ax.set_title(
            f"Multi-task against single-task models: mean change "
            f"{self.comparison.delta_m:+.1f} %",
            fontsize=11,
        )
        self.axes_ = np.array([ax])
        return self
