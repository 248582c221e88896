"""Networks, trees and attributions of rows of several molecules."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor, SmilesToGraph, load
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN, GIN, Pretrained
from skgnn_mtl.ensemble import HybridRegressor
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.inspection import AtomAttributionDisplay, atom_attributions
from skgnn_mtl.model_selection import (
    ScaffoldKFold,
    molecule_groups,
    scaffold_groups,
)


@pytest.fixture(scope="module")
def pairs():
    """300 pairs of 40 molecules, and the first logP minus the second."""
    smiles, y = load_physchem(return_X_y=True)
    known = y["logP"].notna().to_numpy()
    smiles, logp = np.asarray(smiles)[known][:40], y["logP"].to_numpy()[known][:40]
    first, second = np.random.default_rng(0).integers(40, size=(2, 300))
    table = pd.DataFrame({"solute": smiles[first], "solvent": smiles[second]})
    return table, logp[first] - logp[second]


def network(**changes):
    given = {"max_epochs": 20, "batch_size": 16, "lr": 3e-3, "random_state": 0}
    return MultiTaskGNNRegressor(DMPNN(width=32), **{**given, **changes})


@pytest.fixture(scope="module")
def model(pairs):
    X, y = pairs
    return make_pipeline(SmilesToGraph(), network()).fit(X[:240], y[:240])


def without_codes(graphs):
    """The same graphs, whose nodes all say that they are of the first molecule."""
    codes = graphs.node_codes.copy()
    codes[:, -1] = 0
    columns = ("n_nodes", "n_edges", "edge_index", "edge_codes", "ids")
    return GraphArray(
        graphs.schema, node_codes=codes, **{n: getattr(graphs, n) for n in columns}
    )


def test_a_difference_is_learned_because_atoms_know_their_molecule(pairs, model):
    X, y = pairs
    assert model.score(X[240:], y[240:]) > 0.6
    # The swapped pairs have the opposite difference.
    swapped = X[240:][["solvent", "solute"]].set_axis(X.columns, axis=1)
    assert model.score(swapped, -y[240:]) > 0.6
    blind = network().fit(without_codes(model[0].transform(X[:240])), y[:240])
    graphs, other = (without_codes(model[0].transform(t)) for t in (X, swapped))
    np.testing.assert_allclose(
        blind.predict(graphs)[240:], blind.predict(other), rtol=1e-4, atol=1e-5
    )
    assert blind.score(graphs[240:], y[240:]) < 0.3


def test_a_saved_model_knows_its_columns(pairs, model, tmp_path):
    X, _ = pairs
    graphs = model[0].transform(X[:5])
    model[-1].save(tmp_path / "model.skgnn")
    again = load(tmp_path / "model.skgnn")
    np.testing.assert_array_equal(again.predict(graphs), model.predict(X[:5]))
    with pytest.raises(ValueError, match=r"node_columns.*'molecule', 2"):
        again.predict(SmilesToGraph().transform(["CCO"]))


def test_attributions_have_the_atoms_of_all_molecules_in_order(pairs, model):
    X, _ = pairs
    first, second = (
        SmilesToGraph().transform(X[name][:4]).n_nodes for name in X.columns
    )
    found = atom_attributions(model, X[:4])
    assert [len(values) for values in found] == (first + second).tolist()
    # Both together make the difference: the parts of a row and of its reverse differ.
    swapped = X[:4][["solvent", "solute"]].set_axis(X.columns, axis=1)
    for k, values in enumerate(atom_attributions(model, swapped)):
        assert len(values) == len(found[k])
        assert not np.allclose(values[: second[k]], found[k][first[k] :])


@pytest.mark.parametrize("encoder", ["gin", "gcn", "gat", "graphsage", "dmpnn"])
def test_all_encoders_and_gate_read_pairs(encoder, pairs):
    X, y = pairs
    graphs = SmilesToGraph().transform(X[:20])
    labels = np.column_stack([y[:20], -y[:20]])
    small = {"max_epochs": 1, "random_state": 0}
    for kind in (MultiTaskGNNRegressor, GATERegressor):
        assert kind(encoder, **small).fit(graphs, labels).predict(graphs).shape == (
            20,
            2,
        )


def test_weights_of_single_molecules_are_refused(pairs):
    X, y = pairs
    single = MultiTaskGNNRegressor(GIN(width=8, n_layers=1), max_epochs=1)
    single.fit(SmilesToGraph().transform(X["solute"][:20]), y[:20])
    pretrained = MultiTaskGNNRegressor(Pretrained(single.module_.encoder))
    with pytest.raises(ValueError, match="ogb.*differ in name: .*2 molecules"):
        pretrained.fit(SmilesToGraph().transform(X[:20]), y[:20])


def test_the_hybrid_takes_tables_of_pairs(pairs):
    X, y = pairs
    descriptors = SmilesToDescriptors(["MolLogP", "MolWt"], 0)
    model = HybridRegressor(
        learner=Ridge(), descriptors=descriptors, blend=False, random_state=0
    )
    model.set_params(network=make_pipeline(SmilesToGraph(), network(max_epochs=1)))
    # The difference of two descriptors is linear in both.
    assert model.fit(X[:240], y[:240]).score(X[240:], y[240:]) > 0.6
    default = HybridRegressor(learner=Ridge(), descriptors=descriptors)
    assert default._make_network(X, None, classifier=False)[0].features == "chemprop"


def test_groups_of_pairs_do_not_depend_on_the_order():
    X = [("CCO", "c1ccccc1C"), ("Oc1ccccc1", "OCC"), ("CCO", "c1ccncc1"), ("CC", "CC")]
    assert scaffold_groups(X).tolist() == [0, 0, 1, 2]
    assert molecule_groups(X).tolist() == [0, 1, 2, 3]
    assert molecule_groups([X[0], X[0][::-1]]).tolist() == [0, 0]
    graphs = SmilesToGraph().transform(X)
    assert scaffold_groups(graphs).tolist() == [0, 0, 1, 2]
    rows = [*X, ("C", "C1CC"), (None, "C"), ("C", None)]
    assert scaffold_groups(rows, on_error="nan")[4:].tolist() == [-1] * 3
    with pytest.raises(ValueError, match=r"X\[4, 1\] = 'C1CC'.*2 more .*\[5, 6\]"):
        scaffold_groups(rows)
    folds = list(ScaffoldKFold(2).split(X))
    assert any({0, 1} <= set(test) for _, test in folds)


def reverse(smiles):
    molecule = Chem.MolFromSmiles(smiles)
    return Chem.RenumberAtoms(molecule, list(range(molecule.GetNumAtoms()))[::-1])


def test_rows_are_drawn_as_mixtures(pairs, model):
    X, _ = pairs
    few = X[:2]
    display = AtomAttributionDisplay.from_estimator(model, few)
    sizes = model[0].transform(few).n_nodes
    assert display.table_.groupby("graph").size().tolist() == sizes.tolist()
    # Molecules may have another order of atoms than their SMILES.
    molecules = few.map(reverse)
    again = AtomAttributionDisplay.from_estimator(model, molecules)
    elements = [
        atom.GetSymbol()
        for row in molecules.to_numpy().tolist()
        for molecule in row
        for atom in molecule.GetAtoms()
    ]
    assert again.table_["element"].tolist() == elements
    assert elements != display.table_["element"].tolist()
