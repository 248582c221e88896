"""Columns: what is read from an atom or a bond, and how it becomes a small integer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from ._rows import keep_properties_in_pickles


@dataclass(frozen=True)
class _Column:
    name: str
    getter: str | Callable[[Any], Hashable]
    vocabulary: Iterable[Hashable] | None = None
    outside: int | str = "other"
    n_codes: int | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if callable(self.getter):
            # Only functions see the properties of atoms, which pickles leave out.
            with suppress(ImportError):  # RDKit is asked for at use
                keep_properties_in_pickles()
        if self.vocabulary is None:
            return
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        if len(set(self.words)) < max(len(self.words), 1):
            raise ValueError(
                f"The vocabulary of column {self.name!r} must hold different values, "
                f"at least one, but is {self.vocabulary!r}."
            )
        if not (self.outside in ("other", "nearest") or self._is_code(self.outside)):
            raise ValueError(
                f"outside of column {self.name!r} must be 'other', 'nearest' or a code "
                f"in 0..{self.size - 1}, but is {self.outside!r}."
            )
        needed = len(self.words) + (self.outside == "other")
        if self.size < needed:
            raise ValueError(
                f"Column {self.name!r} has {needed} codes, but n_codes={self.n_codes}."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor: what it prepares is needed in other processes, too.
        return type(self), tuple(getattr(self, f.name) for f in fields(self))

    def _is_code(self, value: Any) -> bool:
        return isinstance(value, int) and 0 <= value < self.size

    @property
    def is_categorical(self) -> bool:
        """Whether the column holds codes rather than floats."""
        return self.vocabulary is not None

    @property
    def words(self) -> tuple[Any, ...]:
        """The vocabulary; empty for a continuous column."""
        return tuple(self.vocabulary or ())

    @property
    def size(self) -> int:
        """Number of codes."""
        if self.n_codes is not None:
            return self.n_codes
        return len(self.words) + (self.outside == "other")

    def code(self, value: Any) -> int:
        """Give the code of one value.

        Parameters
        ----------
        value : hashable
            What the getter returned.

        Returns
        -------
        code : int
            Position in the vocabulary, or the code for values outside of it.
        """
        words = self.words
        if value in words:
            return words.index(value)
        if self.outside == "nearest":
            return min(range(len(words)), key=lambda k: abs(words[k] - value))
        return len(words) if self.outside == "other" else int(self.outside)

    def encode(self, values: np.ndarray | list[Any]) -> np.ndarray:
        """Give codes, or scaled floats, of many values.

        Parameters
        ----------
        values : ndarray or list of length n
            What the getter returned for ``n`` atoms or bonds.

        Returns
        -------
        column : ndarray of shape (n,)
            Codes (uint8, or uint16 above 256 codes); float32 for a continuous column.
        """
        if not self.is_categorical:
            scaled = self.scale * np.asarray(values, dtype=np.float64)
            return scaled.astype(np.float32)
        if isinstance(values, np.ndarray) and values.itemsize == 1:
            return _table(self, values.dtype.str)[values.view(np.uint8)]
        if isinstance(values, np.ndarray):
            values = values.tolist()
        code_of = {value: self.code(value) for value in set(values)}
        codes = map(code_of.__getitem__, values)
        return np.fromiter(codes, np.min_scalar_type(self.size - 1), len(values))


@lru_cache(maxsize=256)
def _table(column: _Column, dtype: str) -> np.ndarray:
    """List the codes of all 256 values of a byte."""
    values = np.arange(256, dtype=np.uint8).view(dtype).tolist()
    dtype_of_codes = np.min_scalar_type(column.size - 1)
    return np.array([column.code(value) for value in values], dtype_of_codes)


class AtomColumn(_Column):
    """One feature of an atom.

    Parameters
    ----------
    name : str
        Name of the column in the schema.
    getter : str or callable
        Name of a method of RDKit's ``Atom`` without arguments, such as
        ``"GetFormalCharge"``, or a function that takes an ``Atom`` and returns a
        number, a string or another hashable value. Named methods are much faster. An
        error of a function is an error of the transformation, for any ``on_error``.
    vocabulary : iterable of hashable, optional
        Values that have a code, their position. RDKit's enumerations equal their
        integers. None makes the column continuous (float32, finite).
    outside : {"other", "nearest"} or int, default="other"
        What becomes of a value outside the vocabulary: one more code at the end, the
        code of the nearest number, or the code given.
    n_codes : int, optional
        Number of codes if it should be larger than the vocabulary demands.
    scale : float, default=1.0
        Factor for the values of a continuous column.

    Raises
    ------
    ValueError
        If the vocabulary is empty or repeats a value, or if a code is out of range.

    See Also
    --------
    BondColumn : The same for bonds.
    SmilesToGraph : Takes a tuple of such columns.

    Examples
    --------
    >>> from skgnn_mtl.featurizers import AtomColumn
    >>> charge = AtomColumn("charge", "GetFormalCharge", (-1, 0, 1))
    >>> [charge.code(value) for value in (-1, 0, 1, 2)]
    [0, 1, 2, 3]
    """


class BondColumn(_Column):
    """One feature of a bond, the same for its two directed edges.

    Parameters
    ----------
    name : str
        Name of the column in the schema.
    getter : str or callable
        Name of a method of RDKit's ``Bond`` without arguments, such as
        ``"GetBondType"``, or a function that takes a ``Bond`` and returns a number, a
        string or another hashable value. Named methods are much faster. An error of a
        function is an error of the transformation, for any ``on_error``.
    vocabulary : iterable of hashable, optional
        Values that have a code, their position. RDKit's enumerations equal their
        integers. None makes the column continuous (float32, finite).
    outside : {"other", "nearest"} or int, default="other"
        What becomes of a value outside the vocabulary: one more code at the end, the
        code of the nearest number, or the code given.
    n_codes : int, optional
        Number of codes if it should be larger than the vocabulary demands.
    scale : float, default=1.0
        Factor for the values of a continuous column.

    Raises
    ------
    ValueError
        If the vocabulary is empty or repeats a value, or if a code is out of range.

    See Also
    --------
    AtomColumn : The same for atoms.

    Examples
    --------
    >>> from skgnn_mtl.featurizers import BondColumn
    >>> in_ring = BondColumn("in_ring", "IsInRing", (False, True), outside=0)
    >>> in_ring.size
    2
    """
