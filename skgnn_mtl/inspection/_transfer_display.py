"""Pictures of a comparison of methods that learn scarce targets."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours and marks that colour-blind readers can distinguish.
_COLOURS = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#882255", "#0072B2", "#D55E00"]
_COLOURS += ["#CC79A7", "#999999"]
_MARKS = "osD^v<>PX"


class TransferComparisonDisplay:
    """Draw the errors of several methods on scarce targets.

    Parameters
    ----------
    comparison : TransferComparison
        Result of :func:`~skgnn_mtl.model_selection.compare_transfer`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_targets,) or (1,)
        Its axes, after :meth:`plot`: one per target, or one radar plot. Errors are in
        standard deviations of the target.

    Raises
    ------
    ValueError
        In ``plot``, if the kind, the method or the size is unknown, or if a radar plot
        would have fewer than three axes.

    See Also
    --------
    skgnn_mtl.model_selection.compare_transfer : Computes the comparison.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.encoders import GIN
    >>> from skgnn_mtl.inspection import TransferComparisonDisplay
    >>> from skgnn_mtl.model_selection import compare_transfer
    >>> X = np.random.default_rng(0).normal(size=(80, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1], X[:, 0] - X[:, 1]])
    >>> comparison = compare_transfer(
    ...     X, y, sources=["task_0", "task_1"], targets=["task_2"], sizes=(20, None),
    ...     methods=["single-task", "linear-probe"], encoder=GIN(width=8),
    ...     source_steps=5, target_steps=5,
    ... )
    >>> display = TransferComparisonDisplay.from_comparison(comparison)
    """

    figure_: Figure
    axes_: Any

    def __init__(self, comparison: Any) -> None:
        self.comparison = comparison

    @classmethod
    def from_comparison(
        cls,
        comparison: Any,
        *,
        kind: str = "learning_curves",
        to: str = "single-task",
        size: int | str | None = None,
    ) -> Self:
        """Draw a comparison.

        Parameters
        ----------
        comparison : TransferComparison
            The errors.
        kind : {"learning_curves", "radar"}, default="learning_curves"
            As in :meth:`plot`.
        to : str, default="single-task"
            As in :meth:`plot`.
        size : int or "all", optional
            As in :meth:`plot`.

        Returns
        -------
        display : TransferComparisonDisplay
            The drawn display.
        """
        return cls(comparison).plot(kind=kind, to=to, size=size)

    def plot(
        self,
        *,
        kind: str = "learning_curves",
        to: str = "single-task",
        size: int | str | None = None,
    ) -> Self:
        """Draw into a new figure.

        Parameters
        ----------
        kind : {"learning_curves", "radar"}, default="learning_curves"
            "learning_curves" has one panel per target: its error against the number of
            labels, with standard deviations over folds and seeds. "radar" has one axis
            per target: the error of each method relative to that of one method.
        to : str, default="single-task"
            Reference method of a radar plot.
        size : int or "all", optional
            Labels of each target in a radar plot, by default the smallest size.

        Returns
        -------
        display : TransferComparisonDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the kind, the method or the size is unknown, or if a radar plot would
            have fewer than three axes.
        """
        if kind == "learning_curves":
            self._draw_curves()
        elif kind == "radar":
            self._draw_radar(to, size)
        else:
            raise ValueError(
                f"kind must be 'learning_curves' or 'radar', got {kind!r}."
            )
        return self

    def _draw_curves(self) -> None:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import NullFormatter, ScalarFormatter

        curves = self.comparison.learning_curves()
        errors = self.comparison.errors
        targets, methods = errors["target"].unique(), errors["method"].unique()
        n_columns = min(4, len(targets))
        n_rows = ceil(len(targets) / n_columns)
        self.figure_, axes = plt.subplots(
            n_rows,
            n_columns,
            # The least sizes leave room for the legend and for the label at the left.
            figsize=(max(6.0, 3.1 * n_columns + 0.6), max(4.0, 2.6 * n_rows + 0.8)),
            layout="constrained",
            squeeze=False,
        )
        for ax in axes.flat[len(targets) :]:
            ax.remove()
        self.axes_ = axes.flat[: len(targets)]
        for ax, target in zip(self.axes_, targets, strict=True):
            for k, method in enumerate(methods):
                here = (curves["target"] == target) & (curves["method"] == method)
                curve = curves[here]
                ax.errorbar(
                    # Shifted a little, because bars would hide each other.
                    curve["n_train"] * 1.02 ** (k - len(methods) / 2),
                    curve["error"],
                    yerr=curve["sd"].fillna(0.0),
                    label=method,
                    elinewidth=0.7,
                    **_style(k),
                )
            ax.set_xscale("log")
            sizes = curves.loc[curves["target"] == target, "n_train"]
            ax.set_xticks(sorted({round(size) for size in sizes}))
            ax.xaxis.set_major_formatter(ScalarFormatter())
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_title(str(target), fontsize=10)
            ax.grid(color="0.92")
            ax.set_axisbelow(True)
        self.figure_.supxlabel("training labels", fontsize=10)
        self.figure_.supylabel("RMSE / standard deviation of the target", fontsize=10)
        self._legend(self.axes_[0], len(methods), "outside upper center")

    def _draw_radar(self, to: str, size: int | str | None) -> None:
        import matplotlib.pyplot as plt

        pairs = self.comparison.paired(to)
        sizes = list(self.comparison.errors["size"].astype(str).unique())
        size = sizes[0] if size is None else str(size)
        if size not in sizes:
            raise ValueError(f"size must be one of {sizes}, got {size!r}.")
        pairs = pairs[pairs["size"] == size]
        targets = list(pairs["target"].unique())
        if len(targets) < 3:
            raise ValueError(
                f"A radar plot needs three targets, but size {size} has {targets}. Use "
                "kind='learning_curves'."
            )
        ratio = (1 + pairs["change"] / 100).groupby(
            [pairs["method"], pairs["target"]], sort=False
        )
        table = ratio.mean().unstack("target")[targets]
        angles = np.linspace(0, 2 * np.pi, len(targets), endpoint=False)
        around = np.append(angles, 0.0)
        ax: Any  # because polar axes have further methods
        self.figure_, ax = plt.subplots(
            figsize=(8, 6.6), layout="constrained", subplot_kw={"projection": "polar"}
        )
        circle = np.linspace(0, 2 * np.pi, 200)
        methods = list(self.comparison.errors["method"].unique())
        style = _style(methods.index(to)) | {"marker": None, "linewidth": 2}
        ax.plot(circle, np.ones(200), label=to, **style)
        for method, line in table.iterrows():
            values = np.append(line.to_numpy(), line.iloc[0])
            ax.plot(around, values, label=method, **_style(methods.index(method)))
        ax.set_xticks(angles, [str(target) for target in targets])
        ax.tick_params(axis="x", pad=4)
        for label, side in zip(ax.get_xticklabels(), np.cos(angles), strict=True):
            # Aligned away from the circle, because long names would lie on it.
            label.set_horizontalalignment(
                "center" if abs(side) < 0.01 else "left" if side > 0 else "right"
            )
        ax.set_ylim(min(0.5, 0.95 * np.nanmin(table)), 1.05 * max(1, np.nanmax(table)))
        ax.set_rlabel_position(180 / len(targets))
        ax.set_title(
            f"RMSE relative to {to}, {size} labels (inside the circle: better)",
            fontsize=11,
        )
        self.axes_ = np.array([ax])
        self._legend(ax, len(table) + 1, "outside lower center")

    def _legend(self, ax: Axes, n_methods: int, place: Any) -> None:
        handles, labels = ax.get_legend_handles_labels()
        self.figure_.legend(
            handles,
            labels,
            loc=place,
            ncols=min(4 if self.figure_.get_figwidth() > 7 else 3, n_methods),
            fontsize=9,
            frameon=False,
        )


def _style(k: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[k % len(_COLOURS)],
        "marker": _MARKS[k % len(_MARKS)],
        "markersize": 4,
        "linewidth": 1.2,
    }
