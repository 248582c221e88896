"""Looking into fitted estimators: how tasks relate, and how training went."""

from ._gradient_similarity import GradientSimilarityDisplay, gradient_similarity
from ._task_history import TaskHistoryDisplay

__all__ = [
    "GradientSimilarityDisplay",
    "TaskHistoryDisplay",
    "gradient_similarity",
]
