"""Row labels of graphs."""

import pickle

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import CifToGraph, SmilesToGraph
from skgnn_mtl.graphs import GraphArray

SMILES = ["C", "CC", "CCC", "CCCC", "C1CC"]
LABELS = pd.Index([7, 3, 7, "x", None])


@pytest.fixture
def X():
    with pytest.warns(UserWarning, match="1 of 5"):
        return SmilesToGraph(on_error="nan").transform(pd.Series(SMILES, index=LABELS))


def test_labels_are_those_of_the_input(X):
    assert X.index.equals(LABELS)
    frame = pd.DataFrame({"smiles": SMILES[:4]}, index=LABELS[:4])
    assert SmilesToGraph().transform(frame).index.equals(LABELS[:4])
    assert (
        SmilesToGraph().transform(pd.Series(SMILES[:2])).index.equals(pd.RangeIndex(2))
    )
    for rows in (SMILES[:4], tuple(SMILES[:4]), np.array(SMILES[:4])):
        assert SmilesToGraph().transform(rows).index is None


def test_labels_follow_the_rows(X):
    rows = [3, 0, 0]
    for chosen, positions in (
        (X[rows], rows),
        (X[np.array(rows), ...], rows),
        (X[1:3], [1, 2]),
        (X[::-1], [4, 3, 2, 1, 0]),
        (X[X.valid], [0, 1, 2, 3]),
        (X[:0], []),
    ):
        assert chosen.index.equals(LABELS[positions])
    assert X.without_ids().index.equals(LABELS)
    assert pickle.loads(pickle.dumps(X)).index.equals(LABELS)


def test_joined_arrays_have_labels_if_all_have(X):
    assert GraphArray.concatenate([X, X[:2]]).index.equals(LABELS.append(LABELS[:2]))
    without = X.with_index(None)
    assert GraphArray.concatenate([X, without]).index is None
    assert GraphArray.concatenate([without, X]).index is None
    assert GraphArray.concatenate([X, without, X]).index is None


def test_equality_and_files_ignore_labels(X, tmp_path):
    assert X.with_index(None) == X
    X.save(tmp_path / "graphs")
    again = GraphArray.load(tmp_path / "graphs")
    assert again == X
    assert again.index is None
    assert again.with_index(X.index).index.equals(LABELS)


def test_labels_of_another_length_are_refused(X):
    with pytest.raises(ValueError, match="index has 2 labels, but there are 5 graphs"):
        X.with_index(pd.RangeIndex(2))


def test_pickles_from_before_there_were_labels(X):
    state = {key: part for key, part in X.__getstate__().items() if key != "_index"}
    old = GraphArray.__new__(GraphArray)
    old.__setstate__(state)
    assert old == X
    assert old.index is None


def test_crystals_have_labels(nacl_cif):
    X = CifToGraph().transform(pd.Series([nacl_cif] * 2, index=["b", "a"]))
    assert X.index.tolist() == ["b", "a"]


@pytest.fixture
def nacl_cif():
    return (
        "data_NaCl\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_symmetry_space_group_name_H-M 'P 1'\nloop_\n_atom_site_label\n"
        "_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
        "_atom_site_fract_z\n_atom_site_occupancy\nNa1 Na 0 0 0 1\n"
        "Cl1 Cl 0.5 0.5 0.5 1\n"
    )
