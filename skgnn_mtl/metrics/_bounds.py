"""Text that is a bound, such as ">100", in a table of labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_SIGNS = {">": 1, ">=": 1, ">>": 1, "≥": 1, "<": -1, "<=": -1, "<<": -1, "≤": -1}
# Digits alone, because ">inf" or ">1_000" is a mistake.
_BOUND = re.compile(
    r"\s*(>>|>=|>|≥|<<|<=|<|≤)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*",
    re.ASCII,
)


def take_bounds(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace bounds by their numbers.

    Parameters
    ----------
    cells : ndarray of any dtype
        Labels.

    Returns
    -------
    cells : ndarray of the same shape
        Without the signs of bounds; the other entries are as they were.
    signs : ndarray of int8 of the same shape
        1 for a lower bound (">5"), -1 for an upper bound ("<5"), 0 elsewhere.
    """
    signs = np.zeros(cells.shape, dtype=np.int8)
    if cells.dtype.kind not in "OUT":  # because other arrays cannot hold text
        return cells, signs
    cells = cells.astype(object)
    for place in np.ndindex(cells.shape):
        entry: Any = cells[place]
        match = _BOUND.fullmatch(entry) if isinstance(entry, str) else None
        if match:
            signs[place], cells[place] = _SIGNS[match[1]], float(match[2])
    return cells, signs
