"""The report: one row per finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["row", "column", "what", "value"]
# Stands for "no row", because a column of numbers has no other gap that sorts.
_NO_ROW = -1


class Report:
    """Findings in a table, in the order in which they are made."""

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []

    def add(self, column: str, what: str, value: Any) -> None:
        """Note something about a column, or about the table if the name is ''.

        Parameters
        ----------
        column : str
            Name of the column.
        what : str
            Kind of the finding.
        value : object
            What was found, and what to do.
        """
        self.add_rows([_NO_ROW], column, what, [value])

    def add_rows(
        self, rows: Sequence[int] | np.ndarray, column: str, what: str, values: Any
    ) -> None:
        """Note something about some rows of a column.

        Parameters
        ----------
        rows : sequence of int
            Positions in the table.
        column : str
            Name of the column.
        what : str
            Kind of the finding.
        values : sequence of object
            One for each row.
        """
        if len(rows):
            values = pd.Series(list(values), dtype=object)
            part = {"row": np.asarray(rows), "column": column, "what": what}
            self._parts.append(pd.DataFrame({**part, "value": values}))

    def frame(self) -> pd.DataFrame:
        """Give all findings: those without a row first, then row by row.

        Returns
        -------
        report : DataFrame
            With the columns row (missing for a column or the table), column, what,
            value.
        """
        found = pd.concat(
            [pd.DataFrame({name: [] for name in COLUMNS}, dtype=object), *self._parts],
            ignore_index=True,
        )
        order = np.argsort(found["row"].to_numpy(dtype=np.int64), kind="stable")
        found = found.iloc[order].reset_index(drop=True)
        rows = found["row"].to_numpy(dtype=np.int64)
        found["row"] = pd.array(rows, dtype="Int64")
        found.loc[rows == _NO_ROW, "row"] = pd.NA
        return found
