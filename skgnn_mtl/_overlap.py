"""Labels that tasks have in common."""

from __future__ import annotations

import numpy as np


def label_overlap(labelled: np.ndarray) -> np.ndarray:
    """Compute the share of rows with both labels among those with either.

    Parameters
    ----------
    labelled : ndarray of bool, (n, t)
        Mask of the labels.

    Returns
    -------
    overlap : ndarray of shape (t, t)
        In [0, 1]; NaN for a task without labels.
    """
    return overlap_of_counts(labelled.T.astype(np.float64) @ labelled)


def overlap_of_counts(common: np.ndarray) -> np.ndarray:
    """Compute the same share from the numbers of rows with both labels.

    Parameters
    ----------
    common : ndarray of shape (t, t)
        Rows with both labels, which may be summed over batches. The diagonal has the
        rows of each task.

    Returns
    -------
    overlap : ndarray of shape (t, t)
        In [0, 1]; NaN for a task without labels.
    """
    counts = np.diag(common)
    counts = np.where(counts > 0, counts, np.nan)
    overlap: np.ndarray = common / (counts[:, None] + counts - common)
    return overlap
