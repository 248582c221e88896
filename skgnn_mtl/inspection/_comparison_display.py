"""Picture of a comparison of multi-task with single-task models."""

from __future__ import annotations

import numpy as np

_GAIN, _LOSS = "#0072B2", "#D55E00"


class SingleTaskComparisonDisplay:
    """Draw what sharing a network costs or gains each task.

    Parameters
    ----------
    comparison : SingleTaskComparison
        Of :func:`~skgnn_mtl.model_selection.compare_with_single_task`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        After :meth:`plot`.
    axes_ : ndarray of matplotlib Axes
        After :meth:`plot`.

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

    def __init__(self, comparison) -> None:
        self.comparison = comparison

    @classmethod
    def from_comparison(cls, comparison):
        """Draw a comparison that is there already.

        Parameters
        ----------
        comparison : SingleTaskComparison
            The errors.

        Returns
        -------
        display : SingleTaskComparisonDisplay
            Drawn.
        """
        return cls(comparison).plot()

    def plot(self):
        """Draw into a new figure: one row a task, pairs as dots, means with errors.

        Returns
        -------
        display : SingleTaskComparisonDisplay
            Itself.
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
