"""Numbers of a molecule: RDKit's descriptors and counts of Morgan fragments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray

from ._base import unreadable
from ._rows import map_molecules, portable, rdkit, why_unreadable
from ._strings import as_strings

_CHUNK = 250
_SHOWN_ROWS = 10
# Trees and networks compute in single precision.
_LARGEST = float(np.finfo(np.float32).max)


class SmilesToDescriptors(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Molecules as a table of numbers: descriptors and counts of fragments.

    Parameters
    ----------
    descriptors : "rdkit2d", sequence of str or None, default="rdkit2d"
        "rdkit2d" are all descriptors of ``rdkit.Chem.Descriptors``, which need no
        coordinates. A sequence names some of them; None leaves them out.
    morgan_counts : int, default=1024
        Number of columns of a Morgan fingerprint [1]_ with counts, into which fragments
        are hashed; 0 leaves it out.
    radius : int, default=2
        Radius of the largest fragments, in bonds.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a row that is missing or that RDKit cannot read: raise at the
        first one, or make it NaN in all columns, with one warning.
    n_jobs : int, default=None
        Number of processes, as everywhere in scikit-learn; -1 uses all cores.

    Attributes
    ----------
    n_features_in_ : int
        1, the column of strings.
    feature_names_in_ : ndarray of shape (1,)
        Name of that column, if ``fit`` saw a table.

    See Also
    --------
    SmilesToGraph : Molecules as graphs.

    Notes
    -----
    A descriptor that is infinite, not defined, or that RDKit fails on is NaN. A value
    beyond the range of single precision (about 3.4e38; "Ipc" of large molecules) is set
    to its end. Counts are exact. The time of some descriptors grows with the third
    power of the number of atoms: a molecule of 1,500 atoms takes minutes.

    References
    ----------
    .. [1] D. Rogers, M. Hahn, "Extended-Connectivity Fingerprints", J. Chem. Inf.
       Model. 50, 742 (2010).

    Examples
    --------
    >>> from skgnn_mtl.featurizers import SmilesToDescriptors
    >>> transformer = SmilesToDescriptors(("HeavyAtomCount", "RingCount"), 4)
    >>> transformer.fit_transform(["CCO", "c1ccccc1"])
    array([[ 3.,  0.,  1.,  1.,  3.,  1.],
           [ 6.,  1.,  6., 12.,  0.,  0.]])
    >>> transformer.get_feature_names_out()
    array(['HeavyAtomCount', 'RingCount', 'morgan2_0', 'morgan2_1', 'morgan2_2',
           'morgan2_3'], dtype=object)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "descriptors": [StrOptions({"rdkit2d"}), "array-like", None],
        "morgan_counts": [Interval(Integral, 0, None, closed="left")],
        "radius": [Interval(Integral, 0, None, closed="left")],
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [None, Integral],
    }

    def __init__(
        self,
        descriptors: Any = "rdkit2d",
        morgan_counts: int = 1024,
        *,
        radius: int = 2,
        on_error: str = "raise",
        n_jobs: int | None = None,
    ) -> None:
        self.descriptors = descriptors
        self.morgan_counts = morgan_counts
        self.radius = radius
        self.on_error = on_error
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> SmilesToDescriptors:
        """Check the input and note the name of its column; nothing is learned.

        Parameters
        ----------
        X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
            SMILES, RDKit molecules, or graphs with their SMILES as identifiers.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : SmilesToDescriptors
            The same object.
        """
        self._validate_params()
        self._names()
        _rows(X)
        validate_data(self, X, reset=True, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the numbers of molecules.

        Parameters
        ----------
        X : list, tuple, array, Series, one-column table or GraphArray of shape (n,)
            SMILES, RDKit molecules, or graphs with their SMILES as identifiers.

        Returns
        -------
        values : ndarray of float64 of shape (n, n_columns)
            One row per molecule, in order: descriptors in the units of RDKit, then
            counts. NaN for a row that cannot be read.

        Raises
        ------
        ValueError
            If a row is missing or cannot be read and ``on_error="raise"``, if ``X`` is
            empty or has several columns, or if RDKit does not have a descriptor.
        TypeError
            If ``X`` is not a column of strings.
        """
        self._validate_params()
        names, rows = self._names(), _rows(X)
        if hasattr(self, "n_features_in_"):
            validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
        workers = min(effective_n_jobs(self.n_jobs), math.ceil(len(rows) / _CHUNK))
        chunks = [rows[k : k + _CHUNK] for k in range(0, len(rows), _CHUNK)]
        arguments = (names, self.morgan_counts, self.radius)
        if workers == 1:
            parts = [_numbers(chunk, *arguments) for chunk in chunks]
        else:
            parts = Parallel(n_jobs=workers)(
                delayed(_numbers)(portable(chunk), *arguments) for chunk in chunks
            )
        table: np.ndarray = np.concatenate([values for values, _ in parts])
        read = np.concatenate([known for _, known in parts])
        if not read.all():
            self._report(rows, np.flatnonzero(~read))
        return table

    def _report(self, rows: list[Any], invalid: np.ndarray) -> None:
        first = int(invalid[0])
        row = rows[first]
        complaint = (
            f"X[{first}] is missing."
            if row is None
            else unreadable(first, row, "SMILES", why_unreadable(row, lambda mol: mol))
        )
        if self.on_error == "raise":
            raise ValueError(
                f'{complaint} With on_error="nan" such a row stays, as a row of NaN.'
            )
        listed = ", ".join(map(str, invalid[:_SHOWN_ROWS]))
        more = ", ..." if len(invalid) > _SHOWN_ROWS else ""
        warn(
            f"{len(invalid)} of {len(rows)} rows of X became rows of NaN: rows "
            f"{listed}{more}. {complaint}"
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str of shape (n_columns,)
            Names of descriptors as in RDKit, and ``morgan<radius>_<column>``.
        """
        counts = [f"morgan{self.radius}_{k}" for k in range(self.morgan_counts)]
        return np.array([*self._names(), *counts], dtype=object)

    def _names(self) -> list[str]:
        if self.descriptors is None:
            names: list[str] = []
        elif isinstance(self.descriptors, str):
            names = list(_functions())
        else:
            names = list(map(str, self.descriptors))
        unknown = [name for name in names if name not in _functions()]
        if unknown:
            raise ValueError(
                f"RDKit does not have a descriptor {unknown[0]!r}; see "
                "rdkit.Chem.Descriptors."
            )
        if not names and not self.morgan_counts:
            raise ValueError(
                "SmilesToDescriptors has no column: set descriptors or morgan_counts."
            )
        return names

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.transformer_tags.preserves_dtype = []
        return tags


@cache
def _functions() -> dict[str, Callable[[Any], float]]:
    """All descriptors of RDKit, by name."""
    rdkit()  # complains if it is missing
    from rdkit.Chem import Descriptors

    return dict(Descriptors.descList)


@cache
def _morgan(radius: int, size: int) -> Any:
    rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)


def _rows(X: Any) -> list[Any]:
    if isinstance(X, GraphArray):
        if not X.schema.paired_edges:
            raise ValueError(
                "Descriptors need graphs of molecules, whose edges are bonds, but "
                f"these graphs have the schema {X.schema.name!r}."
            )
        ids, valid = X.ids.tolist(), X.valid.tolist()
        rows = [
            smiles or None if v else None for smiles, v in zip(ids, valid, strict=True)
        ]
    else:
        rows = as_strings(X)
    if not rows:
        raise ValueError(
            "X is empty: found 0 sample(s) while a minimum of 1 is required."
        )
    return rows


def _numbers(
    rows: list[Any], names: Sequence[str], size: int, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the table of some rows, and tell which of them could be read."""
    functions = [_functions()[name] for name in names]

    def digest(molecule: Any) -> np.ndarray:
        values = np.empty(len(functions) + size)
        for k, function in enumerate(functions):
            values[k] = _value(function, molecule)
        if size:
            counts = _morgan(radius, size).GetCountFingerprintAsNumPy(molecule)
            values[len(functions) :] = counts
        return values

    found = map_molecules(rows, digest)
    read = np.array([values is not None for values in found])
    table = np.full((len(rows), len(functions) + size), np.nan)
    if read.any():
        table[read] = np.stack([values for values in found if values is not None])
    table[np.isinf(table)] = np.nan
    return np.clip(table, -_LARGEST, _LARGEST), read


def _value(function: Callable[[Any], float], molecule: Any) -> float:
    try:
        return float(function(molecule))
    except Exception:  # C++ may raise anything
        return math.nan
