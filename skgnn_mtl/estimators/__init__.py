"""Estimators with scikit-learn's interface."""

from ._regressor import MultiTaskGNNRegressor

__all__ = ["MultiTaskGNNRegressor"]
