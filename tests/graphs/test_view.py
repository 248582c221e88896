"""Rows that are read where they lie give the batches of a copy."""

import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
import torch

from skgnn_mtl import GraphArray, SmilesToGraph
from skgnn_mtl.graphs import GraphDataset, GraphRows

SMILES = ["CCO", "C", "c1ccccc1", "C1CC", "[Na+].[Cl-]", "CC(=O)O", "N"]
ROWS = np.array([5, 0, 6, 0, 2])


@pytest.fixture
def graphs():
    with pytest.warns(UserWarning, match="invalid"):
        X = SmilesToGraph("chemprop", on_error="nan").transform(SMILES)
    return X.with_features(np.arange(7.0), ["temperature"])


def assert_equal(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("chosen", [[0, 1], [4, 4, 2], [], np.arange(5)])
def test_a_batch_is_that_of_a_copy(graphs, chosen):
    assert_equal(GraphRows(graphs, ROWS).batch(chosen), graphs[ROWS].batch(chosen))


def test_it_tells_what_a_copy_tells(graphs):
    rows = GraphRows(graphs, [3, 0])
    assert len(rows) == 2
    assert rows.schema == graphs.schema
    assert rows.valid.tolist() == [False, True]
    assert rows.taken() == graphs[[3, 0]]
    assert rows[np.array([False, True])].taken() == graphs[[0]]


def test_all_rows_in_order_are_not_copied(graphs):
    assert GraphRows(graphs, np.arange(7)).taken() is graphs
    assert GraphRows(graphs, np.arange(6)).taken() is not graphs
    assert GraphRows(graphs, np.arange(7)[::-1]).taken() == graphs[::-1]


def test_a_data_set_of_rows_is_that_of_a_copy(graphs):
    y = np.arange(5.0)[:, None]
    one = GraphDataset(GraphRows(graphs, ROWS), y, y + 1)
    other = GraphDataset(graphs[ROWS], y, y + 1)
    assert len(one) == len(other) == 5
    (batch, labels), (wanted, wanted_labels) = (
        d.__getitems__([4, 1]) for d in (one, other)
    )
    assert_equal(batch, wanted)
    assert torch.equal(labels.targets, wanted_labels.targets)


def test_a_batch_of_a_slice_copies_its_graphs_only(graphs):
    many = GraphArray.concatenate([graphs] * 2000)[5:-5]
    many.batch([0])
    tracemalloc.start()
    try:
        many.batch([1, 2, 3])
        assert tracemalloc.get_traced_memory()[1] < many.edge_index.nbytes / 10
    finally:
        tracemalloc.stop()
