"""Graphs as packed arrays, and the batches a network computes on."""

from ._array import GraphArray
from ._batch import GraphBatch
from ._dataset import BatchDataset as BatchDataset
from ._dataset import GraphDataset, GraphLoader, Labels
from ._dataset import fill_gaps as fill_gaps
from ._dataset import in_precision as in_precision
from ._incidence import Incidence
from ._schema import HU2020 as HU2020
from ._schema import HU2020_MASKED_ATOM as HU2020_MASKED_ATOM
from ._schema import HU2020_SELF_LOOP as HU2020_SELF_LOOP
from ._schema import GraphSchema
from ._unfolding import Classes, edge_classes
from ._view import GraphRows
from ._writer import GraphWriter as GraphWriter

__all__ = [
    "Classes",
    "GraphArray",
    "GraphBatch",
    "GraphDataset",
    "GraphLoader",
    "GraphRows",
    "GraphSchema",
    "Incidence",
    "Labels",
    "edge_classes",
]
