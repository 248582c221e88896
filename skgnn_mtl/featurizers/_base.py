"""The base of everything that turns strings into graphs."""

from __future__ import annotations

import math
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable
from numbers import Integral
from os import PathLike, fspath
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data
from tqdm import tqdm

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray

from ._strings import as_strings, index_of

# Rows a worker gets at once: enough to forget what sending costs, few enough that the
# temporary columns of a chunk stay in the cache and the progress bar moves. Those whose
# descriptors are computed take tens of times as long.
_CHUNK = 1000
_CHUNK_OF_DESCRIPTORS = 100
_SHOWN_ROWS = 10
_SHOWN_LETTERS = 80


class RowError(Exception):
    """A row that no value of ``on_error`` excuses: the parameters do not fit it.

    Parameters
    ----------
    position : int
        Where the row stands among those that were given.
    problem : str
        Beginning of the sentence, up to the name of the row.
    reason : str, default=""
        A clause.
    """

    def __init__(self, position: int, problem: str, reason: str = "") -> None:
        super().__init__(position, problem, reason)
        self.position, self.problem, self.reason = position, problem, reason


class GraphTransformer(  # type: ignore[call-arg]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,
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
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [None, Integral],
        "verbose": ["verbose"],
    }

    # What is computed beside the graphs, if anything.
    descriptors: Any = None
    on_error: str
    n_jobs: int | None
    verbose: int | bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Without it scikit-learn would wrap the graphs of subclasses in a DataFrame.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    @abstractmethod
    def _featurize(self, rows: list[Any]) -> GraphArray:
        """Turn a chunk of rows into graphs, unreadable and missing ones invalid."""

    @abstractmethod
    def _explain(self, row: Any) -> str:
        """Say in one clause why ``_featurize`` could not read a row."""

    def fit(self, X: Any, y: Any = None) -> Self:
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
        rows_of(X, paths=self._accepts_paths)
        validate_data(self, X, reset=True, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = 1
        return self

    def transform(self, X: Any) -> GraphArray:
        """Turn strings into graphs.

        Parameters
        ----------
        X : list, tuple, array, Series or one-column table of shape (n,) or (n, 1)
            The strings.

        Returns
        -------
        graphs : GraphArray of shape (n,)
            One graph per row, in order, with the index of a pandas object.

        Raises
        ------
        ValueError
            If a row is missing or cannot be read and ``on_error="raise"``, if ``X``
            is empty or has several columns; for any ``on_error``, if a function of an
            own column raises or gives what the column cannot hold.
        TypeError
            If ``X`` is not a column of strings.
        """
        self._validate_params()
        rows = rows_of(X, paths=self._accepts_paths)
        if hasattr(self, "n_features_in_"):
            validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
        graphs = GraphArray.concatenate(self._graphs_of_chunks(rows))
        graphs = graphs.with_index(index_of(X))
        if not graphs.valid.all():
            self._warn(rows, np.flatnonzero(~graphs.valid))
        if self._warns_of_isolated_nodes:
            _warn_of_isolated_nodes(graphs)
        return graphs

    def _graphs_of_chunks(self, rows: list[Any]) -> list[GraphArray]:
        chunk = _CHUNK if self.descriptors is None else _CHUNK_OF_DESCRIPTORS
        size, n_jobs = _chunk_size(len(rows), self.n_jobs, chunk)
        starts = range(0, len(rows), size)
        chunks = (rows[start : start + size] for start in starts)
        results = self._map(chunks, n_jobs)
        try:
            return self._collect(rows, zip(starts, results, strict=True))
        finally:
            _stop(results)

    def _collect(
        self, rows: list[Any], results: Iterable[tuple[int, GraphArray | RowError]]
    ) -> list[GraphArray]:
        """Gather the chunks, or raise for the first row that must not stay."""
        done: list[GraphArray] = []
        with tqdm(total=len(rows), disable=not self.verbose) as progress:
            for start, graphs in results:
                if isinstance(graphs, RowError):
                    raise complete(graphs, start, rows) from graphs.__cause__
                if self.on_error == "raise" and not graphs.valid.all():
                    self._refuse(rows, start + int(np.argmin(graphs.valid)))
                done.append(graphs)
                progress.update(len(graphs))
        return done

    def _map(
        self, chunks: Iterable[list[Any]], n_jobs: int
    ) -> Iterable[GraphArray | RowError]:
        if n_jobs == 1:
            return map(self._try_to_featurize, chunks)
        try:
            # A generator, so that the first unreadable row stops the work behind it.
            parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        except ValueError:  # not every backend of joblib has generators
            parallel = Parallel(n_jobs=n_jobs)
        job = delayed(self._try_to_featurize)
        results: Iterable[GraphArray | RowError] = parallel(
            job(self._portable(chunk)) for chunk in chunks
        )
        return results

    def _portable(self, rows: list[Any]) -> list[Any]:
        """Make rows that other processes read as this one does."""
        return rows

    def _try_to_featurize(self, rows: list[Any]) -> GraphArray | RowError:
        # An error that is returned keeps its place among the chunks.
        try:
            return self._featurize(rows)
        except RowError as error:
            return error

    def _refuse(self, rows: list[Any], position: int) -> None:
        advice = ' With on_error="nan" such a row stays, as an invalid graph.'
        missing = rows[position] is None
        raise ValueError(self.complaint(position, rows[position]) + advice * missing)

    def complaint(self, position: int, row: Any) -> str:
        """Say why a row did not become a graph.

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
        return unreadable(position, row, self._reads, self._explain(row))

    def _warn(self, rows: list[Any], invalid: np.ndarray) -> None:
        listed = ", ".join(map(str, invalid[:_SHOWN_ROWS]))
        more = ", ..." if len(invalid) > _SHOWN_ROWS else ""
        first = int(invalid[0])
        warn(
            f"{len(invalid)} of {len(rows)} rows of X became invalid graphs: rows "
            f"{listed}{more}. {self.complaint(first, rows[first])}",
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
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

    def set_output(self, *, transform: str | None = None) -> Self:
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


def _stop(results: Any) -> None:
    """Stop the work behind a row that is refused."""
    if hasattr(results, "close"):
        with warnings.catch_warnings():
            # joblib warns of the tasks that it gives up, which is what is wanted.
            warnings.simplefilter("ignore")
            results.close()


def complete(error: RowError, start: int, rows: list[Any]) -> ValueError:
    """Name the row of an error, whose chunk begins at ``start``.

    Parameters
    ----------
    error : RowError
        With a position in the chunk.
    start : int
        Position of the chunk in ``X``.
    rows : list
        Rows of ``X``.

    Returns
    -------
    error : ValueError
        With the sentence.
    """
    position = start + error.position
    reason = f": {error.reason.rstrip('.')}" if error.reason else ""
    return ValueError(f"{error.problem} of {_named(position, rows[position])}{reason}.")


def unreadable(position: int, row: Any, wanted: str, reason: str) -> str:
    """Say that a row cannot be read.

    Parameters
    ----------
    position : int
        Where the row stands in ``X``.
    row : object
        The row.
    wanted : str
        What it should have been.
    reason : str
        A clause.

    Returns
    -------
    sentence : str
        What was wanted, what was found, where.
    """
    named = _named(position, row)
    return f"Could not read {named} as {wanted}: {reason.rstrip('.')}."


def _named(position: int, row: Any) -> str:
    if not isinstance(row, (str, PathLike)):
        return f"X[{position}], of type {type(row).__name__},"
    text = fspath(row)
    more = "..." if len(text) > _SHOWN_LETTERS else ""
    return f"X[{position}] = {text[:_SHOWN_LETTERS]!r}{more}"


def rows_of(X: Any, *, paths: bool) -> list[Any]:
    """Read a column as a list with at least one row.

    Parameters
    ----------
    X : list, tuple, array, Series or one-column table of shape (n,) or (n, 1)
        Strings and objects.
    paths : bool
        Whether paths are rows, too.

    Returns
    -------
    rows : list of length n
        None for a missing row.

    Raises
    ------
    TypeError
        If ``X`` is not such a column.
    ValueError
        If it has no row or several columns.
    """
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
    warn(
        f"{alone.sum()} atoms have no neighbour within the cutoff and stay without an "
        f"edge: rows {listed}{more} of X. A larger cutoff would connect them.",
    )


def _chunk_size(
    n_rows: int, n_jobs: int | None, chunk: int = _CHUNK
) -> tuple[int, int]:
    """Choose the rows per chunk and the workers that are worth their start."""
    workers = min(effective_n_jobs(n_jobs), math.ceil(n_rows / chunk))
    # The number of chunks is a multiple of the workers: none waits for the last one.
    n_chunks = workers * math.ceil(n_rows / (workers * chunk))
    return math.ceil(n_rows / n_chunks), workers
