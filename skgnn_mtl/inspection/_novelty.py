"""How far molecules are from those that a network was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skgnn_mtl._component import is_count
from skgnn_mtl.metrics._scorers import with_method


def novelty(
    estimator: Any, X: Any, X_train: Any, *, n_neighbors: int = 5
) -> np.ndarray:
    r"""Measure the distance of graphs to the training rows, in a network's embedding.

    .. math::
        \nu(x) = \frac{d_k(x)}{\mathrm{median}_j\, d_k^{-j}(x_j)}, \qquad
        d_k(x) = \frac1k \sum_{i \in N_k(x)} |e(x) - e(x_i)|

    with the embedding e of the network, the k nearest training rows :math:`N_k(x)`, and
    over the training rows j their own distances without row j itself.

    Parameters
    ----------
    estimator : fitted estimator, Pipeline or search
        It, the last step of the pipeline or the best of the search has ``embed``.
    X : GraphArray or array-like of shape (n_samples, ...)
        Inputs of `estimator`.
    X_train : GraphArray or array-like of shape (n_train, ...)
        Rows that the estimator was trained on, because it does not keep them.
    n_neighbors : int, default=5
        Number k of nearest training rows.

    Returns
    -------
    novelty : ndarray of float64 of shape (n_samples,)
        At least 0; 1 is as far as a typical training row is from the others. NaN for an
        invalid graph. A row of `X_train` itself is near 0, also by its own distance.

    Raises
    ------
    TypeError
        If the estimator does not have ``embed``.
    ValueError
        If `n_neighbors` is not a positive integer below the number of valid training
        rows, or if more than half of these have so many equals that their typical
        distance is 0.

    See Also
    --------
    CalibrationDisplay : Draws coverage and widths.

    Notes
    -----
    A large value warns that a prediction is an extrapolation. A small one promises
    nothing: the network may be wrong near its training rows, too, and it places a
    molecule by what it has learned. The user guide has measured rank correlations with
    the error.

    References
    ----------
    .. [1] J. P. Janet, C. Duan, T. Yang, A. Nandy, H. J. Kulik, "A quantitative
       uncertainty metric controls error in neural network-driven chemical discovery",
       Chem. Sci. 10, 7913 (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.inspection import novelty
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> model = MultiTaskGNNRegressor(max_epochs=2, random_state=0).fit(X, X)
    >>> near, far = novelty(model, [[0.0, 0.0], [9.0, 9.0]], X)
    >>> near < 2 < far
    np.True_
    """
    train = _embedded(estimator, X_train)
    train = train[~np.isnan(train).any(axis=1)]
    if not is_count(n_neighbors) or n_neighbors >= len(train):
        raise ValueError(
            f"n_neighbors must be between 1 and {len(train) - 1}, a whole number, "
            f"because X_train has {len(train)} valid row(s), but is {n_neighbors!r}."
        )
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(train)
    # Without an argument each row is left out of its own neighbours.
    typical = np.median(neighbors.kneighbors()[0].mean(axis=1))
    if not typical > 0:
        raise ValueError(
            f"More than half of the rows of X_train have {n_neighbors} equal rows, so "
            "that their typical distance is 0: leave repeated rows out."
        )
    rows = _embedded(estimator, X)
    valid = ~np.isnan(rows).any(axis=1)
    found = np.full(len(rows), np.nan)
    if valid.any():
        found[valid] = neighbors.kneighbors(rows[valid])[0].mean(axis=1) / typical
    return found


def _embedded(estimator: Any, X: Any) -> np.ndarray:
    """Embed graphs (n, width) in float64; NaN rows for invalid ones."""
    last, X = with_method(estimator, X, "embed")
    return np.asarray(last.embed(X), dtype=np.float64)
