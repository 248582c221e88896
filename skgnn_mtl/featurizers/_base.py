"""The base of everything that turns strings into graphs."""

from __future__ import annotations

import math
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable
from numbers import Integral
from os import PathLike, fspath
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data
from tqdm import tqdm

from skgnn_mtl.graphs import GraphArray

from ._strings import as_strings

# Rows a worker gets at once: enough to forget what sending costs, few enough that the
# temporary columns of a chunk stay in the cache and the progress bar moves.
_CHUNK = 1000
_SHOWN_ROWS = 10
_SHOWN_LETTERS = 80


class GraphTransformer(  # type: ignore[call-arg]
    TransformerMixin, BaseEstimator, metaclass=ABCMeta, auto_wrap_output_keys=None
):
    """Abstract base of the transformers from strings to a ``GraphArray``.

    A transformer is a stateless map, row by row: length and order are kept, and the
    graph of a row depends on nothing but the row and the parameters. ``fit`` only
    checks its input and notes the name of the column; ``transform`` works without it.

    A subclass has the parameters ``on_error``, ``n_jobs`` and ``verbose``, sets
    ``_reads`` and implements :meth:`_featurize` and :meth:`_explain`.
    """

    _reads: ClassVar[str]
    # Whether a path is a row like any other.
    _accepts_paths: ClassVar[bool] = False
    # Whether a node without an edge is something to warn of.
    _warns_of_isolated_nodes: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict] = {
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [None, Integral],
        "verbose": ["verbose"],
    }

    on_error: str
    n_jobs: int | None
    verbose: int | bool

    def __init_subclass__(cls, **kwargs) -> None:
        # Without it scikit-learn would wrap the graphs of subclasses in a DataFrame.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    @abstractmethod
    def _featurize(self, rows: list) -> GraphArray:
        """Turn a chunk of rows into graphs, unreadable and missing ones invalid."""

    @abstractmethod
    def _explain(self, row: Any) -> str:
        """Say in one clause why ``_featurize`` could not read a row."""

    def fit(self, X, y=None) -> GraphTransformer:
        """Check the input and note the name of its column; nothing is learned.

        Parameters
        ----------
        X : list, tuple, array, Series or one-column table of shape (n,) or (n, 1)
            The strings.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : GraphTransformer
            The same object.
        """
        self._validate_params()
        self._featurize([])  # complains of parameters and missing packages
        _rows(X, paths=self._accepts_paths)
        validate_data(self, X, reset=True, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = 1
        return self

    def transform(self, X) -> GraphArray:
        """Turn strings into graphs.

        Parameters
        ----------
        X : list, tuple, array, Series or one-column table of shape (n,) or (n, 1)
            The strings.

        Returns
        -------
        graphs : GraphArray of shape (n,)
            One graph a row, in order.

        Raises
        ------
        ValueError
            If a row is missing or cannot be read and ``on_error="raise"``, if ``X``
            is empty or has several columns.
        TypeError
            If ``X`` is not a column of strings.
        """
        self._validate_params()
        rows = _rows(X, paths=self._accepts_paths)
        if hasattr(self, "n_features_in_"):
            validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
        graphs = GraphArray.concatenate(self._graphs_of_chunks(rows))
        if not graphs.valid.all():
            self._warn(rows, np.flatnonzero(~graphs.valid))
        if self._warns_of_isolated_nodes:
            _warn_of_isolated_nodes(graphs)
        return graphs

    def _graphs_of_chunks(self, rows: list) -> list[GraphArray]:
        size, n_jobs = _chunk_size(len(rows), self.n_jobs)
        starts = range(0, len(rows), size)
        chunks = (rows[start : start + size] for start in starts)
        done = []
        with tqdm(total=len(rows), disable=not self.verbose) as progress:
            for start, graphs in zip(starts, self._map(chunks, n_jobs), strict=True):
                if self.on_error == "raise" and not graphs.valid.all():
                    self._refuse(rows, start + int(np.argmin(graphs.valid)))
                done.append(graphs)
                progress.update(len(graphs))
        return done

    def _map(self, chunks: Iterable[list], n_jobs: int) -> Iterable[GraphArray]:
        if n_jobs == 1:
            return map(self._featurize, chunks)
        # A generator, so that the first unreadable row stops the work behind it.
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        return parallel(delayed(self._featurize)(chunk) for chunk in chunks)

    def _refuse(self, rows: list, position: int) -> None:
        advice = ' With on_error="nan" such a row stays, as an invalid graph.'
        missing = rows[position] is None
        raise ValueError(self.complaint(position, rows[position]) + advice * missing)

    def complaint(self, position: int, row: Any) -> str:
        """Say why a row became no graph.

        Parameters
        ----------
        position : int
            Where the row stands in ``X``.
        row : object
            The row; None if it is missing.

        Returns
        -------
        sentence : str
            What was wanted, what was found, where.
        """
        if row is None:
            return f"X[{position}] is missing."
        reason = self._explain(row)
        shown = f", of type {type(row).__name__},"
        if isinstance(row, (str, PathLike)):
            row = fspath(row)
            shown = f" = {row[:_SHOWN_LETTERS]!r}{'...' * (len(row) > _SHOWN_LETTERS)}"
        reason = reason.rstrip(".")
        return f"Could not read X[{position}]{shown} as {self._reads}: {reason}."

    def _warn(self, rows: list, invalid: np.ndarray) -> None:
        listed = ", ".join(map(str, invalid[:_SHOWN_ROWS]))
        more = ", ..." if len(invalid) > _SHOWN_ROWS else ""
        first = int(invalid[0])
        warnings.warn(
            f"{len(invalid)} of {len(rows)} rows of X became invalid graphs: rows "
            f"{listed}{more}. {self.complaint(first, rows[first])}",
            UserWarning,
            stacklevel=3,
        )

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Name the one output column.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str of shape (1,)
            ``["graph"]``.
        """
        return np.array(["graph"], dtype=object)

    def set_output(self, *, transform=None) -> GraphTransformer:
        """Accept scikit-learn's choice of output, which does not concern graphs.

        Parameters
        ----------
        transform : str, default=None
            Ignored: no table can hold graphs, the output is always a ``GraphArray``.

        Returns
        -------
        self : GraphTransformer
            The same object.
        """
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.allow_nan = self.on_error == "nan"
        # No input dtype can be kept in graphs.
        tags.transformer_tags.preserves_dtype = []
        return tags


def _rows(X: Any, *, paths: bool) -> list:
    rows = as_strings(X, paths=paths)
    if not rows:
        raise ValueError(
            "X is empty: found 0 sample(s) while a minimum of 1 is required."
        )
    return rows


def _warn_of_isolated_nodes(graphs: GraphArray) -> None:
    first = np.cumsum(graphs.n_nodes) - graphs.n_nodes
    target = graphs.edge_index[1] + np.repeat(first, graphs.n_edges)
    alone = np.bincount(target, minlength=int(graphs.n_nodes.sum())) == 0
    if not alone.any():
        return
    rows = np.unique(np.repeat(np.arange(len(graphs)), graphs.n_nodes)[alone])
    listed = ", ".join(map(str, rows[:_SHOWN_ROWS]))
    more = ", ..." if len(rows) > _SHOWN_ROWS else ""
    warnings.warn(
        f"{alone.sum()} atoms have no neighbour within the cutoff and stay without an "
        f"edge: rows {listed}{more} of X. A larger cutoff would connect them.",
        UserWarning,
        stacklevel=3,
    )


def _chunk_size(n_rows: int, n_jobs: int | None) -> tuple[int, int]:
    """Rows of a chunk, and the number of workers that are worth their start."""
    workers = min(effective_n_jobs(n_jobs), math.ceil(n_rows / _CHUNK))
    # The number of chunks is a multiple of the workers: none waits for the last one.
    n_chunks = workers * math.ceil(n_rows / (workers * _CHUNK))
    return math.ceil(n_rows / n_chunks), workers
