"""Auxiliary tasks in an estimator: entries of the losses, for every weighting."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.auxiliary import (
    AtomMasking,
    ContextPrediction,
    DescriptorPrediction,
    Infomax,
)
from skgnn_mtl.encoders import GIN, Pretrained
from skgnn_mtl.weighting import GNS, Curvature, Fixed, RCGrad

ALL = [
    "atommasking",
    "edgeprediction",
    "contextprediction",
    "infomax",
    "motifprediction",
    "descriptorprediction",
]


@pytest.fixture(scope="module")
def hu2020(smiles):
    return SmilesToGraph(features="hu2020").fit_transform(smiles)


@pytest.fixture
def aided(small):
    def make(tasks=("atommasking", "infomax", "motifprediction"), **changes):
        encoder = GIN(width=16, n_layers=2)
        parameters = {"encoder": encoder, "auxiliary_tasks": tasks, **changes}
        return small(batch_size=10, **parameters)

    return make


@pytest.mark.parametrize(
    "weighting",
    [
        *("equal", "uncertainty", "famo", "upgrad", "pcgrad", "graddrop", "dbmtl"),
        *("gcs", "gns", "anchoredpcgrad", "rcgrad"),
        RCGrad(mode="released", update_every=2),
        Curvature(update_every=2),
        Curvature(statistic="hessian_max", update_every=2),
        Fixed([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
    ],
    ids=str,
)
def test_all_tasks_train_under_every_weighting(
    aided, hu2020, gaps, weighting, same_weights
):
    model = aided(ALL, task_weighting=weighting).fit(hu2020, gaps)
    record = model.history_[-1]
    names = [*model.task_names_, *ALL]
    assert model.auxiliary_names_ == ALL
    for key in ("train_losses", "task_weights"):
        assert list(record[key]) == names
        assert np.isfinite(list(record[key].values())).all()
    assert model.task_weights_.shape == (9,)
    assert model.predict(hu2020).shape == (30, 3)
    again = aided(ALL, task_weighting=weighting).fit(hu2020, gaps)
    assert same_weights(model, again)


def test_statistics_of_batch_normalisation_are_those_of_the_plain_pass(
    aided, hu2020, table
):
    def first_mean(**changes):
        model = aided(max_epochs=1, lr=1e-12, **changes).fit(hu2020, table)
        return model.module_.encoder.norms[0].running_mean

    plain = first_mean(tasks=())
    for weighting in ("equal", "rcgrad"):
        torch.testing.assert_close(first_mean(task_weighting=weighting), plain)


def test_the_pooled_target_is_one_row_whatever_the_number_of_columns(
    aided, hu2020, table, monkeypatch
):
    from skgnn_mtl.training import _surgery

    rows = []
    fill = _surgery.fill_jacobian

    def counted(J, *args):
        rows.append(len(J))
        fill(J, *args)

    monkeypatch.setattr(_surgery, "fill_jacobian", counted)
    aided(task_weighting="gns", max_epochs=1).fit(hu2020, table)
    assert rows == [4, 4, 4]


def test_supervised_columns_may_be_auxiliary_too(aided, hu2020, table):
    model = aided(["infomax"], task_weighting="gns", target_tasks=[0])
    weights = model.fit(hu2020, table).history_[0]["task_weights"]
    assert weights["task_0"] == 1.0
    assert all(weights[name] != 0.5 for name in ("task_1", "task_2", "infomax"))


def test_graphs_without_labels_take_part(aided, hu2020, table, same_weights):
    missing = table.copy()
    missing[20:] = np.nan
    with_all = aided(["infomax"]).fit(hu2020, missing)
    labelled = aided(["infomax"]).fit(hu2020[:20], missing[:20])
    assert not same_weights(with_all, labelled)
    plain = aided(()).fit(hu2020, missing)
    assert same_weights(plain, aided(()).fit(hu2020[:20], missing[:20]))


def test_validation_watches_the_targets_alone(aided, hu2020, table):
    model = aided(early_stopping=True, validation=0.3).fit(hu2020, table)
    assert list(model.history_[0]["valid_losses"]) == model.task_names_


def test_search_continuation_pickle_and_files(aided, hu2020, table, tmp_path):
    search = GridSearchCV(
        aided(max_epochs=1, task_weighting=RCGrad()),
        {
            "auxiliary_tasks": [
                ["infomax"],
                [AtomMasking(0.3), DescriptorPrediction()],
            ],
            "task_weighting__mode": ["angle", "schedule"],
        },
        cv=2,
    ).fit(hu2020, table)
    best = search.best_estimator_
    expected = best.predict(hu2020)
    loaded = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(loaded.predict(hu2020), expected)
    model = aided([Infomax(), "descriptorprediction"]).fit(hu2020, table)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(hu2020), model.predict(hu2020))
    for one in (model, loaded):
        one.set_params(warm_start=True).fit(hu2020, table)
    np.testing.assert_array_equal(loaded.predict(hu2020), model.predict(hu2020))
    partial = clone(aided()).partial_fit(hu2020, table).partial_fit(hu2020, table)
    assert len(partial.history_) == 2


@pytest.mark.parametrize("first", [["infomax"], ()])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_training_that_goes_on_has_the_tasks_of_its_network(
    aided, hu2020, table, first, method
):
    model = aided(first, warm_start=True, max_epochs=1).fit(hu2020, table)
    expected = model.predict(hu2020)
    for others in (["atommasking"], ["infomax", "atommasking"]):
        model.set_params(auxiliary_tasks=others)
        with pytest.raises(ValueError, match=r"auxiliary_tasks are .*atommasking"):
            getattr(model, method)(hu2020, table)
    np.testing.assert_array_equal(model.predict(hu2020), expected)
    model.set_params(auxiliary_tasks=first, warm_start=False)
    model.set_params(auxiliary_tasks=["atommasking"]).fit(hu2020, table)


def test_clear_errors(aided, hu2020, table):
    with pytest.raises(ValueError, match="auxiliary_tasks='masking' is unknown"):
        aided(["masking"]).fit(hu2020, table)
    with pytest.raises(ValueError, match="cannot see auxiliary tasks"):
        aided(task_weighting=RCGrad(gradients="representation")).fit(hu2020, table)
    import pandas as pd

    frame = pd.DataFrame(table, columns=["infomax", "a", "b"])
    with pytest.raises(ValueError, match="has the name of an auxiliary task"):
        aided().fit(hu2020, frame)
    with pytest.raises(ValueError, match="auxiliary_tasks' parameter"):
        aided("infomax").fit(hu2020, table)


def test_tasks_that_can_do_nothing_are_named(aided, hu2020, table):
    far = ContextPrediction(radius=50)
    with pytest.warns(UserWarning, match="contextprediction was in no batch"):
        aided([far, "infomax"]).fit(hu2020, table)
    source = aided().fit(hu2020, table).module_.encoder
    with pytest.warns(UserWarning, match="All parameters that tasks share are frozen"):
        aided(encoder=Pretrained(source, freeze=True)).fit(hu2020, table)


@pytest.mark.parametrize(
    ("weighting", "message"),
    [
        (GNS(max_scale=-1.0), "'max_scale' parameter of GNS"),
        (RCGrad(max_gain=-5.0), "'max_gain' parameter of RCGrad must be a float in"),
        (RCGrad(rotation_init=2.0), r"'rotation_init' parameter .* in the range"),
        (RCGrad(rotation_init=np.nan), "'rotation_init' parameter"),
        (RCGrad(mode="schedule", decay_steps=0), "'decay_steps' parameter"),
    ],
    ids=str,
)
def test_methods_refuse_what_would_turn_them_round(
    aided, hu2020, table, weighting, message
):
    with pytest.raises(ValueError, match=message):
        aided(task_weighting=weighting).fit(hu2020, table)
