"""Encoders: maps from a batch of graphs to node states, one architecture per file."""

from ._base import GraphEncoder
from ._cgcnn import CGCNN
from ._checkpoint_cgcnn import read_cgcnn as read_cgcnn
from ._dmpnn import DMPNN
from ._gat import GAT
from ._gcn import GCN
from ._gin import GIN
from ._graph_sage import GraphSAGE
from ._pretrained import Pretrained
from ._shipped import load_encoder

__all__ = [
    "CGCNN",
    "DMPNN",
    "GAT",
    "GCN",
    "GIN",
    "GraphEncoder",
    "GraphSAGE",
    "Pretrained",
    "load_encoder",
]
