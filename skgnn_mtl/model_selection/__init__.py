"""Splits of molecules and of sparse tables of labels, usable as ``cv=``."""

from ._label_presence import LabelPresenceKFold
from ._scaffold import scaffold_groups
from ._scaffold_splits import ScaffoldKFold, ScaffoldSplit, scaffold_train_test_split

__all__ = [
    "LabelPresenceKFold",
    "ScaffoldKFold",
    "ScaffoldSplit",
    "scaffold_groups",
    "scaffold_train_test_split",
]
