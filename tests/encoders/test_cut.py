"""Encoders that are cut behind the rows of their atoms."""

import numpy as np
import pytest
import torch
from random_graphs import NETWORK_SCHEMA, valid_graphs

import skgnn_mtl.encoders as encoders
from skgnn_mtl import SmilesToGraph
from skgnn_mtl.encoders import (
    CGCNN,
    DMPNN,
    GAT,
    GCN,
    GIN,
    GraphEncoder,
    GraphSAGE,
    Pretrained,
)
from skgnn_mtl.graphs import edge_classes

KINDS = [CGCNN, DMPNN, GAT, GCN, GIN, GraphSAGE]


def built(kind, schema=NETWORK_SCHEMA):
    torch.manual_seed(0)
    encoder = kind(width=8)
    encoder.build(schema)
    return encoder.eval()


@pytest.fixture(scope="module")
def batch():
    X = valid_graphs(20)
    return X.batch(np.arange(len(X)))


def test_all_encoders_are_here():
    found = {
        value
        for value in map(vars(encoders).get, encoders.__all__)
        if isinstance(value, type) and value not in (GraphEncoder, Pretrained)
    }
    assert found == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_make_the_whole(kind, batch):
    encoder = built(kind)
    rows, rest = encoder.cut(batch)
    assert len(rows) == batch.n_nodes
    torch.testing.assert_close(rest(rows), encoder(batch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_all_that_an_encoder_reads_from_the_nodes(kind, batch):
    encoder = built(kind)
    turned = batch.with_node_codes(batch.node_codes.flip(0))
    rows, _ = encoder.cut(turned)
    _, rest = encoder.cut(batch)
    torch.testing.assert_close(rest(rows), encoder(turned), rtol=1e-5, atol=1e-6)


def test_equal_atoms_keep_derivatives_of_their_own():
    X = SmilesToGraph().transform(["CCCCCC", "CCCCCC", "CCO"])
    encoder = built(DMPNN, X.schema)
    batch = X.batch([0, 1, 2])
    assert len(edge_classes(batch, 3)[-1]) < batch.n_edges  # forward shares
    rows, rest = encoder.cut(batch)
    rows.requires_grad_()
    # The states of the first molecule only.
    (gradient,) = torch.autograd.grad(rest(rows)[:6].sum(), rows)
    assert (gradient[:6].abs().sum(dim=1) > 0).all()
    assert not gradient[6:].any()
    torch.testing.assert_close(gradient[:6], gradient[:6].flip(0))


def test_a_changed_atom_changes_its_neighbourhood_only():
    X = SmilesToGraph().transform(["CCCCCCCCC"])
    encoder, batch = built(DMPNN, X.schema), X.batch([0])
    rows, rest = encoder.cut(batch)
    changed = rest(rows.index_fill(0, torch.tensor([0]), 0.0))
    moved = (changed - encoder(batch)).abs().amax(dim=1) > 1e-5
    assert moved.tolist() == [True] * 4 + [False] * 5


def test_a_pretrained_encoder_is_cut_as_its_copy(batch):
    source = built(GIN)
    encoder = Pretrained(source)
    encoder.build(NETWORK_SCHEMA)
    rows, rest = encoder.eval().cut(batch)
    torch.testing.assert_close(rest(rows), source(batch), rtol=1e-5, atol=1e-6)


def test_an_encoder_without_a_cut_says_so(batch):
    class Own(GraphEncoder):
        def __init__(self, width=8):
            super().__init__()
            self.width = width

        def build(self, schema):
            super().build(schema)

        def forward(self, batch):
            return batch.node_features.expand(-1, self.width)

    assert built(Own).cut(batch) is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_make_no_tensor_elsewhere(kind, batch):
    encoder = built(kind).to("meta")
    rows, rest = encoder.cut(batch.to("meta"))
    assert rest(rows).device.type == "meta"
