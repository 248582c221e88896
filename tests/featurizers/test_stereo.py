"""Codes of chirality that do not depend on the order of atoms."""

import numpy as np
import pytest
from rdkit import Chem

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN, Pretrained
from skgnn_mtl.featurizers import AtomColumn, BondColumn, SmilesToGraph, _molecules
from skgnn_mtl.featurizers._stereo import ATOM_LABELS, BOND_LABELS

# Sorted labels of atoms, and of bonds, as the rules give them.
LABELS = {
    "C[C@H](N)C(=O)O": ("S", ""),
    "N[C@H](C)C(=O)O": ("R", ""),
    "F/C=C/Cl": ("", "E"),
    "F/C=C\\Cl": ("", "Z"),
    "C/C=N/O": ("", "E"),
    "C/C=C/C=C\\C": ("", "EZ"),
    "C[S@](=O)c1ccccc1": ("S", ""),
    "C[C@@H](F)/C=C/[C@H](C)F": ("RS", "E"),
    # Pseudo-asymmetric: neighbours that differ in handedness only.
    "O[C@H](C)[C@@H](O)[C@H](C)O": ("RSs", ""),
    "O[C@H](C)[C@H](O)[C@H](C)O": ("RSr", ""),
    "C[C@H]1CC[C@@H](C)CC1": ("ss", ""),
    "C[C@H]1CC[C@H](C)CC1": ("rr", ""),
    "O[C@H]1[C@H](O)[C@@H](O)[C@H](O)[C@H](O)[C@@H]1O": ("RRSSrs", ""),
    "C[C@@]12CC[C@H](C1)C(C)(C)C2=O": ("RR", ""),
    "[2H][C@H](C)O": ("R", ""),
    "CC=CC": ("", ""),
    "CC(C)=C(F)Cl": ("", ""),
    "CCO": ("", ""),
}


def orders(smiles, n=12):
    """The same molecule with its atoms in other orders."""
    molecule = Chem.MolFromSmiles(smiles)
    return [smiles, *Chem.MolToRandomSmilesVect(molecule, n, randomSeed=7)]


def words(codes, vocabulary):
    return "".join(sorted(vocabulary[code] for code in codes.tolist() if code))


@pytest.mark.parametrize(("smiles", "labels"), LABELS.items())
def test_labels_are_those_of_the_rules_in_any_order(smiles, labels):
    for text in orders(smiles):
        X = SmilesToGraph(stereo="cip").transform([text])
        found = words(X.node_codes[:, 1], ATOM_LABELS)
        assert (found, words(X.edge_codes[::2, 1], BOND_LABELS)) == labels


@pytest.mark.parametrize("features", ["ogb", "pyg", "hu2020", "chemprop"])
def test_one_molecule_has_one_prediction(features):
    smiles = [text for text in LABELS for text in orders(text)]
    molecules = np.repeat(np.arange(len(LABELS)), len(smiles) // len(LABELS))
    X = SmilesToGraph(features, stereo="cip").transform(smiles)
    model = MultiTaskGNNRegressor(GIN(width=8, n_layers=3), max_epochs=1)
    predictions = model.fit(X, molecules.astype(float)).predict(X)
    first = predictions[:: len(smiles) // len(LABELS)]
    np.testing.assert_allclose(predictions, first[molecules], rtol=1e-4)
    # With tags some molecules have two, which is why there are labels.
    X = SmilesToGraph(features).transform(smiles)
    predictions = model.fit(X, molecules.astype(float)).predict(X)
    first = predictions[:: len(smiles) // len(LABELS)]
    assert abs(predictions - first[molecules]).max() > 1e-3


def test_labels_tell_isomers_apart():
    pairs = ["C[C@H](N)O", "C[C@@H](N)O", "F/C=C/Cl", "F/C=C\\Cl"]
    X = SmilesToGraph("hu2020", stereo="cip").transform(pairs).without_ids()
    assert X[[0]] != X[[1]]
    assert X[[2]] != X[[3]]


def test_unknown_stereo_that_is_marked_has_a_code():
    molecule = Chem.MolFromSmiles("CC=CC")
    molecule.GetBondWithIdx(1).SetStereo(Chem.BondStereo.STEREOANY)
    X = SmilesToGraph(stereo="cip").transform([molecule])
    assert BOND_LABELS[X.edge_codes[2, 1]] == "any"
    assert X.edge_codes[2:4, 1].tolist() == [1, 1]


def test_the_default_is_tags_and_schemas_differ():
    tags, labels = SmilesToGraph(), SmilesToGraph(stereo="cip")
    X, Y = (t.transform(["C[C@H](N)O"]) for t in (tags, labels))
    assert SmilesToGraph(stereo="tags").transform(["C[C@H](N)O"]) == X
    assert (X.schema.name, Y.schema.name) == ("ogb", "ogb cip")
    # Only the two columns of stereo differ.
    same = [0, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(X.node_codes[:, same], Y.node_codes[:, same])
    np.testing.assert_array_equal(X.edge_codes[:, [0, 2]], Y.edge_codes[:, [0, 2]])


def test_weights_of_tags_refuse_labels():
    rows, y = ["C[C@H](N)O", "CC", "CO"], [0.0, 1.0, 2.0]
    first = MultiTaskGNNRegressor(GIN(width=4, n_layers=1), max_epochs=1)
    first.fit(SmilesToGraph().transform(rows), y)
    X = SmilesToGraph(stereo="cip").transform(rows)
    with pytest.raises(ValueError, match="'ogb' against 'ogb cip'"):
        first.predict(X)
    with pytest.raises(ValueError, match="cip"):
        MultiTaskGNNRegressor(Pretrained(first.module_.encoder)).fit(X, y)


def test_own_columns_of_tags_hold_labels_under_their_names():
    columns = (
        (AtomColumn("turn", "GetChiralTag", (0, 1, 2)), AtomColumn("m", "GetMass")),
        (BondColumn("side", "GetBondDir", (0, 3, 4)),),
    )
    X = SmilesToGraph(columns, stereo="cip").transform(["C[C@H](N)O", "F/C=C/F"])
    assert X.schema.node_columns == (("turn", len(ATOM_LABELS) + 1),)
    assert X.schema.edge_columns == (("side", len(BOND_LABELS) + 1),)
    assert X.schema.node_features == ("m",)
    assert words(X.node_codes[:, 0], ATOM_LABELS) == "R"
    tags = SmilesToGraph(columns).transform(["C"]).schema
    assert tags.name != X.schema.name


def test_molecules_stay_as_they_are_and_equal_their_smiles():
    flags = int(Chem.PropertyPickleOptions.AllProps)
    molecules = [Chem.MolFromSmiles(text) for text in LABELS]
    before = [molecule.ToBinary(flags) for molecule in molecules]
    X = SmilesToGraph(stereo="cip").transform(molecules)
    assert [molecule.ToBinary(flags) for molecule in molecules] == before
    Y = SmilesToGraph(stereo="cip").transform(list(LABELS))
    assert X.without_ids() == Y.without_ids()


def test_all_ways_to_read_agree(varied, monkeypatch):
    rows = [*varied, *LABELS]
    expected = SmilesToGraph("chemprop", stereo="cip").transform(rows)
    monkeypatch.setattr(_molecules, "_binary_form_is_known", lambda: False)
    assert SmilesToGraph("chemprop", stereo="cip").transform(rows) == expected


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="'stereo' parameter of SmilesToGraph"):
        SmilesToGraph(stereo="R").fit(["C"])
