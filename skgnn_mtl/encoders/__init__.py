"""Encoders: maps from a batch of graphs to node states, one architecture a file."""

from ._base import GraphEncoder
from ._cgcnn import CGCNN
from ._dmpnn import DMPNN
from ._gat import GAT
from ._gcn import GCN
from ._gin import GIN

__all__ = ["CGCNN", "DMPNN", "GAT", "GCN", "GIN", "GraphEncoder"]
