"""Transformers from strings and tables to packed graphs, and to tables of numbers."""

from ._base import GraphTransformer
from ._cif import CifToGraph
from ._columns import AtomColumn, BondColumn
from ._crystal_table import CifToDescriptors
from ._graph_columns import GraphColumns
from ._molecule_table import SmilesToDescriptors
from ._smiles import SmilesToGraph

__all__ = [
    "AtomColumn",
    "BondColumn",
    "CifToDescriptors",
    "CifToGraph",
    "GraphColumns",
    "GraphTransformer",
    "SmilesToDescriptors",
    "SmilesToGraph",
]
