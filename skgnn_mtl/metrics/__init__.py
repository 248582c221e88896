"""Scores of many tasks with missing labels, and comparisons of methods over tasks.

NaN in ``y_true`` means *unlabelled*. Each score is computed per task on the labelled
rows and averaged afterwards. Scores are not pooled, because the task with the largest
unit would dominate.
"""

from ._comparison import delta_m, mean_rank
from ._scorers import (
    nan_r2_scorer,
    nan_roc_auc_scorer,
    neg_nan_mean_absolute_error_scorer,
    neg_nan_root_mean_squared_error_scorer,
    per_task_scorers,
    task_scorer,
)
from ._scores import (
    nan_mean_absolute_error,
    nan_r2_score,
    nan_roc_auc_score,
    nan_root_mean_squared_error,
)

__all__ = [
    "delta_m",
    "mean_rank",
    "nan_mean_absolute_error",
    "nan_r2_score",
    "nan_r2_scorer",
    "nan_roc_auc_score",
    "nan_roc_auc_scorer",
    "nan_root_mean_squared_error",
    "neg_nan_mean_absolute_error_scorer",
    "neg_nan_root_mean_squared_error_scorer",
    "per_task_scorers",
    "task_scorer",
]
