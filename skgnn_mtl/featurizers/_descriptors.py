"""Descriptors: numbers of a whole molecule or crystal, which stand beside its graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, partial
from typing import Any, Protocol

import numpy as np

from ._complaints import RowError
from ._rows import rdkit, refuse_long

# What is computed from a molecule: an error takes the place of the numbers.
Described = np.ndarray | Exception
Function = Callable[[Any], Any]

_LARGEST = float(np.finfo(np.float32).max)
# RDKit's cost grows with the fourth power of the number of atoms for these, and with
# the third power for those.
_MOST_ATOMS_OF_POLYNOMIALS = 500
_MOST_ATOMS_OF_MATRICES = 1000
_SHOWN_LETTERS = 160
_POLYNOMIALS = ("Ipc", "AvgIpc")
_INDICES = (
    *("MaxEStateIndex", "MinEStateIndex"),
    *("MaxAbsEStateIndex", "MinAbsEStateIndex"),
)


class Descriptors(Protocol):
    """What describes a molecule or a crystal."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers."""

    def describe(self, subject: Any) -> Described:
        """Compute the numbers, shape (n_names,), or return the error."""


def within_range(values: Any) -> np.ndarray:
    """Replace what single precision cannot hold.

    Parameters
    ----------
    values : array-like of float
        Any numbers.

    Returns
    -------
    values : ndarray of float64
        The same; NaN in the place of infinities and of larger numbers.
    """
    numbers = np.array(values, dtype=np.float64)
    numbers[~(np.abs(numbers) <= _LARGEST)] = np.nan
    return numbers


def table_of(
    described: Sequence[Described | None],
    rows: Sequence[int] | np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:
    """Put descriptors into the rows of a table.

    Parameters
    ----------
    described : sequence of ndarray, exception or None
        Descriptors of some molecules or crystals.
    rows : sequence of int
        Their rows.
    shape : tuple of int
        Number of rows and of descriptors.

    Returns
    -------
    table : ndarray of float64 of shape (n_rows, n_descriptors)
        NaN in all other rows.

    Raises
    ------
    RowError
        For the first row with an exception.
    """
    table = np.full(shape, np.nan)
    for row, values in sorted(zip(map(int, rows), described, strict=True), key=_row):
        if isinstance(values, Exception):
            raise RowError(
                row,
                "descriptors: the function fails on the value",
                _in_short(values),
            ) from values
        if values is not None:
            table[row] = values
    return table


def _in_short(error: Exception) -> str:
    """Put on one line what C++ says in many."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_SHOWN_LETTERS]


def _row(pair: tuple[int, Any]) -> int:
    return pair[0]


# -- functions of the user ------------------------------------------------------------


class OwnDescriptors:
    """Descriptors of a function.

    Parameters
    ----------
    function : callable
        Maps a subject to a mapping of name -> number, to a sequence of numbers or to
        one number; None and NaN are missing numbers.
    sample : object
        A subject whose result tells the names.
    kind : str
        What the sample is, for messages.
    prepare : callable
        Makes of a molecule or crystal what the function takes, and may change.

    Raises
    ------
    ValueError
        If the function fails on the sample, or gives no number.
    """

    def __init__(
        self, function: Function, sample: Any, kind: str, prepare: Function
    ) -> None:
        self._function, self._prepare = function, prepare
        try:
            result = function(sample)
            self.names = self._names_of(result)
            if not self.names:
                raise ValueError("it gives no number")
            self._read(result)
        except Exception as error:
            raise ValueError(
                f"descriptors: the function must give numbers for {kind}, from which "
                f"their names are taken, but fails: {_in_short(error)}."
            ) from error

    def _names_of(self, result: Any) -> tuple[str, ...]:
        if isinstance(result, Mapping):
            return tuple(map(str, result))
        name = getattr(self._function, "__name__", "<lambda>")
        name = "descriptor" if name == "<lambda>" else name
        if np.ndim(result) == 0:
            return (name,)
        return tuple(f"{name}_{k}" for k in range(len(result)))

    def describe(self, subject: Any) -> Described:
        """Compute the numbers.

        Parameters
        ----------
        subject : object
            A molecule or a crystal, which stays as it is.

        Returns
        -------
        values : ndarray of float64 of shape (n_names,) or exception
            NaN where a number is missing, infinite or too large.
        """
        try:
            return self._read(self._function(self._prepare(subject)))
        except Exception as error:  # raised again with its row
            return error

    def _read(self, result: Any) -> np.ndarray:
        if isinstance(result, Mapping):
            found = {str(name): value for name, value in result.items()}
            if found.keys() != set(self.names):
                names = sorted(found.keys() ^ set(self.names))
                raise ValueError(
                    f"it must give the names {list(self.names)} for all, but differs "
                    f"in {names}"
                )
            values = [found[name] for name in self.names]
        else:
            values = [result] if np.ndim(result) == 0 else list(result)
        if len(values) != len(self.names):
            raise ValueError(
                f"it must give {len(self.names)} numbers for all, but gives "
                f"{len(values)}"
            )
        return within_range([np.nan if v is None else float(v) for v in values])


# -- RDKit ----------------------------------------------------------------------------


class RdkitDescriptors:
    """Descriptors of ``rdkit.Chem.Descriptors``.

    Parameters
    ----------
    names : sequence of str or None
        The descriptors; None stands for all of RDKit's list.

    Raises
    ------
    ValueError
        If RDKit does not have a name, if one is given twice, or without names.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        known = _functions()
        self.names = tuple(known if names is None else names)
        # By their text, because what is no name may be a list.
        if not self.names or len(set(map(repr, self.names))) < len(self.names):
            raise ValueError(
                "descriptors must list different names, at least one, but is "
                f"{list(self.names)}."
            )
        for name in self.names:
            if not isinstance(name, str) or name not in known:
                near = get_close_matches(str(name), known, n=1)
                advice = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"descriptors: RDKit does not have a descriptor {name!r}.{advice} "
                    "The names are those of rdkit.Chem.Descriptors.descList."
                )
        self._functions = [known[name] for name in self.names]
        self._most_atoms = [_most_atoms(name) for name in self.names]

    def describe(self, subject: Any) -> np.ndarray:
        """Compute the numbers.

        Parameters
        ----------
        subject : Mol
            A sanitized molecule, which stays as it is.

        Returns
        -------
        values : ndarray of float64 of shape (n_names,)
            NaN where RDKit fails, where the number is infinite or too large, and where
            the molecule is.
        """
        values = np.full(len(self.names), np.nan)
        try:
            refuse_long(subject)
            molecule = without_hydrogens(subject)
        except Exception:  # C++ may raise anything
            return values
        n_atoms = molecule.GetNumAtoms()
        tasks = zip(self._functions, self._most_atoms, strict=True)
        with np.errstate(all="ignore"):
            for k, (function, most_atoms) in enumerate(tasks):
                if n_atoms <= most_atoms:
                    values[k] = _number(function, molecule)
        return within_range(values)


def _number(function: Function, molecule: Any) -> float:
    try:
        return float(function(molecule))
    except Exception:  # C++ may raise anything
        return np.nan


def without_hydrogens(molecule: Any) -> Any:
    """Copy a molecule as a SMILES of it would be read.

    Parameters
    ----------
    molecule : Mol
        A sanitized molecule, which stays as it is.

    Returns
    -------
    copy : Mol
        Without explicit hydrogens, conformers and properties.
    """
    chem = rdkit()
    # Without conformers and properties. The copy is also where RDKit keeps results.
    copy = chem.Mol(molecule, True)
    if copy.GetNumHeavyAtoms() < copy.GetNumAtoms():
        copy = chem.RemoveHs(copy)
    return copy


def _most_atoms(name: str) -> float:
    """Tell the size of molecules beyond which a descriptor takes minutes."""
    if name in _POLYNOMIALS:
        return _MOST_ATOMS_OF_POLYNOMIALS
    is_slow = "EState" in name or name.startswith(("BCUT2D", "BalabanJ", "BertzCT"))
    return _MOST_ATOMS_OF_MATRICES if is_slow else np.inf


@cache
def _functions() -> dict[str, Function]:
    """List RDKit's descriptors in its order, those that share a computation sharing it.

    RDKit keeps what descriptors have in common on the molecule. These six do not use
    it by themselves.
    """
    rdkit()  # complains if it is missing
    from rdkit.Chem import Descriptors

    functions = dict(Descriptors._descList)
    shared: dict[str, Function] = {"Ipc": _ipc, "AvgIpc": _average_ipc}
    for name in _INDICES:
        shared[name] = partial(functions[name], force=False)
    return functions | shared


def _ipc(molecule: Any) -> float:
    """Compute the information content of the characteristic polynomial.

    It is the sum of the absolute coefficients times the entropy of their shares.
    """
    return float(sum(_polynomial(molecule))) * _average_ipc(molecule)


def _average_ipc(molecule: Any) -> float:
    from rdkit.ML.InfoTheory import rdInfoTheory

    return float(rdInfoTheory.InfoEntropy(_polynomial(molecule)))


def _polynomial(molecule: Any) -> np.ndarray:
    """Coefficients of the adjacency matrix's characteristic polynomial, absolute."""
    if not hasattr(molecule, "_skgnn_polynomial"):
        from rdkit.Chem import Graphs

        adjacency = rdkit().GetDistanceMatrix(molecule, False) == 1
        coefficients = Graphs.CharacteristicPolynomial(molecule, adjacency)
        molecule._skgnn_polynomial = np.abs(coefficients)
    polynomial: np.ndarray = molecule._skgnn_polynomial
    return polynomial


def molecular_descriptors(
    descriptors: str | Sequence[str] | Function,
) -> Descriptors:
    """Find what describes a molecule.

    Parameters
    ----------
    descriptors : "rdkit2d", sequence of str or callable
        See ``SmilesToGraph``.

    Returns
    -------
    descriptors : RdkitDescriptors or OwnDescriptors
        With names.

    Raises
    ------
    ValueError
        If a name is unknown, or if a function fails on ethane.
    """
    if callable(descriptors):
        chem = rdkit()
        with chem.rdBase.BlockLogs():
            ethane = chem.MolFromSmiles("CC")
            return OwnDescriptors(descriptors, ethane, "ethane", chem.Mol)
    return RdkitDescriptors(None if isinstance(descriptors, str) else descriptors)
