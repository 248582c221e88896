"""Losses and weights of each task over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._shown_tasks import shown_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class TaskHistoryDisplay:
    """Draw the losses and the weights of each task over the epochs of a fit.

    Parameters
    ----------
    history : list of dict
        The ``history_`` of a fitted estimator, one record per epoch.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2,)
        After :meth:`plot`. The first has the losses on a logarithmic axis; dashed lines
        are those of validation rows. The second has the weights divided by their mean,
        with a band of one standard deviation over the batches.
    figure_ : matplotlib Figure
        Figure of the axes, after :meth:`plot`.

    See Also
    --------
    GradientSimilarityDisplay : Draws the cosines.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.inspection import TaskHistoryDisplay
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> model = MultiTaskGNNRegressor(task_weighting="famo", max_epochs=5)
    >>> display = TaskHistoryDisplay.from_estimator(model.fit(X, X[:, :2]))
    >>> [ax.get_title() for ax in display.axes_]
    ['Losses', 'Weights']
    """

    axes_: np.ndarray
    figure_: Figure

    def __init__(self, history: Sequence[dict[str, Any]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        tasks: Sequence[str] | None = None,
        axes: Sequence[Axes] | None = None,
    ) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A multi-task graph network of this package.
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : sequence of two matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : TaskHistoryDisplay
            The drawn display.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(estimator)
        display = cls(estimator.history_).plot(tasks=tasks, axes=axes)
        if getattr(estimator, "normalize_targets", False):
            display.axes_[0].set_ylabel("loss (standardised targets)")
        return display

    def plot(
        self,
        *,
        tasks: Sequence[str] | None = None,
        axes: Sequence[Axes] | None = None,
    ) -> Self:
        """Draw losses and weights.

        Parameters
        ----------
        tasks : sequence of str, int or other label, optional
            Tasks to show; by default all.
        axes : sequence of two matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.

        Returns
        -------
        display : TaskHistoryDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the history is empty, if it does not have a task, or if `axes` are not
            two.
        """
        import matplotlib.pyplot as plt

        if not self.history:
            raise ValueError("The history must have an epoch, but is empty.")
        names = list(self.history[0]["train_losses"])
        chosen = [names[k] for k in shown_tasks(tasks, names)]
        if axes is None:
            _, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
        panels = np.ravel(np.asarray(axes, dtype=object))
        if len(panels) != 2:
            raise ValueError(
                "axes must be two matplotlib Axes, of the losses and of the weights, "
                f"got {len(panels)}."
            )
        n_colours = 10 if len(chosen) <= 10 else 20
        colours = plt.get_cmap(f"tab{n_colours}")(np.arange(n_colours))
        for k, name in enumerate(chosen):
            self._draw(panels, name, colours[k % n_colours])
        losses, weights = panels
        losses.set(title="Losses", yscale="log", xlabel="epoch", ylabel="loss")
        if any("valid_losses" in record for record in self.history):
            for label, style in (("training", "-"), ("validation", "--")):
                losses.plot([], [], color="0.3", ls=style, label=label)
            losses.legend(frameon=False, fontsize=8)
        weights.set(title="Weights", xlabel="epoch", ylabel="weight / mean weight")
        for ax in panels:
            ax.spines[["top", "right"]].set_visible(False)
            ax.xaxis.get_major_locator().set_params(integer=True)
        weights.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8
        )
        self.axes_, self.figure_ = panels, losses.figure
        return self

    def _draw(self, axes: np.ndarray, name: str, colour: Any) -> None:
        """Draw the curves of one task."""
        epochs = [record["epoch"] for record in self.history]
        losses, weights = axes
        losses.plot(epochs, self._column("train_losses", name), color=colour, lw=1.5)
        if any("valid_losses" in record for record in self.history):
            valid = self._column("valid_losses", name)
            losses.plot(epochs, valid, color=colour, lw=1.2, ls="--")
        scale = np.array(
            [np.mean(list(record["task_weights"].values())) for record in self.history]
        )
        scale = np.where(scale > 0, scale, 1.0)
        mean = self._column("task_weights", name) / scale
        spread = self._column("task_weights_std", name) / scale
        weights.plot(epochs, mean, color=colour, lw=1.5, label=name)
        weights.fill_between(
            epochs, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0
        )

    def _column(self, key: str, name: str) -> np.ndarray:
        return np.array(
            [record.get(key, {}).get(name, np.nan) for record in self.history]
        )
