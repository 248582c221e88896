"""What is a node, what an edge, and what happens to everything else."""

import re
import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
from joblib import parallel_config
from rdkit import Chem, rdBase

from skgnn_mtl.featurizers import (
    AtomColumn,
    BondColumn,
    GraphTransformer,
    SmilesToGraph,
    _base,
    _molecules,
)
from skgnn_mtl.graphs import GraphArray

BAD = ["C1CC", "C(C)(C)(C)(C)C", None, ""]


def transform(smiles, **parameters):
    return SmilesToGraph(**parameters).transform(smiles)


def neighbours(X):
    """Sets of directed edges of each graph."""
    bounds = np.concatenate([[0], np.cumsum(X.n_edges)])
    pairs = [tuple(pair) for pair in X.edge_index.T.tolist()]
    return [set(pairs[a:b]) for a, b in pairwise(bounds)]


# -- nodes and edges ------------------------------------------------------------------


def test_ethanol_by_hand():
    X = transform(["CCO"])
    assert X.n_nodes.tolist() == [3]
    assert X.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    # element, chirality, degree, charge (+5), hydrogens, radicals, SP3, two flags
    assert X.node_codes.tolist() == [
        [5, 0, 4, 5, 3, 0, 2, 0, 0],
        [5, 0, 4, 5, 2, 0, 2, 0, 0],
        [7, 0, 2, 5, 1, 0, 2, 0, 0],
    ]
    assert X.edge_codes.tolist() == [[0, 0, 0]] * 4
    assert X.ids.tolist() == ["CCO"]


def test_storage_is_compact(varied):
    X = transform(varied)
    assert X.node_codes.dtype == X.edge_codes.dtype == np.uint8
    assert X.edge_index.dtype == np.int32


def test_reverse_of_edge_e_is_e_xor_1(varied):
    X = transform(varied)
    reverse = np.arange(X.edge_index.shape[1]) ^ 1
    np.testing.assert_array_equal(X.edge_index[:, reverse], X.edge_index[::-1])
    np.testing.assert_array_equal(X.edge_codes[reverse], X.edge_codes)


@pytest.mark.parametrize("features", ["ogb", "pyg", "hu2020", "chemprop"])
def test_renumbering_atoms_permutes_rows_only(features, varied):
    rng = np.random.default_rng(0)
    for molecule in map(Chem.MolFromSmiles, varied[:-1]):
        order = rng.permutation(molecule.GetNumAtoms())
        renumbered = Chem.RenumberAtoms(molecule, order.tolist())
        X, Y = (
            transform([molecule], features=features),
            transform([renumbered], features=features),
        )
        np.testing.assert_array_equal(X.node_features[order], Y.node_features)
        assert neighbours(X) == [{(order[a], order[b]) for a, b in neighbours(Y)[0]}]
        # Chiral tags are relative to the order of the neighbours.
        other = [
            k
            for k, (name, _) in enumerate(X.schema.node_columns)
            if name != "chirality"
        ]
        np.testing.assert_array_equal(
            X.node_codes[order][:, other], Y.node_codes[:, other]
        )


def nodes_and_edges(smiles):
    X = transform([smiles])
    assert X.valid.all()
    return int(X.n_nodes[0]), int(X.n_edges[0])


def test_a_salt_is_one_graph_of_several_components():
    assert nodes_and_edges("CC(=O)[O-].[Na+]") == (5, 6)


def test_a_lone_atom_has_empty_edge_arrays():
    X = transform(["[Na+]", "C"])
    assert X.n_nodes.tolist() == [1, 1]
    assert X.edge_index.shape == (2, 0)
    assert X.edge_codes.shape == (0, 3)


def test_metal_ligand_bonds_are_dative():
    X = transform(["[NH3][Pt]([NH3])(Cl)Cl"])
    assert X.n_edges.tolist() == [8]
    assert sorted(X.edge_codes[:, 0].tolist()) == [0, 0, 0, 0, 4, 4, 4, 4]


def test_a_dummy_atom_is_a_node_of_the_last_element_code():
    X = transform(["*C"])
    assert X.node_codes[:, 0].tolist() == [118, 5]


def test_hydrogens_are_nodes_only_where_the_parser_keeps_them():
    assert nodes_and_edges("[H]C([H])([H])O[H]") == (2, 2)
    assert nodes_and_edges("[2H]C") == (2, 2)
    assert nodes_and_edges("[H][H]") == (2, 2)
    assert nodes_and_edges("[H-].[Na+]") == (2, 0)


def test_isotopes_change_the_mass_only():
    X = transform(["[13CH4]", "C"], features="chemprop")
    np.testing.assert_array_equal(X.node_codes[0], X.node_codes[1])
    np.testing.assert_allclose(
        100 * X.node_features[:, 0], [13.00335, 12.011], rtol=1e-6
    )


def test_atropisomers_have_no_stereo_code():
    molecule = Chem.MolFromSmiles("CC=CC")
    bond = molecule.GetBondWithIdx(1)
    bond.SetStereoAtoms(0, 3)
    for tag in (Chem.BondStereo.STEREOATROPCW, Chem.BondStereo.STEREOATROPCCW):
        bond.SetStereo(tag)
        for features in ("ogb", "pyg"):
            assert not transform([molecule], features=features).edge_codes[:, 1].any()


def test_a_molecule_of_many_atoms_among_small_ones():
    peptide = "N" + "CC(=O)N" * 122 + "CC(=O)O"
    X = transform(["C", peptide, "CC"])
    assert X.n_nodes.tolist() == [1, 493, 2]
    assert X[1].edge_index.max() == 492
    assert X[[0]] == transform(["C"])
    assert X[[2]] == transform(["CC"])


# -- length, order and what they do not depend on -------------------------------------


def test_a_row_does_not_depend_on_the_others(varied):
    X = transform(varied)
    assert GraphArray.concatenate([transform([smiles]) for smiles in varied]) == X
    order = np.random.default_rng(0).permutation(len(varied))
    assert transform([varied[i] for i in order]) == X[order]


def test_chunks_change_nothing(varied, monkeypatch):
    rows = [*varied, *BAD, *varied]
    with pytest.warns(UserWarning, match="rows"):
        whole = transform(rows, on_error="nan")
    monkeypatch.setattr(_base, "_CHUNK", 5)
    with pytest.warns(UserWarning, match="rows"):
        assert transform(rows, on_error="nan") == whole


def test_processes_change_nothing(varied):
    rows = (varied * 60)[:1100]
    rows[1042] = None

    def polarity(atom):
        return atom.GetDegree() % 2

    own = ((AtomColumn("polarity", polarity, (0, 1)),), ())
    for features in ("ogb", own):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one = transform(rows, on_error="nan", features=features)
            two = transform(rows, on_error="nan", features=features, n_jobs=2)
        assert one == two
        assert np.flatnonzero(~two.valid).tolist() == [1042]
    with pytest.raises(ValueError, match=r"X\[1042\] is missing"):
        transform(rows, n_jobs=2)


def test_threads_change_nothing(varied):
    rows = (varied * 60)[:1100]
    with parallel_config("threading", n_jobs=2):
        assert transform(rows) == transform(rows, n_jobs=1)


@pytest.mark.parametrize(
    ("n_rows", "n_jobs", "size", "workers"),
    [
        (1, 2, 1, 1),
        (1000, 2, 1000, 1),
        (1001, 2, 501, 2),
        (1001, None, 501, 1),
        (2500, 2, 625, 2),
        (100_000, 1, 1000, 1),
    ],
)
def test_chunks_are_even_and_few_rows_need_no_worker(n_rows, n_jobs, size, workers):
    assert _base._chunk_size(n_rows, n_jobs) == (size, workers)


# -- input that cannot be read --------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("C1CC", r"Could not read X[1] = 'C1CC' as SMILES: unclosed ring."),
        (
            "CC(C)(C)(C)C",
            "Could not read X[1] = 'CC(C)(C)(C)C' as SMILES: explicit valence for atom "
            "# 1 C, 5, is greater than permitted.",
        ),
        (
            "c1cccc1",
            "Could not read X[1] = 'c1cccc1' as SMILES: can't kekulize mol. "
            "Unkekulized atoms: 0 1 2 3 4.",
        ),
        (
            "C\ud800",
            "Could not read X[1] = 'C\\ud800' as SMILES: it is not valid Unicode.",
        ),
        (
            None,
            'X[1] is missing. With on_error="nan" such a row stays, as an invalid '
            "graph.",
        ),
        (
            "C" * 200 + "(",
            f"Could not read X[1] = '{'C' * 80}'... as SMILES: unclosed parenthesis.",
        ),
        (
            Chem.MolFromSmiles("CC", sanitize=False),
            "Could not read X[1], of type Mol, as SMILES: it is not sanitized; call "
            "Chem.SanitizeMol on it.",
        ),
        (Chem.Mol(), "Could not read X[1], of type Mol, as SMILES: it has no atoms."),
        (
            object(),
            "Could not read X[1], of type object, as SMILES: it is neither a string "
            "nor an RDKit molecule.",
        ),
    ],
)
def test_the_first_bad_row_is_named_with_its_reason(row, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        transform(["C", row, "C(("])


def test_bad_rows_become_invalid_graphs_under_one_warning(varied):
    rows = [varied[0], *BAD, *varied[1:]]
    with pytest.warns(UserWarning, match="invalid graphs") as caught:
        X = transform(rows, on_error="nan")
    (warning,) = caught
    assert str(warning.message) == (
        f"4 of {len(rows)} rows of X became invalid graphs: rows 1, 2, 3, 4. "
        "Could not read X[1] = 'C1CC' as SMILES: unclosed ring."
    )
    assert warning.filename == __file__
    assert np.flatnonzero(~X.valid).tolist() == [1, 2, 3, 4]
    assert not X.n_nodes[~X.valid].any()
    assert X.ids.tolist() == [row or "" for row in rows]
    assert X[X.valid] == transform(varied)


def test_the_warning_lists_ten_rows():
    with pytest.warns(
        UserWarning,
        match=r"12 of 13 .* 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "
        r"\.\.\.\. X\[1\] is missing\.$",
    ):
        transform(["C"] + [None] * 12, on_error="nan")


def test_all_rows_may_be_invalid():
    for features in ("ogb", "chemprop"):
        with pytest.warns(UserWarning, match="2 of 2 rows"):
            X = transform(["?", "\ud800"], on_error="nan", features=features)
        assert len(X) == 2
        assert not X.valid.any()
        assert X.schema == transform(["C"], features=features).schema


def test_empty_input_is_refused():
    for call in (SmilesToGraph().fit, SmilesToGraph().transform):
        with pytest.raises(ValueError, match=r"X is empty: found 0 sample\(s\)"):
            call([])


# -- RDKit molecules ------------------------------------------------------------------


def test_molecules_equal_their_smiles(varied):
    X = transform([Chem.MolFromSmiles(smiles) for smiles in varied])
    Y = transform(varied)
    assert X.ids.tolist() == [Chem.CanonSmiles(smiles) for smiles in varied]
    assert X.without_ids() == Y.without_ids()


def test_molecules_are_taken_as_they_are():
    molecule = Chem.AddHs(Chem.MolFromSmiles("C"))
    molecule.AddConformer(Chem.Conformer(5))
    before = molecule.ToBinary()
    X = transform([molecule, "C"])
    assert X.n_nodes.tolist() == [5, 1]
    assert X.node_codes[0, 4] == 0
    assert molecule.ToBinary() == before


def test_partly_sanitized_molecules_are_invalid():
    without_rings = Chem.MolFromSmiles("C1CC1", sanitize=False)
    without_rings.UpdatePropertyCache()
    with pytest.raises(ValueError, match="not sanitized"):
        transform([without_rings])


# -- own columns ----------------------------------------------------------------------


def has_oxygen(bond):
    return "O" in (bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol())


OWN = (
    (
        AtomColumn("isotope", "GetIsotope", (0, 2, 13)),
        AtomColumn("element", "GetAtomicNum", (6, 8)),
        AtomColumn("symbol", lambda atom: atom.GetSymbol(), ("C", "O")),
        AtomColumn("valence", lambda atom: atom.GetTotalDegree() / 2),
    ),
    (
        BondColumn("has_oxygen", has_oxygen, (False, True), outside=0),
        BondColumn("order", "GetBondTypeAsDouble"),
    ),
)


def test_own_columns():
    X = transform(["[13CH3]C(=O)N"], features=OWN)
    assert X.schema.name.startswith("custom ")
    assert X.schema.node_columns == (("isotope", 4), ("element", 3), ("symbol", 3))
    assert X.schema.edge_columns == (("has_oxygen", 2),)
    assert X.schema.node_features == ("valence",)
    assert X.schema.edge_features == ("order",)
    assert X.node_codes.tolist() == [[2, 0, 0], [0, 0, 0], [0, 1, 1], [0, 2, 2]]
    assert X.node_features.ravel().tolist() == [2, 1.5, 0.5, 1.5]
    assert X.edge_codes.ravel().tolist() == [0, 0, 1, 1, 0, 0]
    assert X.edge_features.ravel().tolist() == [1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize(
    "other",
    [
        AtomColumn("element", "GetSymbol", ("O", "N", "C")),
        AtomColumn("element", "GetSymbol", ("C", "N", "O"), outside=0, n_codes=4),
        AtomColumn("element", "GetHybridization", ("C", "N", "O")),
    ],
    ids=str,
)
def test_schemas_tell_own_columns_of_other_meaning_apart(other):
    features = ((AtomColumn("element", "GetSymbol", ("C", "N", "O")),), ())
    ethanol = transform(["CCO"], features=features)
    again = ((AtomColumn("element", "GetSymbol", iter("CNO")),), [])
    assert transform(["CCO"], features=again) == ethanol
    assert transform(["CCO"], features=((other,), ())).schema != ethanol.schema


def test_a_scale_is_part_of_the_schema_and_a_function_is_not():
    def schema(getter, scale):
        columns = ((AtomColumn("mass", getter, scale=scale),), ())
        return transform(["C"], features=columns).schema

    assert schema("GetMass", 0.01) != schema("GetMass", 1.0)
    assert schema(lambda atom: 1.0, 1.0) == schema(lambda atom: 2.0, 1.0)


def test_the_name_of_own_columns_lasts():
    """Saved graphs and fitted models are compared with it."""
    features = ((AtomColumn("element", "GetSymbol", ("C", "N", "O")),), ())
    name = transform(["C"], features=features).schema.name
    assert name == "custom 8bf1bfae"
    codes = tuple(np.array([6, 7]))
    schemas = [
        transform(["C"], features=((AtomColumn("z", "GetAtomicNum", v),), ())).schema
        for v in (codes, (6, 7))
    ]
    assert schemas[0] == schemas[1]


def test_own_columns_on_all_ways_to_read(varied, monkeypatch):
    expected = transform(varied, features=OWN)
    monkeypatch.setattr(_molecules, "_binary_form_is_known", lambda: False)
    assert transform(varied, features=OWN) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_column(value):
    features = ((AtomColumn("charge", lambda atom: value),), ())
    with pytest.raises(ValueError, match=f"Column 'charge' .* but holds {value}"):
        transform(["C"], features=features)


def test_graphs_without_any_feature():
    X = transform(["CCO", "C"], features=((), ()))
    assert X.n_nodes.tolist() == [3, 1]
    assert X.node_codes.shape == (4, 0)
    assert X.edge_codes.shape == (4, 0)


@pytest.mark.parametrize(
    ("features", "error", "sentence"),
    [
        ("morgan", ValueError, "The 'features' parameter of SmilesToGraph must be"),
        ((), ValueError, "has 0 entries"),
        ((1, 2), TypeError, "two sequences of columns"),
        (((BondColumn("x", "IsInRing"),), ()), TypeError, "is not of type AtomColumn"),
        (((AtomColumn("x", "GetMas"),), ()), ValueError, "no method 'GetMas'"),
        (((), (BondColumn("x", "GetMass"),)), ValueError, "Bond has no method"),
        (((AtomColumn("x", "IsInRing"),) * 2, ()), ValueError, "names of columns must"),
    ],
)
def test_impossible_features_are_refused_in_fit_and_transform(
    features, error, sentence
):
    for call in (SmilesToGraph(features).fit, SmilesToGraph(features).transform):
        with pytest.raises(error, match=sentence):
            call(["C"])


# -- manners --------------------------------------------------------------------------


def test_nothing_is_printed_and_no_global_setting_changes(capfd):
    before = rdBase.LogStatus(), Chem.GetDefaultPickleProperties()
    with pytest.warns(UserWarning, match="became invalid"):
        transform([*BAD, Chem.MolFromSmiles("C1CC1", sanitize=False)], on_error="nan")
    for row in BAD:
        with pytest.raises(ValueError, match="X"):
            transform([row])
    assert (rdBase.LogStatus(), Chem.GetDefaultPickleProperties()) == before
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_request_only(varied, capfd):
    transform(varied)
    assert capfd.readouterr().err == ""
    transform(varied, verbose=1)
    assert f"{len(varied)}/{len(varied)}" in capfd.readouterr().err


def test_a_missing_rdkit_is_named_at_use(monkeypatch):
    transformer = SmilesToGraph()
    monkeypatch.setitem(sys.modules, "rdkit", None)
    _molecules.rdkit.cache_clear()
    with pytest.raises(ImportError, match="SmilesToGraph needs rdkit: pip install"):
        transformer.fit(["C"])


def test_the_base_cannot_be_instantiated():
    with pytest.raises(TypeError, match="abstract"):
        GraphTransformer()
