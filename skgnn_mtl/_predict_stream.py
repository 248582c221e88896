"""Predictions chunk by chunk, by any model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from numbers import Integral
from os import PathLike
from typing import Any

from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from skgnn_mtl.featurizers._sources import (
    in_chunks,
    is_chunk,
    partitions_of,
    stream_of_rows,
)
from skgnn_mtl.featurizers._strings import is_lazy
from skgnn_mtl.graphs import GraphArray


def predict_stream(
    model: Any,
    X: Any,
    *,
    method: str = "predict",
    column: str | None = None,
    chunk_size: int = 5000,
    **keywords: Any,
) -> Iterator[Any]:
    """Predict chunk by chunk, in memory that does not grow with the rows.

    Parameters
    ----------
    model : estimator
        Fitted network, ensemble or pipeline.
    X : GraphArray, path, iterator, or array-like
        A mapped array, which is read where it lies; the path of a file of rows, as
        ``SmilesToGraph.transform_to`` reads them; an iterator of rows; an iterator of
        chunks, such as arrays of graphs, lists or tables; a collection of dask, whose
        partitions are chunks; or what the model takes.
    method : str, default="predict"
        Method of the model, such as "predict_proba" or "embed".
    column : str, default=None
        Column of a file that is a table. It may be left out if there is only one.
    chunk_size : int, default=5000
        Rows per chunk. Chunks that ``X`` gives stay as they are.
    **keywords : object
        Keyword arguments of the method, such as ``return_std=True``.

    Returns
    -------
    predictions : iterator
        What the method returns, for one chunk after the other, in order: arrays of
        shape (n_rows_of_chunk, n_tasks) of ``predict``.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    AttributeError
        If the model does not have the method.
    ValueError, TypeError
        If ``X`` does not have rows, or a chunk cannot be predicted. Rows in messages
        and warnings are counted within their chunk.

    See Also
    --------
    skgnn_mtl.SmilesToGraph.transform_to : Graphs in a folder, chunk by chunk.

    Notes
    -----
    ``predict`` of a network reads a mapped array batch by batch, too; its memory grows
    with the predictions only. With ``return_std=True``, and in ensembles, it holds more
    numbers per row, which this function limits to one chunk.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph, predict_stream
    >>> model = make_pipeline(
    ...     SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=1, random_state=0)
    ... ).fit(["CCO", "CC", "CCC"], [1.0, 2.0, 3.0])
    >>> smiles = ("C" * n for n in range(1, 6))
    >>> [len(part) for part in predict_stream(model, smiles, chunk_size=2)]
    [2, 2, 1]
    """
    # Here and not at the first chunk, because an iterator may wait for long.
    check_is_fitted(model)
    if not isinstance(chunk_size, Integral) or chunk_size < 1:
        raise ValueError(f"chunk_size must be an integer >= 1, got {chunk_size!r}.")
    predict = getattr(model, method)
    chunks = _chunks(X, column, int(chunk_size))
    return (predict(chunk, **keywords) for chunk in chunks)


def _chunks(X: Any, column: str | None, size: int) -> Iterable[Any]:
    if isinstance(X, (str, PathLike)):
        return in_chunks(stream_of_rows(X, column, paths=True), size)
    if column is not None:
        raise ValueError(f"column={column!r} names a column of a file, but X is none.")
    if is_lazy(X):
        return partitions_of(X)
    if _is_chunk(X):
        return _slices(X, size)
    rows = iter(X)
    first = list(islice(rows, 1))
    rows = chain(first, rows)
    return rows if any(map(_is_chunk, first)) else in_chunks(rows, size)


def _is_chunk(X: Any) -> bool:
    return isinstance(X, GraphArray) or is_chunk(X)


def _slices(X: Any, size: int) -> Iterable[Any]:
    # Slices, because those of a mapped array are not read yet.
    starts = range(0, _num_samples(X), size)
    return (_safe_indexing(X, slice(start, start + size)) for start in starts)
