"""Estimators with scikit-learn's interface."""

from ._classifier import MultiTaskGNNClassifier
from ._gate import GATERegressor
from ._pretrainer import GNNPretrainer
from ._regressor import MultiTaskGNNRegressor

__all__ = [
    "GATERegressor",
    "GNNPretrainer",
    "MultiTaskGNNClassifier",
    "MultiTaskGNNRegressor",
]
