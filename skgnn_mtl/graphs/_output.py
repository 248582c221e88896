"""Tables that transformers make of graphs, in the container of ``set_output``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

# A private function, because scikit-learn has no public one that reads set_output.
from sklearn.utils._set_output import _get_output_config

from ._array import GraphArray


def with_index(values: np.ndarray, X: Any, transformer: Any) -> np.ndarray:
    """Give numbers of graphs the index of the frame that the graphs come from.

    Parameters
    ----------
    values : ndarray of shape (n, k)
        Numbers of the rows of X.
    X : object
        What the transformer was given.
    transformer : estimator
        Tells by ``set_output`` whether a frame of pandas is wanted.

    Returns
    -------
    table : ndarray or DataFrame of shape (n, k)
        A frame without names if the graphs have an index and a frame is wanted, else
        the values.
    """
    index = X.index if isinstance(X, GraphArray) else None
    wanted = _get_output_config("transform", transformer)["dense"]
    if index is None or wanted != "pandas":
        return values
    # scikit-learn takes the index of frames only, and joins tables by it.
    frame: Any = pd.DataFrame(values, index=index)
    return frame  # type: ignore[no-any-return]
