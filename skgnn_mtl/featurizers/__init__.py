"""Transformers from strings and tables to packed graphs."""

from ._base import GraphTransformer
from ._cif import CifToGraph
from ._columns import AtomColumn, BondColumn
from ._fingerprints import SmilesToDescriptors
from ._graph_columns import GraphColumns
from ._smiles import SmilesToGraph

__all__ = [
    "AtomColumn",
    "BondColumn",
    "CifToGraph",
    "GraphColumns",
    "GraphTransformer",
    "SmilesToDescriptors",
    "SmilesToGraph",
]
