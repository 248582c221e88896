"""What the columns of a :class:`GraphArray` mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

# Names of features that one message lists.
_SHOWN_NAMES = 8


@dataclass(frozen=True)
class GraphSchema:
    """Names, cardinalities and dtype of the columns of packed graphs.

    Parameters
    ----------
    name : str
        Name of the featurization, for instance ``"ogb"``.
    node_columns, edge_columns : tuple of (str, int), default=()
        Categorical columns: name and cardinality. Codes run from 0 to cardinality - 1.
    node_features, edge_features, graph_features : tuple of str, default=()
        Names of the continuous columns. Those of ``graph_features`` are numbers beside
        each graph, see :meth:`GraphArray.with_features`.
    paired_edges : bool, default=False
        True if edges ``2b`` and ``2b + 1`` are the two directions of bond ``b``, so
        that the reverse of edge ``e`` is ``e ^ 1``.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the continuous columns and of everything computed from them.
    node_table : tuple of tuple of float, default=()
        If given, row k holds the features of code k of the first categorical node
        column; encoders then read these features instead of a one-hot code.

    Raises
    ------
    ValueError
        If the table does not have one row per code of the column, or if its rows
        differ in length.

    See Also
    --------
    skgnn_mtl.GraphArray : Packed, immutable array of graphs.

    Examples
    --------
    >>> from skgnn_mtl.graphs import GraphSchema
    >>> schema = GraphSchema("toy", node_columns=(("element", 3),))
    >>> schema.difference(GraphSchema("toy", node_columns=(("element", 4),)))
    "node_columns: (('element', 3),) against (('element', 4),)"
    """

    name: str
    node_columns: tuple[tuple[str, int], ...] = ()
    edge_columns: tuple[tuple[str, int], ...] = ()
    node_features: tuple[str, ...] = ()
    edge_features: tuple[str, ...] = ()
    graph_features: tuple[str, ...] = ()
    paired_edges: bool = False
    dtype: str = "float32"
    node_table: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.node_table:
            return
        n_codes = self.node_columns[0][1] if self.node_columns else 0
        if len(self.node_table) != n_codes or len(set(map(len, self.node_table))) > 1:
            raise ValueError(
                f"node_table must have one row of one length for each of the {n_codes} "
                f"codes of the first node column, but has {len(self.node_table)} rows."
            )

    @property
    def structure(self) -> GraphSchema:
        """The schema without graph features, which encoders do not read."""
        return replace(self, graph_features=())

    def difference(self, other: GraphSchema) -> str:
        """Name the fields in which two schemas differ; '' if they are equal.

        Parameters
        ----------
        other : GraphSchema
            The schema to compare with.

        Returns
        -------
        difference : str
            One clause per field, this schema's value first.
        """
        clauses = (
            f"{f.name}: {self._show(f.name)} against {other._show(f.name)}"
            if f.name != "graph_features"
            else _difference_of_names(self.graph_features, other.graph_features)
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        )
        return "; ".join(clauses)

    def _show(self, name: str) -> str:
        if name == "node_table" and self.node_table:
            # The shape only, because the table holds thousands of numbers.
            return f"a table {len(self.node_table)} x {len(self.node_table[0])}"
        return repr(getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """Write the schema as types that JSON knows.

        Returns
        -------
        values : dict
            One entry per field.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GraphSchema:
        """Rebuild a schema from :meth:`to_dict`, also after a trip through JSON.

        Parameters
        ----------
        values : dict
            The result of :meth:`to_dict`.

        Returns
        -------
        schema : GraphSchema
            Equal to the schema that was written.
        """
        restored = dict(values)
        for key in ("node_columns", "edge_columns"):
            restored[key] = tuple((name, int(size)) for name, size in values[key])
        for key in ("node_features", "edge_features", "graph_features"):
            restored[key] = tuple(values[key])
        # A default, because older files do not have this entry.
        restored["node_table"] = tuple(map(tuple, values.get("node_table", ())))
        return cls(**restored)


def _difference_of_names(mine: tuple[str, ...], others: tuple[str, ...]) -> str:
    """Compare names of features, of which there may be hundreds."""
    if max(len(mine), len(others)) <= _SHOWN_NAMES:
        return f"graph_features: {mine!r} against {others!r}"
    counts = f"graph_features: {len(mine)} against {len(others)} names"
    for names, opposite, who in ((mine, others, "first"), (others, mine, "second")):
        extra = [name for name in names if name not in opposite]
        if extra:
            return f"{counts}, {len(extra)} of the {who} only, such as {extra[0]!r}"
    k = next(k for k, name in enumerate(mine) if name != others[k])
    return f"{counts} in another order: {mine[k]!r} against {others[k]!r} in place {k}"


# Graphs of Hu et al. (2020). The sizes are the rows of the embeddings in the published
# weights. Only the model sets the two codes below; molecules do not have them.
HU2020 = GraphSchema(
    "hu2020",
    node_columns=(("atomic_number", 120), ("chirality", 3)),
    edge_columns=(("bond_type", 6), ("direction", 3)),
    paired_edges=True,
)
HU2020_SELF_LOOP = (4, 0)
HU2020_MASKED_ATOM = (119, 0)
