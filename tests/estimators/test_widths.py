"""Standard deviations and intervals of predictions."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import lognorm, norm
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from skgnn_mtl import (
    GATERegressor,
    GraphArray,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.estimators import _fit, _widths

NAMES = ["a", "b", "c"]


@pytest.fixture(params=[(), (8,), (12, 6)], ids=str)
def model(request, small, graphs, gaps):
    return small(head_hidden_dims=request.param).fit(graphs, gaps)


def numeric(**changes):
    """A multilayer perceptron in float64."""
    settings = {"head_hidden_dims": (5,), "max_epochs": 4, "random_state": 0}
    return MultiTaskGNNRegressor("gin", **{**settings, **changes})


@pytest.fixture
def numbers():
    """Numbers, two tasks with gaps, and weights of the rows."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(25, 3))
    y = np.column_stack([X[:, 0] + X[:, 1] ** 2, 10 * X[:, 2]]) + rng.normal(
        size=(25, 2)
    )
    y[:6, 0] = y[20:, 1] = np.nan
    return X, y, rng.uniform(0.2, 3, size=25)


# -- mathematics -----------------------------------------------------------------------


def head_vectors(model, X):
    """What the heads read, and 1."""
    vectors = model._apply(X, type(model.module_).represent)
    return np.hstack([vectors, np.ones((len(vectors), 1))])


@pytest.mark.parametrize("hidden", [(), (5,)], ids=str)
def test_widths_are_bayesian_linear_regression_on_the_labelled_rows(numbers, hidden):
    X, y, weights = numbers
    model = numeric(head_hidden_dims=hidden).fit(X, y, sample_weight=weights)
    new = np.random.default_rng(4).normal(size=(9, 3))
    mean, std = model.predict(new, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(new))
    vectors, phi = head_vectors(model, X), head_vectors(model, new)
    for task, name in enumerate(model.task_names_):
        known = ~np.isnan(y[:, task])
        w = weights[known] / weights[known].mean()
        posterior = model._state.widths[name]
        precision = (vectors[known] * w[:, None]).T @ vectors[known] / posterior.noise
        precision += posterior.prior_precision * np.eye(len(precision))
        spread = np.einsum("ni,ij,nj->n", phi, np.linalg.inv(precision), phi)
        expected = model.target_scale_[task] * np.sqrt(spread + posterior.noise)
        np.testing.assert_allclose(std[:, task], expected, rtol=2e-4)


def test_noise_is_that_of_left_out_labels(numbers):
    X, y, weights = numbers
    model = numeric(max_epochs=60, lr=1e-2).fit(X, y, sample_weight=weights)
    # Derivatives of each output in the weights of the hidden layer, by autograd.
    network = model.module_
    batch = GraphArray.from_features(X).batch(np.arange(25))
    outputs = network(batch)
    layer = list(network.trunk[0].parameters())
    for task, name in enumerate(model.task_names_):
        known = ~np.isnan(y[:, task])
        rows = []
        for row in np.flatnonzero(known):
            parts = torch.autograd.grad(outputs[row, task], layer, retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in parts]).numpy())
        kernel = np.array(rows) @ np.array(rows).T
        labels = model.targets_.encode(y)[known, task]
        w = weights[known] / weights[known].mean()
        residuals = outputs[known, task].detach().numpy() - labels
        training_error = np.sqrt(w @ residuals**2 / w.sum())
        errors = _widths.left_out_errors(kernel, labels, w, training_error)
        vectors = head_vectors(model, X)[known]
        matrix = _widths.GramMatrix.of((vectors * w[:, None]).T @ vectors)
        expected = _widths.fit_posterior(matrix, vectors, errors, w, 1e-6)
        found = model._state.widths[name]
        np.testing.assert_allclose(found.noise, expected.noise, rtol=1e-5)
        np.testing.assert_allclose(found.ridge, expected.ridge, rtol=1e-5)


def test_chunks_and_samples_do_not_change_shared_rows(numbers, monkeypatch):
    X, y, weights = numbers
    whole = numeric().fit(X, y, weights).predict(X, return_std=True)[1]
    monkeypatch.setattr(_widths, "_CHUNK", 7)
    parts = numeric().fit(X, y, weights).predict(X, return_std=True)[1]
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    monkeypatch.setattr(_widths, "_MOST_LABELS", 8)
    sampled = numeric().fit(X, y, weights).predict(X, return_std=True)[1]
    assert (sampled != whole).all()
    np.testing.assert_allclose(np.log(sampled / whole), 0, atol=1.5)


def test_gaps_rows_of_weight_0_and_the_scale_of_weights(numbers):
    X, y, _ = numbers
    ones = np.ones(25)
    std = numeric().fit(X, y, ones).predict(X, return_std=True)[1]
    again = numeric().fit(X, y, 8 * ones).predict(X, return_std=True)[1]
    np.testing.assert_allclose(again, std, rtol=1e-6)
    # Wrong labels of weight 0 do not count.
    more = np.vstack([X, X[:4] + 50]), np.vstack([y, np.full((4, 2), 1e3)])
    network = numeric().fit(X, y, ones)
    targets = network.targets_
    weights = np.where(np.isnan(more[1]), 0.0, np.append(ones, np.zeros(4))[:, None])
    found = _widths.learn_widths(
        network._at_work(),
        GraphArray.from_features(more[0]),
        targets.encode(more[1]),
        weights,
        targets.names,
    )
    for name, posterior in network._state.widths.items():
        np.testing.assert_allclose(found[name].noise, posterior.noise, rtol=1e-6)


def test_widths_of_an_overfitted_network_are_not_those_of_its_residuals():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.normal(scale=0.3, size=300)
    model = numeric(head_hidden_dims=(64,), max_epochs=150, lr=3e-3)
    model.fit(X[:100], y[:100])
    residual = np.std(model.predict(X[:100]) - y[:100])
    mean, std = model.predict(X[100:], return_std=True)
    errors = mean - y[100:]
    assert np.sqrt(np.mean(errors**2)) > 2 * residual
    own = -norm.logpdf(errors, scale=std).mean()
    constant = -norm.logpdf(errors, scale=residual).mean()
    assert own < constant - 0.5
    # A row far away is less certain.
    assert model.predict(20 * X[:1], return_std=True)[1] > 2 * std.mean()


@pytest.mark.parametrize("labels", [[5.0] * 6, [1.0, 2.0], [3.0]], ids=len)
def test_few_or_equal_labels_have_a_positive_width(labels):
    X = np.arange(12.0).reshape(6, 2)
    y = np.append(labels, np.full(6 - len(labels), np.nan))
    table = np.column_stack([y, X[:, 0]])
    model = numeric().fit(X, table)
    std = model.predict(X, return_std=True)[1][:, 0]
    assert np.isfinite(std).all()
    assert (std >= model.target_scale_[0] / len(labels) * 0.999).all()


# -- shapes and units ------------------------------------------------------------------


def test_intervals_are_central_and_as_wide_as_their_coverage(model, graphs):
    mean, std = model.predict(graphs, return_std=True)
    assert mean.shape == std.shape == (30, 3)
    intervals = model.predict_interval(graphs, coverage=0.8)
    assert intervals.shape == (30, 3, 2)
    expected = np.stack(norm.interval(0.8, mean, std), axis=-1)
    np.testing.assert_allclose(intervals, expected, rtol=1e-6)
    np.testing.assert_array_equal(
        model.predict_interval(graphs), model.predict_interval(graphs, 0.9)
    )


def test_one_dimensional_labels_invalid_graphs_and_pipelines(small, smiles):
    y = np.arange(30.0)
    pipe = make_pipeline(SmilesToGraph(on_error="nan"), small(head_hidden_dims=(8,)))
    pipe.fit(smiles, y)
    with pytest.warns(UserWarning, match="invalid graphs"):
        mean, std = pipe.predict(["CCO", "no molecule"], return_std=True)
    with pytest.warns(UserWarning, match="invalid graphs"):
        graphs = pipe[0].transform(["CCO", "no molecule"])
    assert mean.shape == std.shape == (2,)
    assert np.isnan(std).tolist() == np.isnan(mean).tolist() == [False, True]
    intervals = pipe[-1].predict_interval(graphs)
    assert intervals.shape == (2, 1, 2)
    assert np.isnan(intervals[1]).all()
    assert intervals[0, 0, 0] < mean[0] < intervals[0, 0, 1]


@pytest.mark.parametrize("name", ["log", "log10"])
def test_logarithms_have_lognormal_widths(small, graphs, gaps, name):
    unit = {"log": 1.0, "log10": np.log(10)}[name]
    inner = small().fit(graphs, gaps)
    powers = np.exp(unit * gaps / 10)
    model = small(target_transform=name).fit(graphs, powers)
    center, width = inner.predict(graphs, return_std=True)
    _, std = model.predict(graphs, return_std=True)
    shape, scale = unit * width / 10, np.exp(unit * center / 10)
    np.testing.assert_allclose(std, lognorm.std(shape, scale=scale), rtol=1e-4)
    intervals = model.predict_interval(graphs, 0.5)
    expected = np.exp(unit / 10 * inner.predict_interval(graphs, 0.5))
    np.testing.assert_allclose(intervals, expected, rtol=1e-4)


def test_other_transforms_have_the_ends_of_their_inverse(small, graphs, gaps):
    # A falling one, whose ends change places.
    transform = FunctionTransformer(
        lambda y: -np.sinh(y / 9), lambda z: -9 * np.arcsinh(z), check_inverse=False
    )
    model = small(target_transform={"task_0": transform}).fit(graphs, gaps)
    mean, std = model.predict(graphs, return_std=True)
    one = model.predict_interval(graphs, norm.cdf(1) - norm.cdf(-1))
    np.testing.assert_allclose(std, (one[..., 1] - one[..., 0]) / 2, rtol=1e-6)
    assert (one[..., 0] < mean).all()
    assert (mean < one[..., 1]).all()


def test_a_width_too_large_for_a_float_is_the_largest_float(small, graphs):
    y = 10.0 ** np.where(np.arange(30) % 2, 300.0, -300.0)
    model = small(target_transform="log10", max_epochs=1).fit(graphs, y)
    assert np.isfinite(model.predict(graphs, return_std=True)[1]).all()


# -- life of an estimator --------------------------------------------------------------


def test_pickles_files_and_copies_keep_the_widths(model, graphs, tmp_path):
    expected = model.predict(graphs, return_std=True)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(graphs, return_std=True), expected)
    again = clone(model).fit(graphs, model.predict(graphs))
    assert again.predict(graphs, return_std=True)[1].shape == (30, 3)


def test_tasks_with_the_same_rows_share_one_matrix(numbers, tmp_path):
    X, y, _ = numbers
    full = numeric().fit(X, np.nan_to_num(y))
    one, other = (full._state.widths[name].matrix for name in full.task_names_)
    assert one is other
    full.save(tmp_path / "full")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "full")
    one, other = (loaded._state.widths[name].matrix for name in full.task_names_)
    assert one is other
    gaps = numeric().fit(X, y)._state.widths
    assert gaps["task_0"].matrix is not gaps["task_1"].matrix


def test_rows_of_tasks_are_compared_one_task_at_a_time():
    weights = np.ones((20_000, 3))
    weights[7, 1] = 0.0
    tracemalloc.start()
    try:
        assert _widths._equal_columns(weights) == [0, 1, 0]
        assert tracemalloc.get_traced_memory()[1] < 1.1 * weights[:, 0].nbytes
    finally:
        tracemalloc.stop()


def test_a_fit_draws_the_same_with_and_without_widths(small, graphs, gaps, monkeypatch):
    expected = small().fit(graphs, gaps).predict(graphs)
    monkeypatch.setattr(_fit, "learn_widths", lambda *args: {})
    np.testing.assert_array_equal(small().fit(graphs, gaps).predict(graphs), expected)


def test_no_width_is_older_than_its_network(model, graphs, gaps):
    before = model.predict(graphs, return_std=True)[1]
    model.partial_fit(graphs, gaps)
    with pytest.raises(ValueError, match=r"partial_fit.*Call fit; with warm_start"):
        model.predict(graphs, return_std=True)
    model.set_params(warm_start=True, max_epochs=1).fit(graphs, gaps)
    after = model.predict(graphs, return_std=True)[1]
    assert after.shape == before.shape
    assert (after != before).all()


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_a_table_to_go_on_with_may_lack_a_task(small, graphs, gaps):
    model = small(warm_start=True).fit(graphs, gaps)
    with_gap = gaps.copy()
    with_gap[:, 1] = np.nan
    model.fit(graphs, with_gap)
    assert list(model._state.widths) == ["task_0", "task_2"]
    with pytest.raises(ValueError, match=r"\['task_1'\].*without their labels"):
        model.predict(graphs, return_std=True)


def test_interrupted_fits_have_widths(small, graphs, gaps, monkeypatch):
    model = small(callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(graphs, gaps)
    assert model.predict(graphs, return_std=True)[1].shape == (30, 3)

    def stop(*args):
        raise KeyboardInterrupt

    # While widths are learned: the network is complete.
    monkeypatch.setattr(_fit, "learn_widths", stop)
    model = small()
    with pytest.raises(KeyboardInterrupt, match="keeps the state"):
        model.fit(graphs, gaps)
    assert model.predict(graphs).shape == (30, 3)
    with pytest.raises(ValueError, match="Call fit"):
        model.predict_interval(graphs)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_other_losses_have_widths(small, graphs, gaps, loss):
    model = small(loss=loss).fit(graphs, gaps)
    assert (model.predict(graphs, return_std=True)[1] > 0).all()


def test_a_function_as_loss_is_told_what_to_set(small, graphs, gaps):
    model = small(loss=lambda outputs, targets: (outputs - targets).abs() ** 3)
    model.fit(graphs, gaps)
    with pytest.raises(ValueError, match="Set loss='squared_error'"):
        model.predict(graphs, return_std=True)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 90, np.nan, True, "0.9", None])
def test_coverage_is_checked(small, graphs, gaps, coverage):
    model = small(max_epochs=1).fit(graphs, gaps)
    with pytest.raises(ValueError, match="coverage must be between 0 and 1"):
        model.predict_interval(graphs, coverage)


def test_classifiers_have_no_widths(small, graphs, gaps):
    labels = np.where(np.isnan(gaps), np.nan, gaps > np.nanmedian(gaps, axis=0))
    model = small(MultiTaskGNNClassifier).fit(graphs, labels)
    assert model._state.widths == {}


# -- GATE ------------------------------------------------------------------------------


@pytest.fixture
def gate(small, graphs, gaps):
    model = small(GATERegressor, add_task_steps=8, head_hidden_dims=(8,))
    return model.fit(graphs, pd.DataFrame(gaps, columns=NAMES))


def test_added_tasks_have_widths_and_do_not_change_others(gate, graphs, tmp_path):
    mean, before = gate.predict(graphs, return_std=True)
    np.testing.assert_array_equal(mean, gate.predict(graphs))
    y = np.where(np.arange(30) < 12, np.arange(30.0), np.nan)
    gate.add_task(graphs, y, name="new").add_task(graphs, -y, name="other")
    mean, after = gate.predict(graphs, return_std=True)
    np.testing.assert_array_equal(mean, gate.predict(graphs))
    np.testing.assert_array_equal(after[:, :3], before)
    assert gate.predict_interval(graphs).shape == (30, 5, 2)
    gate.save(tmp_path / "gate")
    loaded = GATERegressor.load(tmp_path / "gate")
    np.testing.assert_array_equal(loaded.predict(graphs, return_std=True)[1], after)
    gate.remove_task("new")
    left = gate.predict(graphs, return_std=True)[1]
    np.testing.assert_array_equal(left, after[:, [0, 1, 2, 4]])


def test_widths_of_gate_are_bayesian_linear_regression(gate, graphs, gaps):
    groups = _widths._read(gate._at_work(), graphs, hidden=True).groups
    std = gate.predict(graphs, return_std=True)[1]
    for task, name in enumerate(NAMES):
        known = ~np.isnan(gaps[:, task])
        phi, posterior = groups[task].vectors, gate._state.widths[name]
        precision = phi[known].T @ phi[known] / posterior.noise
        precision += posterior.prior_precision * np.eye(len(precision))
        spread = np.einsum("ni,ij,nj->n", phi, np.linalg.inv(precision), phi)
        expected = gate.target_scale_[task] * np.sqrt(spread + posterior.noise)
        np.testing.assert_allclose(std[:, task], expected, rtol=1e-3)


def test_columns_of_gate_keep_their_widths_in_stages(small, graphs, gaps):
    frame = pd.DataFrame(gaps, columns=NAMES)
    model = small(GATERegressor, add_task_steps=8, target_tasks=["a"])
    model.fit(graphs, frame)
    by_name = dict(zip(NAMES, model.predict(graphs, return_std=True)[1].T, strict=True))
    scales = dict(zip(NAMES, model.target_scale_, strict=True))
    for name in NAMES:
        noise = model._state.widths[name].noise
        assert (by_name[name] >= scales[name] * np.sqrt(noise) * (1 - 1e-6)).all()
    model.remove_task("a")
    left = model.predict(graphs, return_std=True)[1]
    np.testing.assert_array_equal(left.T, [by_name["b"], by_name["c"]])


def test_a_moved_encoder_leaves_no_width_of_the_sources(gate, graphs):
    with pytest.warns(UserWarning, match="changed the predictions"):
        gate.add_task(graphs, np.arange(30.0), name="new", train_encoder=True)
    with pytest.raises(ValueError, match=r"none for \['a', 'b', 'c'\].*train_encoder"):
        gate.predict(graphs, return_std=True)
    assert list(gate._state.widths) == ["new"]


def test_pretrained_sources_keep_their_widths(small, graphs, gaps):
    regressor = small(head_hidden_dims=(8,)).fit(graphs, gaps)
    model = GATERegressor.from_pretrained(regressor, add_task_steps=4)
    model.add_task(graphs, np.arange(30.0), name="new")
    found, expected = (m.predict(graphs, return_std=True) for m in (model, regressor))
    np.testing.assert_array_equal(found[0][:, :3], expected[0])
    np.testing.assert_allclose(found[1][:, :3], expected[1], rtol=1e-6)
