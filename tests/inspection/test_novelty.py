"""Distances to the training rows in the embedding."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_estimators import SMILES, small

from skgnn_mtl import GATERegressor, SmilesToGraph
from skgnn_mtl.inspection import novelty

RNG = np.random.default_rng(0)
TRAIN, X = RNG.normal(size=(40, 3)), 2 * RNG.normal(size=(15, 3))


class Identity(RegressorMixin, BaseEstimator):
    """Embeds rows as they are."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.zeros(len(X))

    def embed(self, X):
        return X


@pytest.mark.parametrize("k", [1, 5])
def test_it_is_the_mean_distance_to_the_nearest_rows_in_typical_distances(k):
    mutual = np.sort(cdist(TRAIN, TRAIN), axis=1)
    typical = np.median(mutual[:, 1 : k + 1].mean(axis=1))
    expected = np.sort(cdist(X, TRAIN), axis=1)[:, :k].mean(axis=1) / typical
    found = novelty(Identity(), X, TRAIN, n_neighbors=k)
    np.testing.assert_allclose(found, expected)
    # Neither a shift nor a scale of the embedding matters.
    np.testing.assert_allclose(
        novelty(Identity(), 7 * X + 1, 7 * TRAIN + 1, n_neighbors=k), expected
    )


def test_new_rows_of_the_same_kind_are_near_one():
    found = novelty(Identity(), RNG.normal(size=(500, 3)), RNG.normal(size=(500, 3)))
    assert 0.9 < np.median(found) < 1.1


def test_invalid_rows_are_left_out_of_both():
    expected = novelty(Identity(), X, TRAIN)
    train, rows = np.insert(TRAIN, 3, np.nan, axis=0), np.insert(X, 2, np.nan, axis=0)
    found = novelty(Identity(), rows, train)
    assert np.isnan(found).nonzero()[0].tolist() == [2]
    np.testing.assert_array_equal(np.delete(found, 2), expected)
    assert np.isnan(novelty(Identity(), rows[[2]], TRAIN)).all()


def test_pipelines_and_searches_transform_first():
    pipe = make_pipeline(StandardScaler(), Identity()).fit(TRAIN, TRAIN[:, 0])
    scaler = StandardScaler().fit(TRAIN)
    expected = novelty(Identity(), scaler.transform(X), scaler.transform(TRAIN))
    np.testing.assert_allclose(novelty(pipe, X, TRAIN), expected)
    search = GridSearchCV(pipe, {"standardscaler__with_mean": [True]}, cv=2)
    search.fit(TRAIN, TRAIN[:, 0])
    np.testing.assert_allclose(novelty(search, X, TRAIN), expected)
    one = make_pipeline(Identity()).fit(TRAIN, TRAIN[:, 0])
    np.testing.assert_array_equal(novelty(one, X, TRAIN), novelty(Identity(), X, TRAIN))


@pytest.mark.parametrize("cls", [None, GATERegressor])
def test_molecules_as_strings(cls):
    model = small() if cls is None else small(cls)
    pipe = make_pipeline(SmilesToGraph(on_error="nan"), model)
    y = RNG.normal(size=(20, 2))
    pipe.fit(SMILES[:20], y)
    with pytest.warns(UserWarning, match="C1CC"):
        found = novelty(pipe, [*SMILES[20:], "C1CC"], SMILES[:20], n_neighbors=2)
    assert np.isfinite(found[:10]).all()
    assert np.isnan(found[10])
    assert (found[:10] >= 0).all()


def test_wrong_arguments_are_named():
    for wrong in (0, 40, True, 2.5, None, "3"):
        with pytest.raises(ValueError, match="n_neighbors must be between 1 and 39"):
            novelty(Identity(), X, TRAIN, n_neighbors=wrong)
    with pytest.raises(TypeError, match=r"LinearRegression does not have embed\(X\)"):
        novelty(LinearRegression(), X, TRAIN)
    with pytest.raises(ValueError, match="More than half of the rows"):
        novelty(Identity(), X, np.repeat(TRAIN[:5], 8, axis=0))
