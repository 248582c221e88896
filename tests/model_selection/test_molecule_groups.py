"""Rows of one molecule have one number, whatever their spelling."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.model_selection import molecule_groups, scaffold_groups

ROWS = ["CCO", "c1ccccc1", "OCC", "C1=CC=CC=C1", "C[C@H](N)O", "C[C@@H](N)O", "CCO.Cl"]


def test_spellings_of_a_molecule_are_one_group():
    assert molecule_groups(ROWS).tolist() == [0, 1, 0, 1, 2, 3, 4]
    assert molecule_groups(ROWS, chirality=False).tolist() == [0, 1, 0, 1, 2, 2, 3]
    graphs = SmilesToGraph().transform(ROWS)
    assert molecule_groups(graphs).tolist() == [0, 1, 0, 1, 2, 3, 4]


def test_equal_molecules_have_equal_scaffolds():
    groups = molecule_groups(ROWS)
    scaffolds = scaffold_groups(ROWS, chirality=True)
    for group in np.unique(groups):
        assert len(set(scaffolds[groups == group])) == 1


def test_no_molecule_is_on_both_sides_of_a_split():
    smiles = ["CCO", "CCN", "CCC", "OCC", "NCC", "CO"]
    groups = molecule_groups(smiles)
    for train, test in GroupKFold(3).split(smiles, groups=groups):
        assert not set(groups[train]) & set(groups[test])


def test_unreadable_rows_raise_or_are_minus_one():
    rows = ["CCO", "C1CC", None]
    assert molecule_groups(rows, on_error="nan").tolist() == [0, -1, -1]
    with pytest.raises(ValueError, match=r"X\[1\] = 'C1CC' as SMILES: unclosed ring"):
        molecule_groups(rows)
    with pytest.raises(ValueError, match="on_error must be one of"):
        molecule_groups(rows, on_error="drop")
