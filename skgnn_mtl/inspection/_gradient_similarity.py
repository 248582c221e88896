"""Similarity of the gradients of tasks, and its reliability."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._gram import cosines
from skgnn_mtl._listed import listed
from skgnn_mtl._overlap import label_overlap
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl._warn import warn
from skgnn_mtl.training import MultiTaskModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Cosines of pairs of tasks with less overlap are noise (arXiv:2604.07848).
_LEAST_OVERLAP = 0.3


def gradient_similarity(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    r"""Compare the gradients of the tasks at a fitted network.

    The gradient :math:`g_t` of a task is that of its mean loss over its labelled rows.
    It is taken with respect to all shared parameters (those before the heads), in
    evaluation mode.

    Parameters
    ----------
    estimator : fitted estimator
        A multi-task graph network of this package.
    X : GraphArray or array-like of shape (n_samples, n_features)
        Graphs with the columns of fit; invalid graphs are left out.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels in the units of fit, NaN where missing. Columns of a DataFrame may have
        another order.
    random_state : int, RandomState or None, default=None
        Seed of the two random halves of the rows.

    Returns
    -------
    result : Bunch
        With the attributes

        cosines : ndarray of shape (n_tasks, n_tasks)
            :math:`g_s^\top g_t / (d_s d_t)`; tasks conflict below zero.
        norms : ndarray of shape (n_tasks,)
            :math:`d_t = \|g_t\|`, for losses of standardised targets.
        magnitudes : ndarray of shape (n_tasks, n_tasks)
            :math:`2 d_s d_t / (d_s^2 + d_t^2)`, 1 for gradients of equal length.
        overlap : ndarray of shape (n_tasks, n_tasks)
            Share of the rows with both labels among the rows with at least one.
        reliability : ndarray of shape (n_tasks,)
            Cosine between the gradients of a task on two random halves of the rows.
            Cosines of a task with a reliability far below 1 are uncertain.
        task_names : list of str
            Names of the tasks.

        Entries of a task without labels are NaN.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If its network does not have linear heads.
    ValueError
        If X or y do not fit the estimator, if fewer than two rows have a label, or if
        all shared parameters are frozen.

    Warns
    -----
    UserWarning
        If pairs of tasks have an overlap below 0.3. Their cosines hardly tell whether
        one task helps the other [2]_; ``suggest_task_groups`` of ``model_selection``
        measures it.

    See Also
    --------
    GradientSimilarityDisplay : Draws the cosines.
    skgnn_mtl.weighting.GramianWeighting : Methods that act on such gradients.

    References
    ----------
    .. [1] T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
    .. [2] arXiv:2604.07848 (2026).

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.inspection import gradient_similarity
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 0], -X[:, 1]])
    >>> model = MultiTaskGNNRegressor(max_epochs=1, random_state=0).fit(X, y)
    >>> result = gradient_similarity(model, X, y, random_state=0)
    >>> result.cosines.shape, result.overlap[0, 1].item()
    ((3, 3), 1.0)
    """
    result = _similarity(estimator, X, y, random_state)
    _warn_of_little_overlap(result.overlap, result.task_names)
    return result


def _similarity(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    random_state: int | np.random.RandomState | None,
) -> Bunch:
    check_is_fitted(estimator)
    if not isinstance(estimator.module_, MultiTaskModel):
        raise TypeError(
            "gradient_similarity needs a network with linear heads, which "
            f"{type(estimator).__name__} does not have; use a MultiTaskGNNRegressor."
        )
    seed = check_random_state(random_state).randint(MAX_SEED)

    def half(k: int, labelled: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(labelled.any(axis=1))
        if len(rows) < 2:
            raise ValueError(
                "gradient_similarity compares two halves of the labelled rows, so that "
                f"X needs at least 2 valid graphs with a label, but has {len(rows)}."
            )
        return np.array_split(np.random.RandomState(seed).permutation(rows), 2)[k]

    trained = {n for n, p in estimator.module_.named_parameters() if p.requires_grad}
    if not estimator.module_.shared_parameters():
        raise ValueError("All shared parameters are frozen: tasks have no gradients.")
    gradients, masses, labelled = [], [], []
    for k in range(2):
        problem = estimator.task_problem(X, y, rows=partial(half, k))
        shared = problem.block("shared").block(lambda name: name in trained)
        gradients.append(shared.gradients()[1].double().cpu().numpy())
        masses.append(shared.masses.sum(dim=0).numpy())
        labelled.append(problem.info["labelled"])
    names = list(estimator.task_names_)
    overlap = label_overlap(np.concatenate(labelled))
    (J_a, J_b), (mass_a, mass_b) = gradients, masses
    mass = mass_a + mass_b
    # Silent, because entries of tasks without labels are NaN on purpose.
    with np.errstate(all="ignore"):
        J = (mass_a[:, None] * J_a + mass_b[:, None] * J_b) / mass[:, None]
        norms = np.linalg.norm(J, axis=1)
        squares = norms[:, None] ** 2 + norms**2
        lengths = np.linalg.norm(J_a, axis=1) * np.linalg.norm(J_b, axis=1)
        return Bunch(
            cosines=np.clip(cosines(J @ J.T, np.outer(norms, norms)), -1.0, 1.0),
            norms=norms,
            magnitudes=2.0 * np.outer(norms, norms) / squares,
            overlap=overlap,
            reliability=np.clip(cosines((J_a * J_b).sum(axis=1), lengths), -1.0, 1.0),
            task_names=names,
        )


def _warn_of_little_overlap(overlap: np.ndarray, names: Sequence[str]) -> None:
    # NaN for a task without labels, which is no matter of the overlap.
    pairs = np.argwhere(np.triu(overlap < _LEAST_OVERLAP, k=1))
    if len(pairs):
        shown = listed([f"{names[s]} and {names[t]}" for s, t in pairs])
        least = f"{100 * _LEAST_OVERLAP:.0f} %"
        warn(
            f"{len(pairs)} pair(s) of tasks share less than {least} of their rows: "
            f"{shown}. Their cosines hardly tell whether one task helps the other; "
            "suggest_task_groups of model_selection measures it."
        )


class GradientSimilarityDisplay:
    """Draw cosines between the gradients of tasks, with overlap and reliability.

    The upper triangle has the cosines, and the lower triangle has the overlap of the
    labels. The diagonal has the reliability: the cosine between the gradients of a task
    on two halves of the rows. Cosines of pairs with little overlap are grey.

    Parameters
    ----------
    cosines : ndarray of shape (n_tasks, n_tasks)
        Cosines between gradients.
    overlap : ndarray of shape (n_tasks, n_tasks)
        Share of the rows with both labels among the rows with at least one.
    reliability : ndarray of shape (n_tasks,)
        Cosine between the gradients on two halves of the rows.
    task_names : sequence of str, optional
        Names of the tasks.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture, after :meth:`plot`.
    figure_ : matplotlib Figure
        Figure of the axes, after :meth:`plot`.

    See Also
    --------
    gradient_similarity : Computes the numbers.

    References
    ----------
    .. [1] T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from skgnn_mtl.inspection import GradientSimilarityDisplay
    >>> display = GradientSimilarityDisplay(
    ...     cosines=np.array([[1.0, -0.4], [-0.4, 1.0]]),
    ...     overlap=np.array([[1.0, 0.5], [0.5, 1.0]]),
    ...     reliability=np.array([0.9, 0.8]),
    ...     task_names=["solubility", "clearance"],
    ... )
    >>> display.plot().ax_.get_title()
    'Similarity of gradients'
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        cosines: np.ndarray,
        overlap: np.ndarray,
        reliability: np.ndarray,
        *,
        task_names: Sequence[str] | None = None,
    ) -> None:
        self.cosines = cosines
        self.overlap = overlap
        self.reliability = reliability
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        random_state: int | np.random.RandomState | None = None,
        ax: Axes | None = None,
        min_overlap: float = _LEAST_OVERLAP,
    ) -> Self:
        """Compute the similarities and draw them.

        Parameters
        ----------
        estimator : fitted estimator
            A multi-task graph network of this package.
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        random_state : int, RandomState or None, default=None
            Seed of the two random halves of the rows.
        ax : matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.
        min_overlap : float, default=0.3
            Cosines of pairs with less overlap are grey.

        Returns
        -------
        display : GradientSimilarityDisplay
            The drawn display.
        """
        # Without the warning, because the picture marks cosines of little overlap.
        result = _similarity(estimator, X, y, random_state)
        display = cls(
            result.cosines,
            result.overlap,
            result.reliability,
            task_names=result.task_names,
        )
        return display.plot(ax=ax, min_overlap=min_overlap)

    def plot(
        self, ax: Axes | None = None, *, min_overlap: float = _LEAST_OVERLAP
    ) -> Self:
        """Draw both triangles and the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw into; by default those of a new figure.
        min_overlap : float, default=0.3
            Cosines of pairs with less overlap are grey.

        Returns
        -------
        display : GradientSimilarityDisplay
            The display itself.
        """
        import matplotlib.pyplot as plt
        from matplotlib.patches import Rectangle

        n = len(self.cosines)
        if ax is None:
            size = 2.6 + 0.62 * n
            _, ax = plt.subplots(figsize=(size + 1.6, size), layout="constrained")
        names = self.task_names or [f"task_{t}" for t in range(n)]
        above = np.triu(np.ones((n, n), dtype=bool), k=1)
        cosines = np.where(above, self.cosines, np.nan)
        np.fill_diagonal(cosines, self.reliability)
        overlap = np.where(above.T, self.overlap, np.nan)
        weak = above & ~(np.asarray(self.overlap) >= min_overlap)
        shown = np.where(weak, np.nan, cosines)
        colours = ax.imshow(shown, cmap="RdBu", vmin=-1.0, vmax=1.0)
        shares = ax.imshow(overlap, cmap="Greens", vmin=0.0, vmax=1.0)
        for i, j in np.argwhere(weak):
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, color="0.9", linewidth=0))
        self._annotate(ax, np.where(above.T, overlap, cosines), weak)
        for k in range(n):
            ax.add_patch(
                Rectangle(
                    (k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="0.3", linewidth=1.2
                )
            )
        ax.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(n), names)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title("Similarity of gradients")
        bar = ax.figure.colorbar(colours, ax=ax, shrink=0.75, pad=0.02)
        bar.set_label("cosine (above) and reliability (diagonal)")
        bar = ax.figure.colorbar(shares, ax=ax, shrink=0.75, pad=0.02)
        bar.set_label("overlap of labels (below)")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @staticmethod
    def _annotate(ax: Axes, values: np.ndarray, weak: np.ndarray) -> None:
        for (i, j), value in np.ndenumerate(values):
            if np.isnan(value):
                text = "?"
            else:
                text = f"{value:.0%}" if i > j else f"{value:.2f}"
            dark = not weak[i, j] and abs(np.nan_to_num(value)) > 0.6
            colour = "white" if dark else "0.55" if weak[i, j] else "black"
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
