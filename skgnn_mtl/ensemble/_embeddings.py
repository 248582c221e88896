"""Embeddings of training rows by networks that were fitted without them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import Ridge


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
    # To the innermost step, because pipelines may be nested.
    last = network
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
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
    if hasattr(network, "steps"):
        # Not with one step, because an empty pipeline does not transform.
        if len(network.steps) > 1:
            X = network[:-1].transform(X)
        return embed(network[-1], X)
    return np.asarray(network.embed(X), dtype=np.float64)


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
