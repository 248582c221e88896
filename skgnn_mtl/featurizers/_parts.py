"""Rows of several molecules, such as a solute and a solvent, as one graph each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from skgnn_mtl.graphs import GraphArray, GraphSchema

from ._complaints import RowError

# Name of the node column that tells the parts of a graph apart.
COLUMN = "molecule"


def n_parts(rows: list[Any]) -> int:
    """Count the molecules of a row.

    Parameters
    ----------
    rows : list
        Tuples of one length, or anything else.

    Returns
    -------
    k : int
        1 for rows that are no tuples.
    """
    return len(rows[0]) if rows and isinstance(rows[0], tuple) else 1


def flat(rows: list[Any]) -> list[Any]:
    """List the parts of all rows, those of one row after another."""
    return list(chain.from_iterable(rows)) if n_parts(rows) > 1 else rows


def regrouped(parts: list[Any], k: int) -> list[Any]:
    """Undo :func:`flat` for rows of k parts."""
    return parts if k == 1 else list(zip(*[iter(parts)] * k, strict=True))


def place_of(position: int, k: int) -> str:
    """Name the place of a part in X, by its position among the parts of all rows."""
    return ", ".join(map(str, divmod(position, k) if k > 1 else (position,)))


def of_row(error: RowError, k: int) -> RowError:
    """Find the row of an error that knows its position among the parts of all rows."""
    if k == 1:
        return error
    row, part = divmod(error.position, k)
    return RowError(row, error.problem, error.reason, part)


def names_of_parts(names: list[str], k: int) -> list[str]:
    """Name the numbers of all parts of a row, those of one part after another."""
    return (
        names if k == 1 else [f"{COLUMN}{c}_{name}" for c in range(k) for name in names]
    )


def are_joined(schema: GraphSchema) -> bool:
    """Tell graphs of several molecules, as :func:`joined` makes them."""
    *_, (name, k) = (("", 1), *schema.node_columns)
    return name == COLUMN and schema.name.endswith(_suffix(k))


def refuse_joined(graphs: GraphArray, what: str) -> None:
    """Refuse graphs of several molecules, whose identifier is that of a mixture.

    Parameters
    ----------
    graphs : GraphArray
        The graphs.
    what : str
        What is made of them, for the message.

    Raises
    ------
    ValueError
        If they are graphs of several molecules.
    """
    if are_joined(graphs.schema):
        raise ValueError(
            f"{what} are those of each molecule, but these graphs have several "
            f"({graphs.schema.name!r}). Pass the table of their SMILES."
        )


def _suffix(k: int) -> str:
    return f", {k} molecules"


def featurize_parts(
    featurize: Callable[[list[Any]], GraphArray], rows: list[tuple[Any, ...]]
) -> GraphArray:
    """Make one graph of each row of several molecules.

    Parameters
    ----------
    featurize : callable
        Makes graphs of a list of molecules.
    rows : list of tuple of length k
        At least one.

    Returns
    -------
    graphs : GraphArray of shape (n,)
        See :func:`joined`.

    Raises
    ------
    RowError
        That of a molecule, with its place in the row.
    """
    k = len(rows[0])
    try:
        graphs = featurize(flat(rows))
    except RowError as error:
        raise of_row(error, k) from error.__cause__
    return joined(graphs, k)


def joined(graphs: GraphArray, k: int) -> GraphArray:
    """Join each k graphs into one, and tell their nodes apart by a column of codes.

    Parameters
    ----------
    graphs : GraphArray of shape (n * k,)
        Parts of a row one after another.
    k : int
        Number of parts.

    Returns
    -------
    graphs : GraphArray of shape (n,)
        Nodes of the first part first; the last node column is the number of the part.
        Graph features are those of all parts. Identifiers are joined by dots. Invalid
        where a part is.
    """
    valid: np.ndarray = np.all(graphs.valid.reshape(-1, k), axis=1)
    width = k * graphs.graph_features.shape[1]
    features = graphs.graph_features.reshape(len(valid), width).copy()
    features[~valid] = np.nan
    ids = [_identifier(parts) for parts in regrouped(graphs.ids.tolist(), k)]
    # Without the readable parts of invalid rows, whose graphs are empty.
    kept = graphs if valid.all() else graphs[np.repeat(valid, k)]
    n_nodes, n_edges = kept.n_nodes.reshape(-1, k), kept.n_edges.reshape(-1, k)
    first = np.cumsum(n_nodes, axis=1) - n_nodes
    part = np.tile(np.arange(k), len(n_nodes))
    codes = np.repeat(part, kept.n_nodes)[:, None]
    return GraphArray(
        _schema(kept.schema, k),
        n_nodes=_sums(n_nodes, valid),
        n_edges=_sums(n_edges, valid),
        node_codes=np.hstack([kept.node_codes, codes]),
        node_features=kept.node_features,
        edge_index=kept.edge_index + np.repeat(first.ravel(), kept.n_edges),
        edge_codes=kept.edge_codes,
        edge_features=kept.edge_features,
        graph_features=features,
        ids=ids,
        valid=valid,
    )


def _schema(schema: GraphSchema, k: int) -> GraphSchema:
    return replace(
        schema,
        # Another name, because published weights do not know the column.
        name=schema.name + _suffix(k),
        node_columns=(*schema.node_columns, (COLUMN, k)),
        graph_features=tuple(names_of_parts(list(schema.graph_features), k)),
    )


def _sums(sizes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Sum the sizes of the parts of valid rows; 0 for others."""
    total = np.zeros(len(valid), dtype=np.int64)
    total[valid] = sizes.sum(axis=1)
    return total


def _identifier(parts: tuple[str, ...]) -> str:
    # A dot, because RDKit then reads a mixture whose atoms are in the graph's order.
    # What follows a blank is a name.
    words = [part.split() for part in parts]
    return ".".join(word[0] for word in words) if all(words) else ""
