"""The pretrained encoder that comes with the package."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import skgnn_mtl
from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import DMPNN, Pretrained, load_encoder

SMILES = ["CCO", "CCN", "CC", "CCCl", "c1ccccc1", "CC(=O)O", "CCCC", "OCCO"]


@pytest.fixture(scope="module")
def graphs():
    return SmilesToGraph(features="chemprop").fit_transform(SMILES)


def test_it_is_small_and_finite(graphs):
    folder = Path(skgnn_mtl.encoders.__file__).parent / "data"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2**20
    encoder = load_encoder("zinc-descriptors")
    assert isinstance(encoder, DMPNN)
    vectors = encoder.embed(graphs)
    assert np.isfinite(vectors).all()
    # Trained: molecules differ more than from random weights of the same scale.
    assert np.linalg.matrix_rank(vectors - vectors.mean(axis=0)) == len(SMILES) - 1
    with pytest.raises(ValueError, match=r"\['zinc-descriptors'\], got 'zinc'"):
        load_encoder("zinc")


def test_the_loading_draws_nothing():
    skgnn_mtl.encoders._shipped._load.cache_clear()
    state = torch.get_rng_state()
    load_encoder("zinc-descriptors")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_string_starts_a_fit_from_it(graphs):
    y = np.arange(8.0)
    model = MultiTaskGNNRegressor("pretrained", max_epochs=1, lr=1e-12, device="cpu")
    model.fit(graphs, y)
    encoder = load_encoder("zinc-descriptors")
    np.testing.assert_allclose(
        model.module_.encoder.core.embed(graphs), encoder.embed(graphs), atol=1e-6
    )
    model.set_params(lr=1e-2, max_epochs=3).fit(graphs, y)
    # A copy is trained.
    assert not np.allclose(
        model.module_.encoder.core.embed(graphs), encoder.embed(graphs)
    )
    np.testing.assert_array_equal(
        encoder.embed(graphs), load_encoder("zinc-descriptors").embed(graphs)
    )


def test_other_features_are_refused_with_advice():
    with pytest.raises(ValueError, match='SmilesToGraph\\(features="chemprop"\\)'):
        make_pipeline(SmilesToGraph(), MultiTaskGNNRegressor("pretrained")).fit(
            SMILES, np.arange(8.0)
        )


def test_clone_pickle_and_files(graphs, tmp_path):
    part = Pretrained(freeze=True)
    assert clone(part).get_params() == part.get_params()
    assert repr(Pretrained()) == "Pretrained()"
    with pytest.raises(ValueError, match="'encoder' parameter of Pretrained"):
        MultiTaskGNNRegressor(Pretrained("nope")).fit(graphs, np.arange(8.0))
    model = MultiTaskGNNRegressor(part, max_epochs=2, random_state=0, device="cpu")
    model.fit(graphs, np.arange(8.0))
    model.save(tmp_path / "model")
    for twin in (
        MultiTaskGNNRegressor.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
    ):
        np.testing.assert_array_equal(twin.predict(graphs), model.predict(graphs))
