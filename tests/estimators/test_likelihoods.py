"""Estimators that predict a variance of each label."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.base import clone

from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor, weighting
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.inspection import gradient_similarity
from skgnn_mtl.training import LIKELIHOODS, standard_deviations
from skgnn_mtl.weighting import BLO, PCGrad

LOSSES = sorted(LIKELIHOODS)
each_loss = pytest.mark.parametrize("loss", LOSSES)


@pytest.fixture(params=LOSSES)
def model(request, small, graphs, gaps):
    return small(loss=request.param, max_epochs=5).fit(graphs, gaps)


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
    mean, std = model.fit(X, y, weights).predict(X[:1], return_std=True)
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
    intervals = model.predict_interval(X[400:])
    inside = (intervals[:, 0] <= y[400:]) & (y[400:] <= intervals[:, 1])
    assert 0.8 < inside.mean() < 0.97


def test_predictions_are_means_and_deviations_of_the_network(model, graphs):
    mean, std = model.predict(graphs, return_std=True)
    np.testing.assert_allclose(mean, model.predict(graphs), rtol=1e-6)
    with torch.no_grad():
        outputs = model.module_.evaluate(graphs.batch(np.arange(30)))
        assert model.module_(graphs.batch(np.arange(30))).shape == (30, 3)
    expected = model.target_scale_ * standard_deviations(outputs)[1].numpy()
    np.testing.assert_allclose(std, expected, rtol=1e-4)
    assert model._state.widths == {}


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
    assert (model.predict(graphs, return_std=True)[1] != expected[1]).all()


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
        loss="gaussian_nll", early_stopping=True, validation=0.3, max_epochs=20
    ).fit(graphs, gaps)
    losses = [record["valid_loss"] for record in model.history_]
    assert min(losses) >= 0
    assert model.best_epoch_ == np.argmin(losses) + 1


def test_spectra_of_likelihoods_are_those_of_their_hessians(model, graphs, gaps):
    found = hessian_spectrum(model, graphs, gaps, parameters="all", dtype="float64")
    assert np.isfinite(found.trace).all()
    similarity = gradient_similarity(model, graphs, gaps)
    assert np.isfinite(similarity.cosines).all()
    with pytest.raises(ValueError, match="one output per task.*matrix='hessian'"):
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
