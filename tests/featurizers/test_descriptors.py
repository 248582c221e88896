"""Descriptors of molecules: RDKit's values, or those of a function."""

import joblib
import numpy as np
import pytest
from joblib import parallel_config
from rdkit import Chem
from rdkit.Chem import Descriptors
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.featurizers._descriptors import RdkitDescriptors, within_range
from skgnn_mtl.graphs import GraphArray

ALL = tuple(name for name, _ in Descriptors.descList)
ODD = [
    "*c1ccccc1",
    "*",
    "[H][H]",
    "[2H]O[2H]",
    "C",
    "[Na+].[Cl-]",
    "[Cu+2].[O-]S(=O)(=O)[O-]",
    "[NH3]->[Pt](Cl)Cl",
    "[Fe]",
    "[U]",
    "O=[Os](=O)(=O)=O",
    "F[P-](F)(F)(F)(F)F",
    "[CH3]",
    "CC(C)(C)c1ccc2c(c1)[nH]c1ccccc12.Cl",
]


def featurized(smiles, descriptors="rdkit2d", **options):
    return SmilesToGraph(descriptors=descriptors, **options).transform(smiles)


def of_rdkit(smiles, names=ALL):
    """RDKit's own values, each descriptor on a molecule of its own."""
    functions = dict(Descriptors.descList)
    table = np.full((len(smiles), len(names)), np.nan)
    for row, text in enumerate(smiles):
        for k, name in enumerate(names):
            try:
                table[row, k] = functions[name](Chem.MolFromSmiles(text))
            except Exception:
                continue
    with np.errstate(over="ignore"):
        table = table.astype(np.float32)
    table[np.isinf(table)] = np.nan
    return table


@pytest.fixture(scope="module")
def smiles():
    names = load_physchem(as_frame=True).data.squeeze()
    return names.sample(220, random_state=0).tolist()


def test_values_are_those_of_rdkit_to_the_last_bit(smiles):
    X = featurized(smiles)
    assert X.schema.graph_features == ALL
    expected = np.full(X.graph_features.shape, np.nan, dtype=np.float32)
    for row, text in enumerate(smiles):
        values = Descriptors.CalcMolDescriptors(Chem.MolFromSmiles(text))
        expected[row] = list(values.values())
    np.testing.assert_array_equal(X.graph_features, expected)
    assert np.isfinite(X.graph_features).mean() > 0.99


def test_a_value_does_not_depend_on_what_was_computed_before(smiles):
    some = smiles[:12]
    expected = of_rdkit(some)
    np.testing.assert_array_equal(featurized(some).graph_features, expected)
    backwards = featurized(some, ALL[::-1])
    np.testing.assert_array_equal(backwards.graph_features[:, ::-1], expected)


def test_odd_molecules_have_rdkits_values_or_nan_in_their_row():
    X = featurized(ODD)
    assert X.valid.all()
    np.testing.assert_array_equal(X.graph_features, of_rdkit(ODD))
    assert np.isfinite(X.graph_features).sum(axis=1).min() > 200


def test_chosen_names_stand_in_their_order():
    X = featurized(ODD, ["TPSA", "MolWt"])
    assert X.schema.graph_features == ("TPSA", "MolWt")
    expected = of_rdkit(ODD, ["TPSA", "MolWt"])
    np.testing.assert_array_equal(X.graph_features, expected)
    assert featurized(ODD, ("TPSA", "MolWt")) == X


def test_the_graphs_are_those_without_descriptors(varied):
    X, bare = featurized(varied, ["MolWt"]), SmilesToGraph().transform(varied)
    assert X.schema.difference(bare.schema) == "graph_features: ('MolWt',) against ()"
    assert bare.with_features(X.graph_features, ["MolWt"]) == X


@pytest.mark.parametrize("features", ["ogb", "chemprop"])
@pytest.mark.parametrize("stereo", ["tags", "cip"])
def test_every_way_of_reading_keeps_rows_and_descriptors_together(
    varied, features, stereo
):
    # Of 300 atoms, with isotopes: read in several parts, and in another order.
    order = np.random.default_rng(0).permutation(len(varied))
    shuffled = [varied[k] for k in order]
    options = {"features": features, "stereo": stereo}
    X = featurized(shuffled, ["MolWt", "RingCount"], **options)
    expected = of_rdkit(varied, ["MolWt", "RingCount"])[order]
    np.testing.assert_array_equal(X.graph_features, expected)
    assert X.ids.tolist() == shuffled


def test_invalid_graphs_have_nan_and_shift_nothing():
    rows = ["CCO", None, "C1CC", "CC", "C[#119]"]
    with pytest.warns(UserWarning, match="3 of 5 rows"):
        X = featurized(rows, ["MolWt"], on_error="nan")
    assert X.valid.tolist() == [True, False, False, True, False]
    expected = [46.069, np.nan, np.nan, 30.07, np.nan]
    np.testing.assert_allclose(X.graph_features[:, 0], expected, rtol=1e-6)
    with pytest.warns(UserWarning, match="2 of 2 rows"):
        X = featurized([None, "C1CC"], ["MolWt"], on_error="nan")
    assert np.isnan(X.graph_features).all()
    with pytest.raises(ValueError, match=r"X\[1\] is missing"):
        featurized(rows, ["MolWt"])


def test_hydrogens_and_properties_of_a_molecule_change_nothing():
    text = "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O"
    molecule = Chem.AddHs(Chem.MolFromSmiles(text))
    molecule.SetDoubleProp("_crippenLogP", 99.0)
    X = featurized([molecule])
    np.testing.assert_array_equal(X.graph_features, of_rdkit([text]))
    assert X.n_nodes.tolist() == [33]  # the graph has the hydrogens
    assert molecule.GetNumAtoms() == 33
    assert not hasattr(molecule, "_eStateIndices")


def test_large_molecules_have_no_descriptors_that_take_minutes():
    cheap = ["MolWt", "Ipc", "AvgIpc", "BCUT2D_MWHI", "MaxEStateIndex", "BertzCT"]
    X = featurized(["C" * 499, "C" * 600, "C" * 1100, "C" * 5100], cheap)
    finite = np.isfinite(X.graph_features).tolist()
    assert finite == [
        [True, False, True, True, True, True],  # Ipc is beyond single precision
        [True, False, False, True, True, True],
        [True, False, False, False, False, False],
        [False] * 6,
    ]


def test_numbers_out_of_range_are_nan():
    values = within_range([1e39, -1e39, np.inf, -np.inf, np.nan, 3.4e38, -2.0])
    assert np.isnan(values[:5]).all()
    assert values[5:].tolist() == [3.4e38, -2.0]
    assert np.isfinite(values[5:].astype(np.float32)).all()


def test_processes_change_nothing():
    rows = [*ODD, "CCO"] * 8
    assert featurized(rows, n_jobs=2) == featurized(rows)


def test_few_rows_are_worth_a_process_where_each_takes_long(monkeypatch):
    seen = []
    original = SmilesToGraph._featurize
    monkeypatch.setattr(
        SmilesToGraph,
        "_featurize",
        lambda self, rows: seen.append(len(rows)) or original(self, rows),
    )
    featurized(["C"] * 250, ["MolWt"])
    SmilesToGraph().transform(["C"] * 250)
    assert seen == [84, 84, 82, 250]


def test_files_keep_the_descriptors(tmp_path):
    X = featurized(ODD)
    X.save(tmp_path / "graphs")
    assert GraphArray.load(tmp_path / "graphs", mmap_mode="r") == X


BAD = {
    "an unknown name": (["MolWt", "MolLogp"], r"'MolLogp'. Did you mean 'MolLogP'\?"),
    "no name": ([], "at least one"),
    "a name twice": (["TPSA", "TPSA"], "different names"),
    "something that is not a name": ([3], "does not have a descriptor 3"),
    "another string": ("rdkit3d", "'descriptors' parameter of SmilesToGraph"),
}


@pytest.mark.parametrize(("descriptors", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_not_a_descriptor_is_named_in_fit(descriptors, message):
    with pytest.raises(ValueError, match=message):
        SmilesToGraph(descriptors=descriptors).fit(["C"])


def test_an_array_must_list_names():
    with pytest.raises(
        ValueError, match="'descriptors' parameter .* a sequence of names"
    ):
        SmilesToDescriptors(np.array(3)).fit(["C"])


def test_rdkits_list_is_complete():
    assert RdkitDescriptors(None).names == ALL


# -- functions of the user --------------------------------------------------------


def counts(molecule):
    return {"n_atoms": molecule.GetNumAtoms(), "n_bonds": molecule.GetNumBonds()}


def sizes(molecule):
    return [molecule.GetNumAtoms(), None, np.inf, 1e300]


def test_a_mapping_gives_the_names():
    X = featurized(["CCO", "C"], counts)
    assert X.schema.graph_features == ("n_atoms", "n_bonds")
    assert X.graph_features.tolist() == [[3, 2], [1, 0]]


def test_a_mapping_in_another_order_is_read_by_name():
    def turned(molecule):
        pairs = list(counts(molecule).items())
        return dict(pairs if molecule.GetNumAtoms() == 2 else pairs[::-1])

    assert featurized(["CCO", "C"], turned) == featurized(["CCO", "C"], counts)


def test_sequences_and_numbers_are_named_by_the_function():
    X = featurized(["CCO"], sizes)
    assert X.schema.graph_features == ("sizes_0", "sizes_1", "sizes_2", "sizes_3")
    assert X.graph_features[0, 0] == 3
    assert np.isnan(X.graph_features[0, 1:]).all()
    X = featurized(["CCO"], lambda molecule: np.float64(molecule.GetNumAtoms()))
    assert X.schema.graph_features == ("descriptor",)
    assert featurized(["CCO"], len_of).schema.graph_features == ("len_of",)


def len_of(molecule):
    return molecule.GetNumAtoms()


def fails_for_three(molecule):
    return 1 / (molecule.GetNumAtoms() - 3)


def fails_for_threes(molecule):
    return 1 / (molecule.GetNumAtoms() % 3)


def grows(molecule):
    return [0.0] * molecule.GetNumAtoms()


def renames(molecule):
    return {f"n{molecule.GetNumAtoms()}": 1.0}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails_for_three, r"X\[2\] = 'CCO': ZeroDivisionError: division by zero"),
        (grows, r"X\[2\] = 'CCO': ValueError: it must give 2 numbers for all, but"),
        (renames, r"X\[2\] = 'CCO': ValueError: it must give the names \['n2'\] for"),
    ],
)
@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_a_function_names_the_first_row(
    function, message, on_error, n_jobs
):
    rows, message = ["CC", "CC", "CCO", "CCO"] * 60, f"the function fails.*{message}"
    with (
        parallel_config("threading"),
        pytest.raises(ValueError, match=f"descriptors: {message}"),
    ):
        featurized(rows, function, on_error=on_error, n_jobs=n_jobs)


def test_the_first_row_is_named_whichever_is_read_first():
    # Molecules of more than 255 atoms are read before the others.
    with pytest.raises(ValueError, match=r"X\[0\] = 'CCO': ZeroDivisionError"):
        featurized(["CCO", "C" * 300], fails_for_threes)
    molecule = Chem.MolFromSmiles("CCO")
    with pytest.raises(ValueError, match=r"X\[0\], of type Mol: ZeroDivisionError"):
        featurized([molecule], fails_for_threes)


def test_a_function_that_fails_on_the_sample_is_refused_in_fit():
    def refuses(molecule):
        raise RuntimeError("a\nb")

    with pytest.raises(ValueError, match="numbers for ethane.* RuntimeError: a b"):
        SmilesToGraph(descriptors=refuses).fit(["C"])
    with pytest.raises(ValueError, match="ethane.*could not convert"):
        SmilesToGraph(descriptors=lambda molecule: "text").fit(["C"])
    with pytest.raises(ValueError, match="ethane.*it gives no number"):
        SmilesToGraph(descriptors=lambda molecule: {}).fit(["C"])


def charge(molecule):
    atom = molecule.GetAtomWithIdx(0)
    atom.SetDoubleProp("q", (atom.GetDoubleProp("q") if atom.HasProp("q") else 0) + 1)
    return atom.GetDoubleProp("q") + 10 * molecule.GetNumConformers()


def charged(value, n=1):
    molecules = [Chem.AddHs(Chem.MolFromSmiles(s)) for s in ["C", "CC", "CCO"] * n]
    for molecule in molecules:
        molecule.AddConformer(Chem.Conformer(molecule.GetNumAtoms()))
        molecule.GetAtomWithIdx(0).SetDoubleProp("q", value)
    return molecules


def test_a_function_sees_the_molecule_as_it_is_and_cannot_change_it():
    molecules = charged(2.0)
    for _ in range(2):
        assert featurized(molecules, charge).graph_features.ravel().tolist() == [13] * 3
    rows = charged(2.0, n=80)
    assert featurized(rows, charge, n_jobs=2) == featurized(rows, charge)


def test_a_cache_tells_molecules_apart_by_what_the_function_reads(tmp_path):
    def fitted(value):
        steps = [("graphs", SmilesToGraph(descriptors=charge)), ("y", Seen())]
        return Pipeline(steps, memory=str(tmp_path)).fit(charged(value), [0, 1, 2])

    assert fitted(0.0)[-1].seen_ == [11.0] * 3
    assert fitted(5.0)[-1].seen_ == [16.0] * 3


class Seen(DummyRegressor):
    """Keep what the step before it makes."""

    def fit(self, X, y):
        self.seen_ = X.graph_features.ravel().tolist()
        return self


def test_parameters_clone_and_hash():
    transformer = SmilesToGraph(descriptors=["TPSA"])
    assert transformer.get_params()["descriptors"] == ["TPSA"]
    assert joblib.hash(transformer) == joblib.hash(SmilesToGraph(descriptors=["TPSA"]))
    assert "descriptors=['TPSA']" in repr(transformer)
