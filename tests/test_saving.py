"""Files of whole models."""

import io
from zipfile import ZipFile

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skgnn_mtl
from skgnn_mtl import (
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl._archive import write_archive
from skgnn_mtl.ensemble import EnsembleRegressor, PerTaskRegressor
from skgnn_mtl.featurizers import SmilesToDescriptors

SMILES = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl"]
Y = np.array([[1.0, np.nan], [2.0, 1.0], [3.0, 2.0], [4.0, 0.5], [2.5, 1.0], [0, 3]])


def network(kind=MultiTaskGNNRegressor):
    return kind("gcn", head_hidden_dims=(4,), max_epochs=1, random_state=0)


def models():
    few = SmilesToDescriptors(("MolWt", "TPSA"), 0)
    yield network(), SmilesToGraph().transform(SMILES)
    yield make_pipeline(SmilesToGraph("chemprop"), network()), SMILES
    yield EnsembleRegressor(make_pipeline(SmilesToGraph(), network()), 2), SMILES
    yield make_pipeline(few, StandardScaler(), PerTaskRegressor(Ridge())), SMILES


@pytest.mark.parametrize("k", range(4))
def test_a_model_predicts_the_same(k, tmp_path):
    if k == 3:
        pytest.importorskip("skops")
    model, X = list(models())[k]
    skgnn_mtl.save(model.fit(X, Y), tmp_path / "model", description="For a test.")
    again = skgnn_mtl.load(tmp_path / "model")
    assert repr(again) == repr(model)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    with ZipFile(tmp_path / "model") as archive:
        card = archive.read("README.md").decode()
    for text in (type(model).__name__, "For a test.", "* task_0\n* task_1"):
        assert text in card


def test_other_kinds_of_networks():
    X, file = SmilesToGraph("chemprop").transform(SMILES), io.BytesIO()
    pretrainer = GNNPretrainer("gcn", max_epochs=1, random_state=0).fit(X)
    classifier = network(MultiTaskGNNClassifier).fit(X, (Y > 1.5).astype(float))
    for model, method in ((pretrainer, "transform"), (classifier, "predict")):
        file = io.BytesIO()
        skgnn_mtl.save(model, file)
        file.seek(0)
        again = skgnn_mtl.load(file)
        found, expected = (getattr(m, method)(X) for m in (again, model))
        np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_saved_or_loaded(tmp_path):
    with pytest.raises(NotFittedError):
        skgnn_mtl.save(make_pipeline(SmilesToGraph(), network()), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (tmp_path / "model").write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a saved model of skgnn_mtl"):
        skgnn_mtl.load(tmp_path / "model")
    header = {"format": "skgnn_mtl.estimator", "kind": "system"}
    write_archive(tmp_path / "model", header, {})
    with pytest.raises(ValueError, match="holds a system, which is unknown"):
        skgnn_mtl.load(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        skgnn_mtl.load(tmp_path / "nothing")
