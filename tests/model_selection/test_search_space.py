"""Every candidate of a search space is a network that can be fitted."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
)
from sklearn.pipeline import make_pipeline

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.ensemble import EnsembleRegressor, HybridRegressor
from skgnn_mtl.model_selection import search_space

ENCODERS = ["gin", "gcn", "graphsage", "gat", "dmpnn", "cgcnn", DMPNN(), GIN(width=40)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=str)
@pytest.mark.parametrize("kind", ["random", "grid"])
def test_candidates_are_valid_and_differ(encoder, kind):
    network = MultiTaskGNNRegressor(encoder)
    before = repr(network)
    space = search_space(network, kind=kind)
    if kind == "grid":
        candidates = list(ParameterGrid(space))
        assert 6 <= len(candidates) <= 24
    else:
        candidates = list(ParameterSampler(space, 20, random_state=0))
    made = [clone(network).set_params(**candidate) for candidate in candidates]
    for model in made:
        model._check_parameters()
        if not isinstance(model.encoder, str):
            model.encoder.check_parameters()
    assert len({repr(model) for model in made}) == len(made)
    assert repr(network) == before


@pytest.mark.parametrize(
    "network",
    [MultiTaskGNNClassifier(), GATERegressor(), GNNPretrainer()],
    ids=lambda network: type(network).__name__,
)
def test_networks_are_asked_only_for_what_they_have(network):
    space = search_space(network)
    assert {"lr", "encoder", "batch_size"} <= set(space)
    assert {name.split("__")[0] for name in space} <= set(network.get_params())


def test_names_lead_through_pipelines_and_ensembles():
    model = make_pipeline(SmilesToGraph(), MultiTaskGNNRegressor(DMPNN()))
    for outer, prefix in [
        (model, ""),
        (EnsembleRegressor(model), "estimator__"),
        (HybridRegressor(model), "network__"),
    ]:
        space = search_space(outer)
        assert f"{prefix}multitaskgnnregressor__encoder__n_layers" in space
        assert set(space) <= set(outer.get_params())


def test_weights_that_were_learned_keep_their_sizes():
    space = search_space(MultiTaskGNNRegressor("pretrained"))
    assert not [name for name in space if name.startswith("encoder")]


def test_what_has_no_network_is_refused():
    for estimator in (Ridge(), HybridRegressor(), make_pipeline(SmilesToGraph())):
        with pytest.raises(TypeError, match="does not hold any"):
            search_space(estimator)
    with pytest.raises(ValueError, match="kind must be one of"):
        search_space(MultiTaskGNNRegressor(), kind="optuna")


def test_the_searches_of_scikit_learn_run():
    X = SmilesToGraph().transform(["C" * k for k in range(1, 9)])
    y = np.arange(8.0)
    network = MultiTaskGNNRegressor(DMPNN(width=8), max_epochs=1, random_state=0)
    space = search_space(network)
    space["encoder__width"] = [4, 8]
    found = RandomizedSearchCV(network, space, n_iter=2, cv=2, random_state=0)
    assert found.fit(X, y).best_params_.keys() == space.keys()
    grid = search_space(network, kind="grid")
    grid = {name: values[:1] for name, values in grid.items()}
    assert GridSearchCV(network, grid, cv=2).fit(X, y).best_params_["lr"] == 5e-4
