"""Auxiliary tasks: draws, edge cases, scale, and what they must not touch."""

import copy
import math

import numpy as np
import pytest
import torch
from auxiliary_context import built, context_of
from rdkit import Chem
from rdkit.Chem import Descriptors, Fragments
from sklearn.base import clone

from skgnn_mtl import SmilesToGraph, auxiliary
from skgnn_mtl._component import part_names
from skgnn_mtl.auxiliary import (
    AtomMasking,
    AuxiliaryTask,
    BatchContext,
    ContextPrediction,
    Denoising,
    DescriptorPrediction,
    EdgePrediction,
    Infomax,
    MotifPrediction,
    auxiliary_losses,
    auxiliary_names,
)
from skgnn_mtl.auxiliary._chemistry import fragment_counts, fragment_names
from skgnn_mtl.auxiliary._context_prediction import _distances
from skgnn_mtl.auxiliary._edge_prediction import _others
from skgnn_mtl.encoders import DMPNN, GCN, GIN
from skgnn_mtl.graphs import GraphArray, GraphSchema

# Those that molecules have; Denoising needs distances, see test_crystals.py.
TASKS = [
    task
    for task in part_names(auxiliary, AuxiliaryTask).values()
    if task is not Denoising
]
SMILES = [
    "CCCCCCCCCCCC",
    "[Na+].[Cl-]",
    "C",
    "CC",
    "c1ccc2ccccc2c1CCCCC(=O)O",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2CCCCCC",
    "*CC~[Fe]",
    "CC(C)(C)CCCCCCC(=O)OCC",
] * 3


@pytest.fixture(scope="module")
def X():
    return SmilesToGraph(features="hu2020").fit_transform(SMILES)


def loss(task, encoder, X, rows=None, seed=0):
    rows = np.arange(len(X)) if rows is None else np.asarray(rows)
    columns = torch.from_numpy(np.asarray(task.prepare(X))[rows]).float()
    return auxiliary_losses([task], context_of(encoder, X, rows, seed), [columns])[0]


@pytest.mark.parametrize("cls", TASKS, ids=lambda c: c.__name__)
def test_every_task_starts_near_one_and_teaches_the_encoder(cls, X):
    task = cls()
    encoder = built(task, X)
    value = loss(task, encoder, X)
    assert value.shape == ()
    # States of neighbours are alike before any training: bonds are no surprise, but
    # neither are other pairs told from them.
    most = 1.7 if cls is EdgePrediction else 1.4
    assert 0.6 < float(value.detach()) < most
    value.backward()
    for module in (encoder, task):
        grads = [p.grad for p in module.parameters()]
        if grads:
            assert any(g is not None and float(g.abs().max()) > 0 for g in grads)


@pytest.mark.parametrize("cls", TASKS, ids=lambda c: c.__name__)
def test_released_scaling_is_the_bare_loss(cls, X):
    unit, bare = cls(), cls(scaling="released")
    values = []
    for task in (unit, bare):
        values.append(float(loss(task, built(task, X), X).detach()))
    if cls in (EdgePrediction, ContextPrediction):
        assert values[1] != pytest.approx(values[0] * unit.chance)  # scores, too
    else:
        assert values[1] == pytest.approx(values[0] * unit.chance, rel=1e-5)
    wrong = cls(scaling="big")
    with pytest.raises(ValueError, match="'scaling' parameter of .* must be"):
        loss(wrong, built(wrong, X), X)


@pytest.mark.parametrize("cls", TASKS, ids=lambda c: c.__name__)
def test_draws_come_from_the_generator_and_the_batch_stays_as_it_was(cls, X):
    task = cls()
    encoder = built(task, X)
    encoder.eval()
    task.eval()
    before = copy.deepcopy(vars(X)["_columns"])
    values = [float(loss(task, encoder, X, seed=k).detach()) for k in (0, 0, 1)]
    assert values[0] == values[1]
    assert (values[0] != values[2]) == (
        cls in (AtomMasking, EdgePrediction, ContextPrediction)
    )
    after = vars(X)["_columns"]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    context = context_of(encoder, X)
    copied = copy.deepcopy(context.batch)
    task(context, torch.from_numpy(np.asarray(task.prepare(X))).float())
    assert torch.equal(copied.node_codes, context.batch.node_codes)
    assert torch.equal(copied.edge_codes, context.batch.edge_codes)


@pytest.mark.parametrize("cls", TASKS, ids=lambda c: c.__name__)
def test_the_model_side_runs_on_the_meta_device_or_needs_values(cls, X):
    if cls in (AtomMasking, EdgePrediction, ContextPrediction):
        pytest.skip("what it selects depends on values, which the meta device lacks")
    task = cls()
    encoder = built(task, X).to("meta")
    batch = X.batch(range(8)).to("meta")
    nodes = encoder(batch)
    context = BatchContext(
        encoder, batch, nodes, batch.membership.mean(nodes), torch.Generator()
    )
    columns = torch.from_numpy(np.asarray(task.prepare(X))[:8]).float().to("meta")
    assert task.to("meta")(context, columns).device.type == "meta"


@pytest.mark.parametrize("cls", TASKS, ids=lambda c: c.__name__)
def test_clones_are_unbuilt(cls, X):
    task = cls()
    built(task, X)
    assert not list(clone(task).parameters())
    assert clone(task).get_params() == task.get_params()


# -- single tasks --------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.15, 0.5, 1.0])
def test_masked_atoms_are_as_many_as_said_and_differ(rate, X):
    task = AtomMasking(rate)
    encoder = built(task, X)
    masks = [task._masked(context_of(encoder, X, seed=seed)) for seed in (0, 1)]
    for mask in masks:
        counts = np.bincount(
            np.repeat(np.arange(len(X)), X.n_nodes), weights=mask.numpy()
        )
        expected = np.minimum(np.floor(rate * X.n_nodes + 1), X.n_nodes)
        np.testing.assert_array_equal(counts, expected)
    assert rate == 1.0 or not torch.equal(*masks)


def test_the_encoder_never_sees_a_masked_atom(X):
    task = AtomMasking(0.3)
    encoder = built(task, X).eval()
    context = context_of(encoder, X)
    mask = task._masked(context_of(encoder, X))
    other = context.batch.node_codes.clone()
    other[mask, 1] = (other[mask, 1] + 1) % 3  # chirality is no label
    changed = BatchContext(
        encoder,
        context.batch.with_node_codes(other),
        context.nodes,
        context.vectors,
        torch.Generator().manual_seed(0),
    )
    first, second = task(context, None), task(changed, None)
    torch.testing.assert_close(first, second)


def test_masking_works_on_other_columns_and_refuses_what_it_cannot_do(X):
    other = SmilesToGraph().fit_transform(SMILES)
    task = AtomMasking()
    encoder = built(task, other)
    assert task.chance == math.log(other.schema.node_columns[0][1])
    loss(task, encoder, other).backward()
    assert float(task.vector.grad.abs().max()) > 0
    with pytest.raises(ValueError, match="embeds nodes separately from its"):
        built(AtomMasking(), other, DMPNN(width=8))
    table = GraphArray.from_features(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="predicts a categorical column"):
        built(AtomMasking(), table)
    with pytest.raises(ValueError, match="'rate' parameter of AtomMasking must"):
        built(AtomMasking(0.0), X)


def test_drawn_pairs_are_no_bonds_and_no_repeats(X):
    encoder = built(EdgePrediction(), X)
    context = context_of(encoder, X)
    pairs = _others(context)
    graph = context.batch.graph_of_node
    assert torch.equal(graph[pairs[0]], graph[pairs[1]])
    assert (pairs[0] != pairs[1]).all()
    found = set(map(tuple, pairs.T.tolist()))
    assert len(found) == pairs.shape[1]
    assert not found & set(map(tuple, context.batch.edge_index.T.tolist()))
    counts = torch.bincount(graph[pairs[0]], minlength=len(X)).numpy()
    bonds = X.n_edges // 2
    assert (counts <= bonds).all()
    roomy = X.n_nodes > 8
    np.testing.assert_array_equal(counts[roomy], bonds[roomy])
    # Two bonded atoms, a lone atom: no pair; two ions have no bond to match.
    assert set(counts[X.n_nodes <= 2]) == {0}


def test_batches_without_bonds_or_contexts_lack_the_task(X):
    lone = [1, 2]  # salt, methane
    for cls in (EdgePrediction, ContextPrediction):
        task = cls()
        assert loss(task, built(task, X), X, lone) is None
    task = EdgePrediction()
    # Ethane has a bond and no other pair: one mean alone.
    assert float(loss(task, built(task, X), X, [3]).detach()) < 1.0
    task = ContextPrediction()
    assert loss(task, built(task, X), X, [0]) is None
    task = ContextPrediction(n_negatives=2)
    assert loss(task, built(task, X), X, [0, 4]) is None
    task = Infomax()
    assert loss(task, built(task, X), X, [0]) is None


def test_distances_are_those_of_breadth_first_search(X):
    context = context_of(built(EdgePrediction(), X), X)
    first, counts = context.first_nodes()
    found = _distances(context.batch, first, 4)
    edges = context.batch.edge_index.T.tolist()
    for root in first.tolist():
        distance, ring = {root: 0}, [root]
        for d in range(1, 5):
            ring = [v for u, v in edges if u in ring and v not in distance]
            distance |= dict.fromkeys(ring, d)
        stop = root + int(counts[(first == root).nonzero()[0, 0]])
        expected = [distance.get(v, -1) for v in range(root, stop)]
        assert found[root:stop].tolist() == expected


def test_context_prediction_is_its_formula(X):
    """One molecule after the other, with networks run on cut-out subgraphs."""
    task = ContextPrediction(radius=2, context_size=2, n_negatives=1)
    encoder = built(task, X, GCN(width=16, n_layers=3)).eval()
    task.eval()
    rows = [0, 2, 4, 5]
    with torch.no_grad():
        found = task(context_of(encoder, X, rows, seed=5), None)
    draw = torch.rand(
        4, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    s, t = [], []
    for u, row in zip(draw.tolist(), rows, strict=True):
        batch = X.batch([row])
        root = int(u * batch.n_nodes)
        d = _distances(batch, torch.tensor([root]), 3)
        if not (d == 2).any():
            continue
        near, at = batch.induced((d >= 0) & (d <= 2))
        s.append(encoder(near)[at[root]])
        ring, at = batch.induced(d >= 2)
        t.append(task.network(ring)[at[d == 2]].mean(0))
    s, t = torch.stack(s) / 4.0, torch.stack(t)
    expected = torch.nn.functional.softplus(-(s * t).sum(1)).mean()
    expected += torch.nn.functional.softplus((s * t.roll(-1, 0)).sum(1)).mean()
    torch.testing.assert_close(found, expected)
    for wrong in ({"context_size": 0}, {"radius": 1.5}, {"n_negatives": 0}):
        with pytest.raises(ValueError, match="an int in the range"):
            built(ContextPrediction(**wrong), X)


def test_infomax_is_its_formula(X):
    task = Infomax()
    encoder = built(task, X).eval()
    context = context_of(encoder, X, [0, 3, 4])
    parts = context.nodes.split([12, 2, int(X.n_nodes[4])])
    summaries = [torch.sigmoid(part.mean(0)) for part in parts]
    own, other = [], []
    for k, part in enumerate(parts):
        own.append(summaries[k] @ task.weight @ part.T)
        other.append(summaries[(k + 1) % 3] @ task.weight @ part.T)
    softplus = torch.nn.functional.softplus
    expected = softplus(-torch.cat(own)).mean() + softplus(torch.cat(other)).mean()
    torch.testing.assert_close(task(context, None), expected)


def test_motifs_and_descriptors_are_those_of_rdkit(X):
    from rdkit import Chem
    from rdkit.Chem import Crippen, Fragments

    task = MotifPrediction()
    built(task, X)
    labels = task.prepare(X)
    assert labels.shape == (len(X), 85)
    assert len(task.motif_names_) == 85
    molecule = Chem.MolFromSmiles(SMILES[4])
    acid = task.motif_names_.index("fr_COO")
    assert labels[4, acid] == (Fragments.fr_COO(molecule) > 0) == 1.0
    task = DescriptorPrediction(names=("MolLogP", "MolWt"))
    built(task, X)
    values = task.prepare(X)
    np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=0), 1.0, atol=1e-5)
    raw = values[4, 0] * float(task.scale_[0]) + float(task.center_[0])
    assert raw == pytest.approx(Crippen.MolLogP(molecule), rel=1e-5)
    # Scales are those of the first call.
    np.testing.assert_allclose(task.prepare(X[:5]), values[:5])
    with pytest.raises(ValueError, match="RDKit does not have a descriptor 'Weight'"):
        wrong = DescriptorPrediction(names=("Weight",))
        built(wrong, X)
        wrong.prepare(X)
    with pytest.raises(ValueError, match="names must list descriptors"):
        built(DescriptorPrediction(names="MolWt"), X)
    with pytest.raises(ValueError, match="which is not a SMILES"):
        MotifPrediction().prepare(X.without_ids())


def test_descriptors_beyond_single_precision_are_missing():
    chain = "NCC(=O)" * 60 + "O"  # its Ipc is above 1e70
    X = SmilesToGraph().fit_transform(["CCO", "CCN", "CCCO", chain])
    task = DescriptorPrediction(names=("Ipc",))
    built(task, X)
    values = task.prepare(X)[:, 0]
    assert np.isnan(values[3])
    np.testing.assert_allclose(values[:3].mean(), 0.0, atol=1e-5)
    np.testing.assert_allclose(values[:3].std(), 1.0, rtol=1e-5)


def test_descriptors_that_are_constant_but_for_rounding_have_no_spread():
    # One weight, whose mean over many rows is not exactly that number.
    X = SmilesToGraph().fit_transform(["CCO", "COC"] * 9)
    task = DescriptorPrediction(names=("MolWt", "MolLogP"))
    built(task, X)
    np.testing.assert_allclose(abs(task.prepare(X)), [[0, 1]] * 18, atol=1e-5)
    assert task.scale_[0] == 1.0


def test_rdkit_keeps_quiet(capfd):
    odd = SmilesToGraph().transform(["[H+].[Cl-]", "CCO"])  # RDKit warns of the proton
    counts = fragment_counts(odd, fragment_names())
    assert counts.shape == (2, len(fragment_names()))
    assert capfd.readouterr().err == ""


def test_names_and_crystals():
    tasks = [Infomax(), AtomMasking(), Infomax()]
    assert auxiliary_names(tasks) == ["infomax", "atommasking", "infomax_2"]
    schema = GraphSchema("crystal", node_columns=(("element", 94),))
    encoder = GIN(width=4)
    encoder.build(schema)
    AtomMasking().build(schema, encoder)
    with pytest.raises(ValueError, match="are not bonds in both directions"):
        EdgePrediction().build(schema, encoder)


# -- molecules that RDKit fails on ----------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, OverflowError])
def test_what_fails_names_the_row_and_the_label(error, monkeypatch):
    def fail(molecule):
        if molecule.GetNumAtoms() == 2:
            raise error("Pre-condition Violation\n\tsomething")
        return 1.0

    X = SmilesToGraph().transform(["CCC", "CC", "C"])
    known = [("MolWt", fail), ("TPSA", fail)]
    monkeypatch.setattr(Descriptors, "_descList", known)
    with pytest.raises(ValueError, match="cannot compute TPSA of graph 1, 'CC'"):
        DescriptorPrediction(names=("TPSA",)).prepare(X)
    monkeypatch.setattr(Fragments, "fns", [("fr_odd", fail)])
    with pytest.raises(ValueError, match="cannot compute fr_odd of graph 1, 'CC'"):
        MotifPrediction().prepare(X)


def test_identifiers_that_fail_to_parse_are_named(monkeypatch):
    X = SmilesToGraph().transform(["CCC", "CC"])

    def parse(smiles):
        raise RuntimeError(smiles)

    monkeypatch.setattr(Chem, "MolFromSmiles", parse)
    with pytest.raises(ValueError, match="Graph 0 has the identifier 'CCC'"):
        MotifPrediction().prepare(X)
