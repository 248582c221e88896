"""Pictures of per-task Hessian spectra."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skgnn_mtl.curvature import HessianSpectrum, hessian_spectrum

from ._marks import Marks, common_limits, draw_marks, join, write_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "0.55"
_MATRIX = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}
_MATRICES = {"hessian": "Hessians", "ggn": "Gauss-Newton matrices"}
# Densities below this share of the largest are results of rounding and smoothing.
_FLOOR = 1e-6


class HessianSpectrumDisplay:
    """Draw the Hessian spectra of the tasks of one network.

    Use :meth:`from_spectrum` or :meth:`from_estimator`.

    Parameters
    ----------
    spectra : list of HessianSpectrum
        One spectrum, or several of one training. ``kind="history"`` draws all of them;
        the other kinds draw the last one.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_panels,)
        Its axes, after :meth:`plot`. Curvatures have the unit of the task's loss, which
        is dimensionless for standardised targets.

    Raises
    ------
    ValueError
        In ``plot``, if the kind is unknown, or if the spectra do not have its
        quantities.

    See Also
    --------
    skgnn_mtl.curvature.hessian_spectrum : Computes the spectra.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.encoders import GIN
    >>> from skgnn_mtl.inspection import HessianSpectrumDisplay
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    >>> encoder = GIN(16, n_layers=2, activation="silu")
    >>> model = MultiTaskGNNRegressor(encoder, max_epochs=2, random_state=0).fit(X, y)
    >>> display = HessianSpectrumDisplay.from_estimator(
    ...     model, X, y, kind="trace", n_eigenvalues=2, random_state=0
    ... )
    >>> len(display.axes_)
    3
    """

    figure_: Figure
    axes_: np.ndarray

    def __init__(self, spectra: Sequence[HessianSpectrum]) -> None:
        self.spectra = list(spectra)

    @classmethod
    def from_spectrum(
        cls,
        spectrum: HessianSpectrum | Sequence[HessianSpectrum],
        *,
        kind: str = "density",
    ) -> Self:
        """Draw a given spectrum.

        Parameters
        ----------
        spectrum : HessianSpectrum or list of HessianSpectrum
            For instance ``hessian_spectrum_`` or ``hessian_spectrum_path_`` of a fitted
            estimator.
        kind : str, default="density"
            As in :meth:`plot`.

        Returns
        -------
        display : HessianSpectrumDisplay
            The drawn display.
        """
        spectra = [spectrum] if isinstance(spectrum, HessianSpectrum) else spectrum
        return cls(spectra).plot(kind)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        kind: str = "density",
        **options: Any,
    ) -> Self:
        """Compute the spectrum of a fitted estimator and draw it.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A fitted estimator.
        X : GraphArray or array-like of shape (n, ...)
            Inputs of the estimator.
        y : array-like of shape (n,) or (n, t)
            Labels, NaN where missing.
        kind : str, default="density"
            As in :meth:`plot`.
        **options : object
            Options of :func:`~skgnn_mtl.curvature.hessian_spectrum`.

        Returns
        -------
        display : HessianSpectrumDisplay
            The drawn display.
        """
        return cls.from_spectrum(
            hessian_spectrum(estimator, X, y, **options), kind=kind
        )

    def plot(self, kind: str = "density") -> Self:
        """Draw into a new figure.

        Parameters
        ----------
        kind : {"density", "eigenvalues", "trace", "pairs", "history"}, \
default="density"
            * "density": spectral density of each task on a logarithmic axis, with its
              error band;
            * "eigenvalues": largest eigenvalues with their residuals, hollow where not
              converged;
            * "trace": largest eigenvalue, trace, and trace divided by the squared head
              norm, with error bars;
            * "pairs": similarity of the gradients and curvatures of two tasks, with
              Hessian cosines within two standard errors of zero in grey;
            * "history": largest eigenvalue and trace of each task along the training,
              with the medians of all tasks.

            Axes of "trace" and "history" are logarithmic. A bar that reaches below the
            axis is cut at its edge and ends in an arrow. A trace smaller than two
            standard errors is hollow.

        Returns
        -------
        display : HessianSpectrumDisplay
            The display itself.

        Raises
        ------
        ValueError
            If the kind is unknown, or if the spectrum does not have its quantities.
        """
        import matplotlib.pyplot as plt

        kinds = {
            "density": self._density,
            "eigenvalues": self._eigenvalues,
            "trace": self._trace,
            "pairs": self._pairs,
            "history": self._history,
        }
        if kind not in kinds:
            raise ValueError(f"kind must be one of {sorted(kinds)}, got {kind!r}.")
        kinds[kind](plt)
        return self

    # -- kinds --------------------------------------------------------------------

    def _density(self, plt: Any) -> None:
        s = self.spectra[-1]
        if not s.ritz_weights.size or s.ritz_weights.shape[-1] == 0:
            raise ValueError(
                "This spectrum does not have a density, as with method='nystrom'. "
                "Compute it with method='lanczos'."
            )
        grid, values, band = s.density()
        t = len(s.task_names)
        columns = min(t, 4)
        rows = -(-t // columns)
        self.figure_, axes = plt.subplots(
            rows,
            columns,
            figsize=(3.1 * columns + 0.6, 2.1 * rows + 0.9),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        floor = _FLOOR * np.nanmax(values)
        for ax, task in zip(axes.flat, range(t), strict=False):
            low = np.maximum(values[task] - band[task], floor)
            high = np.maximum(values[task] + band[task], floor)
            for k in range(t):
                curve = np.maximum(values[k], floor)
                ax.plot(grid, curve, color="0.85", linewidth=0.6, zorder=1)
            ax.fill_between(grid, low, high, color=_BLUE, alpha=0.3, linewidth=0)
            curve = np.maximum(values[task], floor)
            ax.plot(grid, curve, color=_BLUE, linewidth=1.3, zorder=3)
            for edge in (s.lambda_min[task], s.eigenvalues[task, 0]):
                ax.plot(edge, floor * 1.6, "^", color=_ORANGE, markersize=5, zorder=4)
            name = _short(s.task_names[task])
            ax.set_title(f"{name} ({s.n_labels[task]} labels)", fontsize=9)
            ax.set_yscale("log")
            ax.set_ylim(floor, 3 * np.nanmax(values))
        _remove(axes, t)
        self.figure_.supxlabel(
            f"eigenvalue of the {_MATRIX[s.matrix]} of the task's loss, smoothed by "
            "its range over twice the Lanczos steps",
            fontsize=10,
        )
        self.figure_.supylabel("density of eigenvalues (log)", fontsize=10)
        self.figure_.suptitle(
            f"Spectra over {s.n_parameters:,} {s.parameters} parameters; band: error "
            "over probes; triangles: smallest and largest; grey: the other tasks",
            fontsize=10,
        )
        self.axes_ = axes.ravel()[:t]

    def _eigenvalues(self, plt: Any) -> None:
        s = self.spectra[-1]
        t = len(s.task_names)
        self.figure_, ax = plt.subplots(
            figsize=(8, 0.38 * t + 1.6), layout="constrained"
        )
        labelled = {True: False, False: False}
        for task in range(t):
            for value, error, good in zip(
                s.eigenvalues[task], s.residuals[task], s.converged[task], strict=True
            ):
                if not value > 0:
                    continue
                label = "converged" if good else "not converged (bar: residual)"
                ax.errorbar(
                    value,
                    task,
                    xerr=[[min(error, 0.999 * value)], [error]],
                    fmt="o",
                    markersize=6,
                    color=_BLUE,
                    markerfacecolor=_BLUE if good else "white",
                    elinewidth=1,
                    alpha=0.8,
                    label=None if labelled[bool(good)] else label,
                )
                labelled[bool(good)] = True
        ax.set_xscale("log")
        _task_axis(ax, s)
        ax.set_xlabel(f"largest eigenvalues of the {_MATRIX[s.matrix]} (log)")
        ax.set_title(
            f"{s.eigenvalues.shape[1]} largest eigenvalues of each task's loss, "
            f"{s.n_parameters:,} {s.parameters} parameters",
            fontsize=10,
        )
        ax.grid(axis="x", color="0.9")
        if any(labelled.values()):
            ax.legend(fontsize=8, frameon=False, loc="best")
        self.axes_ = np.array([ax])

    def _trace(self, plt: Any) -> None:
        s = self.spectra[-1]
        head = s.head_norm**2
        panels = {
            "largest eigenvalue": _largest(s),
            "trace": _traces(s),
            "trace / squared norm of the head": _traces(s, head),
        }
        rows = np.arange(len(s.task_names))
        self.figure_, axes = plt.subplots(
            1,
            3,
            figsize=(12, 0.34 * len(rows) + 2.0),
            sharey=True,
            layout="constrained",
        )
        for ax, (title, marks) in zip(axes, panels.items(), strict=True):
            draw_marks(ax, rows, marks, marks.limits(), _BLUE, "o", vertical=False)
            ax.set_title(title, fontsize=10)
            ax.grid(axis="x", color="0.9")
            ax.set_axisbelow(True)
            write_numbers(ax, rows, marks)
        _task_axis(axes[0], s)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        self.figure_.suptitle(
            f"Curvature of each task's loss ({_MATRIX[s.matrix]}, {s.n_parameters:,} "
            f"{s.parameters} parameters)",
            fontsize=11,
        )
        self.figure_.supxlabel(_marks_key(s.matrix, "left"), fontsize=9)
        self.axes_ = axes

    def _pairs(self, plt: Any) -> None:
        s = self.spectra[-1]
        if np.isnan(s.gradient_cosine).all():
            raise ValueError(
                "This spectrum does not have pairs. Compute it with pairwise=True and "
                "parameters other than 'task'."
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = s.cross_curvature / np.diag(s.cross_curvature)
        t = len(s.task_names)
        above = np.triu(np.ones((t, t), dtype=bool), k=1)
        # Two errors tell the sign; without an error it is not known either.
        weak = above & ~(np.abs(s.hessian_cosine) > 2 * s.hessian_cosine_error)
        panels = [
            (
                f"cosine of the gradients (below), of the {_MATRICES[s.matrix]}\n"
                "(above; grey: within two errors of 0)",
                np.where(above, s.hessian_cosine, s.gradient_cosine),
                "RdBu_r",
                (-1, 1),
            ),
            ("both labels among those with either", s.label_overlap, "Blues", (0, 1)),
            (
                f"overlap of the top-{s.eigenvalues.shape[1]} eigenspaces",
                s.subspace_overlap,
                "viridis",
                (0, 1),
            ),
            (
                "curvature of the column's loss along\nthe row's step, own step = 1",
                relative,
                "PuOr_r",
                (0, 2),
            ),
        ]
        size = 0.36 * t + 1.6
        self.figure_, axes = plt.subplots(
            2, 2, figsize=(2 * size + 1.0, 2 * size), layout="constrained"
        )
        for ax, (title, values, colours, limits) in zip(axes.flat, panels, strict=True):
            grey = weak & (ax is axes[0, 0])
            shown = np.where(grey, np.nan, values)
            image = ax.imshow(shown, cmap=colours, vmin=limits[0], vmax=limits[1])
            for i, j in np.argwhere(grey):
                cell = (j - 0.5, i - 0.5)
                ax.add_patch(plt.Rectangle(cell, 1, 1, color="0.9", linewidth=0))
            ax.set_title(title, fontsize=10)
            names = [_short(name, 18) for name in s.task_names]
            below, left = ax in axes[1], ax in axes[:, 0]
            ax.set_xticks(range(t) if below else [])
            ax.set_yticks(range(t) if left else [])
            if below:
                ax.set_xticklabels(names, rotation=90, fontsize=8)
            if left:
                ax.set_yticklabels(names, fontsize=8)
            if t <= 14:
                _write_values(ax, values, image, grey)
            self.figure_.colorbar(image, ax=ax, shrink=0.75)
        self.figure_.suptitle(
            f"Pairs of tasks: gradients and the {_MATRIX[s.matrix]} on "
            f"{s.n_parameters:,} {s.parameters} parameters",
            fontsize=11,
        )
        self.axes_ = axes.ravel()

    def _history(self, plt: Any) -> None:
        if len(self.spectra) < 2:
            raise ValueError(
                "A history needs several spectra, such as hessian_spectrum_path_ of an "
                "estimator fitted with hessian_spectrum={'at': (0, 0.5, 1)}."
            )
        last, t = self.spectra[-1], len(self.spectra[-1].task_names)
        epochs = np.array(
            [s.settings.get("epoch", k) for k, s in enumerate(self.spectra)]
        )
        statistics = {
            "largest eigenvalue": (join(map(_largest, self.spectra)), _BLUE, "o", -1),
            "trace": (join(map(_traces, self.spectra)), _ORANGE, "s", 1),
        }
        columns = min(t, 4)
        rows = -(-t // columns)
        self.figure_, axes = plt.subplots(
            rows,
            columns,
            figsize=(2.6 * columns + 0.6, 2.0 * rows + 1.3),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        limits = common_limits([marks.limits() for marks, *_ in statistics.values()])
        # Shifted to both sides, because one bar would hide the other.
        step = 0.008 * (epochs.max() - epochs.min())
        for task, ax in zip(range(t), axes.flat, strict=False):
            for name, (marks, colour, marker, side) in statistics.items():
                with np.errstate(invalid="ignore"):
                    middle = np.nanmedian(marks.values, axis=1)
                if limits is not None:
                    middle = np.maximum(middle, limits[0])
                ax.plot(epochs, middle, "--", color=colour, linewidth=0.9, alpha=0.6)
                places = epochs + side * step
                draw_marks(ax, places, marks.of(task), limits, colour, marker, name)
            ax.set_title(_short(last.task_names[task]), fontsize=9)
            ax.grid(color="0.92")
            if task + columns >= t:
                ax.set_xlabel("epoch", fontsize=9)
                ax.tick_params(labelbottom=True)
        _remove(axes, t)
        self.axes_ = axes.ravel()[:t]
        self.figure_.legend(
            *self.axes_[0].get_legend_handles_labels(),
            loc="outside upper right",
            ncols=2,
            fontsize=9,
            frameon=False,
        )
        self.figure_.suptitle(
            f"Curvature of the tasks' losses along the training "
            f"({_MATRIX[last.matrix]}); dashed: median of the tasks",
            fontsize=11,
            x=0.01,
            ha="left",
        )
        self.figure_.supxlabel(_marks_key(last.matrix, "bottom"), fontsize=9)


def _largest(s: HessianSpectrum) -> Marks:
    """Take the largest eigenvalues and their residuals; certain where converged."""
    residuals = np.nan_to_num(s.residuals[:, 0])
    return Marks(s.eigenvalues[:, 0], residuals, s.converged[:, 0].astype(bool))


def _traces(s: HessianSpectrum, unit: np.ndarray | float = 1.0) -> Marks:
    """Take traces and two standard errors; certain where their sign is."""
    errors = 2 * np.nan_to_num(s.trace_sem)
    return Marks(s.trace / unit, errors / unit, np.abs(s.trace) > errors)


def _marks_key(matrix: str, edge: str) -> str:
    """Explain bars, hollow marks and arrows."""
    return (
        "log axis; bars: residual of the eigenvalue, two standard errors of the trace "
        "(none: shorter than the mark)\nhollow: eigenvalue not converged, or trace not "
        f"told from 0; arrow: the bar goes on beyond the {edge} edge"
    )


def _short(name: str, most: int = 24) -> str:
    """Shorten the name of a task, without its unit."""
    name = re.sub(r" \([^()]*\)$", "", name)
    return name if len(name) <= most else name[: most - 1] + "…"


def _task_axis(ax: Axes, s: HessianSpectrum) -> None:
    ax.set_yticks(range(len(s.task_names)), [_short(n) for n in s.task_names])
    ax.tick_params(axis="y", labelsize=9)
    ax.invert_yaxis()


def _remove(axes: np.ndarray, used: int) -> None:
    for ax in axes.ravel()[used:]:
        ax.remove()


def _write_values(
    ax: Axes, values: np.ndarray, image: AxesImage, grey: np.ndarray
) -> None:
    """Write the numbers into the cells, dark on light and light on dark."""
    for (i, j), value in np.ndenumerate(values):
        if not np.isfinite(value):
            ax.text(j, i, "–", ha="center", va="center", fontsize=6.5, color="0.4")
            continue
        colour = image.cmap(image.norm(value))[:3]
        dark = np.dot(colour, (0.299, 0.587, 0.114)) < 0.5
        ax.text(
            j,
            i,
            f"{value:.2f}" if abs(value) < 9.95 else f"{value:.0f}",
            ha="center",
            va="center",
            fontsize=6.5,
            color=_GREY if grey[i, j] else "white" if dark else "0.1",
        )
