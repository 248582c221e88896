"""All weightings inside a fit: training, state, search, files, records."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from random_jacobians import ANCHORED, GRAMIAN_METHODS, JACOBIAN_METHODS, METHODS
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.readouts import Sum
from skgnn_mtl.weighting import (
    BLO,
    DBMTL,
    FAMO,
    MGDA,
    CAGrad,
    FairGrad,
    Fixed,
    GradVac,
    GramianWeighting,
    NashMTL,
    PCGrad,
    SolverReport,
    UPGrad,
)

STATEFUL = ["dwa", "famo", "gradnorm", "gradvac", "dbmtl", "stch", "uncertainty"]


@pytest.fixture
def frame(gaps):
    return pd.DataFrame(gaps, columns=["a", "b", "c"])


@pytest.fixture(autouse=True)
def no_word_about_few_common_labels():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Two tasks share", UserWarning)
        yield


def choose(name):
    # Sixty steps are few for a running mean over ten.
    special = {
        "fixed": Fixed([1.0, 1.0, 1.0]),
        "dbmtl": DBMTL(beta=0.1),
        "blo": BLO(n_terms=0),
    }
    return special.get(name, name)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(small, graphs, frame, name):
    model = small(task_weighting=choose(name), readout=Sum(norm=10), max_epochs=60)
    if name in ANCHORED:
        model.set_params(target_tasks="a")
    model.fit(graphs, frame)
    first, last = (model.history_[k]["train_losses"] for k in (0, -1))
    assert all(last[task] < 0.6 * first[task] for task in ("a", "b", "c"))
    assert model.task_weights_.mean() == pytest.approx(1.0)
    assert list(model.history_[-1]["task_weights_std"]) == ["a", "b", "c"]
    assert model.history_[-1]["absent_share"] == 0.0


@pytest.mark.parametrize("name", METHODS)
def test_two_fits_with_one_seed_agree(small, graphs, frame, name, same_weights):
    settings = {"task_weighting": choose(name), "batch_size": 8, "target_tasks": "a"}
    first, second = (small(**settings).fit(graphs, frame) for _ in range(2))
    assert same_weights(first, second)
    assert same_weights(clone(first).fit(graphs, frame), first)


@pytest.mark.parametrize("name", [*GRAMIAN_METHODS, *JACOBIAN_METHODS])
def test_a_single_task_is_trained_alike(small, graphs, frame, name, same_weights):
    plain = small(batch_size=8).fit(graphs, frame[["a"]])
    model = small(batch_size=8, task_weighting=name).fit(graphs, frame[["a"]])
    assert same_weights(model, plain)


@pytest.mark.parametrize("name", [*GRAMIAN_METHODS, *JACOBIAN_METHODS, "famo"])
def test_batches_that_lack_a_task_are_no_matter(small, graphs, table, name):
    table[3:, 2] = np.nan
    table[:3, :2] = np.nan
    model = small(
        task_weighting=name, batch_size=2, max_epochs=3, target_tasks=["task_0"]
    ).fit(graphs, table)
    assert np.isfinite(model.predict(graphs)).all()
    assert model.history_[0]["absent_share"] > 0.2
    assert np.isfinite(model.task_weights_).all()


@pytest.mark.parametrize("name", ["upgrad", "nashmtl", "graddrop"])
def test_gradient_methods_respect_clipping(small, graphs, frame, name):
    settings = {"task_weighting": name, "optimizer": "sgd", "lr": 1.0, "max_epochs": 1}
    settings |= {"lr_schedule": "constant", "batch_size": 100}
    start = small(**{**settings, "lr": 1e-30}).fit(graphs, frame).module_.state_dict()
    model = small(**settings, gradient_clip=1e-3).fit(graphs, frame)
    moved = [
        (value - start[key]).flatten()
        for key, value in model.module_.state_dict().items()
    ]
    assert torch.cat(moved).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("name", ["upgrad", "mgda", "dbmtl", "famo"])
def test_rows_of_weight_zero_are_as_good_as_absent(small, graphs, frame, name):
    weights = np.ones(len(frame))
    weights[20:] = 0.0
    settings = {"task_weighting": name, "batch_size": 100}
    first = small(**settings).fit(graphs, frame, sample_weight=weights)
    second = small(**settings).fit(graphs[:20], frame[:20])
    np.testing.assert_allclose(
        first.predict(graphs), second.predict(graphs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "weighting",
    [
        PCGrad(update_every=3),
        NashMTL(gradients="representation"),
        CAGrad(c=0.8, rescale="mean1"),
        FairGrad(alpha=2.0),
        MGDA(normalization="loss+"),
    ],
    ids=str,
)
def test_settings_of_gradient_methods(small, graphs, frame, weighting):
    model = small(task_weighting=weighting, max_epochs=20, batch_size=8)
    model.fit(graphs, frame)
    losses = [record["train_loss"] for record in model.history_]
    assert losses[-1] < losses[0]
    calls = sum(
        record["solver"]["calls"] for record in model.history_ if "solver" in record
    )
    steps = 20 * 4
    assert calls == -(-steps // weighting.update_every)


def test_hyper_parameters_are_searched(small, graphs, frame):
    search = GridSearchCV(
        small(task_weighting=PCGrad(), max_epochs=1),
        {"task_weighting__update_every": [1, 4], "task_weighting__rescale": ["none"]},
        cv=2,
    )
    filled = frame.fillna(frame.mean())
    search.fit(graphs, filled)
    assert search.best_params_["task_weighting__update_every"] in (1, 4)
    search = GridSearchCV(
        small(max_epochs=1), {"task_weighting": ["upgrad", "famo", CAGrad(c=1.0)]}, cv=2
    )
    search.fit(graphs, filled)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("name", STATEFUL)
def test_partial_fit_goes_on_where_pickles_and_files_left(
    small, graphs, frame, name, tmp_path
):
    model = small(task_weighting=name, batch_size=8)
    for _ in range(3):
        model.partial_fit(graphs, frame)
    model.save(tmp_path / "model.pt")
    copy = pickle.loads(pickle.dumps(model))
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model.pt")
    for other in (copy, loaded):
        mine, theirs = (m.task_weighting_.state_dict() for m in (model, other))
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            torch.testing.assert_close(
                theirs[key], value, rtol=0, atol=0, equal_nan=True
            )
    # the pickle even continues bit for bit
    expected = model.partial_fit(graphs, frame).predict(graphs)
    assert np.array_equal(copy.partial_fit(graphs, frame).predict(graphs), expected)
    assert np.isfinite(loaded.partial_fit(graphs, frame).predict(graphs)).all()


@pytest.mark.parametrize("name", ["gradvac", "famo", "dbmtl"])
def test_fit_forgets_the_state_and_warm_start_keeps_it(small, graphs, frame, name):
    model = small(task_weighting=name).fit(graphs, frame)
    first = {k: v.clone() for k, v in model.task_weighting_.state_dict().items()}
    weighting = model.task_weighting_
    model.fit(graphs, frame)
    assert model.task_weighting_ is not weighting
    for key, value in model.task_weighting_.state_dict().items():
        assert torch.equal(value, first[key])
    model.set_params(warm_start=True).fit(graphs, frame)
    changed = model.task_weighting_.state_dict()
    assert any(not torch.equal(changed[key], first[key]) for key in first)


def test_the_moments_of_learned_weights_survive_partial_fit(small, graphs, frame):
    model = small(task_weighting=FAMO(lr=0.1), batch_size=100)
    for _ in range(3):
        model.partial_fit(graphs, frame)
    steps = model._state.optimizer_state["step"]["adam"][0]["steps"]
    assert steps.tolist() == [3.0] * 3


def test_the_record_tells_of_conflicts_and_solvers(small, graphs, frame):
    model = small(task_weighting="nashmtl", batch_size=8).fit(graphs, frame)
    for record in model.history_:
        assert 0.0 <= record["conflict_share"] <= 1.0
        assert record["norm_ratio"] > 1.0
        assert record["solver"]["calls"] == 4
        assert record["solver"]["worst_residual"] <= 1e-6
        assert record["solver"]["failures"] == 0
    assert "solver" not in small().fit(graphs, frame).history_[0]


class Failing(GramianWeighting):
    def __init__(self):
        super().__init__()

    def forward(self, gramian):
        report = SolverReport(residual=0.5, converged=False)
        return gramian.new_ones(len(gramian)), report


def test_a_solver_that_fails_is_warned_of_once_a_fit(small, graphs, frame):
    with pytest.warns(ConvergenceWarning, match="did not converge in 12 of 12") as seen:
        model = small(task_weighting=Failing(), batch_size=8).fit(graphs, frame)
    assert sum(w.category is ConvergenceWarning for w in seen) == 1
    assert model.history_[-1]["solver"]["failures"] == 4


def test_target_tasks_are_pooled_into_the_first_row(small, graphs, frame):
    seen = []

    class Anchored(GramianWeighting):
        pool = "labels"

        def __init__(self):
            super().__init__()

        def forward(self, gramian, anchor=None):
            seen.append(anchor)
            return gramian.new_ones(len(gramian))

    model = small(
        task_weighting=Anchored(), target_tasks=["a", "c"], max_epochs=1, batch_size=100
    ).fit(graphs, frame)
    n = frame.notna().sum()
    assert seen[0].tolist() == [1.0, 0.0]
    shares = {name: n[name] / (n["a"] + n["c"]) for name in ("a", "c")}
    found = model.history_[0]["task_weights"]
    assert found == pytest.approx({"b": 1.0, **shares}, rel=1e-6)


@pytest.mark.parametrize(
    ("weighting", "word"),
    [
        (UPGrad(update_every=0), "update_every"),
        (PCGrad(gradients="layers"), "gradients"),
        (GradVac(rescale="max"), "rescale"),
        (FairGrad(alpha=-1.0), "alpha"),
    ],
)
def test_wrong_settings_stop_the_fit(small, graphs, frame, weighting, word):
    model = small(task_weighting=weighting)
    with pytest.raises(ValueError, match=word):
        model.fit(graphs, frame)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(lambda G: -torch.ones(3), [-1.0] * 3), (lambda G: torch.zeros(3), [0.0] * 3)],
)
def test_weights_keep_their_sign_and_may_vanish(small, graphs, frame, rule, expected):
    model = small(task_weighting=rule, max_epochs=1, lr=1e-6).fit(graphs, frame)
    assert model.task_weights_.tolist() == expected


def test_weights_learned_by_one_method_can_be_frozen(small, graphs, frame):
    nash = small(task_weighting="nashmtl").fit(graphs, frame)
    names = dict(zip(nash.task_names_, nash.task_weights_.tolist(), strict=True))
    model = small(task_weighting=Fixed(names)).fit(graphs, frame)
    np.testing.assert_allclose(model.task_weights_, nash.task_weights_)


def test_memory_of_gradients_does_not_outlive_the_fit(small, graphs, frame):
    model = small(task_weighting="upgrad").fit(graphs, frame)
    assert len(pickle.dumps(model)) < 1.5 * len(
        pickle.dumps(small().fit(graphs, frame))
    )
    means = small(task_weighting=DBMTL()).fit(graphs, frame).task_weighting_.means
    assert means.shape[0] == 3


def test_few_common_labels_are_told_with_representation_gradients(small, graphs, frame):
    frame.iloc[:15, 0] = np.nan
    frame.iloc[15:, 1] = np.nan
    frame["c"] = 1.0
    with pytest.warns(UserWarning, match="share the labels of only 0%"):
        small(task_weighting=UPGrad(gradients="representation"), encoder=GIN(8)).fit(
            graphs, frame
        )
