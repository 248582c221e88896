"""How similar the gradients of the tasks are, and how far that can be trusted."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl.curvature import label_overlap
from skgnn_mtl.estimators._inputs import in_task_order, read_graphs
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.training import MultiTaskModel, dataset_jacobian


def gradient_similarity(estimator, X, y, *, random_state=None) -> Bunch:
    r"""Compare the tasks' gradients at a fitted network.

    The gradient :math:`g_t` of a task is that of its mean loss over its labelled rows,
    with respect to all parameters in front of the heads, in evaluation mode.

    Parameters
    ----------
    estimator : fitted estimator
        A multi-task graph network of this package.
    X : GraphArray or array-like of shape (n_samples, n_features)
        Graphs with the columns of fit; invalid ones are left out.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels in the units of fit, NaN where missing; columns of a DataFrame may have
        another order.
    random_state : int, RandomState or None, default=None
        Chooses the two halves of the rows.

    Returns
    -------
    result : Bunch
        With the attributes

        cosines : ndarray of shape (n_tasks, n_tasks)
            :math:`g_s^\top g_t / (d_s d_t)`; below zero the tasks conflict.
        norms : ndarray of shape (n_tasks,)
            :math:`d_t = \|g_t\|`, of losses of standardised targets.
        magnitudes : ndarray of shape (n_tasks, n_tasks)
            :math:`2 d_s d_t / (d_s^2 + d_t^2)`, 1 for gradients of equal length.
        overlap : ndarray of shape (n_tasks, n_tasks)
            Share of the rows with both labels among those with either.
        reliability : ndarray of shape (n_tasks,)
            Cosine between the gradients of a task on two random halves of the rows.
            A cosine with another task means little where this is far below 1.
        task_names : list of str
            Names of the tasks.

        Entries that cannot be known, of a task without labels, are NaN.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If its network has no linear heads.
    ValueError
        If X or y do not fit the estimator, or all shared parameters are frozen.

    References
    ----------
    .. [1] T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.

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
    check_is_fitted(estimator)
    if not isinstance(estimator.module_, MultiTaskModel):
        raise TypeError(
            "gradient_similarity compares gradients in front of linear heads, which "
            f"{type(estimator).__name__} has not: use a MultiTaskGNNRegressor."
        )
    graphs = read_graphs(estimator, X, reset=False)
    y = in_task_order(y, estimator.task_names_)
    values, _ = estimator._read_labels(graphs, y, None, True, None)
    table = values.reshape(len(values), -1)
    if table.shape[1] != estimator.n_tasks_:
        raise ValueError(
            f"y has {table.shape[1]} columns, but the estimator was fitted with the "
            f"{estimator.n_tasks_} tasks {estimator.task_names_}."
        )
    labelled = np.isfinite(table) & graphs.valid[:, None]
    rows = np.flatnonzero(labelled.any(axis=1))
    order = check_random_state(random_state).permutation(rows)
    targets = estimator._encode_targets(table)
    weights = estimator._weigh_classes(table, labelled.astype(float))
    parts = [
        GraphDataset(graphs[half], targets[half], weights[half])
        for half in np.array_split(order, 2)
    ]
    (J_a, mass_a), (J_b, mass_b) = _jacobians(estimator, parts)
    mass = mass_a + mass_b
    with np.errstate(all="ignore"):
        J = (mass_a[:, None] * J_a + mass_b[:, None] * J_b) / mass[:, None]
        norms = np.linalg.norm(J, axis=1)
        squares = norms[:, None] ** 2 + norms**2
        lengths = np.linalg.norm(J_a, axis=1) * np.linalg.norm(J_b, axis=1)
        return Bunch(
            cosines=np.clip(J @ J.T / np.outer(norms, norms), -1.0, 1.0),
            norms=norms,
            magnitudes=2.0 * np.outer(norms, norms) / squares,
            overlap=label_overlap(labelled),
            reliability=np.clip((J_a * J_b).sum(axis=1) / lengths, -1.0, 1.0),
            task_names=list(estimator.task_names_),
        )


def _jacobians(estimator, parts: list[GraphDataset]) -> list:
    model = estimator.module_
    parameters = [p for p in model.parameters() if p.requires_grad]
    if len(parameters) == len(list(model.heads.parameters())):
        raise ValueError("All shared parameters are frozen: tasks have no gradients.")
    device = next(model.parameters()).device
    loss = estimator._elementwise_loss()
    model.eval()
    results = []
    for part in parts:
        J, mass = dataset_jacobian(model, part, loss, device=device)
        results.append((J.numpy(), mass.numpy()))
    return results


class GradientSimilarityDisplay:
    """Cosines between the tasks' gradients, beside what they rest on.

    Cosines stand above the diagonal, the overlap of the labels below it, and on it the
    reliability: the cosine between a task's gradients on two halves of the rows.
    Cosines of pairs with little overlap are greyed out.

    Parameters
    ----------
    cosines : ndarray of shape (n_tasks, n_tasks)
        Cosines between gradients.
    overlap : ndarray of shape (n_tasks, n_tasks)
        Share of the rows with both labels among those with either.
    reliability : ndarray of shape (n_tasks,)
        Cosine between the gradients of two halves of the rows.
    task_names : sequence of str, optional
        Names of the tasks.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that contains them.

    See Also
    --------
    gradient_similarity : The numbers.

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

    def __init__(self, cosines, overlap, reliability, *, task_names=None) -> None:
        self.cosines = cosines
        self.overlap = overlap
        self.reliability = reliability
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, random_state=None, ax=None, min_overlap=0.3
    ):
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
            Chooses the two halves of the rows.
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given.
        min_overlap : float, default=0.3
            Cosines of pairs with less overlap are greyed out.

        Returns
        -------
        display : GradientSimilarityDisplay
            The drawn display.
        """
        result = gradient_similarity(estimator, X, y, random_state=random_state)
        display = cls(
            result.cosines,
            result.overlap,
            result.reliability,
            task_names=result.task_names,
        )
        return display.plot(ax=ax, min_overlap=min_overlap)

    def plot(self, ax=None, *, min_overlap=0.3):
        """Draw both triangles.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given.
        min_overlap : float, default=0.3
            Cosines of pairs with less overlap are greyed out.

        Returns
        -------
        display : GradientSimilarityDisplay
            The display itself.
        """
        import matplotlib.pyplot as plt

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
            ax.add_patch(
                plt.Rectangle((j - 0.5, i - 0.5), 1, 1, color="0.9", linewidth=0)
            )
        self._annotate(ax, np.where(above.T, overlap, cosines), weak)
        for k in range(n):
            ax.add_patch(
                plt.Rectangle(
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
    def _annotate(ax, values: np.ndarray, weak: np.ndarray) -> None:
        for (i, j), value in np.ndenumerate(values):
            if np.isnan(value):
                text = "?"
            else:
                text = f"{value:.0%}" if i > j else f"{value:.2f}"
            dark = not weak[i, j] and abs(np.nan_to_num(value)) > 0.6
            colour = "white" if dark else "0.55" if weak[i, j] else "black"
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
