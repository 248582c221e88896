"""Estimators with scikit-learn's interface."""

from ._classifier import MultiTaskGNNClassifier
from ._gate import GATERegressor
from ._regressor import MultiTaskGNNRegressor

__all__ = ["GATERegressor", "MultiTaskGNNClassifier", "MultiTaskGNNRegressor"]
