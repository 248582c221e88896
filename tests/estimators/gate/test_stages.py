"""GATERegressor with both stages in one fit, inside scikit-learn's tools."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline

from skgnn_mtl import (
    CifToGraph,
    SmilesToGraph,
)
from skgnn_mtl.datasets import load_elasticity


def test_target_tasks_are_added_by_fit(make, graphs, gaps):
    y = pd.DataFrame(gaps, columns=["a", "b", "c"])
    model = make(target_tasks=["b"]).fit(graphs, y)
    assert model.task_names_ == ["a", "b", "c"]
    assert model.source_names_ == ["a", "c"]
    assert model.added_names_ == ["b"]
    by_hand = make().fit(graphs, y[["a", "c"]]).add_task(graphs, y["b"])
    assert np.array_equal(by_hand.predict(graphs)[:, [0, 2, 1]], model.predict(graphs))
    assert np.array_equal(by_hand.target_mean_[[0, 2, 1]], model.target_mean_)
    assert make(target_tasks=-2).fit(graphs, y).added_names_ == ["b"]
    with pytest.raises(ValueError, match="target_tasks=None"):
        make(target_tasks="b").partial_fit(graphs, y)


def test_a_stage_that_fails_restores_the_estimator(model, graphs, gaps):
    before = model.predict(graphs)
    bad = pd.DataFrame(gaps, columns=["a", "b", "c"])
    bad.loc[1:, "b"] = np.nan
    bad.loc[0, "b"] = 1.0
    model.set_params(target_tasks="b")
    with pytest.raises(ValueError, match="at least 2"):
        model.fit(graphs, bad)
    assert np.array_equal(model.predict(graphs), before)


def test_cross_validation_of_an_addition(make, smiles, gaps):
    y = pd.DataFrame(gaps, columns=["a", "b", "c"])
    pipeline = make_pipeline(SmilesToGraph(), make(target_tasks="c"))
    scores = cross_validate(
        pipeline, smiles, y, cv=KFold(2), return_estimator=True, error_score="raise"
    )
    assert np.isfinite(scores["test_score"]).all()
    assert scores["estimator"][0][-1].added_names_ == ["c"]


def test_search_and_clone(make, graphs, gaps, scarce):
    grid = {"latent_dim": [4], "mapping_weight": [0.1, 1.0], "encoder__width": [8]}
    search = GridSearchCV(make(), grid, cv=KFold(2), error_score="raise")
    search.fit(graphs, gaps)
    best = search.best_estimator_.add_task(graphs, scarce, name="new")
    fresh = clone(best)
    assert not hasattr(fresh, "module_")
    assert fresh.get_params()["latent_dim"] == 4
    assert fresh.fit(graphs, gaps).added_names_ == []


def test_crystals_have_sources_and_additions(make):
    cifs, y = load_elasticity(return_X_y=True)
    X = CifToGraph().fit_transform(cifs[:12])
    model = make(encoder="cgcnn").fit(X, y.iloc[:12, :2])
    before = model.predict(X)
    model.add_task(X, y.iloc[:12, 2])
    assert np.array_equal(model.predict(X)[:, :2], before)
    assert np.isfinite(model.predict(X)).all()
