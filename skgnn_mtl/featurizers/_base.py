"""The base of everything that turns strings into graphs."""

from __future__ import annotations

import math
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import chain, islice
from numbers import Integral
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data

from skgnn_mtl._callbacks import SUPPORT, one_task
from skgnn_mtl._links import TEMPLATE, page_of
from skgnn_mtl._progress import progress_bar
from skgnn_mtl.graphs import GraphArray, GraphWriter

from ._complaints import RowError, complete, unreadable
from ._findings import Findings
from ._parts import featurize_parts, flat, joined, n_parts, regrouped
from ._sources import RowDigest, in_chunks, stream_of_rows
from ._strings import as_rows, as_strings, computed, index_of

# Rows a worker gets at once: enough to forget what sending costs, few enough that the
# temporary columns of a chunk stay in the cache and the progress bar moves. Those whose
# descriptors are computed take tens of times as long.
_CHUNK = 1000
_CHUNK_OF_DESCRIPTORS = 100
_EMPTY = "X is empty: found 0 sample(s) while a minimum of 1 is required."


class GraphTransformer(  # type: ignore[call-arg]
    *SUPPORT,  # type: ignore[misc]
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

    See Also
    --------
    skgnn_mtl.SmilesToGraph : Molecules to graphs.
    skgnn_mtl.CifToGraph : Crystals to graphs.
    """

    # For the "?" of the representation in notebooks.
    _doc_link_module: ClassVar[str] = "skgnn_mtl"
    _doc_link_template: ClassVar[str] = TEMPLATE
    _doc_link_url_param_generator = page_of

    _reads: ClassVar[str]
    # Whether a path is a row like any other.
    _accepts_paths: ClassVar[bool] = False
    # Whether a row may have several parts, in several columns.
    _joins_columns: ClassVar[bool] = False
    # Whether a node without an edge is something to warn of.
    _warns_of_isolated_nodes: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [None, Integral],
        "verbose": [StrOptions({"auto"}), "verbose"],
    }

    # What is computed beside the graphs, if anything.
    descriptors: Any = None
    on_error: str
    n_jobs: int | None
    verbose: int | bool | str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Without it scikit-learn would wrap the graphs of subclasses in a DataFrame.
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    @abstractmethod
    def _featurize(self, rows: list[Any]) -> GraphArray:
        """Turn a chunk of rows into graphs, unreadable and missing ones invalid."""

    @abstractmethod
    def _explain(self, row: Any) -> str:
        """Say in one clause why ``_featurize`` could not read a row."""

    @one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the input and note the names of its columns; nothing is learned.

        Parameters
        ----------
        X : list, tuple, array, Series or table of shape (n,) or (n, k)
            The strings; k = 1, unless the transformer joins columns.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : GraphTransformer
            The same object.
        """
        self._validate_params()
        self._featurize([])  # complains of parameters and missing packages
        X = computed(X)
        rows = self._rows_of(X)
        validate_data(self, X, reset=True, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = n_parts(rows)
        return self

    def _rows_of(self, X: Any) -> list[Any]:
        return rows_of(X, paths=self._accepts_paths, several=self._joins_columns)

    def transform(self, X: Any) -> GraphArray:
        """Turn strings into graphs.

        Parameters
        ----------
        X : list, tuple, array, Series or table of shape (n,) or (n, k)
            The strings; k = 1, unless the transformer joins columns.

        Returns
        -------
        graphs : GraphArray of shape (n,)
            One graph per row, in order, with the index of a pandas object.

        Raises
        ------
        ValueError
            If a row is missing or cannot be read and ``on_error="raise"``, if ``X``
            is empty or has other columns than in ``fit``; for any ``on_error``, if a
            function of an own column raises or gives what the column cannot hold.
        TypeError
            If ``X`` is not a column of strings.
        """
        self._validate_params()
        # Once, because each use of a collection of dask would compute it again.
        X = computed(X)
        rows = self._rows_of(X)
        if hasattr(self, "n_features_in_"):
            validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
            check_width(self, n_parts(rows))
        with self._progress(len(rows)) as progress:
            graphs = self._graphs(rows, progress)
        findings = Findings()
        self._note(findings, graphs, rows)
        findings.warn()
        return graphs.with_index(index_of(X))

    def transform_to(
        self,
        path: str | PathLike[str],
        X: Any,
        *,
        column: str | Sequence[str] | None = None,
        chunk_size: int = 5000,
    ) -> GraphArray:
        """Turn strings into graphs in a folder, chunk by chunk, in constant memory.

        The folder has the same bytes as ``transform(X).save(path)``. A process that was
        stopped goes on after its last finished chunk when it is called again: chunks
        are collected in a folder beside it, named ``path`` with ``.part``.

        Parameters
        ----------
        path : str or path-like
            Folder to create; an existing folder must be empty.
        X : path, iterator, or column of strings
            A file, an iterator of rows or of chunks (lists, columns, tables), or what
            ``transform`` takes; of a collection of dask one partition at a time is in
            memory. A file is CSV (.csv, .tsv), Parquet (.parquet, .pq;
            needs pyarrow) or text with a row per line (.smi, .smiles, .txt); all but
            Parquet may be compressed (.gz).
        column : str or list of str, default=None
            Column of a table, or columns of several molecules. It may be left out if
            all are meant, and in files if there is only one.
        chunk_size : int, default=5000
            Rows that are in memory at once, and that a stopped process may lose. With
            ``n_jobs`` take at least 1000 per process.

        Returns
        -------
        graphs : GraphArray of shape (n,)
            The mapped folder, as ``GraphArray.load(path, mmap_mode="r")``.

        Raises
        ------
        FileExistsError
            If the folder is not empty.
        ValueError
            If a row is missing or cannot be read and ``on_error="raise"``; the chunks
            before it are kept. If there are no rows or no such column, or if chunks
            of another transformer, version or input are there already.
        TypeError
            If ``X`` does not have rows of strings.
        ImportError
            If pyarrow is needed and not installed.
        BlockingIOError
            If another process writes the same folder.

        See Also
        --------
        skgnn_mtl.predict_stream : Predictions chunk by chunk.

        Notes
        -----
        To go on, the first rows of ``X`` are compared with those of before: strings and
        paths by their value, other objects by their type. Of parameters of the
        transformer, functions are not compared; ``on_error``, ``n_jobs``, ``verbose``
        and ``chunk_size`` may change.
        """
        self._validate_params()
        if not isinstance(chunk_size, Integral) or chunk_size < 1:
            raise ValueError(f"chunk_size must be an integer >= 1, got {chunk_size!r}.")
        rows = stream_of_rows(
            X, column, paths=self._accepts_paths, several=self._joins_columns
        )
        empty = self._featurize([])
        # The first row, because the schema depends on the number of its molecules.
        head = list(islice(rows, 1))
        rows, k = chain(head, rows), n_parts(head)
        empty = empty if k == 1 else joined(empty, k)
        writer = GraphWriter(path, empty, self._origin())
        try:
            findings = self._write(writer, rows, int(chunk_size))
            writer.finish()
        finally:
            writer.close()
        findings.warn()
        # Not verified, because the checksums were made a moment ago.
        return GraphArray.load(path, mmap_mode="r", verify=False)

    def _write(self, writer: GraphWriter, rows: Iterator[Any], size: int) -> Findings:
        """Add the rows that the writer does not have yet."""
        findings, seen = Findings.of(writer.notes.get("findings", {})), RowDigest()
        seen.update(islice(rows, findings.n_rows))
        if findings.n_rows and seen.hexdigest() != writer.notes["rows"]:
            raise writer.refusal(f"its rows are not the first {findings.n_rows} of X")
        with self._progress(None) as progress:
            progress.update(findings.n_rows)
            for chunk in in_chunks(rows, size):
                graphs = self._graphs(chunk, progress, findings.n_rows)
                self._note(findings, graphs, chunk)
                seen.update(chunk)
                notes = {"rows": seen.hexdigest(), "findings": findings.stored()}
                writer.append(graphs, notes)
        if not findings.n_rows:
            raise ValueError(_EMPTY)
        return findings

    def _origin(self) -> dict[str, Any]:
        """Say what graphs depend on, as JSON holds it."""
        free = ("on_error", "n_jobs", "verbose")
        plain = (str, int, float, type(None))
        parameters = self.get_params(deep=False).items()
        return {
            "transformer": type(self).__name__,
            "version": version("skgnn_mtl"),
            # Other values are lists and functions, which the schema stands for.
            **{k: v for k, v in parameters if isinstance(v, plain) and k not in free},
        }

    def _progress(self, total: int | None) -> Any:
        return progress_bar(self.verbose, total=total)

    def _note(self, findings: Findings, graphs: GraphArray, rows: list[Any]) -> None:
        """Add what there is to warn of, in the graphs of the next rows."""
        first, known = findings.n_rows, findings.n_invalid
        at = findings.add(graphs, isolated=self._warns_of_isolated_nodes)
        if len(at) and not known:
            k = int(at[0])
            findings.complaint = self.complaint(first + k, rows[k])

    def _graphs(self, rows: list[Any], progress: Any, first: int = 0) -> GraphArray:
        """Make the graphs of some rows, of which the first is row ``first`` of X."""
        most = _CHUNK if self.descriptors is None else _CHUNK_OF_DESCRIPTORS
        size, n_jobs = _chunk_size(len(rows), self.n_jobs, most)
        starts = range(0, len(rows), size)
        chunks = (rows[start : start + size] for start in starts)
        results = self._map(chunks, n_jobs)
        done: list[GraphArray] = []
        try:
            for start, result in zip(starts, results, strict=True):
                chunk = rows[start : start + size]
                done.append(self._accepted(result, chunk, first + start))
                progress.update(len(chunk))
        finally:
            _stop(results)
        return GraphArray.concatenate(done)

    def _accepted(
        self, result: GraphArray | RowError, rows: list[Any], first: int
    ) -> GraphArray:
        """Raise for the first row that must not stay."""
        if isinstance(result, RowError):
            raise complete(result, first, rows) from result.__cause__
        if self.on_error == "raise" and not result.valid.all():
            k = int(np.argmin(result.valid))
            self._refuse(first + k, rows[k])
        return result

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
            job(regrouped(self._portable(flat(chunk)), n_parts(chunk)))
            for chunk in chunks
        )
        return results

    def _portable(self, rows: list[Any]) -> list[Any]:
        """Make rows that other processes read as this one does."""
        return rows

    def _try_to_featurize(self, rows: list[Any]) -> GraphArray | RowError:
        # An error that is returned keeps its place among the chunks.
        try:
            if n_parts(rows) > 1:
                return featurize_parts(self._featurize, rows)
            return self._featurize(rows)
        except RowError as error:
            return error

    def _refuse(self, position: int, row: Any) -> None:
        complaint = self.complaint(position, row)
        advice = ' With on_error="nan" such a row stays, as an invalid graph.'
        raise ValueError(complaint + advice * complaint.endswith("is missing."))

    def complaint(self, position: int | str, row: Any) -> str:
        """Say why a row did not become a graph.

        Parameters
        ----------
        position : int or str
            Where the row stands in ``X``; with a comma, an entry of a row.
        row : object
            The row; None if it is missing. Of a tuple, the first part that cannot be
            read is named.

        Returns
        -------
        sentence : str
            What was wanted, what was found, where.
        """
        if isinstance(row, tuple):
            invalid = (self._featurize([part]).valid[0] for part in row)
            k = list(invalid).index(False)
            return self.complaint(f"{position}, {k}", row[k])
        if row is None:
            return f"X[{position}] is missing."
        return unreadable(position, row, self._reads, self._explain(row))

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


def check_width(transformer: Any, width: int) -> None:
    """Refuse rows with another number of columns than in fit.

    Parameters
    ----------
    transformer : transformer
        Fitted.
    width : int
        Number of columns of X.

    Raises
    ------
    ValueError
        If it is another one.
    """
    wanted = transformer.n_features_in_
    if width != wanted:
        # In scikit-learn's words, because its users know them.
        raise ValueError(
            f"X has {width} features, but {type(transformer).__name__} is expecting "
            f"{wanted} features as input."
        )


def _stop(results: Any) -> None:
    """Stop the work behind a row that is refused."""
    if hasattr(results, "close"):
        with warnings.catch_warnings():
            # joblib warns of the tasks that it gives up, which is what is wanted.
            warnings.simplefilter("ignore")
            results.close()


def rows_of(X: Any, *, paths: bool, several: bool = False) -> list[Any]:
    """Read a column as a list with at least one row.

    Parameters
    ----------
    X : list, tuple, array, Series or one-column table of shape (n,) or (n, 1)
        Strings and objects.
    paths : bool
        Whether paths are rows, too.
    several : bool, default=False
        Whether X may have several columns.

    Returns
    -------
    rows : list of length n
        None for a missing row; of several columns a tuple.

    Raises
    ------
    TypeError
        If ``X`` is not such a column.
    ValueError
        If it has no row or several columns.
    """
    rows = as_rows(X, paths=paths) if several else as_strings(X, paths=paths)
    if not rows:
        raise ValueError(_EMPTY)
    return rows


def _chunk_size(
    n_rows: int, n_jobs: int | None, chunk: int = _CHUNK
) -> tuple[int, int]:
    """Choose the rows per chunk and the workers that are worth their start."""
    workers = min(effective_n_jobs(n_jobs), math.ceil(n_rows / chunk))
    # The number of chunks is a multiple of the workers: none waits for the last one.
    n_chunks = workers * math.ceil(n_rows / (workers * chunk))
    return math.ceil(n_rows / n_chunks), workers
