"""CIF in, the same estimator: pipelines, searches, gaps, files, published weights."""

from __future__ import annotations

import json
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from crystals import ORDERED, changes, cif, structure_of
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from small_estimators import small, with_gaps

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.encoders import CGCNN, DMPNN

METALS = "Li Na K Rb Cs Cu Ag Au Mg Ca".split()


@pytest.fixture(scope="module")
def cifs():
    """Ten bcc and ten rock-salt crystals of several sizes, and the five others."""
    sized = [
        cif([f"{m}1 {m} 0 0 0 1", f"X1 {x} 0.5 0.5 0.5 1"], (a, a, a, 90, 90, 90))
        for x in ("Cl", "O")
        for m, a in zip(METALS, np.linspace(3.2, 5.0, 10), strict=True)
    ]
    return [*sized, *ORDERED.values()]


@pytest.fixture(scope="module")
def y(cifs):
    """Volume an atom and mean atomic number, with a third of the labels missing."""
    X = CifToGraph(max_neighbors=1).transform(cifs)
    distance = [X[[k]].edge_features.mean() for k in range(len(X))]
    number = [X[[k]].node_codes.mean() for k in range(len(X))]
    table = np.column_stack([distance, number])
    return pd.DataFrame(with_gaps(table, 0.3), columns=["d", "Z"])


def regressor(**changes):
    return small(**{"encoder": CGCNN(width=16, n_layers=2), **changes})


def test_the_pipeline_of_the_readme(cifs, y):
    model = make_pipeline(
        CifToGraph(), MultiTaskGNNRegressor(encoder="cgcnn", max_epochs=2)
    )
    assert model.fit(cifs, y).predict(cifs[:3]).shape == (3, 2)
    assert model[-1].task_names_ == ["d", "Z"]


def test_it_learns(cifs, y):
    model = make_pipeline(CifToGraph(), regressor(max_epochs=60, batch_size=8))
    assert model.fit(cifs, y).score(cifs, y) > 0.9


def test_search_over_both_steps(cifs, y, tmp_path):
    model = make_pipeline(CifToGraph(), regressor(), memory=str(tmp_path))
    grid = {
        "ciftograph__max_neighbors": [6, 12],
        "multitaskgnnregressor__encoder__aggregation": ["mean", "sum"],
    }
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(cifs, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.predict(cifs).shape == (25, 2)


def test_two_processes_give_what_one_gives(cifs, y):
    model = make_pipeline(CifToGraph(), regressor())
    one = cross_val_predict(model, cifs, np.nan_to_num(y), cv=2)
    two = cross_val_predict(model, cifs, np.nan_to_num(y), cv=2, n_jobs=2)
    np.testing.assert_array_equal(one, two)


def test_cross_validation_with_gaps(cifs, y):
    model = make_pipeline(CifToGraph(), regressor())
    scores = cross_validate(model, cifs, y, cv=3, error_score="raise")
    assert np.isfinite(scores["test_score"]).all()


def test_pickle_joblib_clone_and_save(cifs, y, tmp_path):
    model = make_pipeline(CifToGraph(), regressor()).fit(cifs, y)
    expected = model.predict(cifs)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).predict(cifs), expected
    )
    joblib.dump(model, tmp_path / "model")
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "model").predict(cifs), expected
    )
    np.testing.assert_array_equal(clone(model).fit(cifs, y).predict(cifs), expected)
    model[-1].save(tmp_path / "network.pt")
    restored = MultiTaskGNNRegressor.load(tmp_path / "network.pt")
    X = model[0].transform(cifs)
    np.testing.assert_array_equal(restored.predict(X), expected)
    assert restored.schema_ == X.schema


def test_invalid_crystals_are_left_out_and_predicted_as_nan(cifs, y):
    broken = [*cifs, "no\ncif", None]
    labels = pd.concat([y, y.iloc[:2]], ignore_index=True)
    model = make_pipeline(CifToGraph(on_error="nan"), regressor())
    with (
        pytest.warns(UserWarning, match="2 of 27 rows of X became invalid graphs"),
        pytest.warns(UserWarning, match="2 invalid graphs are left out of fit"),
    ):
        model.fit(broken, labels)
    with pytest.warns(UserWarning, match="became invalid"):
        predictions = model.predict(broken)
    assert np.isnan(predictions[25:]).all()
    assert np.isfinite(predictions[:25]).all()
    alone = make_pipeline(CifToGraph(), regressor()).fit(cifs, y)
    np.testing.assert_array_equal(alone.predict(cifs), predictions[:25])


def test_an_element_that_fit_never_saw_is_predicted(cifs, y):
    model = make_pipeline(CifToGraph(), regressor()).fit(cifs, y)
    uranium = cif(["U1 U 0 0 0 1"], (2.8, 2.8, 2.8, 60, 60, 60))
    assert np.isfinite(model.predict([uranium])).all()


def test_graphs_made_otherwise_are_refused(cifs, y):
    model = regressor().fit(CifToGraph().transform(cifs), y)
    with pytest.raises(ValueError, match="crystal cutoff=8.0 max_neighbors=12 shell"):
        model.predict(CifToGraph(ties="cut").transform(cifs))


def test_texts_without_a_transformer_are_refused(cifs, y):
    with pytest.raises(TypeError, match=r"put CifToGraph\(\) in front"):
        regressor().fit(cifs, y)


def test_crystals_in_a_molecular_network_with_paired_edges_are_refused(cifs, y):
    with pytest.raises(ValueError, match="two neighbouring directed edges"):
        regressor(encoder=DMPNN(width=8)).fit(CifToGraph().transform(cifs), y)


@pytest.mark.parametrize("encoder", ["gin", "gcn", "gat"])
def test_other_encoders_take_crystals(encoder, cifs, y):
    model = regressor(encoder=encoder, max_epochs=1)
    X = CifToGraph().transform(cifs)
    assert np.isfinite(model.fit(X, y).predict(X)).all()


def test_disordered_crystals_train_on_mixed_rows(cifs, y):
    alloys = [text.replace("0.5 0.5 0.5 1\n", "0.5 0.5 0.5 0.8\n") for text in cifs]
    model = make_pipeline(CifToGraph(disorder="mix"), regressor())
    full, mixed = model.fit(cifs, y).predict(cifs), model.predict(alloys)
    assert np.isfinite(mixed).all()
    assert not np.allclose(full[:20], mixed[:20])


# -- invariance: one prediction for one crystal, however it is described --------------


@pytest.fixture(scope="module")
def fitted(cifs, y):
    return regressor().fit(CifToGraph(dtype="float64").transform(cifs), y)


def assert_invariant(model, structures):
    featurizer = CifToGraph(dtype="float64")
    expected = model.predict(featurizer.transform(structures))
    # A constant would be invariant, too.
    assert (expected.std(axis=0) > 1e-2).all()
    changed = [changes(s, seed) for seed, s in enumerate(structures)]
    for name in changed[0]:
        again = model.predict(featurizer.transform([c[name] for c in changed]))
        np.testing.assert_allclose(again, expected, rtol=0, atol=1e-6, err_msg=name)


def test_predictions_do_not_depend_on_the_description(fitted):
    assert fitted.module_.heads.weight.dtype == torch.float64
    assert_invariant(fitted, [structure_of(text) for text in ORDERED.values()])


def test_nor_on_real_structures(fitted, shared_data):
    path = shared_data / "mp_multitask.csv.gz"
    table = pd.read_csv(path, keep_default_na=False, usecols=["nsites", "cif"])
    small = table[table["nsites"].astype(int) <= 24].sample(40, random_state=0)
    assert_invariant(fitted, [structure_of(text) for text in small["cif"]])


# -- published weights ----------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(shared_data):
    folder = shared_data.parent / "weights" / "cgcnn"
    if not folder.is_dir():
        pytest.skip("the folder shared/weights/cgcnn with published models is absent")
    return folder


@pytest.fixture(scope="module")
def elastic(shared_data):
    path = shared_data / "elastic_tensor.csv"
    return pd.read_csv(path, skiprows=1, keep_default_na=False)[::4]


def published(weights, name, **parameters):
    return MultiTaskGNNRegressor.from_cgcnn(
        weights / f"{name}.pth.tar",
        weights / "atom_init.json",
        device="cpu",
        **parameters,
    )


def cut(weights, rows):
    table = weights / "atom_init.json"
    return CifToGraph(ties="cut", element_table=table).transform(rows)


@pytest.mark.parametrize(
    ("name", "column", "error", "first"),
    [
        ("bulk-moduli", "K_VRH", 0.030, 2.279),
        ("shear-moduli", "G_VRH", 0.070, 1.924),
        ("poisson-ratio", "poisson_ratio", 0.024, 0.291),
    ],
)
def test_published_weights_give_the_published_accuracy(
    weights, elastic, name, column, error, first
):
    predictions = published(weights, name).predict(cut(weights, elastic["structure"]))
    labels = elastic[column].astype(float)
    labels = labels if column == "poisson_ratio" else np.log10(labels)
    assert predictions[0] == pytest.approx(first, abs=1e-3)
    assert np.abs(predictions - labels).mean() < error


def test_published_formation_energies(weights, shared_data):
    path = shared_data / "mp_multitask.csv.gz"
    table = pd.read_csv(path, usecols=["formation_energy_per_atom", "cif"]).dropna()
    some = table.sample(150, random_state=0)
    model = published(weights, "formation-energy-per-atom")
    wrong = model.predict(cut(weights, some["cif"])) - some["formation_energy_per_atom"]
    assert np.abs(wrong).mean() < 0.063
    assert np.median(np.abs(wrong)) < 0.028


def test_a_published_model_embeds_is_saved_and_learns_on(weights, elastic, tmp_path):
    X, target = cut(weights, elastic["structure"][:48]), elastic["K_VRH"][:48]
    y = np.log10(target.astype(float))
    model = published(
        weights,
        "bulk-moduli",
        task_name="K_VRH",
        warm_start=True,
        lr=1e-4,
        max_epochs=4,
    )
    before = model.predict(X)
    assert model.embed(X).shape == (48, 64)
    assert model.history_ == []
    model.save(tmp_path / "model.pt")
    restored = MultiTaskGNNRegressor.load(tmp_path / "model.pt")
    np.testing.assert_array_equal(restored.predict(X), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), before)
    model.fit(X, y + 0.5)
    assert len(model.history_) == 4
    assert np.abs(model.predict(X) - y - 0.5).mean() < np.abs(before - y - 0.5).mean()
    restored.set_params(lr=1e-4).partial_fit(X, y)
    assert len(clone(model).fit(X, y).history_) == 4


def test_a_published_model_refuses_other_graphs(weights, elastic):
    model = published(weights, "bulk-moduli")
    with pytest.raises(ValueError, match="node_table: a table"):
        model.predict(CifToGraph(ties="cut").transform(elastic["structure"][:2]))


def test_files_of_something_else_are_refused(weights, tmp_path):
    path, table = tmp_path / "model.pth.tar", weights / "atom_init.json"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of CGCNN"):
        MultiTaskGNNRegressor.from_cgcnn(path, table)
    with pytest.raises(FileNotFoundError):
        MultiTaskGNNRegressor.from_cgcnn(tmp_path / "absent", table)
    content = torch.load(
        weights / "band-gap.pth.tar", map_location="cpu", weights_only=True
    )
    content["args"]["task"] = "classification"
    torch.save(content, path)
    with pytest.raises(ValueError, match="but holds a classifier"):
        MultiTaskGNNRegressor.from_cgcnn(path, table)
    narrow = tmp_path / "narrow.json"
    narrow.write_text(json.dumps({"1": [0, 1]}))
    with pytest.raises(ValueError, match="wants 92 features of an element"):
        MultiTaskGNNRegressor.from_cgcnn(weights / "band-gap.pth.tar", narrow)


def test_loading_executes_no_code(weights, tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    path = tmp_path / "trap.pth.tar"
    torch.save({"args": Trap()}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of CGCNN"):
        MultiTaskGNNRegressor.from_cgcnn(path, weights / "atom_init.json")
