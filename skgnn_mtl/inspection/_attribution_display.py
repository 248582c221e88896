"""Attributions on the atoms of molecules, and by the sites of crystals."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from skgnn_mtl._pipelines import at_last_step
from skgnn_mtl.featurizers._strings import as_rows
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.metrics._tables import name_of

from ._atom_attributions import atom_attributions
from ._shown_tasks import shown_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Blue lowers the prediction, red raises it. The dark ends are cut off, because letters
# are black.
_COLOURS, _CUT = "RdBu_r", 0.14
_MOST_COLUMNS = 4
# A crystal of more sites has no room for their names.
_MOST_NAMES = 30


class AtomAttributionDisplay:
    """Draw what each atom, or each site of a crystal, adds to the predictions.

    Molecules are drawn with a disc behind each atom, one row per molecule and one
    column per task. Crystals have a bar per site. An invalid graph has an empty panel.
    The scale of a task is symmetric about zero and the same for all rows; blue lowers
    the prediction and red raises it.

    Parameters
    ----------
    attributions : list of ndarray of shape (n_atoms, n_tasks) or (n_atoms,)
        One array per molecule or crystal, from
        :func:`~skgnn_mtl.inspection.atom_attributions`.
    X : list of str or Mol, or GraphArray
        SMILES or RDKit molecules, or the graphs of crystals.
    task_names : sequence of str, optional
        Names of the tasks, with their units if they have any.

    Attributes
    ----------
    table_ : DataFrame
        One row per atom: the columns "graph", "atom" (its position) and "element", then
        one column per task. Made by :meth:`plot`.
    axes_ : ndarray of Axes of shape (n_graphs, n_tasks)
        Panels, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of the panels, after :meth:`plot`.

    See Also
    --------
    atom_attributions : Computes the numbers.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks",
       ICML 2017.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skgnn_mtl.inspection import AtomAttributionDisplay
    >>> display = AtomAttributionDisplay.from_attributions(
    ...     [np.array([0.5, 0.4, -1.2])], ["CCO"], task_names=["logP"]
    ... )
    >>> print(display.table_)
       graph  atom element  logP
    0      0     0       C   0.5
    1      0     1       C   0.4
    2      0     2       O  -1.2
    """

    table_: pd.DataFrame
    axes_: np.ndarray
    figure_: Figure | SubFigure

    def __init__(
        self,
        attributions: Sequence[np.ndarray],
        X: Any,
        *,
        task_names: Sequence[str] | None = None,
    ) -> None:
        self.attributions = attributions
        self.X = X
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        tasks: Sequence[str] | None = None,
        label: Any = None,
        method: str = "integrated_gradients",
        n_steps: int = 6,
        axes: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Attribute and draw.

        Parameters
        ----------
        estimator : fitted estimator or Pipeline
            What :func:`~skgnn_mtl.inspection.atom_attributions` takes.
        X : str, Mol, list or table of these, or GraphArray
            Molecules for a pipeline that reads them. Crystals as the pipeline reads
            them, or as graphs.
        tasks : sequence of str or int, optional
            Tasks to show; by default all.
        label : object or list, optional
            Classes that are explained, as in
            :func:`~skgnn_mtl.inspection.atom_attributions`; named in the titles.
        method : {"integrated_gradients", "occlusion"}, default="integrated_gradients"
            How to attribute.
        n_steps : int, default=6
            Points of the integration.
        axes : matplotlib Axes or sequence of them, optional
            Axes to draw into, one per graph and task, tasks side by side; by default
            those of a new figure.

        Returns
        -------
        display : AtomAttributionDisplay
            The drawn display.

        Raises
        ------
        TypeError
            If X holds the graphs of molecules, which do not tell how to draw them.
        """
        rows = X if _is_many(X) else [X]
        graphs, fitted = at_last_step(estimator, rows)
        known = fitted.task_names_
        chosen = shown_tasks(tasks, known)
        if label is not None and not isinstance(label, (list, tuple, np.ndarray)):
            label = [label]
        # By name, because a position may be the name of another task.
        asked = [known[k] for k in chosen]
        found = atom_attributions(
            fitted, graphs, asked, label=label, method=method, n_steps=n_steps
        )
        names = _explained(fitted)
        names = [names[k] for k in chosen]
        if label is not None:
            names = [f"{n}: {c}" for n, c in zip(names, label, strict=True)]
        shown = graphs if _are_crystals(graphs) else rows
        return cls(found, shown, task_names=names).plot(axes=axes)

    @classmethod
    def from_attributions(
        cls,
        attributions: Sequence[np.ndarray],
        X: Any,
        *,
        task_names: Sequence[str] | None = None,
        axes: Axes | Sequence[Axes] | None = None,
    ) -> Self:
        """Draw given attributions.

        Parameters
        ----------
        attributions : list of ndarray of shape (n_atoms, n_tasks) or (n_atoms,)
            One array per molecule or crystal.
        X : list of str or Mol, or GraphArray
            SMILES or RDKit molecules, or the graphs of crystals.
        task_names : sequence of str, optional
            Names of the tasks.
        axes : matplotlib Axes or sequence of them, optional
            Axes to draw into, one per graph and task, tasks side by side; by default
            those of a new figure.

        Returns
        -------
        display : AtomAttributionDisplay
            The drawn display.
        """
        return cls(attributions, X, task_names=task_names).plot(axes=axes)

    def plot(self, *, axes: Axes | Sequence[Axes] | None = None) -> Self:
        """Draw a panel per graph and task, and a colour bar per task.

        Parameters
        ----------
        axes : matplotlib Axes or sequence of them, optional
            Axes to draw into, one per graph and task, tasks side by side; by default
            those of a new figure.

        Returns
        -------
        display : AtomAttributionDisplay
            The display itself.

        Raises
        ------
        TypeError
            If X holds the graphs of molecules.
        ValueError
            If the attributions do not fit the atoms, the names or the axes.
        """
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        arrays = [np.asarray(a, float) for a in self.attributions]
        values = [a[:, None] if a.ndim == 1 else a for a in arrays]
        names = self._names(values)
        elements = self._elements(values)
        shape = len(values), len(names)
        panels = _panels(shape, axes, is_bars=_are_crystals(self.X))
        colour_map = _colour_map()
        for t, name in enumerate(names):
            largest = max((abs(a[:, t]).max(initial=0.0) for a in values), default=0.0)
            scale = Normalize(-(largest or 1.0), largest or 1.0)
            for g, panel in enumerate(panels[:, t]):
                colours = [tuple(c) for c in colour_map(scale(values[g][:, t]))[:, :3]]
                self._draw(panel, g, values[g][:, t], colours, elements[g])
                total = f"sum {values[g][:, t].sum():+.3g}"
                below = total if elements[g] else "invalid graph"
                panel.set_title(f"{name}\n{below}", fontsize=9)
            _add_bar(list(panels[:, t]), ScalarMappable(scale, colour_map), name)
        self.table_ = _table(values, elements, names)
        self.axes_, self.figure_ = panels, panels[0, 0].figure
        return self

    def _names(self, values: Sequence[np.ndarray]) -> list[str]:
        """Check the names of the tasks, or make some."""
        if not len(values):
            raise ValueError("attributions is empty: there is nothing to draw.")
        n_tasks = values[0].shape[1]
        names = [f"task {t}" for t in range(n_tasks)]
        if self.task_names is not None:
            names = list(map(name_of, self.task_names))
        if {a.shape[1] for a in values} != {len(names)}:
            raise ValueError(
                f"attributions have {n_tasks} task(s), but task_names are {names}."
            )
        return names

    def _elements(self, values: Sequence[np.ndarray]) -> list[list[str]]:
        """Name the element of each atom."""
        from ._drawing import read_molecule, symbols

        if len(self.X) != len(values):
            raise ValueError(
                f"There are {len(values)} arrays of attributions, but X has "
                f"{len(self.X)} graphs."
            )
        if _are_crystals(self.X):
            elements = _species(self.X)
        elif isinstance(self.X, GraphArray):
            raise TypeError(
                "AtomAttributionDisplay draws SMILES or RDKit molecules: pass these, "
                "with the pipeline that makes graphs of them. Only graphs of crystals "
                "can be shown as they are."
            )
        else:
            # An invalid graph does not have atoms, and its text may not be readable.
            elements = [
                symbols(read_molecule(row)) if len(array) else []
                for row, array in zip(_rows(self.X), values, strict=True)
            ]
        for g, (array, atoms) in enumerate(zip(values, elements, strict=True)):
            if len(array) != len(atoms):
                raise ValueError(
                    f"X[{g}] has {len(atoms)} atoms, but {len(array)} attributions."
                )
        return elements

    def _draw(
        self,
        ax: Axes,
        graph: int,
        values: np.ndarray,
        colours: list[Any],
        elements: list[str],
    ) -> None:
        """Draw one molecule, or one crystal."""
        from ._drawing import picture, read_molecule

        if not elements:
            ax.set_axis_off()
        elif isinstance(self.X, GraphArray):
            _draw_sites(ax, values, colours, elements)
        else:
            ax.imshow(picture(read_molecule(_rows(self.X)[graph]), colours))
            ax.set_axis_off()


def _rows(X: Any) -> list[Any]:
    """List molecules; those of a table with several columns as tuples."""
    return as_rows(X) if len(getattr(X, "shape", ())) == 2 else list(X)


def _explained(fitted: Any) -> list[str]:
    """Name what the attributions of each task add up to."""
    names = list(fitted.task_names_)
    if is_classifier(fitted):
        return [f"{name} (logit)" for name in names]
    steps = fitted.targets_.transforms.steps
    kinds = [step if isinstance(step, str) else "transformed" for step in steps]
    return [
        name if step is None else f"{name} ({kind})"
        for name, step, kind in zip(names, steps, kinds, strict=True)
    ]


def _is_many(X: Any) -> bool:
    """Whether X holds several rows; a text, a molecule and a structure are one."""
    # Not by their length, because structures have one.
    return isinstance(X, (list, tuple, GraphArray)) or hasattr(X, "shape")


def _are_crystals(X: Any) -> bool:
    return isinstance(X, GraphArray) and X.schema.edge_features == ("distance",)


def _species(crystals: GraphArray) -> list[list[str]]:
    """Name the element of each site, "mixed" where disorder is averaged."""
    from ._drawing import symbol

    sizes = np.cumsum(np.where(crystals.valid, crystals.n_nodes, 0))[:-1]
    if not crystals.node_codes.shape[1]:
        return [["mixed"] * int(n) for n in crystals.n_nodes]
    codes = np.split(crystals.node_codes[:, 0], sizes)
    return [[symbol(number) for number in part] for part in codes]


def _colour_map() -> Any:
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    shades = plt.get_cmap(_COLOURS)(np.linspace(_CUT, 1 - _CUT, 256))
    return LinearSegmentedColormap.from_list(_COLOURS, shades)


def _add_bar(panels: list[Axes], colours: Any, name: str) -> None:
    """Add the colour bar of a task below its panels."""
    # As long as one panel, also below several.
    n_columns = len({round(ax.get_position().x0, 3) for ax in panels})
    bar = panels[0].figure.colorbar(
        colours,
        ax=panels,
        orientation="horizontal",
        shrink=0.8 / n_columns,
        aspect=30,
        pad=0.03,
        format="{x:.3g}",
    )
    bar.set_label(f"attribution to {name}", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.ax.locator_params(nbins=5)


def _panels(shape: tuple[int, int], axes: Any, *, is_bars: bool) -> np.ndarray:
    """Make the axes of a new figure, or check those given."""
    if axes is None:
        import matplotlib.pyplot as plt

        n_rows, n_columns = shape
        if n_columns == 1:  # graphs side by side, because tasks are not
            n_columns = min(n_rows, _MOST_COLUMNS)
            n_rows = ceil(n_rows / n_columns)
        height = 2.2 if is_bars else 2.6
        _, grid = plt.subplots(
            n_rows,
            n_columns,
            figsize=(3.4 * n_columns, height * n_rows + 0.8),
            layout="constrained",
            squeeze=False,
        )
        n_panels = shape[0] * shape[1]
        for ax in grid.flat[n_panels:]:
            ax.remove()
        return np.asarray(grid.flat[:n_panels], dtype=object).reshape(shape)
    panels = np.ravel(np.asarray(axes, dtype=object))
    if len(panels) != shape[0] * shape[1]:
        raise ValueError(
            f"{len(panels)} axes were given for {shape[0]} graph(s) and {shape[1]} "
            "task(s)."
        )
    return panels.reshape(shape)


def _draw_sites(
    ax: Axes, values: np.ndarray, colours: list[Any], elements: list[str]
) -> None:
    """Draw a bar per site, labelled by element and position."""
    places = np.arange(len(values))
    ax.bar(places, values, color=colours, edgecolor="0.4", linewidth=0.6)
    ax.axhline(0.0, color="0.35", linewidth=0.8)
    if len(values) <= _MOST_NAMES:
        labels = [f"{element}{k}" for k, element in enumerate(elements)]
        ax.set_xticks(places, labels, fontsize=7, rotation=90 if len(values) > 8 else 0)
    else:
        ax.set_xlabel("site")
    ax.tick_params(axis="y", labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def _table(
    values: Sequence[np.ndarray], elements: list[list[str]], names: Sequence[str]
) -> pd.DataFrame:
    """List all atoms."""
    index = {
        "graph": np.repeat(np.arange(len(values)), [len(a) for a in values]),
        "atom": np.concatenate([np.arange(len(a)) for a in values]),
        "element": [symbol for atoms in elements for symbol in atoms],
    }
    numbers = pd.DataFrame(np.concatenate(values), columns=list(names))
    return pd.concat([pd.DataFrame(index), numbers], axis=1)
