"""Conformal quantiles of one task, by crepes.

It is the only file that knows crepes, and takes and gives arrays without gaps in the
labels.
"""

from __future__ import annotations

import warnings
from math import ceil
from types import ModuleType

import numpy as np

# crepes rounds (1 - coverage) * (n + 1) down, and compares p-values with
# 1 - coverage. In floats, 9 labels would be too few for 0.9. A step that is larger than
# the rounding, and smaller than any difference of coverages, gives the exact rank.
_STEP = 1e-12


def least_labels(coverage: float) -> int:
    r"""Count the calibration labels that a coverage needs.

    The interval ends at the error of rank :math:`\lceil (n + 1) c \rceil` of :math:`n`,
    which must not be larger than :math:`n`.

    Parameters
    ----------
    coverage : float
        Between 0 and 1.

    Returns
    -------
    n : int
        9 for 0.9, and 19 for 0.95.
    """
    return ceil(coverage / (1 - coverage) - 1e-9)


def intervals(
    residuals: np.ndarray,
    widths: np.ndarray | None,
    categories: np.ndarray | None,
    *,
    mean: np.ndarray,
    std: np.ndarray | None,
    new_categories: np.ndarray | None,
    coverage: float,
) -> np.ndarray:
    """Make intervals around predictions.

    Parameters
    ----------
    residuals : ndarray of shape (n_calibration,)
        Labels minus predictions.
    widths : ndarray of shape (n_calibration,) or None
        Positive deviations, which the residuals are divided by.
    categories : ndarray of str of shape (n_calibration,) or None
        Categories with quantiles of their own.
    mean : ndarray of shape (n,)
        Predictions, NaN for an invalid row.
    std : ndarray of shape (n,) or None
        Their deviations.
    new_categories : ndarray of str of shape (n,) or None
        Their categories.
    coverage : float
        Between 0 and 1.

    Returns
    -------
    ends : ndarray of shape (n, 2)
        Lower and upper ends, NaN for an invalid row. Infinite for a category without
        residuals.
    """
    model = _crepes().ConformalRegressor()
    model.fit(residuals, sigmas=widths, bins=categories)
    ends: np.ndarray = model.predict_int(
        mean, sigmas=std, bins=new_categories, confidence=coverage - _STEP
    )
    if categories is not None and new_categories is not None:
        # crepes leaves zeros there.
        unknown = ~np.isin(new_categories, categories) & ~np.isnan(mean)
        ends[unknown] = [-np.inf, np.inf]
        ends[np.isnan(mean)] = np.nan
    return ends


def label_sets(
    scores: np.ndarray,
    classes: np.ndarray | None,
    *,
    new_scores: np.ndarray,
    coverage: float,
) -> np.ndarray:
    """Choose the classes that conform to the calibration labels.

    Parameters
    ----------
    scores : ndarray of shape (n_calibration,)
        1 minus the predicted probability of the true class.
    classes : ndarray of shape (n_calibration,) or None
        Positions of the true classes, each of which then has its own quantile.
    new_scores : ndarray of shape (n, c)
        1 minus the predicted probability of each class.
    coverage : float
        Between 0 and 1.

    Returns
    -------
    sets : ndarray of bool of shape (n, c)
        Whether a class is in the set of a row.
    """
    model = _crepes().ConformalClassifier()
    model.fit(scores, bins=classes)
    columns = [
        model.predict_set(
            column,
            bins=None if classes is None else np.full(len(column), float(c)),
            confidence=coverage - _STEP,
            smoothing=False,
        )
        for c, column in enumerate(new_scores.T)
    ]
    return np.column_stack(columns).astype(bool)


def _crepes() -> ModuleType:
    # Its import changes the filters of warnings of the whole process.
    with warnings.catch_warnings():
        import crepes
    module: ModuleType = crepes
    return module
