"""Workers, caches and backends of joblib never change a graph."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from joblib import parallel_config
from joblib.parallel import register_parallel_backend
from rdkit import Chem
from rdkit.Chem.PropertyMol import PropertyMol
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline

from skgnn_mtl.featurizers import AtomColumn, BondColumn, SmilesToGraph, _base

SMILES = ["CCO", "CC", "C[C@H](N)O", "c1ccccc1"]


def charge(atom):
    return atom.GetDoubleProp("q") if atom.HasProp("q") else 0.0


def mark(atom):
    return atom.GetProp("mark") if atom.HasProp("mark") else ""


def kind_of_bond(bond):
    return bond.GetIntProp("kind") if bond.HasProp("kind") else 0


def title(atom):
    owner = atom.GetOwningMol()
    return owner.GetProp("title") if owner.HasProp("title") else ""


def height(atom):
    owner = atom.GetOwningMol()
    return owner.GetConformer().GetAtomPosition(atom.GetIdx()).z


COLUMNS = (
    (
        AtomColumn("charge", charge),
        AtomColumn("mark", mark, ("", "x")),
        AtomColumn("title", title, ("", "y")),
        AtomColumn("height", height),
    ),
    (BondColumn("kind", kind_of_bond, (0, 1, 2)),),
)


def molecules(value=0.1, n=1, smiles=SMILES):
    """Molecules whose state is what no SMILES says."""
    made = [Chem.MolFromSmiles(text) for text in smiles * n]
    for k, molecule in enumerate(made):
        atom = molecule.GetAtomWithIdx(k % 2)
        atom.SetDoubleProp("q", value * (k + 1) / 3)
        atom.SetProp("mark", "x")
        molecule.GetBondWithIdx(0).SetIntProp("kind", k % 3)
        molecule.SetProp("title", "y")
        conformer = Chem.Conformer(molecule.GetNumAtoms())
        # Single precision would round this.
        conformer.SetAtomPosition(0, (0.0, 0.0, 1 / 3 + 1e-9 * k))
        molecule.AddConformer(conformer)
    return made


class Means(DummyRegressor):
    """Predicts a mean over the graphs of the fit, whatever they are."""

    def fit(self, X, y):
        return super().fit(np.zeros((1, 1)), [X.node_features.astype(float).sum()])

    def predict(self, X):
        return super().predict(np.zeros((len(X), 1))) + X.node_features.sum()


# -- pickles --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Chem.Mol, Chem.RWMol])
def test_pickles_are_complete_and_need_no_package_but_rdkit(kind):
    (molecule,) = map(kind, molecules(n=1)[:1])
    molecule.note = "of Python"
    text = pickle.dumps(molecule)
    assert b"skgnn" not in text
    again = pickle.loads(text)
    assert type(again) is kind
    assert again.note == "of Python"
    flags = int(Chem.PropertyPickleOptions.AllProps)
    assert again.ToBinary(flags) == molecule.ToBinary(flags)
    np.testing.assert_array_equal(
        again.GetConformer().GetPositions(), molecule.GetConformer().GetPositions()
    )


def test_the_default_of_rdkit_stays():
    assert Chem.GetDefaultPickleProperties() == 0


def test_columns_are_made_by_their_constructor_everywhere():
    """A worker must know of properties, too: it may cache."""
    for again in (pickle.loads(pickle.dumps(COLUMNS)), copy.deepcopy(COLUMNS)):
        assert again == COLUMNS


def test_transform_changes_no_molecule():
    rows = molecules()
    before = joblib.hash(rows)
    for stereo in ("tags", "cip"):
        SmilesToGraph(COLUMNS, stereo=stereo).transform(rows)
        SmilesToGraph(stereo=stereo).transform(rows)
    assert joblib.hash(rows) == before


# -- workers --------------------------------------------------------------------------


class OwnMol(Chem.Mol):
    """A molecule with a class of the user's."""


@pytest.mark.parametrize("kind", [Chem.Mol, Chem.RWMol, PropertyMol, OwnMol])
def test_processes_see_what_this_one_sees(kind, monkeypatch):
    monkeypatch.setattr(_base, "_CHUNK", 5)
    rows = [kind(molecule) for molecule in molecules(n=3)]
    rows[4] = "CCO"
    columns = ((*COLUMNS[0][:3],), COLUMNS[1])
    one, two = (SmilesToGraph(columns, n_jobs=n).transform(rows) for n in (1, 2))
    assert one == two
    assert one.node_features.any()


def test_presets_write_the_same_identifiers_in_processes(monkeypatch):
    monkeypatch.setattr(_base, "_CHUNK", 2)
    rows = molecules()
    for molecule in rows:
        molecule.GetAtomWithIdx(0).SetProp("_supplementalSmilesLabel", "_x")
        molecule.GetAtomWithIdx(1).SetAtomMapNum(7)
    one, two = (SmilesToGraph(n_jobs=n).transform(rows) for n in (1, 2))
    assert one == two
    assert "_x" in one.ids[0]


def test_a_search_in_processes_sees_properties():
    rows, y = molecules(n=3), np.arange(12.0)
    model = make_pipeline(SmilesToGraph(COLUMNS), Means())
    one, two = (
        cross_val_predict(model, rows, y, cv=KFold(2), n_jobs=n) for n in (1, 2)
    )
    np.testing.assert_array_equal(one, two)
    grid = {"smilestograph__stereo": ["tags", "cip"]}
    scores = [
        GridSearchCV(model, grid, cv=KFold(2), n_jobs=n)
        .fit(rows, y)
        .cv_results_["mean_test_score"]
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


# -- caches ---------------------------------------------------------------------------


CHANGES = {
    "atom": lambda m: m.GetAtomWithIdx(0).SetDoubleProp("q", 9.0),
    "bond": lambda m: m.GetBondWithIdx(0).SetIntProp("kind", 1),
    "molecule": lambda m: m.SetProp("title", "z"),
    "coordinates": lambda m: m.GetConformer().SetAtomPosition(0, (0, 0, 1 / 3 + 1e-12)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_cache_sees_a_change_of_one_molecule(change):
    rows = molecules()
    before = joblib.hash(rows)
    change(rows[0])
    assert joblib.hash(rows) != before


def test_a_cached_pipeline_is_as_a_fresh_one(tmp_path):
    y = np.arange(4.0)

    def fitted(memory, value):
        model = Pipeline(
            [("graphs", SmilesToGraph(COLUMNS)), ("means", Means())], memory=memory
        )
        return model.fit(molecules(value), y).predict(molecules(value))

    cached = [fitted(str(tmp_path), value) for value in (0.1, 0.7, 0.1)]
    fresh = [fitted(None, value) for value in (0.1, 0.7, 0.1)]
    np.testing.assert_array_equal(cached, fresh)


calls = []


def counted(atom):
    calls.append(atom.GetIdx())
    return 1.0


def test_a_cache_knows_the_same_molecules_again(tmp_path):
    columns = ((AtomColumn("counted", counted),), ())
    model = Pipeline(
        [("graphs", SmilesToGraph(columns)), ("means", Means())], memory=str(tmp_path)
    )
    rows = molecules()
    model.fit(rows, np.arange(4.0))
    n = len(calls)
    assert n == sum(molecule.GetNumAtoms() for molecule in rows)
    model.fit(rows, np.arange(4.0))
    assert len(calls) == n


class Parse(TransformerMixin, BaseEstimator):
    """Makes molecules with properties, which a cache then keeps."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return molecules(0.5, smiles=list(X))


def test_molecules_out_of_a_cache_are_complete(tmp_path):
    y = np.arange(4.0)
    model = Pipeline(
        [("parse", Parse()), ("graphs", SmilesToGraph(COLUMNS)), ("means", Means())]
    )
    fresh = model.fit(SMILES, y).predict(SMILES)
    model.set_params(memory=str(tmp_path))
    # The second fit reads what the first one wrote; other columns read it anew.
    for columns in (COLUMNS, (COLUMNS[0][::-1], ()), COLUMNS):
        model.set_params(graphs__features=columns)
        np.testing.assert_allclose(model.fit(SMILES, y).predict(SMILES), fresh)


# -- backends -------------------------------------------------------------------------


class WithoutGenerators(joblib._parallel_backends.ThreadingBackend):
    """As those of dask and ray may be."""

    supports_return_generator = False


register_parallel_backend("without_generators", WithoutGenerators)


@pytest.mark.parametrize(
    "backend",
    ["sequential", "threading", "multiprocessing", "loky", "without_generators"],
)
def test_every_backend_featurizes(backend, monkeypatch, varied):
    expected = SmilesToGraph().transform(varied)
    marked = SmilesToGraph(COLUMNS).transform(molecules())
    monkeypatch.setattr(_base, "_CHUNK", 3)
    with parallel_config(backend):
        assert SmilesToGraph(n_jobs=2).transform(varied) == expected
        assert SmilesToGraph(COLUMNS, n_jobs=2).transform(molecules()) == marked
        with pytest.raises(ValueError, match=r"X\[22\] = 'C1CC'"):
            SmilesToGraph(n_jobs=2).transform([*varied, "C1CC", *varied, None])
