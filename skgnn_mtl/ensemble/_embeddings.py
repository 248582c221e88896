"""Embeddings of training rows by networks that were fitted without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from skgnn_mtl._pipelines import at_last_step, last_step
from skgnn_mtl.model_selection._fitting import fit_member, take


def require_embedding(network: Any) -> None:
    """Refuse a network without ``embed``, before the time of its fit.

    Parameters
    ----------
    network : estimator or Pipeline
        Need not be fitted.

    Raises
    ------
    TypeError
        If neither it nor its last step has ``embed``.
    """
    last = last_step(network)
    if not hasattr(last, "embed"):
        raise TypeError(
            "embeddings=True needs a network with embed, but "
            f"{type(last).__name__} does not have it; set embeddings=False."
        )


def embed(network: Any, X: Any) -> np.ndarray:
    """Embed by a fitted network, or by the last step of a pipeline.

    Parameters
    ----------
    network : estimator or Pipeline
        Fitted; it, or its last step, has ``embed``.
    X : array-like of shape (n,)
        Inputs.

    Returns
    -------
    vectors : ndarray of float64 of shape (n, width)
        NaN for an invalid row.
    """
    X, last = at_last_step(network, X)
    return np.asarray(last.embed(X), dtype=np.float64)


def aligned(
    vectors: np.ndarray, reference: np.ndarray, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Map vectors of test rows into the space of another network.

    The spaces of two networks are not the same, even if they have the same architecture
    and data. A ridge regression on the rows that both were trained on maps one to the
    other.

    Parameters
    ----------
    vectors : ndarray of shape (n, width)
        Vectors by the network that was fitted without the test rows.
    reference : ndarray of shape (n, width)
        Vectors by the network of all rows.
    train, test : ndarray of int
        Rows of both networks, and rows of the second alone.

    Returns
    -------
    mapped : ndarray of shape (n_test, width)
        Vectors of the test rows as the second network would have them; NaN for an
        invalid row.
    """
    mapped = np.full((len(test), reference.shape[1]), np.nan)
    # Ridge refuses NaN, so that invalid rows are left out and stay NaN.
    known = train[np.isfinite(vectors[train]).all(axis=1)]
    wanted = np.isfinite(vectors[test]).all(axis=1)
    center = vectors[known].mean(axis=0)
    # One scale for all columns, because those of tiny spread must not be enlarged. It
    # is there at all, because the penalty depends on units.
    scale = vectors[known].std()
    scale = scale if scale > 0 else 1.0
    ridge = Ridge().fit((vectors[known] - center) / scale, reference[known])
    mapped[wanted] = ridge.predict((vectors[test][wanted] - center) / scale)
    return mapped


def fit_and_embed(
    network: Any,
    X: Any,
    y: Any,
    fold: tuple[np.ndarray, np.ndarray],
    arguments: dict[str, Any],
    reference: np.ndarray,
    outputs: Callable[[Any, Any, str], np.ndarray],
) -> np.ndarray:
    """Embed the test rows of a fold, in the space of a reference, and predict them.

    Parameters
    ----------
    network : estimator or Pipeline
        Is fitted in place on the training rows.
    X : array-like of shape (n,)
        All inputs.
    y : array-like of shape (n,) or (n, t)
        All labels.
    fold : tuple of two ndarrays of int
        Training and test rows.
    arguments : dict
        Further arguments of ``fit``, for all n rows.
    reference : ndarray of shape (n, width)
        Vectors by the network of all rows.
    outputs : callable
        Predicts by a fitted network, some rows of X and its name.

    Returns
    -------
    columns : ndarray of shape (n_test, width + t)
        Vectors, and beside them what ``outputs`` gives.
    """
    train, test = fold
    name = "network of a fold"
    fit_member(network, X, take(y, train), train, arguments, name)
    vectors = aligned(embed(network, X), reference, train, test)
    return np.hstack([vectors, outputs(network, take(X, test), name)])
