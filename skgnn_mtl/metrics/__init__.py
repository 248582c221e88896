"""Scores of many tasks with missing labels, and comparisons of methods over tasks.

NaN in ``y_true`` means *unlabelled*. Each score is computed per task on the labelled
rows and averaged afterwards. Scores are not pooled, because the task with the largest
unit would dominate.
"""

from ._censored import read_censored
from ._class_scores import (
    nan_average_precision_score,
    nan_balanced_accuracy_score,
    nan_roc_auc_score,
)
from ._comparison import delta_m, mean_rank
from ._probabilities import (
    nan_brier_score,
    nan_expected_calibration_error,
    nan_log_loss,
)
from ._scorers import (
    nan_average_precision_scorer,
    nan_balanced_accuracy_scorer,
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
    nan_root_mean_squared_error,
)
from ._screening import ScreeningScores, nan_screening_scores
from ._width_scorers import (
    interval_scorer,
    nan_error_rank_correlation_scorer,
    neg_nan_brier_score_scorer,
    neg_nan_calibration_error_scorer,
    neg_nan_expected_calibration_error_scorer,
    neg_nan_gaussian_nll_scorer,
    neg_nan_log_loss_scorer,
)
from ._widths import (
    nan_calibration_error,
    nan_error_rank_correlation,
    nan_gaussian_nll,
    nan_interval_coverage,
    nan_interval_width,
)

__all__ = [
    "ScreeningScores",
    "delta_m",
    "interval_scorer",
    "mean_rank",
    "nan_average_precision_score",
    "nan_average_precision_scorer",
    "nan_balanced_accuracy_score",
    "nan_balanced_accuracy_scorer",
    "nan_brier_score",
    "nan_calibration_error",
    "nan_error_rank_correlation",
    "nan_error_rank_correlation_scorer",
    "nan_expected_calibration_error",
    "nan_gaussian_nll",
    "nan_interval_coverage",
    "nan_interval_width",
    "nan_log_loss",
    "nan_mean_absolute_error",
    "nan_r2_score",
    "nan_r2_scorer",
    "nan_roc_auc_score",
    "nan_roc_auc_scorer",
    "nan_root_mean_squared_error",
    "nan_screening_scores",
    "neg_nan_brier_score_scorer",
    "neg_nan_calibration_error_scorer",
    "neg_nan_expected_calibration_error_scorer",
    "neg_nan_gaussian_nll_scorer",
    "neg_nan_log_loss_scorer",
    "neg_nan_mean_absolute_error_scorer",
    "neg_nan_root_mean_squared_error_scorer",
    "per_task_scorers",
    "read_censored",
    "task_scorer",
]
