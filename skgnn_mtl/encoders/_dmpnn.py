"""Directed message passing network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn

from skgnn_mtl.graphs import (
    Classes,
    GraphBatch,
    GraphSchema,
    Incidence,
    edge_classes,
)

from ._base import COMMON, POSITIVE, Columns, GraphEncoder, get_activation


class DMPNN(GraphEncoder):
    r"""Directed message passing network of Yang et al. (2019), the core of chemprop.

    Directed edges have states, and a message does not return along its own bond:

    .. math::

        h^0_{vw} &= \sigma(z_{vw}), \quad z_{vw} = W_i\,[x_v, e_{vw}], \\
        h^{k+1}_{vw} &= \sigma\Big(z_{vw} + W_h \sum_{u \in N(v) \setminus w} h^k_{uv}
        \Big), \\
        h_v &= \sigma\Big(W_o\,[x_v, \sum_{u \in N(v)} h^{K}_{uv}] + b_o\Big),

    with the columns :math:`x_v` of the atoms and :math:`e_{vw}` of the bonds, one-hot
    where categorical, states :math:`h` of shape (width,), and :math:`K` =
    ``n_layers`` - 1 updates.

    On the CPU, edges with equal unfoldings share one row of the matrix products
    (:func:`~skgnn_mtl.graphs.edge_classes`); the result is the same.

    Parameters
    ----------
    width : int, default=300
        Width of the edge and node states.
    n_layers : int, default=3
        Depth, counted as in chemprop: the initial states are the first layer.
    activation : {"relu", "elu", "gelu", "silu", "softplus", "tanh"}, default="relu"
        Nonlinearity.
    dropout : float, default=0.0
        Probability that a component of a state is dropped.

    Raises
    ------
    ValueError
        In ``build``, if the edges of the graphs are not paired (both directions of each
        bond), or if a parameter does not have a valid value.

    See Also
    --------
    GIN : Graph isomorphism network.
    Pretrained : Starts from the weights of another encoder.
    load_encoder : The encoder that the package ships.

    References
    ----------
    .. [1] K. Yang et al., "Analyzing Learned Molecular Representations for Property
       Prediction", J. Chem. Inf. Model. 59, 3370 (2019).

    Examples
    --------
    >>> from skgnn_mtl.encoders import DMPNN
    >>> DMPNN(dropout=0.1)
    DMPNN(dropout=0.1)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **COMMON,
        "n_layers": POSITIVE,
    }

    def __init__(
        self,
        width: int = 300,
        *,
        n_layers: int = 3,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_layers = n_layers
        self.activation = activation
        self.dropout = dropout

    def build(self, schema: GraphSchema) -> None:
        """Make the learnable tensors.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """
        super().build(schema)
        has_edges = bool(schema.edge_columns or schema.edge_features)
        if has_edges and not schema.paired_edges:
            raise ValueError(
                "DMPNN needs every bond as two neighbouring directed edges, but the "
                f"graphs of schema {schema.name!r} have edges of one direction; "
                "choose another encoder, for instance GIN."
            )
        self.nodes = Columns(
            schema.node_columns, schema.node_features, schema.node_table
        )
        self.edges = Columns(schema.edge_columns, schema.edge_features)
        self.atom_input = self.nodes.linear(self.width, bias=False)
        self.bond_input = self.edges.linear(self.width, bias=False)
        self.hidden = nn.Linear(self.width, self.width, bias=False)
        self.atom_output = self.nodes.linear(self.width, bias=False)
        self.output = nn.Linear(self.width, self.width)
        self.drop = nn.Dropout(self.dropout)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Compute the node states.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        states : Tensor of shape (n_nodes, width)
            One row per node.
        """
        atoms = self.nodes(batch.node_codes, batch.node_features)
        return self._propagate(atoms, batch, self._edge_classes(batch))

    def cut(self, batch: GraphBatch) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Cut behind the columns of the atoms, which the bonds read, too.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        columns : Tensor of shape (n_nodes, n_columns)
            The columns :math:`x_v` of the atoms, one-hot where categorical.
        rest : callable
            Maps such columns to the node states.
        """
        # No sharing, because changed atoms differ where the columns of the batch are
        # equal, and because the derivative of each atom is its own.
        alone = Classes.singletons(batch.n_edges, batch.device)
        rest = partial(self._propagate, batch=batch, levels=[alone] * self.n_layers)
        return self.nodes(batch.node_codes, batch.node_features), rest

    def _propagate(
        self, atoms: Tensor, batch: GraphBatch, levels: list[Classes]
    ) -> Tensor:
        """Compute the node states from the columns of the atoms.

        Rows are classes of edges, one partition per layer, each finer than the last.
        """
        activation = get_activation(self.activation)
        source = batch.source.owner
        first = levels[0].representative
        bonds = self.edges(batch.edge_codes[first], batch.edge_features[first])
        z = self.atom_input(_rows(atoms, source[first])) + self.bond_input(bonds)
        h = activation(z)
        for last, level in pairwise(levels):
            edges = level.representative
            # W_h before the sum, because the coarser classes have fewer rows.
            p = self.hidden(h)
            arrived = batch.target.transfer(p, last.members)
            m = _rows(arrived, source[edges]) - _rows(p, last.of[edges ^ 1])
            h = self.drop(activation(m + _rows(z, levels[0].of[edges])))
        incoming = self.output(batch.target.transfer(h, levels[-1].members))
        states: Tensor = self.drop(activation(incoming + self.atom_output(atoms)))
        return states

    def _edge_classes(self, batch: GraphBatch) -> list[Classes]:
        """Find the edges that share a state, at each depth."""
        if self.training and self.dropout:
            # Dropout makes states of one class differ; the first layer has no dropout.
            alone = Classes.singletons(batch.n_edges, batch.device)
            return edge_classes(batch, 1) + [alone] * (self.n_layers - 1)
        return edge_classes(batch, self.n_layers)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Take rows, with the fast derivative of an incidence."""
    return Incidence(rows, x.shape[0]).gather(x)
