"""Values with error bars, drawn as points that are clipped to a logarithmic axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Ends of a logarithmic axis.
Limits = tuple[float, float] | None


@dataclass(frozen=True)
class Marks:
    """Values with the half lengths of their bars, and whether they are certain.

    Parameters
    ----------
    values, errors : ndarray of shape (n,)
        Values and half lengths; (n_spectra, t) after :func:`join`.
    certain : ndarray of bool, of the same shape
        Drawn as filled marks; the others are hollow.
    """

    values: np.ndarray
    errors: np.ndarray
    certain: np.ndarray

    def of(self, task: int) -> Marks:
        """Take one column, the history of a task."""
        return Marks(self.values[:, task], self.errors[:, task], self.certain[:, task])

    def limits(self) -> Limits:
        """Compute the ends of a logarithmic axis; None if no value is positive."""
        positive = self.values[self.values > 0]
        if not len(positive):
            return None
        # One decade below clear values, because a value smaller than its bar is only a
        # bound and would stretch the axis.
        clear = self.values[self.values > self.errors]
        lowest = positive.min()
        if len(clear):
            lowest = max(lowest, 0.1 * clear.min())
        return 0.6 * float(lowest), 1.4 * float(np.nanmax(self._ends()[1]))

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return self.values - self.errors, self.values + self.errors

    def within(
        self, limits: Limits
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Clip values and ends of bars to an axis, and mark the bars that are cut."""
        low, high = self._ends()
        if limits is None:
            return self.values, low, high, np.zeros(len(low), dtype=bool)
        edge = limits[0]
        values = np.maximum(self.values, edge)
        return values, np.maximum(low, edge), np.maximum(high, edge), low < edge


def join(marks: Iterable[Marks]) -> Marks:
    """Stack the marks of several spectra, (n_spectra, t)."""
    parts = [(m.values, m.errors, m.certain) for m in marks]
    return Marks(*(np.stack(part) for part in zip(*parts, strict=True)))


def common_limits(limits: Iterable[Limits]) -> Limits:
    """Join the limits of several marks to those of one axis."""
    finite = [pair for pair in limits if pair is not None]
    if not finite:
        return None
    return min(low for low, _ in finite), max(high for _, high in finite)


def draw_marks(
    ax: Axes,
    places: np.ndarray,
    marks: Marks,
    limits: Limits,
    colour: str,
    marker: str,
    label: str | None = None,
    *,
    vertical: bool = True,
) -> None:
    """Draw values with bars, clipped to the edge of a logarithmic axis."""
    values, low, high, cut = marks.within(limits)

    def points(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = places[where], values[where]
        return (x, y) if vertical else (y, x)

    style: dict[str, Any] = {"color": colour, "clip_on": False, "zorder": 3}
    if vertical:
        line: dict[str, Any] = {"linewidth": 1.3, "markersize": 5.5, "label": label}
        ax.plot(places, values, marker=marker, color=colour, zorder=2, **line)
    bars = ax.vlines if vertical else ax.hlines
    bars(places, low, high, color=colour, linewidth=1.8, alpha=0.5, zorder=2)
    for shown, face in ((marks.certain, colour), (~marks.certain, "white")):
        if shown.any():
            x, y = points(shown)
            ax.plot(x, y, marker, markersize=5.5, markerfacecolor=face, **style)
    if limits is not None:
        if cut.any():
            edge = places[cut], np.full(cut.sum(), limits[0])
            x, y = edge if vertical else edge[::-1]
            ax.plot(x, y, "v" if vertical else "<", markersize=5, **style)
        make_logarithmic(ax, limits, vertical=vertical)


def make_logarithmic(ax: Axes, limits: tuple[float, float], *, vertical: bool) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    (ax.set_yscale if vertical else ax.set_xscale)("log")
    (ax.set_ylim if vertical else ax.set_xlim)(*limits)
    axis = ax.yaxis if vertical else ax.xaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def write_numbers(ax: Axes, rows: np.ndarray, marks: Marks) -> None:
    """Write value and bar at the right end of each row."""
    texts = []
    for value, error in zip(marks.values, marks.errors, strict=True):
        # Formatted twice, because "g" alone would write powers of ten.
        text = f"{float(f'{value:.3g}'):g}"
        if error > 5e-3 * abs(value):
            text += f" ± {float(f'{error:.2g}'):g}"
        texts.append(text)
    right = ax.secondary_yaxis("right")
    right.set_yticks(rows, texts, fontsize=8, color="0.25")
    right.tick_params(length=0)
