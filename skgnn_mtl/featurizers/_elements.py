"""Element tables: from an atomic number to the features of a node."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from importlib import resources
from os import PathLike

import numpy as np

Table = tuple[tuple[float, ...], ...]

# Properties that spread over decades are placed on a logarithmic axis.
_CONTINUOUS = {
    "electronegativity": False,
    "covalent_radius": False,
    "valence_electrons": False,
    "ionization_energy": True,
    "electron_affinity": False,
    "molar_volume": True,
}
_N_KNOTS = 10
# Units: Å, eV and cm3/mol; the electronegativity is Pauling's.
NUMERIC_PROPERTIES = ("group", "period", *_CONTINUOUS)


@lru_cache(maxsize=1)
def default_table() -> Table:
    """Compute features of the elements 1 to 103 from ``data/elements.csv``.

    Group, period and block are one-hot. Each of the six continuous properties is read
    by ten hat functions (linear B-splines) on even knots, which sum to 1 and tell more
    than a bin; where a value is missing they are 0 and a flag behind them is 1.

    Returns
    -------
    table : tuple of tuple of float
        Row Z belongs to the element Z; row 0 is zero.
    """
    rows = _rows_of_elements()
    blocks = [
        _one_hot([int(row["group"]) - 1 for row in rows], 18),
        _one_hot([int(row["period"]) - 1 for row in rows], 7),
        _one_hot(["spdf".index(row["block"]) for row in rows], 4),
        *(
            _hats([row[name] for row in rows], logarithmic)
            for name, logarithmic in _CONTINUOUS.items()
        ),
    ]
    features = np.concatenate(blocks, axis=1)
    table = np.concatenate([np.zeros((1, features.shape[1])), features])
    return tuple(map(tuple, table.tolist()))


def numeric_properties(last: int) -> np.ndarray:
    """List numbers of the elements, from ``data/elements.csv``.

    Parameters
    ----------
    last : int
        Atomic number of the last row.

    Returns
    -------
    properties : ndarray of float64 of shape (last + 1, n_properties)
        ``NUMERIC_PROPERTIES`` of the element of each row, NaN where one is unknown.
    """
    table = np.full((last + 1, len(NUMERIC_PROPERTIES)), np.nan)
    for row in _rows_of_elements():
        fields = (row[name] for name in NUMERIC_PROPERTIES)
        table[int(row["Z"])] = [float(field) if field else np.nan for field in fields]
    return table


def _rows_of_elements() -> list[dict[str, str]]:
    text = (resources.files(__package__) / "data" / "elements.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _one_hot(codes: list[int], size: int) -> np.ndarray:
    return np.eye(size)[codes]


def _hats(fields: list[str], logarithmic: bool) -> np.ndarray:
    values = np.array([float(field) if field else np.nan for field in fields])
    if logarithmic:
        values = np.log(values)
    low, high = np.nanmin(values), np.nanmax(values)
    place = (values - low) / (high - low) * (_N_KNOTS - 1)
    hats = np.maximum(1 - np.abs(place[:, None] - np.arange(_N_KNOTS)), 0)
    missing = np.isnan(place)[:, None]
    return np.concatenate([np.where(missing, 0.0, hats), missing], axis=1)


def read_table(path: str | PathLike[str]) -> tuple[Table, frozenset[int]]:
    """Read a JSON object of atomic number -> list of numbers.

    Parameters
    ----------
    path : path-like
        The file; the published form is CGCNN's ``atom_init.json``.

    Returns
    -------
    table : tuple of tuple of float
        Row Z belongs to the element Z, zero where the file has none.
    known : frozenset of int
        Atomic numbers that have a row.

    Raises
    ------
    ValueError
        If the file is something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            rows = {
                int(z): [float(x) for x in row] for z, row in json.load(file).items()
            }
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not an element table: a JSON object of atomic number -> list "
            f"of numbers was wanted ({error})."
        ) from error
    widths = {len(row) for row in rows.values()}
    if len(widths) != 1 or min(rows) < 1 or max(rows) > 118 or 0 in widths:
        raise ValueError(
            f"{path} is not an element table: atomic numbers from 1 to 118 and rows of "
            f"one length were wanted, but there are the lengths {sorted(widths)}."
        )
    empty = [0.0] * widths.pop()
    table = tuple(tuple(rows.get(z, empty)) for z in range(max(rows) + 1))
    return table, frozenset(rows)
