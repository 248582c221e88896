"""Directed message passing network."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from skgnn_mtl.graphs import (
    Classes,
    GraphBatch,
    GraphSchema,
    Incidence,
    edge_classes,
)

from ._base import Columns, GraphEncoder, check_counts, get_activation


class DMPNN(GraphEncoder):
    r"""Directed message passing network of Yang et al. (2019), the core of chemprop.

    States live on directed edges, and a message never returns along its own bond:

    .. math::

        h^0_{vw} &= \sigma(z_{vw}), \quad z_{vw} = W_i\,[x_v, e_{vw}], \\
        h^{k+1}_{vw} &= \sigma\Big(z_{vw} + W_h \sum_{u \in N(v) \setminus w} h^k_{uv}
        \Big), \\
        h_v &= \sigma\Big(W_o\,[x_v, \sum_{u \in N(v)} h^{K}_{uv}] + b_o\Big),

    with the columns :math:`x_v` of the atoms and :math:`e_{vw}` of the bonds, one-hot
    where categorical, and :math:`K` = ``n_layers`` - 1 updates.

    On the CPU, edges that see the same tree of columns share one row of the matrix
    products (:func:`~skgnn_mtl.graphs.edge_classes`); the result is the same.

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
        In ``build``, if the graphs' edges do not come in pairs of both directions.

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

    def __init__(
        self, width=300, *, n_layers=3, activation="relu", dropout=0.0
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
        has_edges = bool(schema.edge_columns or schema.edge_features)
        if has_edges and not schema.paired_edges:
            raise ValueError(
                "DMPNN needs every bond as two neighbouring directed edges, but the "
                f"graphs of schema {schema.name!r} have edges of one direction; "
                "choose another encoder, for instance GIN."
            )
        check_counts(self, width=1, n_layers=1)
        super().build(schema)
        get_activation(self.activation)
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
            One row a node.
        """
        activation = get_activation(self.activation)
        source = batch.source.owner
        levels = self._edge_classes(batch)
        first = levels[0].representative
        atoms = self.nodes(batch.node_codes, batch.node_features)
        bonds = self.edges(batch.edge_codes[first], batch.edge_features[first])
        z = self.atom_input(atoms[source[first]]) + self.bond_input(bonds)
        h = activation(z)
        for last, level in pairwise(levels):
            edges = level.representative
            # W_h meets the rows before they are summed: there are fewer.
            p = self.hidden(h)
            arrived = batch.target.transfer(p, last.members)
            m = _pick(arrived, source[edges]) - _pick(p, last.of[edges ^ 1])
            h = self.drop(activation(m + _pick(z, levels[0].of[edges])))
        incoming = self.output(batch.target.transfer(h, levels[-1].members))
        return self.drop(activation(incoming + self.atom_output(atoms)))

    def _edge_classes(self, batch: GraphBatch) -> list[Classes]:
        """Edges that share a state, at each depth."""
        if self.training and self.dropout:
            # A dropped state belongs to one edge; the first ones are never dropped.
            alone = Classes.singletons(batch.n_edges, batch.device)
            return edge_classes(batch, 1) + [alone] * (self.n_layers - 1)
        return edge_classes(batch, self.n_layers)


def _pick(x: Tensor, rows: Tensor) -> Tensor:
    return Incidence(rows, x.shape[0]).gather(x)
