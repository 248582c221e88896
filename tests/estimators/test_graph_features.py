"""Numbers beside a graph: every encoder, estimator and tool reads them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    GraphArray,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import DMPNN, GAT, GCN, GIN, GraphSAGE, Pretrained
from skgnn_mtl.graphs import GraphSchema
from skgnn_mtl.inspection import gradient_similarity
from skgnn_mtl.training import GraphFeatures

SETTINGS = {
    "max_epochs": 40,
    "lr": 0.02,
    "batch_size": 16,
    "random_state": 0,
    "device": "cpu",
}
DEEP = {"head_hidden_dims": (32,), **SETTINGS}


def beside(graphs: GraphArray, values: np.ndarray, names=("T",)) -> GraphArray:
    """The same graphs with features."""
    old = graphs.schema
    schema = GraphSchema(
        old.name,
        node_columns=old.node_columns,
        edge_columns=old.edge_columns,
        paired_edges=True,
        graph_features=tuple(names),
    )
    columns = ("n_nodes", "n_edges", "node_codes", "edge_index", "edge_codes")
    kept = {name: getattr(graphs, name) for name in columns}
    return GraphArray(schema, **kept, graph_features=values)


@pytest.fixture(scope="module")
def equal():
    """64 equal molecules, and the temperature that their property is."""
    temperature = np.linspace(250.0, 400.0, 64)[:, None]
    graphs = SmilesToGraph().transform(["CCO"] * 64)
    return beside(graphs, temperature), temperature[:, 0] / 50 - 6


ENCODERS = [GIN(16, n_layers=2), GCN(16), GAT(16, n_layers=2), GraphSAGE(16), DMPNN(16)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_every_encoder_learns_from_a_feature(encoder, equal):
    X, y = equal
    assert MultiTaskGNNRegressor(encoder, **DEEP).fit(X, y).score(X, y) > 0.98


def test_every_estimator_learns_from_a_feature(equal):
    X, y = equal
    classifier = MultiTaskGNNClassifier(GIN(16), **DEEP).fit(X, y > 0)
    assert classifier.score(X, y > 0) > 0.98
    gate = GATERegressor(DMPNN(16), **SETTINGS).fit(X, np.column_stack([y, y**2]))
    assert gate.score(X, np.column_stack([y, y**2])) > 0.9
    gate.add_task(X, -y, name="negative")
    assert np.corrcoef(gate.predict(X)[:, 2], -y)[0, 1] > 0.95
    pretrainer = GNNPretrainer(GIN(16), auxiliary_tasks=(), **SETTINGS).fit(X, y)
    vectors = pretrainer.transform(X)
    assert vectors.shape == (64, 17)
    assert pretrainer.get_feature_names_out().shape == (17,)
    assert abs(vectors[:, -1].mean()) < 1e-6


def test_a_regressor_with_features_becomes_sources_of_gate(equal):
    X, y = equal
    regressor = MultiTaskGNNRegressor(GIN(16), **SETTINGS).fit(X, y)
    gate = GATERegressor.from_pretrained(regressor, X, max_epochs=2, add_task_steps=5)
    np.testing.assert_array_equal(gate.predict(X), regressor.predict(X))
    with pytest.warns(UserWarning, match="train_encoder"):
        gate.add_task(X, y**2, name="square", train_encoder=True)
    assert np.isfinite(gate.predict(X)).all()


def test_a_pretrained_encoder_takes_features_beside_it(equal):
    X, y = equal
    plain = SmilesToGraph().transform(["CCO", "CCN", "CC", "C"])
    source = GNNPretrainer(GIN(16), max_epochs=1, random_state=0).fit(plain).encoder_
    model = MultiTaskGNNRegressor(Pretrained(source), **DEEP).fit(X, y)
    assert model.score(X, y) > 0.9
    assert source.embed(X).shape == (64, 16)


def test_the_prediction_is_a_function_of_standardised_features(small, graphs, gaps):
    values = np.column_stack([graphs.n_nodes * 1e6, np.ones(30)])
    X = beside(graphs, values, ("mass", "one"))
    model = small().fit(X, gaps)
    features = model.module_.features
    np.testing.assert_allclose(features.mean, values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(features.scale, [values[:, 0].std(), np.inf], rtol=1e-6)
    # Units do not matter.
    other = small().fit(beside(graphs, values * [1e-3, 5.0], ("mass", "one")), gaps)
    scaled = beside(graphs, values * [1e-3, 5.0], ("mass", "one"))
    np.testing.assert_allclose(
        other.predict(scaled), model.predict(X), rtol=1e-3, atol=1e-3
    )


def test_a_missing_feature_is_the_mean_and_an_outlier_is_clipped(small, graphs, gaps):
    values = graphs.n_nodes[:, None].astype(float)
    model = small().fit(beside(graphs, values), gaps)
    mean, spread = values.mean(), values.std()

    def predict(value):
        return model.predict(beside(graphs, np.full_like(values, value)))

    np.testing.assert_allclose(predict(np.nan), predict(mean), atol=1e-5)
    np.testing.assert_allclose(predict(1e30), predict(mean + 10 * spread), rtol=1e-4)
    with_gaps = values.copy()
    with_gaps[::3] = np.nan
    learned = small().fit(beside(graphs, with_gaps), gaps).module_.features
    np.testing.assert_allclose(learned.mean, np.nanmean(with_gaps), rtol=1e-6)
    np.testing.assert_allclose(learned.scale, np.nanstd(with_gaps), rtol=1e-6)


def test_a_feature_that_was_constant_has_no_effect_later(small, graphs, gaps):
    values = np.column_stack([graphs.n_nodes, np.ones(30), np.full(30, np.nan)])
    names = ("size", "one", "missing")
    model = small().fit(beside(graphs, values, names), gaps)
    expected = model.predict(beside(graphs, values, names))
    values[:, 1:] = [1e30, -7.0]
    found = model.predict(beside(graphs, values, names))
    np.testing.assert_array_equal(found, expected)


def test_weights_of_rows_count_in_the_scale():
    features = GraphFeatures(1)
    values = np.array([[1.0], [5.0], [9.0]])
    features.learn(values, np.array([3.0, 1.0, 0.0]))
    assert features.mean.item() == 2.0
    assert features.scale.item() == pytest.approx(np.sqrt(3.0))
    empty = GraphFeatures(2)
    empty.learn(np.full((3, 2), np.nan), np.ones(3))
    assert empty.mean.tolist() == [0.0, 0.0]
    assert empty.scale.tolist() == [np.inf, np.inf]


def test_features_are_kept_in_files_and_checked(small, graphs, gaps, tmp_path):
    X = beside(graphs, graphs.n_nodes[:, None].astype(float))
    model = small().fit(X, gaps)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    with pytest.raises(ValueError, match="graph_features"):
        model.predict(graphs)
    with pytest.raises(ValueError, match="graph_features"):
        model.predict(beside(graphs, X.graph_features, ("pH",)))


def test_curvature_and_gradients_read_features(small, graphs, gaps):
    X = beside(graphs, graphs.n_nodes[:, None].astype(float))
    model = small(task_weighting="pcgrad").fit(X, gaps)
    with torch.no_grad():
        batch = X.batch(np.arange(30))
        expected = model.module_(batch)
        assert model.module_.represent(batch).shape == (30, 17)
    problem = model.task_problem(X, gaps)
    found = problem.outputs(problem.batches[0])
    torch.testing.assert_close(found.detach(), expected)
    assert gradient_similarity(model, X, gaps, random_state=0).cosines.shape == (3, 3)
    spectrum = hessian_spectrum(
        model, X, gaps, n_lanczos=5, n_eigenvalues=1, n_probes=2, tol=1.0
    )
    assert np.isfinite(spectrum.eigenvalues).all()


def test_auxiliary_tasks_and_surgery_work_beside_features(small, graphs, gaps):
    X = beside(graphs, graphs.n_nodes[:, None].astype(float))
    model = small(auxiliary_tasks=["infomax"], task_weighting="rcgrad").fit(X, gaps)
    assert np.isfinite(model.predict(X)).all()
