"""One graph as torch-geometric hands graphs around."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch_geometric.data import Data

if TYPE_CHECKING:
    from ._array import GraphArray


def as_data(graph: GraphArray) -> Data:
    """Copy an array of one graph into a PyG ``Data``."""
    schema = graph.schema
    values = {
        "x": graph.node_codes.astype(np.int64)
        if schema.node_columns
        else graph.node_features.copy(),
        "edge_index": graph.edge_index.astype(np.int64),
        "edge_attr": graph.edge_codes.astype(np.int64),
    }
    if schema.node_columns and schema.node_features:
        values["node_features"] = graph.node_features.copy()
    if schema.edge_features:
        values["edge_features"] = graph.edge_features.copy()
    if schema.graph_features:
        values["graph_features"] = graph.graph_features.copy()
    tensors = {key: torch.from_numpy(value) for key, value in values.items()}
    return Data(**tensors, id=graph.ids[0], num_nodes=int(graph.n_nodes[0]))
