"""Splits of molecules, crystals and sparse tables of labels, usable as ``cv=``."""

from ._composition import CompositionKFold, composition_groups
from ._label_presence import LabelPresenceKFold
from ._scaffold import scaffold_groups
from ._scaffold_splits import ScaffoldKFold, ScaffoldSplit, scaffold_train_test_split

__all__ = [
    "CompositionKFold",
    "LabelPresenceKFold",
    "ScaffoldKFold",
    "ScaffoldSplit",
    "composition_groups",
    "scaffold_groups",
    "scaffold_train_test_split",
]
