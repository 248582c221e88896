"""Estimators that predict a variance of each label."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone

from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor, weighting
from skgnn_mtl.curvature import hessian_spectrum, left_out_errors
from skgnn_mtl.estimators import _widths
from skgnn_mtl.inspection import gradient_similarity
from skgnn_mtl.training import LIKELIHOODS, MultiTaskModel, log_variances
from skgnn_mtl.weighting import BLO, PCGrad

LOSSES = sorted(LIKELIHOODS)
each_loss = pytest.mark.parametrize("loss", LOSSES)


@pytest.fixture(params=LOSSES)
def model(request, small, graphs, gaps):
    return small(loss=request.param, max_epochs=5).fit(graphs, gaps)


def learned(model, X):
    """Means and standard deviations of the network itself, in the units of y."""
    means, raw = (
        model._apply(X, MultiTaskModel.evaluate).reshape(len(X), 2, -1).swapaxes(0, 1)
    )
    deviations = np.exp(log_variances(torch.from_numpy(raw)).numpy() / 2)
    return model.targets_.decode(means), deviations * model.target_scale_


@each_loss
def test_on_equal_rows_they_learn_mean_and_variance_of_the_labels(loss):
    rng = np.random.default_rng(0)
    y = rng.normal([3.0, -1.0], [0.2, 5.0], size=(60, 2))
    y[:25, 1] = np.nan
    weights = rng.uniform(0.5, 2, size=60)
    model = MultiTaskGNNRegressor(
        "gin", loss=loss, head_hidden_dims=(), max_epochs=300, lr=0.03, random_state=0
    )
    X = np.ones((60, 1))
    mean = model.fit(X, y, weights).predict(X[:1])
    _, std = learned(model, X[:1])
    for task in range(2):
        known = ~np.isnan(y[:, task])
        w, labels = weights[known], y[known, task]
        center = np.average(labels, weights=w)
        spread = np.sqrt(np.average((labels - center) ** 2, weights=w))
        np.testing.assert_allclose(mean[0, task], center, atol=0.03 * spread)
        np.testing.assert_allclose(std[0, task], spread, rtol=0.03)


def test_widths_follow_the_noise():
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, size=(600, 1))
    noise = np.where(X[:, 0] > 0, 1.0, 0.1)
    y = 3 * X[:, 0] + noise * rng.normal(size=600)
    model = MultiTaskGNNRegressor(
        "gin", loss="beta_nll", head_hidden_dims=(32,), max_epochs=60, random_state=0
    )
    mean, std = model.fit(X[:400], y[:400]).predict(X[400:], return_std=True)
    errors, above = mean - y[400:], X[400:, 0] > 0.1
    assert std[above].mean() > 4 * std[X[400:, 0] < -0.1].mean()
    own = -norm.logpdf(errors, scale=std).mean()
    assert own < -norm.logpdf(errors, scale=np.std(errors)).mean() - 0.1
    low, high = model.predict_interval(X[400:])[:, 0].T
    assert 0.8 < ((low <= y[400:]) & (y[400:] <= high)).mean() < 0.97


def test_widths_are_weighted_regression_with_the_learned_variances(model, graphs, gaps):
    mean, std = model.predict(graphs, return_std=True)
    np.testing.assert_array_equal(mean, model.predict(graphs))
    vectors = model._apply(graphs, MultiTaskModel.represent)
    vectors = np.hstack([vectors, np.ones((30, 1))])
    own, deviations = learned(model, graphs)
    np.testing.assert_allclose(own, mean, rtol=1e-5)
    deviations /= model.target_scale_
    for task, name in enumerate(model.task_names_):
        known = ~np.isnan(gaps[:, task])
        posterior, s = model._state.widths[name], deviations[:, task]
        phi = vectors[known] / s[known, None]
        precision = phi.T @ phi / posterior.noise
        precision += posterior.prior_precision * np.eye(len(precision))
        inverse = np.linalg.inv(precision)
        spread = np.einsum("ni,ij,nj->n", vectors, inverse, vectors)
        expected = np.sqrt(posterior.noise * s**2 + spread)
        expected *= model.target_scale_[task]
        np.testing.assert_allclose(std[:, task], expected, rtol=1e-3)


def test_widths_are_never_below_the_learned_deviations():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.normal(scale=0.3, size=300)
    model = MultiTaskGNNRegressor(
        "gin",
        loss="beta_nll",
        head_hidden_dims=(64,),
        max_epochs=60,
        lr=3e-3,
        random_state=0,
    ).fit(X[:100], y[:100])
    mean, std = model.predict(X[100:], return_std=True)
    _, own = learned(model, X[100:])
    errors = mean - y[100:]
    assert (std >= own[:, 0] * (1 - 1e-6)).all()
    constant = norm.logpdf(errors, scale=own[:, 0]).mean()
    assert norm.logpdf(errors, scale=std).mean() > constant - 1e-3


def test_left_out_errors_are_in_units_of_the_learned_deviations(model, graphs, gaps):
    reading = _widths._read(model._at_work(), graphs, hidden=True)
    labels = model.targets_.encode(gaps)
    known = np.flatnonzero(~np.isnan(gaps[:, 1]))
    weights = np.linspace(0.5, 2, len(known))
    found = _widths._left_out(reading[known], 1, labels[known, 1], weights)
    s = reading.deviations[known, 1]
    assert reading.learned
    residuals = (reading.means[known, 1] - labels[known, 1]) / s
    error = np.sqrt(weights @ residuals**2 / (weights / s**2).sum())
    phi = reading.groups[0].vectors[known]
    expected = left_out_errors(phi @ phi.T, labels[known, 1], weights / s**2, error)
    np.testing.assert_allclose(found * s, expected, rtol=1e-6)


def test_copies_and_files_keep_the_variances(model, graphs, gaps, tmp_path):
    expected = model.predict(graphs, return_std=True)
    model.save(tmp_path / "model")
    for other in (
        MultiTaskGNNRegressor.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
        clone(model).fit(graphs, gaps),
    ):
        np.testing.assert_array_equal(other.predict(graphs, return_std=True), expected)
    # The heads belong to each state of the network.
    model.partial_fit(graphs, gaps)
    assert model._state.widths == {}
    found = model.predict(graphs, return_std=True)
    np.testing.assert_allclose(found, learned(model, graphs), rtol=1e-5)


METHODS = [
    *("geometricmean", "scaleinvariant", "uncertainty", "famo", "dwa", "imtll", "stch"),
    *("pcgrad", "cagrad", "imtlg", "graddrop", "dbmtl", "gradnorm"),
    PCGrad(gradients="representation"),
    BLO(),
]


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_task_weightings_train_likelihoods(small, graphs, gaps, method):
    model = small(
        loss="gaussian_nll",
        task_weighting=method,
        target_tasks=[0] if isinstance(method, BLO) else None,
    ).fit(graphs, gaps)
    assert np.isfinite(model.predict(graphs, return_std=True)).all()
    assert all(np.isfinite(record["train_loss"]) for record in model.history_)


def test_weightings_of_curvature_refuse_likelihoods(small, graphs, gaps):
    model = small(loss="gaussian_nll", task_weighting="curvature")
    with pytest.raises(ValueError, match="one output per task"):
        model.fit(graphs, gaps)
    method = weighting.Curvature(statistic="hessian_max", update_every=1)
    model.set_params(task_weighting=method).fit(graphs, gaps)
    assert np.isfinite(model.predict(graphs, return_std=True)).all()


def test_early_stopping_compares_one_function_in_all_epochs(small, graphs, gaps):
    model = small(
        loss="gaussian_nll",
        early_stopping=True,
        validation=0.3,
        max_epochs=20,
        warm_start=True,  # which keeps the validation rows, and the best epoch
    ).fit(graphs, gaps)
    losses = [record["valid_loss"] for record in model.history_]
    assert min(losses) >= 0
    assert model.best_epoch_ == np.argmin(losses) + 1


def test_spectra_of_likelihoods_are_those_of_their_hessians(model, graphs, gaps):
    found = hessian_spectrum(model, graphs, gaps, parameters="all", dtype="float64")
    assert np.isfinite(found.trace).all()
    similarity = gradient_similarity(model, graphs, gaps)
    assert np.isfinite(similarity.cosines).all()
    with pytest.raises(ValueError, match="convex in the outputs.*matrix='hessian'"):
        hessian_spectrum(model, graphs, gaps, matrix="ggn")
    with pytest.raises(ValueError, match="second derivative in one output"):
        clone(model).set_params(hessian_spectrum={"matrix": "ggn"}).fit(graphs, gaps)


def test_a_fit_that_goes_on_must_have_the_same_heads(small, graphs, gaps):
    plain = small(warm_start=True).fit(graphs, gaps)
    with pytest.raises(ValueError, match="fitted network has no heads"):
        plain.set_params(loss="gaussian_nll").fit(graphs, gaps)
    assert np.isfinite(plain.predict(graphs, return_std=True)).all()
    model = small(loss="beta_nll", warm_start=True).fit(graphs, gaps)
    with pytest.raises(ValueError, match="ignores log-variances"):
        model.set_params(loss="huber").partial_fit(graphs, gaps)
    model.set_params(loss="gaussian_nll").fit(graphs, gaps)


def test_gate_keeps_the_means_of_a_regressor_without_its_widths(model, graphs):
    gate = GATERegressor.from_pretrained(model, add_task_steps=4)
    np.testing.assert_array_equal(gate.predict(graphs), model.predict(graphs))
    with pytest.raises(ValueError, match="pretrained network without widths"):
        gate.predict(graphs, return_std=True)


def test_transforms_apply_to_variances(small, graphs, gaps):
    inner = small(loss="gaussian_nll").fit(graphs, gaps)
    model = small(loss="gaussian_nll", target_transform="log").fit(graphs, np.exp(gaps))
    expected = np.exp(inner.predict_interval(graphs))
    np.testing.assert_allclose(model.predict_interval(graphs), expected, rtol=1e-3)
