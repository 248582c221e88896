"""Estimators with scikit-learn's interface."""

from ._gate import GATERegressor
from ._regressor import MultiTaskGNNRegressor

__all__ = ["GATERegressor", "MultiTaskGNNRegressor"]
