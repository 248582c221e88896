"""Picture of a comparison of any models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class ModelComparisonDisplay:
    """Draw the error of each model and task, relative to one model.

    Parameters
    ----------
    comparison : ModelComparison
        Result of :func:`~skgnn_mtl.model_selection.compare_models`.
    reference : str, optional
        Name of the model that the others are compared with; the first by default.
    level : float, default=0.05
        Differences with an adjusted p-value below it are filled.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (1,)
        Its axes, after :meth:`plot`. The unit is percent of the error of the reference.

    See Also
    --------
    skgnn_mtl.model_selection.compare_models : Computes the comparison.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from sklearn.linear_model import Ridge
    >>> from skgnn_mtl.inspection import ModelComparisonDisplay
    >>> from skgnn_mtl.model_selection import compare_models
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> models = {"mean": DummyRegressor(), "line": Ridge()}
    >>> comparison = compare_models(models, X, X[:, :2] ** 2, cv=3)
    >>> display = ModelComparisonDisplay.from_comparison(comparison)
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(
        self, comparison: Any, *, reference: str | None = None, level: float = 0.05
    ) -> None:
        self.comparison = comparison
        self.reference = reference
        self.level = level

    @classmethod
    def from_comparison(
        cls, comparison: Any, *, reference: str | None = None, level: float = 0.05
    ) -> Self:
        """Draw a comparison.

        Parameters
        ----------
        comparison : ModelComparison
            The errors.
        reference : str, optional
            Name of the model that the others are compared with.
        level : float, default=0.05
            Differences with an adjusted p-value below it are filled.

        Returns
        -------
        display : ModelComparisonDisplay
            The drawn display.
        """
        return cls(comparison, reference=reference, level=level).plot()

    def plot(self) -> Self:
        """Draw into a new figure: one row per task, one mark per model.

        Returns
        -------
        display : ModelComparisonDisplay
            The display itself.
        """
        import matplotlib.pyplot as plt

        models, tasks = self.comparison.models, self.comparison.tasks
        reference = models[0] if self.reference is None else self.reference
        table = self.comparison.differences(reference)
        others = [model for model in models if model != reference]
        self.figure_, ax = plt.subplots(
            figsize=(8, (0.3 * len(others) + 0.2) * len(tasks) + 1.9),
            layout="constrained",
        )
        heights = np.linspace(-0.2, 0.2, len(others)) if len(others) > 1 else [0.0]
        for k, (model, height) in enumerate(zip(others, heights, strict=True)):
            lines = table[table["model_a"] == model].set_index("task").loc[tasks]
            self._draw(ax, lines, height, _COLOURS[k % len(_COLOURS)], model)
        ax.axvline(0, color="0.3", linewidth=1)
        ax.set_yticks(range(len(tasks)), tasks)
        ax.set_ylim(len(tasks) - 0.5, -0.5)
        ax.grid(axis="x", color="0.92")
        ax.set_axisbelow(True)
        ax.set_xlabel(
            f"change of the error ({self.comparison.metric.upper()}) against "
            f"{reference}, %\n(left of 0: better than {reference}; bars: two standard "
            f"errors; filled: adjusted p < {self.level:g})"
        )
        ax.legend(loc="best", fontsize=9)
        self.axes_ = np.array([ax])
        return self

    def _draw(
        self, ax: Axes, lines: Any, height: float, colour: str, model: str
    ) -> None:
        # The standard error relative to the same error as the difference.
        scale = 100 * (lines["ratio"] - 1) / lines["difference"].replace(0.0, np.nan)
        bars = 2 * (scale * lines["standard_error"]).abs().fillna(0.0)
        change = 100 * (lines["ratio"] - 1)
        rows = np.arange(len(lines)) + height
        ax.errorbar(change, rows, xerr=bars, fmt="none", ecolor=colour, capsize=3)
        sure = (lines["p_adjusted"] < self.level).to_numpy()
        ax.scatter(
            change,
            rows,
            s=36,
            facecolors=np.where(sure, colour, "white"),
            edgecolors=colour,
            zorder=3,
            label=model,
        )
