"""The column of molecules: which rows are readable, salts, and equal molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ._report import Report


@dataclass
class Molecules:
    """A column of molecules.

    Parameters
    ----------
    texts : ndarray of object of shape (n,) or (n, k)
        As they are written; None where missing.
    readable : ndarray of bool of shape (n,)
        Which of them are molecules.
    groups : ndarray of int of shape (n,)
        Number of each molecule, in the order of first appearance; -1 where there is
        none.
    """

    texts: np.ndarray
    readable: np.ndarray
    groups: np.ndarray


def readable_texts(texts: list[Any]) -> tuple[list[bool], str]:
    """Tell which texts are SMILES, and what the others look like.

    Parameters
    ----------
    texts : list of object
        Cells of a column.

    Returns
    -------
    readable : list of bool
        One answer each.
    looks : str
        A clause such as "it looks like an InChI; ..."; '' if nothing is known.
    """
    # Here, because the room of featurizers takes long to import.
    from skgnn_mtl.featurizers._canonical import canonical_rows
    from skgnn_mtl.featurizers._syntax import notation

    found = canonical_rows(texts)
    looks = (notation(str(text)) for text in texts)
    return [entry is not None for entry in found], next(filter(None, looks), "")


def read_molecules(
    column: pd.Series, report: Report, *, salts: str, n_jobs: int | None
) -> Molecules:
    """Read a column of SMILES.

    Parameters
    ----------
    column : Series of shape (n,)
        The cells.
    report : Report
        Takes missing and unreadable rows, salts and other notations.
    salts : {"keep", "largest"}
        What rows of several components become.
    n_jobs : int or None
        Number of processes.

    Returns
    -------
    molecules : Molecules
        Of the same rows.
    """
    from skgnn_mtl.featurizers._canonical import canonical_rows

    name = str(column.name)
    codes, distinct = pd.factorize(column.astype(object).to_numpy())
    # Each text once, because assays list a molecule many times.
    found = canonical_rows([_text_or_none(text) for text in distinct], n_jobs)
    found.append(None)  # the molecule of code -1, a missing row
    written = np.array(
        [_text_or_none(text) for text in (*distinct, None)], dtype=object
    )
    several = np.array([bool(entry and entry[1]) for entry in found])
    _note_unreadable(codes, written, found, name, report)
    rows = np.flatnonzero(several[codes])
    report.add_rows(rows, name, "salt", [_parts(found[c]) for c in codes[rows]])
    keys = [entry and entry[0] for entry in found]
    if salts == "largest":
        for k in np.flatnonzero(several):
            written[k] = keys[k] = found[k][1]  # type: ignore[index]
    numbers, _ = pd.factorize(np.array(keys, dtype=object)[codes])
    readable = np.array([key is not None for key in keys])
    return Molecules(written[codes], readable[codes], numbers)


def of_rows(parts: Sequence[Molecules]) -> Molecules:
    """Join the columns of rows of several molecules.

    Parameters
    ----------
    parts : sequence of Molecules
        Columns, at least one.

    Returns
    -------
    molecules : Molecules
        ``texts`` of shape (n, k); of rows whose molecules are all readable. Rows of one
        group have equal molecules in the same order.
    """
    texts = np.stack([part.texts for part in parts], axis=1)
    if len(parts) == 1:
        return Molecules(texts, parts[0].readable, parts[0].groups)
    readable = np.all([part.readable for part in parts], axis=0)
    groups = np.stack([part.groups for part in parts], axis=1)
    keys = pd.Series(list(map(tuple, groups.tolist())), dtype=object)
    numbers, _ = pd.factorize(keys.where((groups >= 0).all(axis=1)).to_numpy())
    return Molecules(texts, readable, numbers)


def _text_or_none(text: Any) -> str | None:
    return text if isinstance(text, str) and text.strip() else None


def _parts(entry: Any) -> str:
    whole, largest = entry
    return f"{whole}; its largest component is {largest}"


def _note_unreadable(
    codes: np.ndarray, written: np.ndarray, found: list[Any], name: str, report: Report
) -> None:
    from skgnn_mtl.featurizers._canonical import why_no_molecule
    from skgnn_mtl.featurizers._syntax import notation

    missing = np.array([text is None for text in written])
    rows = np.flatnonzero(missing[codes])
    report.add_rows(rows, name, "missing molecule", [""] * len(rows))
    # What can be read but looks like something else, such as [C][C][O].
    other = {k: notation(text) for k, text in enumerate(written) if text}
    other = {k: clause for k, clause in other.items() if clause}
    odd = np.zeros(len(written), dtype=bool)
    odd[list(other)] = True
    bad = np.array([entry is None for entry in found]) & ~missing & ~odd
    for kind, where in (("other notation", odd), ("unreadable", bad)):
        reason = {
            k: other.get(k) or why_no_molecule(written[k])
            for k in np.flatnonzero(where).tolist()
        }
        rows = np.flatnonzero(where[codes])
        shown = [f"{written[c]!r}: {reason[c]}" for c in codes[rows].tolist()]
        report.add_rows(rows, name, kind, shown)
