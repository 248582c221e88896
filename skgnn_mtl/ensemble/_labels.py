"""Labels as members of an ensemble are given them: transformed, with bounds or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from skgnn_mtl._pipelines import last_step


@dataclass(frozen=True)
class MemberLabels:
    """The labels of a fit.

    Parameters
    ----------
    given : array-like of shape (n,) or (n, t)
        What the user passed.
    table : ndarray of shape (n, t)
        What is learned, NaN where missing. Complex if some labels are bounds: plus i
        for a lower bound, minus i for an upper one.
    counted : ndarray of bool of shape (n, 1)
        Rows of positive weight.
    names : sequence of str of length t
        Names of the tasks.
    one_dimensional : bool
        Whether the user passed one dimension.
    changed : bool
        Whether members need others than the user passed.
    """

    given: Any
    table: np.ndarray
    counted: np.ndarray
    names: Sequence[str]
    one_dimensional: bool
    changed: bool

    @property
    def numbers(self) -> np.ndarray:
        """Counted labels (n, t), a bound as its number."""
        return np.where(self.counted, self.table.real, np.nan)

    @property
    def exact(self) -> np.ndarray:
        """Counted labels (n, t) without bounds, which do not have an error."""
        return np.where(self.table.imag == 0, self.numbers, np.nan)

    def cells(self, member: Any) -> np.ndarray:
        """Give the labels (n, t) that a member can read, bounds as text or numbers."""
        if not (np.iscomplexobj(self.table) and knows_bounds(member)):
            return self.table.real
        cells = self.table.real.astype(object)
        for row, task in np.argwhere(self.table.imag).tolist():
            sign = ">" if self.table.imag[row, task] > 0 else "<"
            # All digits, because the number is read again.
            cells[row, task] = f"{sign}{cells[row, task]!r}"
        return cells

    def of(self, member: Any) -> Any:
        """Give the labels of all rows to a member, as the user passed them if it can.

        Parameters
        ----------
        member : estimator
            Not fitted.

        Returns
        -------
        y : array-like of shape (n,) or (n, t)
            In the dimensions of what the user passed.
        """
        if not self.changed:
            return self.given
        cells = self.cells(member)
        if self.one_dimensional:
            return pd.Series(cells[:, 0], name=self.names[0])
        return pd.DataFrame(cells, columns=list(self.names))


def knows_bounds(member: Any) -> bool:
    """Tell whether an estimator, or the last step of a pipeline, reads bounds."""
    known: bool = getattr(last_step(member), "censored", "raise") != "raise"
    return known


def with_bounds(member: Any, censored: str) -> Any:
    """Let a member learn bounds, if the ensemble is to, and the member can.

    Parameters
    ----------
    member : estimator
        Not fitted; it is not changed.
    censored : {"raise", "drop", "bound"}
        The parameter of the ensemble.

    Returns
    -------
    member : estimator
        With ``censored="bound"`` a clone, whose parameters of this name are set at any
        depth; those that the user has set stay.
    """
    if censored != "bound":
        return member
    known = member.get_params(deep=True).items()
    names = [k for k, v in known if k.split("__")[-1] == "censored" and v == "raise"]
    if not names:  # what is frozen takes no parameters at all
        return member
    return clone(member).set_params(**dict.fromkeys(names, "bound"))
