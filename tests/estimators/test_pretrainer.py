"""GNNPretrainer: what it learns from, chunks, exact resumption, scikit-learn."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl import (
    GNNPretrainer,
    GraphArray,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.auxiliary import AtomMasking, ContextPrediction
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import GCN, GIN, Pretrained
from skgnn_mtl.training import LOSSES, logistic
from skgnn_mtl.weighting import BLO


@pytest.fixture
def pretrainer(small):
    def make(tasks=("atommasking",), **changes) -> GNNPretrainer:
        encoder = GIN(width=16, n_layers=2, norm="batch", dropout=0.1)
        parameters = {"encoder": encoder, "batch_size": 10, **changes}
        return small(GNNPretrainer, auxiliary_tasks=tasks, **parameters)

    return make


@pytest.fixture
def mixed(graphs, table) -> pd.DataFrame:
    """A column with two values, one of a large unit, gaps in both."""
    y = pd.DataFrame({"big": table[:, 0] > 5, "bonds": 1e6 * table[:, 1]}).astype(float)
    y.iloc[::4, 0] = np.nan
    y.iloc[1::5, 1] = np.nan
    return y


# -- what is learned -----------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["equal", "uncertainty", "famo", "dwa", "upgrad"])
def test_without_labels_auxiliary_tasks_are_all(pretrainer, graphs, weighting):
    model = pretrainer(["atommasking", "infomax"], task_weighting=weighting)
    model.set_params(max_epochs=25).fit(graphs)
    assert (model.n_tasks_, model.task_names_) == (0, [])
    first, last = (model.history_[k]["train_losses"] for k in (0, -1))
    assert list(last) == ["atommasking", "infomax"]
    assert last["atommasking"] < 0.8 * first["atommasking"]
    assert model.task_weights_.shape == (2,)


def test_a_single_task_is_its_plain_gradient(pretrainer, graphs):
    """One full batch without dropout: the step is that of the task's loss alone."""
    settings = {
        "encoder": GIN(width=8, n_layers=2, norm=None),
        "optimizer": "sgd",
        "lr": 0.1,
        "batch_size": 100,
        "max_epochs": 1,
    }
    after = pretrainer(["motifprediction"], **settings).fit(graphs).module_
    before = pretrainer(["motifprediction"], **{**settings, "lr": 1e-30})
    before = before.fit(graphs).module_
    task = before.tasks()[0]
    vectors = before.embed(graphs.batch(range(len(graphs))))
    labels = torch.from_numpy(task.prepare(graphs))
    logits = task.head(vectors)
    loss = logistic(logits, labels).mean() / np.log(2.0)
    names, parameters = zip(*before.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    for name, old, gradient in zip(names, parameters, found, strict=True):
        if gradient is not None:
            new = after.get_parameter(name)
            torch.testing.assert_close(new, old - 0.1 * gradient, atol=1e-6, rtol=1e-5)


def test_each_column_has_its_loss_and_scale(pretrainer, graphs, mixed):
    model = pretrainer(["infomax"]).fit(graphs, mixed)
    assert model.target_losses_ == ["logistic", "squared_error"]
    assert model.task_names_ == ["big", "bonds"]
    assert (model.target_mean_[0], model.target_scale_[0]) == (0.0, 1.0)
    assert model.target_mean_[1] == pytest.approx(mixed["bonds"].mean())
    assert model.target_scale_[1] == pytest.approx(mixed["bonds"].std(ddof=0))
    outputs, targets = torch.randn(2, 7, 2, dtype=torch.float64)
    targets[:, 0] = (targets[:, 0] > 0).double()
    values = model.targets_.elementwise_loss(outputs, targets)
    torch.testing.assert_close(values[:, 0], logistic(outputs, targets)[:, 0])
    squared = LOSSES["squared_error"](outputs, targets)
    torch.testing.assert_close(values[:, 1], squared[:, 1])
    # -1 and 1 are two values as 0 and 1 are.
    signs = mixed.assign(big=2 * mixed["big"] - 1)
    other = pretrainer(["infomax"]).fit(graphs, signs)
    np.testing.assert_array_equal(other.transform(graphs), model.transform(graphs))


def test_losses_may_be_chosen(pretrainer, graphs, mixed):
    def losses(choice, y=mixed):
        model = pretrainer((), target_loss=choice, max_epochs=1)
        return model.fit(graphs, y).target_losses_

    assert losses("huber") == ["huber", "huber"]
    assert losses(["squared_error", "auto"]) == ["squared_error"] * 2
    ones = mixed.assign(big=1.0)
    assert losses(["logistic", "auto"], ones) == ["logistic", "squared_error"]
    assert losses("auto", ones) == ["squared_error", "squared_error"]
    with pytest.raises(ValueError, match="needs two labels, but task 'bonds' has"):
        losses("logistic")
    with pytest.raises(ValueError, match="with one entry for each of the tasks"):
        losses(["logistic"])
    with pytest.raises(ValueError, match="'target_loss' parameter of GNNPretrainer"):
        losses("hinge")


def test_labels_teach_and_rows_without_them_still_take_part(
    pretrainer, graphs, mixed, same_weights
):
    model = pretrainer(["infomax"]).fit(graphs, mixed)
    assert list(model.history_[-1]["train_losses"]) == ["big", "bonds", "infomax"]
    unlabelled = mixed.copy()
    unlabelled.iloc[20:] = np.nan
    all_rows = pretrainer(["infomax"]).fit(graphs, unlabelled)
    few_rows = pretrainer(["infomax"]).fit(graphs[:20], unlabelled[:20])
    assert not same_weights(all_rows, few_rows)


def test_labels_may_be_ignored(pretrainer, graphs, table, same_weights):
    ignoring = pretrainer(target_loss=None).fit(graphs, table)
    assert same_weights(ignoring, pretrainer().fit(graphs))


def test_text_labels_are_refused_but_may_be_ignored(pretrainer, graphs):
    words = np.where(graphs.n_nodes > 5, "large", "small")
    with pytest.raises(ValueError, match="or set target_loss=None"):
        pretrainer().fit(graphs, words)
    pretrainer(target_loss=None).fit(graphs, words)


def test_labels_are_targets_of_anchored_weightings(pretrainer, graphs, table):
    model = pretrainer(["infomax"], task_weighting="gns").fit(graphs, table)
    assert model.history_[-1]["task_weights"]["task_0"] == pytest.approx(1 / 3)
    for weighting in ("gcs", "gns", "anchoredpcgrad", "rcgrad", "curvature"):
        with pytest.raises(ValueError, match="there is no y"):
            pretrainer(["infomax"], task_weighting=weighting).fit(graphs)


def test_early_stopping_watches_the_auxiliary_tasks_alone(pretrainer, graphs):
    model = pretrainer(
        early_stopping=True, validation=0.3, n_iter_no_change=3, max_epochs=30
    ).fit(graphs)
    assert list(model.history_[0]["valid_losses"]) == ["atommasking"]
    losses = [r["valid_loss"] for r in model.history_ if "valid_loss" in r]
    assert len(losses) in (1 + np.argmin(losses) + 3, 15)
    assert model.best_epoch_ == len(model.history_) == 2 * len(losses)
    # The same masks for every epoch: nothing learned is no change.
    still = pretrainer(
        early_stopping=True,
        validation=0.3,
        lr=1e-30,
        encoder=GIN(8, n_layers=1, norm=None),
    ).fit(graphs)
    losses = [r["valid_loss"] for r in still.history_ if "valid_loss" in r]
    assert np.ptp(losses) < 1e-9


def test_nothing_to_learn_is_said(pretrainer, graphs):
    with pytest.raises(ValueError, match="without auxiliary_tasks there is nothing"):
        pretrainer(()).fit(graphs)
    with pytest.raises(ValueError, match="had anything to learn from"):
        pretrainer(["infomax"]).fit(graphs[:1])
    X = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="predicts a categorical column"):
        pretrainer().fit(X)
    # Rows of a table are graphs all the same.
    assert pretrainer(["infomax"]).fit(X).transform(X).dtype == np.float64


# -- the recipe of Sup-CP ------------------------------------------------------------


def test_contexts_then_assays_then_the_target(pretrainer, graphs, mixed, table):
    encoder = GCN(width=16, n_layers=2)
    first = pretrainer([ContextPrediction()], encoder=encoder, max_epochs=2)
    first.fit(graphs)
    before = {k: v.clone() for k, v in first.encoder_.state_dict().items()}
    second = pretrainer((), encoder=Pretrained(first.encoder_), max_epochs=2)
    second.fit(graphs, mixed)
    third = MultiTaskGNNRegressor(
        Pretrained(second.encoder_), lr=1e-30, max_epochs=1, device="cpu"
    ).fit(graphs, table)
    assert isinstance(second.encoder_, GCN)
    after = first.encoder_.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not torch.equal(
        second.encoder_.state_dict()["layers.0.linear.weight"],
        before["layers.0.linear.weight"],
    )
    weights = third.module_.encoder.core.state_dict()["layers.0.linear.weight"]
    expected = second.encoder_.state_dict()["layers.0.linear.weight"]
    torch.testing.assert_close(weights, expected)


def test_transform_is_the_encoder_in_evaluation_mode(pretrainer, graphs):
    model = pretrainer().fit(graphs)
    vectors = model.transform(graphs)
    assert not model.encoder_.training
    np.testing.assert_allclose(vectors, model.encoder_.embed(graphs), rtol=1e-6)
    np.testing.assert_allclose(vectors[3:5], model.transform(graphs[3:5]), rtol=1e-5)
    assert list(model.get_feature_names_out()[:2]) == [
        "gnnpretrainer0",
        "gnnpretrainer1",
    ]
    with config_context(transform_output="pandas"):
        frame = pretrainer().fit_transform(graphs)
    assert frame.shape == (30, 16)


# -- chunks and resumption -----------------------------------------------------------


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_chunks_of_a_file_larger_than_memory(pretrainer, graphs, mmap_mode, tmp_path):
    graphs.save(tmp_path / "graphs")
    X = GraphArray.load(tmp_path / "graphs", mmap_mode=mmap_mode)
    model = pretrainer(["atommasking", "descriptorprediction"])
    for start in (0, 10, 20):
        model.partial_fit(X[start : start + 10])
    assert [record["epoch"] for record in model.history_] == [1, 2, 3]
    scales = model.module_.tasks()[1].scale_
    alone = pretrainer(["atommasking", "descriptorprediction"]).partial_fit(X[:10])
    assert torch.equal(scales, alone.module_.tasks()[1].scale_)  # of the first chunk


def test_a_whole_file_is_not_copied(pretrainer, graphs, tmp_path, monkeypatch):
    graphs.save(tmp_path / "graphs")
    X = GraphArray.load(tmp_path / "graphs", mmap_mode="r")
    monkeypatch.setattr(GraphArray, "_take", None)
    assert pretrainer().fit(X).transform(X).shape == (30, 16)


@pytest.mark.parametrize(
    "weighting",
    ["equal", "uncertainty", "famo", "dwa", "gradnorm", "upgrad", "rcgrad", "blo"],
)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_resumed_run_is_the_uninterrupted_one(
    pretrainer, graphs, mixed, same_weights, tmp_path, weighting, optimizer
):
    y = mixed if weighting in ("rcgrad", "blo") else None
    chunks = [slice(0, 15), slice(15, 30)] * 2

    def run(model, chunks):
        for chunk in chunks:
            model.partial_fit(graphs[chunk], None if y is None else y[chunk])
        return model

    rule = BLO(every=1, n_terms=0) if weighting == "blo" else weighting
    settings = {"task_weighting": rule, "optimizer": optimizer}
    tasks = ["atommasking", "infomax"]
    whole = run(pretrainer(tasks, **settings), chunks)
    half = run(pretrainer(tasks, **settings), chunks[:2])
    half.save(tmp_path / "checkpoint")
    resumed = run(GNNPretrainer.load(tmp_path / "checkpoint"), chunks[2:])
    assert same_weights(whole, resumed)
    assert resumed.encoder == whole.encoder or repr(resumed) == repr(whole)
    for first, second in zip(whole.history_, resumed.history_, strict=True):
        assert first["train_losses"] == second["train_losses"]
    state = resumed.task_weighting_.state_dict()
    for name, value in whole.task_weighting_.state_dict().items():
        # NaN stands for what is not used.
        np.testing.assert_array_equal(state[name], value)


def test_a_regressor_resumes_exactly_too(small, graphs, gaps, same_weights, tmp_path):
    model = small(batch_size=8).partial_fit(graphs, gaps)
    model.save(tmp_path / "checkpoint")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "checkpoint")
    assert same_weights(
        model.partial_fit(graphs, gaps), loaded.partial_fit(graphs, gaps)
    )


def test_the_first_chunk_fixes_the_tasks(pretrainer, graphs, mixed):
    model = pretrainer(["infomax"]).partial_fit(graphs[:15], mixed[:15])
    mean = model.target_mean_.copy()
    model.partial_fit(graphs[15:], 3 * mixed[15:].assign(big=np.nan))
    np.testing.assert_array_equal(model.target_mean_, mean)
    model.partial_fit(graphs[15:])  # no labels at all
    record = model.history_[-1]["train_losses"]
    assert np.isnan(record["bonds"])
    assert np.isfinite(record["infomax"])
    strange = mixed.assign(big=2.0)
    with pytest.raises(ValueError, match="'big' has the label 2, but its logistic"):
        model.partial_fit(graphs, strange)
    with pytest.raises(ValueError, match="fitted with"):
        model.partial_fit(graphs, mixed[["bonds", "big"]])
    model = pretrainer().partial_fit(graphs)
    with pytest.raises(ValueError, match="the first call had none"):
        model.partial_fit(graphs, mixed)
    model = pretrainer(()).partial_fit(graphs, mixed)
    with pytest.raises(ValueError, match="No row of X has a label"):
        model.partial_fit(graphs)


def test_a_failed_chunk_leaves_the_estimator_as_it_was(pretrainer, graphs, mixed):
    model = pretrainer(["infomax"]).partial_fit(graphs, mixed)
    before = model.transform(graphs)
    with pytest.raises(ValueError, match="logistic"):
        model.partial_fit(graphs, mixed.assign(big=7.0))
    np.testing.assert_array_equal(model.transform(graphs), before)
    assert len(model.history_) == 1


def test_a_chunk_with_nothing_to_learn_from_loses_nothing(pretrainer, graphs):
    encoder = GIN(width=8, n_layers=1, norm=None)
    model = pretrainer(["infomax"], encoder=encoder).partial_fit(graphs)
    before = model.transform(graphs)
    with pytest.raises(ValueError, match="had anything to learn from"):
        model.partial_fit(graphs[:1])
    np.testing.assert_array_equal(model.transform(graphs), before)
    model.partial_fit(graphs)


# -- scikit-learn --------------------------------------------------------------------


def test_pickle_clone_files_and_seeds(pretrainer, graphs, mixed, tmp_path):
    model = pretrainer([AtomMasking(0.3)]).fit(graphs, mixed)
    expected = model.transform(graphs)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(graphs), expected)
    model.save(tmp_path / "model")
    loaded = GNNPretrainer.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(graphs), expected)
    assert loaded.target_losses_ == model.target_losses_
    assert loaded.encoder_.schema == graphs.schema
    twin = clone(model)
    assert not hasattr(twin, "module_")
    np.testing.assert_array_equal(twin.fit(graphs, mixed).transform(graphs), expected)
    alone = pretrainer().fit(graphs)
    alone.save(tmp_path / "alone")
    loaded = GNNPretrainer.load(tmp_path / "alone")
    np.testing.assert_array_equal(loaded.transform(graphs), alone.transform(graphs))


def test_warm_start_goes_on(pretrainer, graphs):
    model = pretrainer(warm_start=True).fit(graphs).fit(graphs)
    assert len(model.history_) == 6


def test_in_a_pipeline_and_a_search(pretrainer, smiles, table):
    pipe = make_pipeline(
        SmilesToGraph(), pretrainer(target_loss=None), StandardScaler(), Ridge()
    )
    grid = {
        "gnnpretrainer__encoder__width": [8, 16],
        "gnnpretrainer__target_loss": [None, "auto"],
    }
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(smiles, table)
    assert search.predict(smiles).shape == table.shape
    names = search.best_estimator_[:2].get_feature_names_out()
    assert len(names) == search.best_params_["gnnpretrainer__encoder__width"]


def test_its_encoder_starts_a_search(pretrainer, graphs, table):
    source = pretrainer().fit(graphs).encoder_
    search = GridSearchCV(
        MultiTaskGNNClassifier(Pretrained(source), max_epochs=1, device="cpu"),
        {"encoder__freeze": [False, 1, True]},
        cv=2,
        error_score="raise",
    ).fit(graphs, table[:, 0] > 5)
    assert search.best_estimator_.encoder.encoder is source


def test_invalid_graphs_are_left_out(pretrainer, smiles):
    transformer = SmilesToGraph(on_error="nan")
    with pytest.warns(UserWarning, match="1 of 31"):
        X = transformer.fit_transform([*smiles, "C1CC"])
    with pytest.warns(UserWarning, match="1 invalid graphs are left out of fit"):
        model = pretrainer().fit(X)
    assert np.isnan(model.transform(X)[-1]).all()
    assert np.isfinite(model.transform(X)[:-1]).all()


def test_curvature_of_labelled_columns(pretrainer, graphs, mixed):
    model = pretrainer(["infomax"]).fit(graphs, mixed)
    spectrum = hessian_spectrum(
        model, graphs, mixed, n_lanczos=8, n_eigenvalues=1, tol=0.9, random_state=0
    )
    assert spectrum.task_names == ("big", "bonds")
