"""Losses and weights of every task over the epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.utils.validation import check_is_fitted


class TaskHistoryDisplay:
    """Losses and weights of every task over the epochs of a fit.

    Parameters
    ----------
    history : list of dict
        Records of a fitted estimator, its ``history_``.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2,)
        Losses, on a logarithmic axis (of validation rows dashed), and weights divided
        by their mean, with a band of one standard deviation over the batches.
    figure_ : matplotlib Figure
        Figure that contains them.

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

    def __init__(self, history) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, tasks=None, axes=None):
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : fitted estimator
            A multi-task graph network of this package.
        tasks : sequence of str, optional
            Tasks to show; all if not given.
        axes : sequence of two matplotlib Axes, optional
            Where to draw; a new figure if not given.

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

    def plot(self, *, tasks: Sequence[str] | None = None, axes=None):
        """Draw losses and weights.

        Parameters
        ----------
        tasks : sequence of str, optional
            Tasks to show; all if not given.
        axes : sequence of two matplotlib Axes, optional
            Where to draw; a new figure if not given.

        Returns
        -------
        display : TaskHistoryDisplay
            The display itself.

        Raises
        ------
        ValueError
            If there is no record, a task is not in the history, or `axes` are not two.
        """
        import matplotlib.pyplot as plt

        if not self.history:
            raise ValueError("The history is empty: no epoch was finished.")
        names = list(self.history[0]["train_losses"])
        chosen = names if tasks is None else list(tasks)
        unknown = [name for name in chosen if name not in names]
        if unknown:
            raise ValueError(f"The history knows the tasks {names}, not {unknown}.")
        if axes is None:
            _, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
        axes = np.ravel(np.asarray(axes, dtype=object))
        if len(axes) != 2:
            raise ValueError(
                "axes must be two matplotlib Axes, of the losses and of the weights, "
                f"got {len(axes)}."
            )
        n_colours = 10 if len(chosen) <= 10 else 20
        colours = plt.get_cmap(f"tab{n_colours}")(np.arange(n_colours))
        for k, name in enumerate(chosen):
            self._draw(axes, name, colours[k % n_colours])
        losses, weights = axes
        losses.set(title="Losses", yscale="log", xlabel="epoch", ylabel="loss")
        if any("valid_losses" in record for record in self.history):
            for label, style in (("training", "-"), ("validation", "--")):
                losses.plot([], [], color="0.3", ls=style, label=label)
            losses.legend(frameon=False, fontsize=8)
        weights.set(title="Weights", xlabel="epoch", ylabel="weight / mean weight")
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
            ax.xaxis.get_major_locator().set_params(integer=True)
        weights.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8
        )
        self.axes_, self.figure_ = axes, losses.figure
        return self

    def _draw(self, axes, name: str, colour) -> None:
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
