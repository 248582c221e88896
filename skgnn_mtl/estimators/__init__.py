"""Estimators with scikit-learn's interface."""

from ._classifier import MultiTaskGNNClassifier
from ._regressor import MultiTaskGNNRegressor

__all__ = ["MultiTaskGNNClassifier", "MultiTaskGNNRegressor"]
