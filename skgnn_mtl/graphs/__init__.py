"""Graphs as packed arrays, and the batches a network computes on."""

from ._array import GraphArray
from ._batch import GraphBatch
from ._dataset import GraphDataset, GraphLoader
from ._incidence import Incidence
from ._schema import GraphSchema
from ._unfolding import Classes, edge_classes

__all__ = [
    "Classes",
    "GraphArray",
    "GraphBatch",
    "GraphDataset",
    "GraphLoader",
    "GraphSchema",
    "Incidence",
    "edge_classes",
]
