"""Products of a vector with the tasks' gradients, by one forward pass with tangents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from skgnn_mtl import SmilesToGraph, auxiliary, encoders
from skgnn_mtl._component import part_names
from skgnn_mtl.auxiliary import AuxiliaryTask, Denoising, Infomax
from skgnn_mtl.encoders import GIN, GraphEncoder, Pretrained
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.readouts import Mean
from skgnn_mtl.training import LOSSES, HeldOutRows, MultiTaskModel, TrainingStep
from skgnn_mtl.weighting import BLO, HeldOut, RCGrad

ENCODERS = [
    cls for cls in part_names(encoders, GraphEncoder).values() if cls is not Pretrained
]
# Denoising needs distances, which molecules do not have.
TASKS = [
    cls for cls in part_names(auxiliary, AuxiliaryTask).values() if cls is not Denoising
]
SMILES = ["CCCCCCCCCCCC", "CC", "c1ccc2ccccc2c1CCCCC(=O)O", "CC(C)(C)CCCCCCC(=O)OCC"]
X = SmilesToGraph().fit_transform(SMILES * 3)
SQUARES = LOSSES["squared_error"]


class InDoubles(GraphDataset):
    """Batches in float64, which the featurizer does not make."""

    def __getitems__(self, rows):
        graphs, labels = super().__getitems__(rows)
        names = ("node_features", "edge_features", "graph_features")
        values = {name: getattr(graphs, name).double() for name in names}
        return replace(graphs, **values), labels.to(torch.float64)


def loop(network, method=None, n_rows=12, batch_size=12):
    """A held-out loop of a network of one target."""
    rng = np.random.default_rng(0)
    columns = [np.asarray(task.prepare(X))[:n_rows] for task in network.tasks()]
    y = rng.normal(size=(n_rows, 1))
    rows = InDoubles(X[:n_rows], y, np.ones_like(y), columns)
    method = method or BLO()
    n_entries = 1 + len(columns)
    method.build(n_entries)
    step = TrainingStep(method, SQUARES, n_entries, targets=[0])
    step.hold_out(HeldOutRows(rows, rows, batch_size, seed=0))
    return step._held_out


def network_of(encoder, tasks=()):
    torch.manual_seed(0)
    network = MultiTaskModel(encoder, Mean(), X.schema, 1, auxiliary=tasks)
    return network.double().train()


def tasks_for(cls):
    """All tasks of molecules that the encoder has an embedding for."""
    others = [make() for make in TASKS if make.__name__ != "AtomMasking"]
    return others if cls is encoders.DMPNN else [auxiliary.AtomMasking(), *others]


@pytest.mark.parametrize("cls", ENCODERS, ids=lambda cls: cls.__name__)
def test_products_are_those_of_the_rows(cls):
    """With batch normalisation and dropout of each encoder, and all auxiliary tasks."""
    network = network_of(cls(width=8, n_layers=2, dropout=0.5), tasks_for(cls))
    own = loop(network)
    _ = own._draw_batch(network).losses  # because a task learns its scales at first
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    batch = own._draw_batch(network)
    v = torch.randn(sum(p.numel() for p in batch.parameters), dtype=torch.float64)
    state = torch.get_rng_state()
    products = batch.products(v)
    assert batch.places.tolist() == [0, *range(2, 2 + len(network.tasks()))]
    torch.testing.assert_close(products, batch.jacobian() @ v, rtol=1e-9, atol=1e-12)
    assert (products != 0).all()
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept[name]), name
    assert all(p.grad is None for p in network.parameters())


def test_products_take_no_graph_and_one_pass():
    """The outer step of the default method has no backward pass of the batch."""
    network = network_of(GIN(width=8, n_layers=2), [Infomax()])
    passes = []
    network.encoder.register_forward_hook(
        lambda *_: passes.append(torch.is_grad_enabled())
    )
    loop(network, BLO(every=1)).advance(network)
    assert passes == [True, False]  # the held-out rows, the fresh batch


def test_a_batch_repeats_its_draws():
    network = network_of(GIN(width=8, n_layers=2, dropout=0.5), [Infomax()])
    own = loop(network)
    batch, other = own._draw_batch(network), own._draw_batch(network)
    first = torch.stack(batch.losses)
    del batch.losses
    assert torch.equal(torch.stack(batch.losses), first)
    assert not torch.equal(torch.stack(other.losses), first)


class _Square(torch.autograd.Function):
    """A function without a derivative in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        return 2.0 * ctx.saved_tensors[0] * grad


class _Squared(nn.Module):
    def forward(self, x):
        return _Square.apply(x)


def test_encoders_without_forward_derivatives_take_backward_passes():
    network = network_of(GIN(width=8, n_layers=2), [Infomax()])
    network.trunk.append(_Squared())
    batch = loop(network)._draw_batch(network)
    v = torch.randn(sum(p.numel() for p in batch.parameters), dtype=torch.float64)
    torch.testing.assert_close(batch.products(v), batch.jacobian() @ v)


def test_a_loss_without_the_encoder_has_the_product_zero():
    class Constant(Infomax):
        def forward(self, context, columns):
            return self.weight.sum()

    network = network_of(GIN(width=8, n_layers=2), [Constant()])
    batch = loop(network)._draw_batch(network)
    v = torch.randn(sum(p.numel() for p in batch.parameters), dtype=torch.float64)
    products = batch.products(v)
    assert products[0] != 0
    assert products[1] == 0


def test_a_batch_without_entries_teaches_nothing():
    class Never(Infomax):
        def forward(self, context, columns):
            return None

    network = network_of(GIN(width=8, n_layers=2), [Never()])
    for method in (
        BLO(every=1),
        BLO(every=1, n_terms=1),
        BLO(every=1, normalize=True),
        BLO(RCGrad(), every=1),
    ):
        own = loop(network, method)
        own.rows.train_set.weights[:] = 0.0
        own.advance(network)
        assert method.n_outer_steps_ == 0


# -- how many rows an evaluation takes ---------------------------------------------


class Seen(BLO):
    """Keeps the gradients of the held-out rows."""

    def update(self, evidence):
        self.seen = [*getattr(self, "seen", []), evidence.gradient.clone()]
        return super().update(evidence)


def test_an_evaluation_draws_some_held_out_rows():
    """Two batches by default, others each time; their mean is that of all rows."""
    assert BLO().held_out == HeldOut(10, 0.2, "tail", 2)
    network = network_of(GIN(width=8, n_layers=2))
    gradients = {}
    for n_batches in (None, 2, 3):
        method = Seen(every=1, n_batches=n_batches)
        own = loop(network, method, batch_size=4)
        for _ in range(60):
            own.advance(network)
        gradients[n_batches] = torch.stack(method.seen)
    whole = gradients[None]
    # All rows in their order, as three batches of four are.
    assert torch.equal(whole[0], whole[1])
    assert torch.equal(whole, gradients[3])
    some = gradients[2]
    assert not torch.equal(some[0], some[1])
    error = some.mean(dim=0) - whole[0]
    assert error.norm() < 4 * some.std(dim=0).norm() / 60**0.5
