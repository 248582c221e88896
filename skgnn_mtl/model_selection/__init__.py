"""Splits usable as ``cv=``, and the comparison with single-task models."""

from ._compare import SingleTaskComparison, compare_with_single_task
from ._label_presence import LabelPresenceKFold
from ._scaffold import scaffold_groups
from ._scaffold_splits import ScaffoldKFold, ScaffoldSplit, scaffold_train_test_split

__all__ = [
    "LabelPresenceKFold",
    "ScaffoldKFold",
    "ScaffoldSplit",
    "SingleTaskComparison",
    "compare_with_single_task",
    "scaffold_groups",
    "scaffold_train_test_split",
]
