"""Labels that are only bounds, such as ">100", beside numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ._bounds import take_bounds
from ._tables import as_cells, as_numbers, column_names, made_up_names


def read_censored(y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Read labels some of which are bounds, such as ``">100"`` or ``"<= 0.77"``.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Numbers, also as text, and bounds: one of ``> >= >> ≥ < <= << ≤`` before a
        number. NaN or None = unlabelled.

    Returns
    -------
    values : ndarray of float64, of the shape of `y`
        The numbers; of a bound, the number after its sign. NaN where unlabelled.
    signs : ndarray of int8, of the shape of `y`
        1 where the label is at least the value, -1 where it is at most the value, 0
        where it is the value or missing. A strict bound is read as the other kind.

    Raises
    ------
    ValueError
        If an entry is neither, such as "~5", "1-2" or ">100 nM". The message names its
        row and its task.

    See Also
    --------
    skgnn_mtl.MultiTaskGNNRegressor : Its ``censored`` says what a fit does with bounds.

    Examples
    --------
    >>> from skgnn_mtl.metrics import read_censored
    >>> values, signs = read_censored([5.2, ">100", "<= 0.77", None])
    >>> values
    array([  5.2 , 100.  ,   0.77,    nan])
    >>> signs
    array([ 0,  1, -1,  0], dtype=int8)
    """
    cells = as_cells(y, "y")
    table = cells.reshape(len(cells), -1)
    names = column_names(y) or made_up_names(table.shape[1])
    numbers, signs = take_bounds(table)
    values = as_numbers(numbers, names, "y")
    return values.reshape(cells.shape), signs.reshape(cells.shape)
