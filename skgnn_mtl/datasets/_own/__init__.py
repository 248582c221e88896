"""A table of one's own: its file, its columns, its cells, and what is odd in them."""

from ._read import read_smiles_column, read_table

__all__ = ["read_smiles_column", "read_table"]
