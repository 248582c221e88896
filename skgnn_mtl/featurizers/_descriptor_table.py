"""The base of what turns strings into tables of numbers."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data

from skgnn_mtl._callbacks import SUPPORT, one_task
from skgnn_mtl._links import TEMPLATE, page_of
from skgnn_mtl._listed import listed
from skgnn_mtl._warn import warn
from skgnn_mtl.graphs._output import with_index

from ._base import check_width
from ._complaints import RowError, complete, unreadable
from ._descriptors import Described, table_of
from ._parts import flat, n_parts, names_of_parts, of_row, place_of

_CHUNK = 250


class DescriptorTable(
    *SUPPORT,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
    metaclass=ABCMeta,
):
    """Abstract base of the transformers from strings to a table of numbers.

    A transformer is a stateless map, row by row, as a ``GraphTransformer`` is. A
    subclass has the parameters ``on_error`` and ``n_jobs``, sets ``_reads`` and
    implements the abstract methods.
    """

    # For the "?" of the representation in notebooks.
    _doc_link_module: ClassVar[str] = "skgnn_mtl"
    _doc_link_template: ClassVar[str] = TEMPLATE
    _doc_link_url_param_generator = page_of

    _reads: ClassVar[str]
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [None, Integral],
    }

    on_error: str
    n_jobs: int | None

    @abstractmethod
    def _names(self) -> list[str]:
        """Names of the numbers of one string, or an error about the parameters."""

    @abstractmethod
    def _rows_of(self, X: Any) -> list[Any]:
        """Read X as a list with None for missing rows, or with tuples of several."""

    @abstractmethod
    def _describe(self, rows: list[Any]) -> Sequence[Described | None]:
        """Compute the numbers of some rows, None for rows that cannot be read."""

    @abstractmethod
    def _explain(self, row: Any) -> str:
        """Say in one clause why a row could not be read."""

    @abstractmethod
    def _portable(self, rows: list[Any]) -> list[Any]:
        """Make rows that other processes read as this one does."""

    @one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the input and note the names of its columns; nothing is learned.

        Parameters
        ----------
        X : list, tuple, array, Series, table or GraphArray of shape (n,) or (n, k)
            What ``transform`` takes.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : transformer
            The same object.
        """
        self._validate_params()
        self._names()
        rows = self._rows_of(X)
        validate_data(self, X, reset=True, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = n_parts(rows)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Compute the numbers.

        Parameters
        ----------
        X : list, tuple, array, Series, table or GraphArray of shape (n,) or (n, k)
            The strings, objects or graphs.

        Returns
        -------
        values : ndarray of float64 of shape (n, n_columns)
            One row per row of X, in order. NaN for a row that cannot be read. Under
            ``set_output`` a table; graphs give it the index of the frame that they come
            from.

        Raises
        ------
        ValueError
            If a row is missing or cannot be read and ``on_error="raise"``, if ``X`` is
            empty or has other columns than in ``fit``, if a name is unknown; for any
            ``on_error``, if a function of descriptors raises.
        TypeError
            If ``X`` is not a column of what can be read.
        """
        self._validate_params()
        names, rows = self._names(), self._rows_of(X)
        if hasattr(self, "n_features_in_"):
            validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
            check_width(self, n_parts(rows))
        parts, shape = flat(rows), (len(rows), n_parts(rows) * len(names))
        found = self._described(parts)
        invalid = [k for k, values in enumerate(found) if values is None]
        if invalid:
            self._report(rows, invalid)
        try:
            table = table_of(found, range(len(parts)), (len(parts), len(names)))
        except RowError as error:
            raise complete(of_row(error, n_parts(rows)), 0, rows) from error.__cause__
        table = table.reshape(shape)
        table[np.array(invalid, dtype=int) // n_parts(rows)] = np.nan
        return with_index(table, X, self)

    def _described(self, rows: list[Any]) -> list[Described | None]:
        workers = min(effective_n_jobs(self.n_jobs), math.ceil(len(rows) / _CHUNK))
        chunks = [rows[k : k + _CHUNK] for k in range(0, len(rows), _CHUNK)]
        if workers == 1:
            parts = [self._describe(chunk) for chunk in chunks]
        else:
            parts = Parallel(n_jobs=workers)(
                delayed(self._describe)(self._portable(chunk)) for chunk in chunks
            )
        return [values for part in parts for values in part]

    def _report(self, rows: list[Any], invalid: list[int]) -> None:
        """Raise for the first part that cannot be read, or warn of all their rows."""
        part, first = flat(rows)[invalid[0]], place_of(invalid[0], n_parts(rows))
        complaint = (
            f"X[{first}] is missing."
            if part is None
            else unreadable(first, part, self._reads, self._explain(part))
        )
        invalid = list(dict.fromkeys(k // n_parts(rows) for k in invalid))
        if self.on_error == "raise":
            raise ValueError(
                f'{complaint} With on_error="nan" such a row stays, as a row of NaN.'
            )
        warn(
            f"{len(invalid)} of {len(rows)} rows of X became rows of NaN: rows "
            f"{listed(invalid)}. {complaint}"
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
            Names of the columns of the table; those of each molecule, if ``fit`` has
            seen several columns.
        """
        names = names_of_parts(self._names(), getattr(self, "n_features_in_", 1))
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.allow_nan = self.on_error == "nan"
        tags.transformer_tags.preserves_dtype = []
        return tags
