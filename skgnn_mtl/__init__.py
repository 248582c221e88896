"""Multi-task graph neural networks for molecules and crystals, in scikit-learn."""

from skgnn_mtl._predict_stream import predict_stream
from skgnn_mtl._saving import load, save
from skgnn_mtl.estimators import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.featurizers import CifToGraph, GraphColumns, SmilesToGraph
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import data_parallel

__version__ = "0.1.0"

__all__ = [
    "CifToGraph",
    "GATERegressor",
    "GNNPretrainer",
    "GraphArray",
    "GraphColumns",
    "MultiTaskGNNClassifier",
    "MultiTaskGNNRegressor",
    "SmilesToGraph",
    "data_parallel",
    "load",
    "predict_stream",
    "save",
]
