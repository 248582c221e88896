"""The record of a training as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd


def history_table(records: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Make one row per epoch of nested records.

    Parameters
    ----------
    records : sequence of dict
        One per epoch; values are numbers, or dicts of these.

    Returns
    -------
    table : DataFrame
        Index ``epoch``; a nested number has the column "outer.inner". NaN where a
        record lacks a column.
    """
    table = pd.DataFrame([dict(_flat(record)) for record in records])
    if "epoch" not in table:
        return pd.DataFrame(index=pd.Index([], name="epoch"))
    return table.set_index("epoch")


def _flat(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
