"""Classes of edges: the partition that the definition gives, and what it is for."""

import dataclasses

import numpy as np
import pytest
import torch

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.graphs import GraphArray, GraphSchema, edge_classes
from skgnn_mtl.graphs import _unfolding as unfolding

SMILES = ["CC(C)(C)c1ccc(O)cc1", "CCO", "C", "OCC", "c1ccccc1", "C[C@H](F)Cl", "N#CC#N"]


def batch_of(smiles=SMILES, preset="chemprop"):
    X = SmilesToGraph(preset).transform(smiles)
    return X.batch(np.arange(len(X)))


def unfold(batch, edge, depth):
    """The tree that a network of this depth sees of an edge, as nested tuples."""
    source, target = batch.edge_index.tolist()
    node = source[edge]
    own = (
        tuple(batch.node_codes[node].tolist() + batch.node_features[node].tolist()),
        tuple(batch.edge_codes[edge].tolist() + batch.edge_features[edge].tolist()),
    )
    if depth == 1:
        return own
    before = (f for f in range(batch.n_edges) if target[f] == node and f != edge ^ 1)
    return own, tuple(sorted(unfold(batch, f, depth - 1) for f in before))


def same_partition(first, second):
    pairs = set(zip(first, second, strict=True))
    return len(pairs) == len(set(first)) == len(set(second))


@pytest.mark.parametrize("preset", ["chemprop", "ogb"])
def test_edges_share_a_class_if_and_only_if_their_unfoldings_are_equal(preset):
    batch = batch_of(preset=preset)
    for depth, classes in enumerate(edge_classes(batch, 4), start=1):
        trees = [unfold(batch, edge, depth) for edge in range(batch.n_edges)]
        assert same_partition(classes.of.tolist(), trees)
        of_representatives = classes.of[classes.representative]
        assert torch.equal(of_representatives, torch.arange(len(classes)))


def test_codes_that_outgrow_an_integer_are_numbered_anew(monkeypatch):
    batch = batch_of()
    usual = edge_classes(batch, 3)
    monkeypatch.setattr(unfolding, "_LARGEST_CODE", 10 * batch.n_edges)
    for classes, small in zip(usual, edge_classes(batch, 3), strict=True):
        assert same_partition(classes.of.tolist(), small.of.tolist())


def test_all_bonds_of_a_symmetric_ring_are_one_class():
    assert [len(c) for c in edge_classes(batch_of(["c1ccccc1"] * 3), 3)] == [1, 1, 1]


def test_hubs_accelerators_and_lone_atoms_have_a_class_an_edge():
    n = 40
    spokes = [(0, v) for v in range(1, n)]
    star = GraphArray(
        GraphSchema("star", node_columns=(("element", 2),), paired_edges=True),
        n_nodes=[n],
        n_edges=[2 * (n - 1)],
        node_codes=np.zeros((n, 1), dtype=int),
        edge_index=np.array([e for s in spokes for e in (s, s[::-1])]).T,
    )
    for batch in (star.batch([0]), batch_of().to("meta"), batch_of(["C"])):
        for classes in edge_classes(batch, 2):
            assert len(classes) == batch.n_edges


def built(**parameters):
    torch.manual_seed(0)
    encoder = DMPNN(8, activation="tanh", n_layers=4, **parameters)
    encoder.build(batch_of().schema)
    return encoder.double()


def in_float64(batch):
    doubled = {
        name: getattr(batch, name).double()
        for name in ("node_features", "edge_features")
    }
    return dataclasses.replace(batch, **doubled)


def test_shared_states_are_those_of_every_edge_computed_alone(monkeypatch):
    batch, encoder = in_float64(batch_of()), built()
    weights = list(encoder.parameters())
    projection = torch.randn(batch.n_nodes, 8, dtype=torch.float64)

    def curvature():
        states = encoder(batch)
        first = torch.autograd.grad(
            (states.sin() * projection).sum(), weights, create_graph=True
        )
        second = torch.autograd.grad(sum(g.square().sum() for g in first), weights)
        return [states, *first, *second]

    shared = curvature()
    monkeypatch.setattr(unfolding, "_can_share", lambda batch: False)
    for a, b in zip(shared, curvature(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_derivative_by_a_feature_belongs_to_its_own_row():
    batch = in_float64(batch_of(["CC", "CC"]))
    batch.node_features.requires_grad_()
    built()(batch).sum().backward()
    gradient = batch.node_features.grad
    assert gradient[0] != 0
    torch.testing.assert_close(gradient, gradient[:1].expand_as(gradient))


def test_dropped_states_are_not_shared():
    batch, encoder = in_float64(batch_of(["CCCC"] * 50)), built(dropout=0.5).train()
    states = encoder(batch)
    # Without noise in front of the last dropout all copies had two non-zero values.
    values = states[::4, 0]
    assert len(values[values != 0].unique()) > 10
