"""Splits of molecules, crystals and sparse tables of labels, usable as ``cv=``.

Beside them the comparison of a multi-task estimator with single-task ones.
"""

from ._compare import SingleTaskComparison, compare_with_single_task
from ._composition import CompositionKFold, composition_groups
from ._label_presence import LabelPresenceKFold
from ._scaffold import scaffold_groups
from ._scaffold_splits import ScaffoldKFold, ScaffoldSplit, scaffold_train_test_split

__all__ = [
    "CompositionKFold",
    "LabelPresenceKFold",
    "ScaffoldKFold",
    "ScaffoldSplit",
    "SingleTaskComparison",
    "compare_with_single_task",
    "composition_groups",
    "scaffold_groups",
    "scaffold_train_test_split",
]
