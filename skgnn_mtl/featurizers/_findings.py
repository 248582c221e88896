"""What a transformation found in its rows, for one warning at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray

_SHOWN_ROWS = 10


@dataclass
class Findings:
    """Rows to warn of, over one or several chunks.

    Parameters
    ----------
    n_rows, n_invalid : int
        Rows so far, and how many of them became invalid graphs.
    invalid : list of int
        Positions of the first of these.
    complaint : str
        Why the very first is invalid.
    n_isolated : int
        Nodes without an edge.
    isolated : list of int
        Positions of the first rows that have one.
    """

    n_rows: int = 0
    n_invalid: int = 0
    invalid: list[int] = field(default_factory=list)
    complaint: str = ""
    n_isolated: int = 0
    isolated: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        """Read what :meth:`stored` gave."""
        return cls(**stored)

    def stored(self) -> dict[str, Any]:
        """Give all as JSON holds it."""
        return asdict(self)

    def add(self, graphs: GraphArray, *, isolated: bool) -> np.ndarray:
        """Count a chunk; return positions in it of the invalid graphs.

        Parameters
        ----------
        graphs : GraphArray
            The next ones.
        isolated : bool
            Whether a node without an edge is something to warn of.
        """
        at = np.flatnonzero(~graphs.valid)
        self.n_invalid += len(at)
        self.invalid = _first(self.invalid, self.n_rows + at)
        if isolated:
            n_nodes, rows = _isolated_nodes(graphs)
            self.n_isolated += n_nodes
            self.isolated = _first(self.isolated, self.n_rows + rows)
        self.n_rows += len(graphs)
        return at

    def warn(self) -> None:
        """Warn once of each kind that was found."""
        if self.n_invalid:
            listed = _listed(self.invalid, self.n_invalid)
            warn(
                f"{self.n_invalid} of {self.n_rows} rows of X became invalid graphs: "
                f"rows {listed}. {self.complaint}",
            )
        if self.n_isolated:
            listed = _listed(self.isolated, len(self.isolated))
            warn(
                f"{self.n_isolated} atoms have no neighbour within the cutoff and stay "
                f"without an edge: rows {listed} of X. A larger cutoff would connect "
                "them.",
            )


def _first(known: list[int], new: np.ndarray) -> list[int]:
    # One more than is shown, which tells that there are more.
    return [*known, *new[: _SHOWN_ROWS + 1].tolist()][: _SHOWN_ROWS + 1]


def _listed(rows: list[int], n_rows: int) -> str:
    more = ", ..." if n_rows > _SHOWN_ROWS else ""
    return ", ".join(map(str, rows[:_SHOWN_ROWS])) + more


def _isolated_nodes(graphs: GraphArray) -> tuple[int, np.ndarray]:
    """Count nodes without an edge; list the graphs that have one."""
    first = np.cumsum(graphs.n_nodes) - graphs.n_nodes
    target = graphs.edge_index[1] + np.repeat(first, graphs.n_edges)
    alone = np.bincount(target, minlength=int(graphs.n_nodes.sum())) == 0
    rows = np.repeat(np.arange(len(graphs)), graphs.n_nodes)[alone]
    return int(alone.sum()), np.unique(rows)
