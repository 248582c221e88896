"""Splits of molecules, crystals and sparse tables of labels, usable as ``cv=``.

Beside them comparisons: of a multi-task estimator with single-task ones, and of ways to
learn scarce properties with the help of others.
"""

from ._compare import SingleTaskComparison, compare_with_single_task
from ._composition import CompositionKFold, composition_groups
from ._label_presence import LabelPresenceKFold
from ._scaffold import scaffold_groups
from ._scaffold_splits import ScaffoldKFold, ScaffoldSplit, scaffold_train_test_split
from ._transfer import TransferComparison, compare_transfer
from ._transfer_methods import TransferModel, TransferProblem

__all__ = [
    "CompositionKFold",
    "LabelPresenceKFold",
    "ScaffoldKFold",
    "ScaffoldSplit",
    "SingleTaskComparison",
    "TransferComparison",
    "TransferModel",
    "TransferProblem",
    "compare_transfer",
    "compare_with_single_task",
    "composition_groups",
    "scaffold_groups",
    "scaffold_train_test_split",
]
