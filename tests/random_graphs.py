"""Random graphs with every kind of column, and their slow, obvious reading."""

from dataclasses import replace

import numpy as np

from skgnn_mtl.graphs import GraphArray, GraphSchema

SCHEMA = GraphSchema(
    "toy",
    node_columns=(("element", 5), ("charge", 3)),
    edge_columns=(("bond", 4),),
    node_features=("mass",),
    edge_features=("distance",),
    graph_features=("temperature",),
    paired_edges=True,
)
# Estimators refuse features of graphs, because networks do not read them.
NETWORK_SCHEMA = replace(SCHEMA, graph_features=())


def random_graphs(n=30, seed=0, schema=SCHEMA):
    """Random graphs with every kind of column; some have no node, some no edge."""
    rng = np.random.default_rng(seed)
    n_nodes = rng.integers(0, 7, n)
    n_bonds = np.where(n_nodes > 1, rng.integers(0, 5, n), 0)
    ends = [rng.integers(0, m, (2, b)) for m, b in zip(n_nodes, n_bonds, strict=True)]
    edge_index = np.concatenate(
        [np.stack([e, e[::-1]], axis=2).reshape(2, -1) for e in ends], axis=1
    )
    N, E = n_nodes.sum(), 2 * n_bonds.sum()
    return GraphArray(
        schema,
        n_nodes=n_nodes,
        n_edges=2 * n_bonds,
        node_codes=rng.integers(0, [5, 3], (N, 2)),
        edge_index=edge_index,
        edge_codes=np.repeat(rng.integers(0, 4, (E // 2, 1)), 2, axis=0),
        node_features=rng.normal(size=(N, 1)),
        edge_features=np.repeat(rng.normal(size=(E // 2, 1)), 2, axis=0),
        graph_features=rng.normal(size=(n, len(schema.graph_features))),
        ids=[f"graph {i} é" for i in range(n)],
        valid=n_nodes > 0,
    )


def valid_graphs(n=60, seed=0, schema=NETWORK_SCHEMA):
    """Random graphs less those without nodes."""
    X = random_graphs(n, seed, schema)
    return X[X.valid]


def as_tuples(X):
    """Every graph as plain Python values: the slow, obvious reading."""
    nodes = np.concatenate([[0], np.cumsum(X.n_nodes)])
    edges = np.concatenate([[0], np.cumsum(X.n_edges)])
    return [
        (
            X.node_codes[nodes[i] : nodes[i + 1]].tolist(),
            X.node_features[nodes[i] : nodes[i + 1]].tolist(),
            X.edge_index[:, edges[i] : edges[i + 1]].tolist(),
            X.edge_codes[edges[i] : edges[i + 1]].tolist(),
            X.edge_features[edges[i] : edges[i + 1]].tolist(),
            X.graph_features[i].tolist(),
            X.ids[i],
            bool(X.valid[i]),
        )
        for i in range(len(X))
    ]
