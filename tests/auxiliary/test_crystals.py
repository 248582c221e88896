"""Auxiliary tasks on crystals: what works, what it learns, what is refused."""

import copy

import numpy as np
import pytest
import torch
from auxiliary_context import built, context_of

from skgnn_mtl import CifToGraph, GNNPretrainer, MultiTaskGNNRegressor
from skgnn_mtl.auxiliary import (
    AtomMasking,
    ContextPrediction,
    Denoising,
    DescriptorPrediction,
    EdgePrediction,
    Infomax,
    MotifPrediction,
)
from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.encoders import CGCNN, GIN, Pretrained
from skgnn_mtl.graphs import GraphArray

ALL = ["atommasking", "infomax", "denoising"]


@pytest.fixture(scope="module")
def data():
    cifs, y = load_elasticity(return_X_y=True)
    return CifToGraph().fit_transform(cifs[:60]), np.log10(y[:60].iloc[:, :2])


@pytest.mark.parametrize("encoder", [CGCNN(16, n_layers=2), GIN(16, n_layers=2)])
@pytest.mark.parametrize("task", [AtomMasking(), Infomax(), Denoising()], ids=str)
def test_they_start_near_one_and_teach_the_encoder(data, task, encoder):
    X, _ = data
    task, encoder = copy.deepcopy(task), copy.deepcopy(encoder)
    built(task, X, encoder)
    loss = task(context_of(encoder, X), None) / task.chance
    # States of CGCNN are positive, and its scores of larger size than those of others.
    most = 1.8 if isinstance(task, Infomax) else 1.4
    assert 0.6 < float(loss.detach()) < most
    loss.backward()
    for part in (encoder, task):
        assert any(float(p.grad.abs().max()) > 0 for p in part.parameters())


def test_a_masked_species_is_never_seen(data):
    X, _ = data
    task = AtomMasking(0.3)
    encoder = built(task, X, CGCNN(16, n_layers=2)).eval()
    context = context_of(encoder, X)
    masked = task._masked(context_of(encoder, X))
    codes = context.batch.node_codes.clone()
    codes[masked] = (codes[masked] + 1) % X.schema.node_columns[0][1]
    other = context.batch.with_node_codes(codes)
    states = []
    for batch in (context.batch, other):
        embedded = encoder.embed_nodes(batch)
        embedded = torch.where(masked[:, None], task.vector, embedded)
        states.append(encoder.propagate(embedded, batch))
    assert torch.equal(*states)
    assert not torch.equal(encoder(context.batch), encoder(other))


def test_denoising_is_its_formula_and_leaves_the_batch_alone(data):
    X, _ = data
    task = Denoising(sigma=0.2)
    encoder = built(task, X, CGCNN(16, n_layers=2)).eval()
    context = context_of(encoder, X)
    before = context.batch.edge_features.clone()
    found = task(context, None)
    assert torch.equal(context.batch.edge_features, before)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(before), generator=generator, dtype=torch.float64).float()
    blurred = context.batch.with_edge_features(before + 0.2 * noise[:, None])
    h, (u, v) = encoder(blurred), context.batch.edge_index
    guess = task.head(torch.cat([h[u], h[v], blurred.edge_features], dim=1))[:, 0]
    torch.testing.assert_close(found, ((guess - noise) ** 2).mean())
    with torch.no_grad():  # the guess of the uninformed
        for parameter in task.head.parameters():
            parameter.zero_()
        assert float(task(context_of(encoder, X), None)) == pytest.approx(1.0, abs=0.1)
    alone = X.from_features(np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"do not have it\. Use graphs of CifToGraph"):
        task.build(alone.schema, encoder)
    with pytest.raises(ValueError, match="'sigma' parameter of Denoising must"):
        Denoising(0.0).build(X.schema, encoder)


def test_atoms_without_a_neighbour_have_nothing_to_denoise(data):
    X, _ = data
    task = Denoising()
    encoder = built(task, X, CGCNN(8, n_layers=1))
    lone = GraphArray(
        X.schema,
        n_nodes=[1, 1],
        node_codes=[[3], [5]],
        n_edges=[0, 0],
        edge_index=np.empty((2, 0), dtype=int),
        edge_features=np.empty((0, 1)),
    )
    assert task(context_of(encoder, lone), None) is None


def test_pretraining_learns_each_task_and_serves_a_regressor(data):
    X, y = data
    pretrainer = GNNPretrainer(
        CGCNN(24, n_layers=2),
        auxiliary_tasks=ALL,
        lr=1e-2,
        batch_size=20,
        max_epochs=15,
        random_state=0,
    ).fit(X)
    first, last = (pretrainer.history_[k]["train_losses"] for k in (0, -1))
    assert list(last) == ALL
    for name in ALL:
        assert last[name] < 0.95 * first[name]
    assert pretrainer.transform(X).shape == (60, 24)
    model = MultiTaskGNNRegressor(
        Pretrained(pretrainer.encoder_),
        auxiliary_tasks=["denoising", AtomMasking(0.2)],
        task_weighting="rcgrad",
        max_epochs=2,
        random_state=0,
    ).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (EdgePrediction(), "are not bonds in both directions"),
        (ContextPrediction(), "are not bonds in both directions"),
        (MotifPrediction(), "need graphs of molecules"),
        (DescriptorPrediction(), "need graphs of molecules"),
    ],
    ids=str,
)
def test_what_only_molecules_have_is_refused(data, task, message):
    X, _ = data
    pretrainer = GNNPretrainer(CGCNN(8, n_layers=1), auxiliary_tasks=[task])
    with pytest.raises(ValueError, match=message):
        pretrainer.fit(X)
