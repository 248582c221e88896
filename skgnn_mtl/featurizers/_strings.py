"""From the containers of scikit-learn's users to one list of rows.

No import of pandas, polars or RDKit: containers are told apart by what they can do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Number
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from skgnn_mtl.graphs import GraphArray

_WANTED = "a list, a tuple, a one-dimensional array, a Series, or a table of one column"

# What NumPy makes of crystals, by the names of the classes of ASE and pymatgen.
_PARTS = ("Atom", "PeriodicSite", "Site")


def as_strings(X: Any, *, paths: bool = False, first: int = 0) -> list[Any]:
    """Read any column of strings as a list, in order.

    Rows are counted by position, never by an index label.

    Parameters
    ----------
    X : list, tuple, array, Series or one-column table of shape (n,) or (n, 1)
        Strings; ``None``, NaN, ``pd.NA`` and blank strings are missing. Objects such
        as RDKit molecules are rows like any other.
    paths : bool, default=False
        Whether paths are rows, too.
    first : int, default=0
        Position of the first row, for messages.

    Returns
    -------
    rows : list of length n
        A ``str`` for a string, ``None`` for a missing entry, any other object as it
        is.

    Raises
    ------
    TypeError
        If ``X`` is one bare string, a file path, a ``GraphArray`` or no container, or
        if an entry is a number, a path, bytes or a container.
    ValueError
        If ``X`` has more than one column.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.featurizers._strings import as_strings
    >>> as_strings(np.array([["CCO"], [None]], dtype=object))
    ['CCO', None]
    """
    (column,) = _columns(X, most=1)
    return [_as_row(i, value, paths) for i, value in enumerate(column, first)]


def as_rows(X: Any, *, paths: bool = False, first: int = 0) -> list[Any]:
    """Read a column, or a table of several columns of strings, in order.

    Parameters
    ----------
    X : list, tuple, array, Series or table of shape (n,) or (n, k)
        As for :func:`as_strings`.
    paths : bool, default=False
        Whether paths are rows of one column, too.
    first : int, default=0
        Position of the first row, for messages.

    Returns
    -------
    rows : list of length n
        Of one column as :func:`as_strings`; of several, a tuple of such entries.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_strings`, with the place in the row; if rows differ in length.

    Examples
    --------
    >>> from skgnn_mtl.featurizers._strings import as_rows
    >>> as_rows([["CCO", "O"], ["CC", None]])
    [('CCO', 'O'), ('CC', None)]
    """
    columns = _columns(X)
    if len(columns) == 1:
        return [_as_row(i, v, paths) for i, v in enumerate(columns[0], first)]
    rows = enumerate(zip(*columns, strict=True), first)
    try:
        return [
            tuple(_as_row(f"{i}, {k}", value, False) for k, value in enumerate(row))
            for i, row in rows
        ]
    except TypeError as error:
        raise TypeError(
            f"{error} A table of several columns has a molecule in each; pass these "
            "columns alone, such as X[['smiles']]."
        ) from error


def is_lazy(X: Any) -> bool:
    """Tell a collection of dask, whose rows are not computed yet.

    Parameters
    ----------
    X : object
        Any input.

    Returns
    -------
    is_lazy : bool
        True for a Series, DataFrame, Array or Bag of dask.
    """
    return _has(X, "to_delayed")


def computed(X: Any) -> Any:
    """Compute the rows of a collection of dask.

    Parameters
    ----------
    X : object
        Any input.

    Returns
    -------
    X : object
        A pandas object, an array or a list; any other input as it is.
    """
    return X.compute() if is_lazy(X) else X


def index_of(X: Any) -> Any:
    """Find the row labels of a pandas object.

    Parameters
    ----------
    X : object
        Any input.

    Returns
    -------
    index : pandas Index or None
        None for anything else; an ``index`` of a list is a method.
    """
    return X.index if hasattr(type(X), "iloc") else None


def _columns(X: Any, most: int | None = None) -> Sequence[Iterable[Any]]:
    """List the columns of any container, at least one."""
    X = computed(X)
    if isinstance(X, (list, tuple)):
        return _unnest(X, most)
    _refuse(X)
    if _has(X, "columns"):
        n_rows, width = X.shape
        _check_width(n_rows, width, most)
        return [_entries_of_frame(X, k) for k in range(width)]
    for method in ("to_list", "to_pylist"):
        if _has(X, method):
            return [getattr(X, method)()]
    # Not asarray: it would drop the mask of a masked array.
    return _columns_of_array(np.asanyarray(X), most)


def _refuse(X: Any) -> None:
    if isinstance(X, (str, PathLike)) and _is_folder(X):
        raise TypeError(
            f"X is a folder, {str(X)!r}; pass the files in it: "
            f'sorted(Path({str(X)!r}).glob("*.cif")).'
        )
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X is one string, {X!r}; wrap it in a list: [{X!r}].")
    if isinstance(X, PathLike):
        raise TypeError(
            f"X is a file path, {str(X)!r}; read the file and pass its strings."
        )
    if isinstance(X, GraphArray):
        raise TypeError(
            "X is a GraphArray already; pass it to the graph estimator as it is."
        )
    if _has(X, "nnz"):
        raise TypeError(f"X must be {_WANTED}, but is a sparse {type(X).__name__}.")
    if _has(X, "collect"):
        raise TypeError(f"X must be {_WANTED}; call collect() on the LazyFrame.")
    if not any(_has(X, a) for a in ("__array__", "columns", "to_list", "to_pylist")):
        raise TypeError(
            f"X must be {_WANTED}, but is {type(X).__name__}. "
            "Wrap a single molecule or crystal in a list; make a list of an iterator."
        )


def _is_folder(X: Any) -> bool:
    try:
        return bool(str(X)) and Path(X).is_dir()
    except (OSError, ValueError):  # a text that cannot be a path, such as a long CIF
        return False


def _has(X: Any, attribute: str) -> bool:
    # Columns of a frame are attributes of the object, whatever their names.
    return hasattr(type(X), attribute)


def _unnest(
    X: list[Any] | tuple[Any, ...], most: int | None
) -> Sequence[Iterable[Any]]:
    """Read a list of rows as a list of columns."""
    if not X or not all(isinstance(row, (list, tuple)) for row in X):
        return [X]
    width = max(len(row) for row in X)
    _check_width(len(X), width, most)
    if width == 1:
        return [[row[0] if row else None for row in X]]
    for i, row in enumerate(X):
        if len(row) < width:
            raise ValueError(
                f"Rows of X must have one length, but X[{i}] has {len(row)} entries, "
                f"and others have {width}. Use None for a missing entry."
            )
    return list(zip(*X, strict=True))


def _entries_of_frame(X: Any, k: int) -> Iterable[Any]:
    entries: Iterable[Any]
    if _has(X, "iloc"):
        entries = X.iloc[:, k].to_list()
    elif _has(X, "column_names"):  # pyarrow, whose columns are the data
        entries = X.column(k).to_pylist()
    else:
        entries = X[X.columns[k]].to_list()
    return entries


def _columns_of_array(X: np.ndarray, most: int | None) -> Sequence[Iterable[Any]]:
    if X.dtype.names:
        raise TypeError(f"X must be {_WANTED}, but is a structured array.")
    if X.ndim == 0:
        raise TypeError(f"X must be {_WANTED}, but is one {type(X.item()).__name__}.")
    if X.size and type(X.item(0)).__name__ in _PARTS:
        raise TypeError(
            f"X[0] of the array X was taken apart into its {X.size // len(X)} atoms, "
            "because NumPy takes a crystal for a sequence of atoms; pass a list of "
            "crystals: [atoms, ...]."
        )
    if X.ndim == 1:
        return [X.tolist()]
    width = math.prod(X.shape[1:])
    _check_width(len(X), width, most)
    columns: Sequence[Iterable[Any]] = X.reshape(len(X), width).T.tolist()
    return columns


def _check_width(n_rows: int, n_columns: int, most: int | None) -> None:
    if n_columns == 0:
        raise ValueError(
            f"X has no column: found 0 feature(s) (shape=({n_rows}, 0)) while a "
            "minimum of 1 is required."
        )
    if most is not None and n_columns > most:
        raise ValueError(
            f"X has {n_columns} columns, but one column of strings was wanted; pass "
            "that column alone, such as X[['smiles']] of a table, or put "
            "ColumnTransformer([('smiles', 'passthrough', ['smiles'])]) in front."
        )


def _as_row(i: int | str, value: Any, paths: bool) -> Any:
    if type(value) is str:
        return value if value and not value.isspace() else None
    if isinstance(value, str):
        return _as_row(i, str(value), paths)
    if _is_missing(value):
        return None
    if isinstance(value, (Number, np.generic)):
        raise TypeError(
            f"X must hold strings, but X[{i}] = {value!r} is a number "
            f"({type(value).__name__})."
        )
    if isinstance(value, PathLike) and not paths:
        raise TypeError(
            f"X must hold strings, but X[{i}] = {str(value)!r} is a file path; read "
            "the file and pass its strings."
        )
    if isinstance(value, dict) and paths:
        raise TypeError(
            f"X[{i}] is a dict, and a crystal was wanted; if it comes from as_dict() "
            "of pymatgen, pass Structure.from_dict(...); if from todict() of ASE, "
            "Atoms.fromdict(...)."
        )
    if isinstance(value, (bytes, list, tuple, dict, set, np.ndarray)):
        raise TypeError(
            f"X must hold strings, but X[{i}] = {value!r} is of type "
            f"{type(value).__name__}."
        )
    return value


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
