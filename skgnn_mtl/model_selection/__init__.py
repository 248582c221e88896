"""Splitters for ``cv=``, and comparisons of estimators over many tasks.

The splitters separate molecules, crystals and sparse tables of labels. The comparisons
are those of any models on the same folds, of a multi-task estimator with single-task
ones, and of methods that transfer knowledge from properties with many labels to scarce
ones.
"""

from ._compare_models import compare_models
from ._composition import CompositionKFold, composition_groups
from ._cross_val_predict import cross_val_predict_with_gaps
from ._label_presence import LabelPresenceKFold
from ._model_comparison import ModelComparison
from ._molecule_groups import molecule_groups
from ._scaffold import scaffold_groups
from ._scaffold_splits import ScaffoldKFold, ScaffoldSplit, scaffold_train_test_split
from ._search_space import search_space
from ._single_task import SingleTaskComparison, compare_with_single_task
from ._task_groups import TaskGroups, suggest_task_groups
from ._transfer import TransferComparison, compare_transfer
from ._transfer_methods import TransferModel, TransferProblem

__all__ = [
    "CompositionKFold",
    "LabelPresenceKFold",
    "ModelComparison",
    "ScaffoldKFold",
    "ScaffoldSplit",
    "SingleTaskComparison",
    "TaskGroups",
    "TransferComparison",
    "TransferModel",
    "TransferProblem",
    "compare_models",
    "compare_transfer",
    "compare_with_single_task",
    "composition_groups",
    "cross_val_predict_with_gaps",
    "molecule_groups",
    "scaffold_groups",
    "scaffold_train_test_split",
    "search_space",
    "suggest_task_groups",
]
