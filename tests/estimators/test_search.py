"""Pipelines, searches, cross-validation, metadata, parallel backends."""

from __future__ import annotations

import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline

from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.metrics import (
    nan_mean_absolute_error,
    nan_r2_score,
    neg_nan_mean_absolute_error_scorer,
    per_task_scorers,
)
from skgnn_mtl.weighting import FairGrad, Fixed, ScaleInvariant


@pytest.fixture
def pipeline(small):
    return Pipeline([("graphs", SmilesToGraph()), ("net", small())])


@pytest.fixture
def frame(gaps):
    return pd.DataFrame(gaps, columns=["a", "b", "c"])


# -- searches -------------------------------------------------------------------------


def test_a_search_over_everything_in_two_processes(pipeline, smiles, frame):
    grid = [
        {"net__encoder__width": [4, 8]},
        {"net__encoder": [GIN(4, n_layers=1), DMPNN(4)]},
        {"net__task_weighting": ["uncertainty", ScaleInvariant(), Fixed([1, 2, 3])]},
        {"net__lr": [1e-3, 1e-1], "net__head_hidden_dims": [(), (4,)]},
    ]
    search = GridSearchCV(pipeline, grid, cv=KFold(3), n_jobs=2)
    search.fit(pd.Series(smiles), frame)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(scores) == 11
    best = clone(pipeline).set_params(**clone(search.best_params_, safe=False))
    expected = best.fit(smiles, frame).predict(smiles)
    np.testing.assert_allclose(search.predict(smiles), expected, rtol=1e-4)
    # Scores are those of fits in this process.
    k = next(
        k
        for k, p in enumerate(search.cv_results_["params"])
        if p.get("net__encoder__width") == 8
    )
    model = clone(pipeline).set_params(net__encoder__width=8)
    by_hand = cross_val_score(model, pd.Series(smiles), frame, cv=KFold(3))
    assert scores[k] == pytest.approx(by_hand.mean(), rel=1e-4)
    assert pipeline["net"].encoder.width == 16


def test_a_search_reaches_the_weighting_and_the_readout(small, graphs, gaps):
    model = small(task_weighting=Fixed([1, 1, 1]))
    grid = {
        "task_weighting__weights": [[1, 1, 1], [1, 2, 3]],
        "readout": ["mean", "sum"],
    }
    search = GridSearchCV(model, grid, cv=2).fit(graphs, gaps)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 4


def test_parts_that_are_names_have_no_parameters(small, graphs, gaps):
    model = small(task_weighting="fairgrad", optimizer="sam")
    for name in ("task_weighting__alpha", "optimizer__rho"):
        part = name.partition("__")[0]
        with pytest.raises(ValueError, match=f"{name} cannot.*instance as {part}"):
            model.set_params(**{name: 2.0})
    with pytest.raises(ValueError, match="task_weighting='fairgrad' is a name"):
        GridSearchCV(model, {"task_weighting__alpha": [1, 2]}, cv=2).fit(graphs, gaps)
    # With the part in the same call, in any order.
    model.set_params(task_weighting__alpha=2.0, task_weighting=FairGrad())
    assert model.task_weighting.alpha == 2.0
    with pytest.raises(ValueError, match="Invalid parameter 'weighting'"):
        model.set_params(weighting="equal")


def test_a_random_search_with_a_scorer(small, graphs, gaps):
    search = RandomizedSearchCV(
        small(),
        {"lr": [1e-3, 1e-2, 1e-1], "encoder__n_layers": [1, 2]},
        n_iter=2,
        cv=2,
        random_state=0,
        scoring=neg_nan_mean_absolute_error_scorer,
    ).fit(graphs, gaps)
    assert (search.cv_results_["mean_test_score"] < 0).all()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_backends_agree(small, graphs, gaps, backend):
    expected = cross_val_score(small(), graphs, gaps, cv=KFold(3))
    with joblib.parallel_config(backend=backend, n_jobs=2):
        scores = cross_val_score(small(), graphs, gaps, cv=KFold(3))
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_threads_do_not_share_their_randomness(small, graphs, gaps, dropout):
    # First weights and dropout come from torch's one global generator.
    model = small(
        encoder=GIN(16, n_layers=2, norm="batch", dropout=dropout),
        batch_size=4,
        max_epochs=8,
    )
    alone = model.fit(graphs, gaps).predict(graphs)
    before = torch.get_rng_state()
    with joblib.parallel_config(backend="threading", n_jobs=2):
        fits = joblib.Parallel()(
            joblib.delayed(clone(model).fit)(graphs, gaps) for _ in range(4)
        )
    for fit in fits:
        np.testing.assert_allclose(fit.predict(graphs), alone, rtol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_does_not_disturb_a_fit_in_another_thread(
    small, graphs, gaps, tmp_path
):
    small().fit(graphs, gaps).save(tmp_path / "model")
    done = threading.Event()

    def load_again_and_again():
        while not done.is_set():
            MultiTaskGNNRegressor.load(tmp_path / "model")

    encoder = GIN(16, n_layers=2, norm=None, dropout=0.3)
    model = small(encoder=encoder, batch_size=4, max_epochs=30)
    alone, before = model.fit(graphs, gaps).predict(graphs), torch.get_rng_state()
    other = threading.Thread(target=load_again_and_again)
    other.start()
    try:
        fits = [model.fit(graphs, gaps).predict(graphs) for _ in range(2)]
    finally:
        done.set()
        other.join()
    for predictions in fits:
        np.testing.assert_allclose(predictions, alone, rtol=1e-4)
    assert torch.equal(torch.get_rng_state(), before)


# -- cross-validation -----------------------------------------------------------------


def test_cross_validate_shows_every_task(pipeline, smiles, frame):
    X = pd.Series(smiles, index=np.random.default_rng(0).permutation(30))
    result = cross_validate(
        pipeline,
        X,
        frame,
        cv=KFold(3),
        scoring=per_task_scorers(frame.columns),
        return_estimator=True,
    )
    assert {"test_mae_a", "test_mae_b", "test_mae_c"} <= set(result)
    for k, (train, test) in enumerate(KFold(3).split(X)):
        model = clone(pipeline).fit(X.iloc[train], frame.iloc[train])
        predictions = model.predict(X.iloc[test])
        errors = nan_mean_absolute_error(
            frame.iloc[test].to_numpy(), predictions, multioutput="raw_values"
        )
        mine = [result[f"test_mae_{name}"][k] for name in "abc"]
        np.testing.assert_allclose(mine, -errors, rtol=1e-6)


def test_predictions_of_cross_validation_are_out_of_fold(small, graphs, gaps):
    predictions = cross_val_predict(small(), graphs, gaps, cv=KFold(3))
    assert predictions.shape == (30, 3)
    for train, test in KFold(3).split(gaps):
        model = small().fit(graphs[train], gaps[train])
        np.testing.assert_allclose(predictions[test], model.predict(graphs[test]))


def test_predictions_of_one_task_are_a_vector(small, graphs, table):
    assert cross_val_predict(small(), graphs, table[:, 0], cv=2).shape == (30,)


def test_learning_curve(small, graphs, table):
    sizes, train, test = learning_curve(
        small(), graphs, table, cv=3, train_sizes=[0.3, 1.0]
    )
    assert sizes.tolist() == [6, 20]
    assert np.isfinite(train).all()
    assert np.isfinite(test).all()


def test_splits_of_graphs_and_labels(small, graphs, gaps):
    parts = train_test_split(graphs, gaps, test_size=0.3, random_state=0)
    assert isinstance(parts[0], GraphArray)
    model = small().fit(parts[0], parts[2])
    assert model.predict(parts[1]).shape == (9, 3)


def test_a_fold_without_labels_fails_by_name(small, graphs, table):
    table[10:, 2] = np.nan
    with pytest.raises(ValueError, match="'task_2' has no label"):
        cross_val_score(small(), graphs, table, cv=KFold(3), error_score="raise")


# -- pipelines ------------------------------------------------------------------------


def test_a_cached_pipeline(small, smiles, frame, tmp_path):
    plain = make_pipeline(SmilesToGraph(), small()).fit(smiles, frame)
    cached = make_pipeline(SmilesToGraph(), small(), memory=str(tmp_path))
    for _ in range(2):
        cached.fit(smiles, frame)
        assert np.array_equal(cached.predict(smiles), plain.predict(smiles))
    stored = list(tmp_path.rglob("output.pkl"))
    assert len(stored) == 1


def test_a_cached_pipeline_in_a_search(small, smiles, frame, tmp_path):
    cached = make_pipeline(SmilesToGraph(), small(), memory=str(tmp_path))
    search = GridSearchCV(
        cached, {"multitaskgnnregressor__lr": [1e-3, 1e-2, 1e-1]}, cv=2
    )
    search.fit(np.array(smiles), frame)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # Two training folds and the refit are featurized once each.
    assert len(list(tmp_path.rglob("output.pkl"))) == 3


@pytest.mark.parametrize("output", ["pandas", "polars", "default"])
def test_the_global_output_setting_does_no_harm(pipeline, smiles, frame, output):
    expected = clone(pipeline).fit(smiles, frame).predict(smiles)
    with config_context(transform_output=output):
        model = clone(pipeline).fit(smiles, frame)
        predictions = model.predict(smiles)
        assert isinstance(predictions, np.ndarray)
        scores = cross_val_score(pipeline, smiles, frame, cv=KFold(3))
    assert np.array_equal(predictions, expected)
    assert np.isfinite(scores).all()
    assert pipeline.set_output(transform="pandas") is pipeline


def test_html_of_a_fitted_pipeline(pipeline, smiles, frame):
    assert "GIN" in pipeline.fit(smiles, frame)._repr_html_()


# -- metadata -------------------------------------------------------------------------


@pytest.fixture
def metadata():
    return {
        "groups": np.arange(30) % 6,
        "sample_weight": np.random.default_rng(0).uniform(0.2, 2.0, 30),
    }


@pytest.fixture
def watching(small):
    """A regressor to which groups matter."""
    return small(early_stopping=True, validation=0.4, lr=0.05, n_iter_no_change=1)


def scores_by_hand(model, X, y, groups, sample_weight, cv, weigh_scores):
    scores = []
    for train, test in cv.split(X, y, groups):
        fitted = clone(model).fit(
            X[train],
            y[train],
            sample_weight=None if sample_weight is None else sample_weight[train],
            groups=None if groups is None else groups[train],
        )
        scores.append(
            nan_r2_score(
                y[test],
                fitted.predict(X[test]),
                sample_weight=sample_weight[test] if weigh_scores else None,
            )
        )
    return scores


def test_routed_weights_and_groups_reach_fit_score_and_splitter(
    watching, graphs, table, metadata
):
    with config_context(enable_metadata_routing=True):
        model = watching.set_fit_request(groups=True, sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"encoder__width": [8, 16]}, cv=GroupKFold(3))
        search.fit(graphs, table, **metadata)
        mean = search.cv_results_["mean_test_score"][1]
        expected = scores_by_hand(
            model, graphs, table, **metadata, cv=GroupKFold(3), weigh_scores=True
        )
        direct = clone(search.best_estimator_).fit(graphs, table, **metadata)
    assert mean == pytest.approx(np.mean(expected), rel=1e-6)
    assert np.array_equal(search.predict(graphs), direct.predict(graphs))


def test_routed_metadata_pass_a_pipeline(watching, smiles, graphs, table, metadata):
    with config_context(enable_metadata_routing=True):
        model = watching.set_fit_request(groups=True, sample_weight=True)
        model.set_score_request(sample_weight=True)
        result = cross_validate(
            make_pipeline(SmilesToGraph(), model),
            np.array(smiles, dtype=object),
            table,
            cv=GroupKFold(3),
            params=metadata,
        )
        expected = scores_by_hand(
            model, graphs, table, **metadata, cv=GroupKFold(3), weigh_scores=True
        )
    np.testing.assert_allclose(result["test_score"], expected, rtol=1e-6)


def test_a_forgotten_request_is_an_error(small, graphs, table, metadata):
    with config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            cross_validate(
                model,
                graphs,
                table,
                params={"sample_weight": metadata["sample_weight"]},
                error_score="raise",
            )


def test_scorers_take_routed_weights(small, graphs, table, metadata):
    weights = metadata["sample_weight"]
    with config_context(enable_metadata_routing=True):
        scorers = {
            name: scorer.set_score_request(sample_weight=True)
            for name, scorer in per_task_scorers(["task_0", "task_1", "task_2"]).items()
        }
        result = cross_validate(
            small().set_fit_request(sample_weight=True),
            graphs,
            table,
            cv=KFold(3),
            scoring=scorers,
            params={"sample_weight": weights},
        )
    train, test = next(iter(KFold(3).split(table)))
    model = small().fit(graphs[train], table[train], sample_weight=weights[train])
    errors = nan_mean_absolute_error(
        table[test],
        model.predict(graphs[test]),
        sample_weight=weights[test],
        multioutput="raw_values",
    )
    mine = [result[f"test_mae_task_{t}"][0] for t in range(3)]
    np.testing.assert_allclose(mine, -errors, rtol=1e-6)


def test_without_routing_fit_parameters_are_sliced(watching, graphs, table, metadata):
    result = cross_validate(
        watching,
        graphs,
        table,
        groups=metadata["groups"],
        params=metadata,
        cv=GroupKFold(3),
    )
    expected = scores_by_hand(
        watching, graphs, table, **metadata, cv=GroupKFold(3), weigh_scores=False
    )
    np.testing.assert_allclose(result["test_score"], expected, rtol=1e-6)


def test_without_routing_a_search_gives_groups_to_its_splitter_only(
    watching, graphs, table, metadata
):
    groups = metadata["groups"]
    search = GridSearchCV(watching, {"encoder__width": [16]}, cv=GroupKFold(3))
    search.fit(graphs, table, groups=groups)
    without = []
    for train, test in GroupKFold(3).split(graphs, table, groups):
        model = clone(watching).fit(graphs[train], table[train])
        without.append(nan_r2_score(table[test], model.predict(graphs[test])))
    mean = search.cv_results_["mean_test_score"][0]
    assert mean == pytest.approx(np.mean(without), rel=1e-6)


def test_weights_in_a_plain_pipeline(
    small, smiles, graphs, gaps, metadata, same_weights
):
    weights = metadata["sample_weight"]
    model = make_pipeline(SmilesToGraph(), small())
    model.fit(smiles, gaps, multitaskgnnregressor__sample_weight=weights)
    assert same_weights(model[-1], small().fit(graphs, gaps, sample_weight=weights))


def test_requests_exist():
    model = MultiTaskGNNRegressor()
    with config_context(enable_metadata_routing=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.set_fit_request(groups=True, sample_weight=True) is model
        assert model.set_partial_fit_request(sample_weight=True) is model
        assert model.set_score_request(sample_weight=True) is model
