"""Pictures of per-task Hessian spectra."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from skgnn_mtl.curvature import HessianSpectrum, hessian_spectrum

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "0.55"
_MATRIX = {"hessian": "Hessian", "ggn": "Gauss-Newton matrix"}
# Below this share of the highest density a curve is rounding and smoothing.
_FLOOR = 1e-6


class HessianSpectrumDisplay:
    """Draw the spectra of the tasks of one network.

    Make it with :meth:`from_spectrum` or :meth:`from_estimator`.

    Parameters
    ----------
    spectra : list of HessianSpectrum
        One, or several along a training (for ``kind="history"``); the last one is
        drawn otherwise.

    Attributes
    ----------
    figure_ : matplotlib Figure
        After :meth:`plot`.
    axes_ : ndarray of matplotlib Axes
        After :meth:`plot`.

    See Also
    --------
    skgnn_mtl.curvature.hessian_spectrum : Computes what is drawn.

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

    def __init__(self, spectra: Sequence[HessianSpectrum]) -> None:
        self.spectra = list(spectra)

    @classmethod
    def from_spectrum(cls, spectrum, *, kind: str = "density"):
        """Draw a spectrum that is there already.

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
            Drawn.
        """
        one = isinstance(spectrum, HessianSpectrum)
        return cls([spectrum] if one else spectrum).plot(kind)

    @classmethod
    def from_estimator(cls, estimator, X, y, *, kind: str = "density", **options):
        """Compute the spectrum of a fitted estimator and draw it.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted.
        X : GraphArray or array-like
            What it predicts from.
        y : array-like of shape (n,) or (n, t)
            Labels, NaN where missing.
        kind : str, default="density"
            As in :meth:`plot`.
        **options : object
            Options of :func:`~skgnn_mtl.curvature.hessian_spectrum`.

        Returns
        -------
        display : HessianSpectrumDisplay
            Drawn.
        """
        return cls.from_spectrum(
            hessian_spectrum(estimator, X, y, **options), kind=kind
        )

    def plot(self, kind: str = "density"):
        """Draw into a new figure.

        Parameters
        ----------
        kind : {"density", "eigenvalues", "trace", "pairs", "history"}, \
default="density"
            Spectral density of each task, logarithmic, with its error band; largest
            eigenvalues with their residuals, hollow where not converged; largest
            eigenvalue, trace, and trace over squared head norm with error bars; how
            gradients and curvatures of two tasks lie to each other; largest eigenvalue
            and trace along the training.

        Returns
        -------
        display : HessianSpectrumDisplay
            Itself.

        Raises
        ------
        ValueError
            If there is no such kind, or the spectrum lacks what it shows.
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

    def _density(self, plt) -> None:
        s = self.spectra[-1]
        if not s.ritz_weights.size or s.ritz_weights.shape[-1] == 0:
            raise ValueError(
                "This spectrum has no density (method='nystrom'?); compute it with "
                "method='lanczos'."
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

    def _eigenvalues(self, plt) -> None:
        s = self.spectra[-1]
        t = len(s.task_names)
        self.figure_, ax = plt.subplots(
            figsize=(8, 0.38 * t + 1.6), layout="constrained"
        )
        seen = {True: False, False: False}
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
                    label=None if seen[bool(good)] else label,
                )
                seen[bool(good)] = True
        ax.set_xscale("log")
        _task_axis(ax, s)
        ax.set_xlabel(f"largest eigenvalues of the {_MATRIX[s.matrix]} (log)")
        ax.set_title(
            f"{s.eigenvalues.shape[1]} largest eigenvalues of each task's loss, "
            f"{s.n_parameters:,} {s.parameters} parameters",
            fontsize=10,
        )
        ax.grid(axis="x", color="0.9")
        if any(seen.values()):
            ax.legend(fontsize=8, frameon=False, loc="best")
        self.axes_ = np.array([ax])

    def _trace(self, plt) -> None:
        s = self.spectra[-1]
        head = s.head_norm**2
        panels = [
            ("largest eigenvalue", s.eigenvalues[:, 0], s.residuals[:, 0]),
            ("trace", s.trace, 2 * s.trace_sem),
            (
                "trace / squared norm of the head",
                s.trace / head,
                2 * s.trace_sem / head,
            ),
        ]
        self.figure_, axes = plt.subplots(
            1,
            3,
            figsize=(11, 0.34 * len(s.task_names) + 1.5),
            sharey=True,
            layout="constrained",
        )
        for ax, (title, values, errors) in zip(axes, panels, strict=True):
            rows = np.arange(len(values))
            errors = np.where(np.isfinite(errors), errors, 0)
            ax.barh(rows, values, color=_BLUE, alpha=0.75, height=0.7)
            ax.errorbar(
                values, rows, xerr=errors, fmt="none", ecolor="0.15", capsize=2.5
            )
            ax.axvline(0, color="0.3", linewidth=0.8)
            ax.set_title(title, fontsize=10)
            ax.grid(axis="x", color="0.9")
            ax.set_axisbelow(True)
        _task_axis(axes[0], s)
        self.figure_.suptitle(
            f"Curvature of each task's loss ({_MATRIX[s.matrix]}); bars of the error: "
            "residual, and two standard errors",
            fontsize=10,
        )
        self.axes_ = axes

    def _pairs(self, plt) -> None:
        s = self.spectra[-1]
        if np.isnan(s.gradient_cosine).all():
            raise ValueError(
                "This spectrum has no pairs; compute it with pairwise=True and "
                "parameters other than 'task'."
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = s.cross_curvature / np.diag(s.cross_curvature)
        panels = [
            ("cosine of the gradients", s.gradient_cosine, "RdBu_r", (-1, 1)),
            ("labels in common (share of the rarer)", s.label_overlap, "Blues", (0, 1)),
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
        t = len(s.task_names)
        size = 0.36 * t + 1.6
        self.figure_, axes = plt.subplots(
            2, 2, figsize=(2 * size + 1.0, 2 * size), layout="constrained"
        )
        for ax, (title, values, colours, limits) in zip(axes.flat, panels, strict=True):
            image = ax.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1])
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
                _write_values(ax, values, image)
            self.figure_.colorbar(image, ax=ax, shrink=0.75)
        self.figure_.suptitle(
            f"Pairs of tasks: gradients and the {_MATRIX[s.matrix]} on "
            f"{s.n_parameters:,} {s.parameters} parameters",
            fontsize=11,
        )
        self.axes_ = axes.ravel()

    def _history(self, plt) -> None:
        if len(self.spectra) < 2:
            raise ValueError(
                "A history needs several spectra, such as hessian_spectrum_path_ of an "
                "estimator fitted with hessian_spectrum={'at': (0, 0.5, 1)}."
            )
        last = self.spectra[-1]
        epochs = [s.settings.get("epoch", k) for k, s in enumerate(self.spectra)]
        panels = {
            "largest eigenvalue": [
                (s.eigenvalues[:, 0], s.residuals[:, 0]) for s in self.spectra
            ],
            "trace (bars: two standard errors)": [
                (s.trace, 2 * s.trace_sem) for s in self.spectra
            ],
        }
        self.figure_, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        colours = plt.get_cmap("tab20")(np.linspace(0, 1, 20))
        markers = "osv^D<>pXhd*"
        for ax, (title, values) in zip(axes, panels.items(), strict=True):
            for task, name in enumerate(last.task_names):
                middle = np.array([value[task] for value, _ in values])
                error = np.array([e[task] for _, e in values])
                ax.errorbar(
                    epochs,
                    middle,
                    yerr=np.where(np.isfinite(error), error, 0),
                    color=colours[(2 * task) % 20 + (2 * task) // 20 % 2],
                    marker=markers[task % len(markers)],
                    markersize=4.5,
                    linewidth=1.3,
                    capsize=2,
                    label=_short(name),
                )
            ax.set_title(title, fontsize=10)
            ax.set_xlabel("epoch")
            # The trace of a Hessian may be negative: then no logarithm.
            lowest = np.nanmin([value for value, _ in values])
            ax.set_yscale("log" if lowest > 0 else "linear")
            ax.grid(color="0.92")
        self.figure_.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside right upper",
            fontsize=8,
            frameon=False,
        )
        self.figure_.suptitle(
            f"Curvature of the tasks' losses along the training "
            f"({_MATRIX[last.matrix]})",
            fontsize=11,
        )
        self.axes_ = axes


def _short(name: str, most: int = 24) -> str:
    """Give a task's name without its unit, and not too long."""
    name = re.sub(r" \([^()]*\)$", "", name)
    return name if len(name) <= most else name[: most - 1] + "…"


def _task_axis(ax, s: HessianSpectrum) -> None:
    ax.set_yticks(range(len(s.task_names)), [_short(n) for n in s.task_names])
    ax.tick_params(axis="y", labelsize=9)
    ax.invert_yaxis()


def _remove(axes, used: int) -> None:
    for ax in axes.ravel()[used:]:
        ax.remove()


def _write_values(ax, values: np.ndarray, image) -> None:
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
            color="white" if dark else "0.1",
        )
