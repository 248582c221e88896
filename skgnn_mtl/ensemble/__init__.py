"""Meta-estimators for tables of properties with gaps.

They take any estimator or pipeline as a member, ``X`` of any kind, and ``y`` of shape
(n,) or (n, t) with NaN where a label is missing.
"""

from ._blend import BlendClassifier, BlendRegressor
from ._calibrated import CalibratedClassifier
from ._conformal_classifier import ConformalClassifier
from ._conformal_regressor import ConformalRegressor
from ._ensemble import EnsembleClassifier, EnsembleRegressor
from ._grouped import GroupedClassifier, GroupedRegressor
from ._hybrid_classifier import HybridClassifier
from ._hybrid_regressor import HybridRegressor
from ._per_task import PerTaskClassifier, PerTaskRegressor

__all__ = [
    "BlendClassifier",
    "BlendRegressor",
    "CalibratedClassifier",
    "ConformalClassifier",
    "ConformalRegressor",
    "EnsembleClassifier",
    "EnsembleRegressor",
    "GroupedClassifier",
    "GroupedRegressor",
    "HybridClassifier",
    "HybridRegressor",
    "PerTaskClassifier",
    "PerTaskRegressor",
]
