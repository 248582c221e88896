"""Multi-task graph neural networks for molecules and crystals, in scikit-learn."""

from importlib import import_module
from types import ModuleType

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

_ROOMS = (
    *("auxiliary", "curvature", "datasets", "encoders", "ensemble", "estimators"),
    *("featurizers", "graphs", "inspection", "metrics", "model_selection"),
    *("optimizers", "readouts", "weighting"),
)


def __getattr__(name: str) -> ModuleType:
    # At use, because some rooms take long to import.
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", *__all__, *_ROOMS})
