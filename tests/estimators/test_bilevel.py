"""Weights learned on held-out rows inside a fit: rows, groups, state, records."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from small_estimators import halves

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators._splits import hold_out
from skgnn_mtl.model_selection import ScaffoldSplit, scaffold_groups
from skgnn_mtl.weighting import BLO, GNS, Equal, Fixed, HeldOut, RCGrad

# Hessians of networks are indefinite: some term will be longer than the first.
pytestmark = pytest.mark.filterwarnings("ignore:The terms of the series")
STRATEGIES = [
    Equal(pool="labels"),
    Fixed([1.0, 1.0, 0.5, 0.1], pool="tasks"),
    "gcs",
    "gns",
    "anchoredpcgrad",
    "rcgrad",
    RCGrad(mode="released"),
    RCGrad(mode="schedule"),
    RCGrad(learn="heldout", every=2),
    BLO(every=2, n_terms=1, scale=0.01),
    BLO(RCGrad(), every=2),
    BLO(RCGrad(learn="heldout"), every=2, normalize=True),
    BLO(RCGrad(), mode="intended", every=2, n_terms=0),
    BLO(RCGrad(), mode="released"),
]


@pytest.fixture
def settings():
    return {
        "encoder": GIN(width=12, n_layers=2),
        "auxiliary_tasks": ["infomax"],
        "target_tasks": [0, 1],
        "batch_size": 8,
        "max_epochs": 3,
        "lr": 1e-2,
        "random_state": 0,
    }


@pytest.fixture
def make(settings):
    return lambda **changes: MultiTaskGNNRegressor(**{**settings, **changes})


@pytest.mark.filterwarnings("default:.*did not converge in")  # H may be indefinite
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_both_estimators_train_with_every_strategy(
    settings, graphs, gaps, strategy, kind, same_weights
):
    y, cls = gaps, MultiTaskGNNRegressor
    if kind == "classifier":
        y = halves(gaps)
        cls = MultiTaskGNNClassifier
    model = cls(task_weighting=strategy, **settings).fit(graphs, y)
    assert np.isfinite(model.predict(graphs)).all()
    names = [*model.task_names_, "infomax"]
    assert list(model.history_[-1]["task_weights"]) == names
    assert np.isfinite(model.task_weights_).all()
    assert same_weights(model, clone(model).fit(graphs, y))


def test_the_mode_can_be_searched(make, graphs, table):
    search = GridSearchCV(
        make(task_weighting=BLO(RCGrad(), every=2), max_epochs=1),
        {
            "task_weighting__mode": ["consistent", "released"],
            "task_weighting__inner__mode": ["angle", "schedule"],
        },
        cv=2,
    ).fit(graphs, table)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# -- which rows -------------------------------------------------------------------


def test_the_tail_is_whole_groups_the_smallest_and_earliest():
    groups = np.repeat([3, 0, 1, 2, 4], [4, 1, 3, 1, 1])
    weights = np.ones((10, 1))
    part = HeldOut(10, 0.2, "tail")
    rows, held = hold_out(part, weights, groups, np.arange(10), seed=0)
    # Of the groups of one row, the first in the table go last.
    assert held.tolist() == [4, 8]
    assert rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 9]
    # The cut never goes through a group: the second of three is left out whole.
    part = HeldOut(10, 0.5, "tail")
    rows, held = hold_out(part, weights, groups, np.arange(10), seed=0)
    assert rows.tolist() == [0, 1, 2, 3]
    assert set(held) == set(range(4, 10))


def test_published_counts(shared_data):
    """Of SIDER 912 of 1141 training rows are left, and 229 rare scaffolds judge."""
    X = pd.read_csv(shared_data / "sider.csv.gz")["smiles"]
    train, *_ = ScaffoldSplit().parts(X)
    groups = scaffold_groups(X, chirality=True, acyclic="one")
    part = HeldOut(10, 0.2, "tail")
    weights = np.ones((len(X), 1))
    rows, held = hold_out(part, weights, groups, np.sort(train), seed=0)
    assert (len(rows), len(held)) == (912, 229)
    assert np.unique(groups[held], return_counts=True)[1].max() == 1


@pytest.mark.parametrize("split", ["tail", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_never_cut_and_unlabelled_rows_judge_nothing(split, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 60)
    weights = (rng.random((60, 2)) < 0.4).astype(float)
    available = np.sort(rng.permutation(60)[:50])
    rows, held = hold_out(HeldOut(1, 0.25, split), weights, groups, available, seed)
    assert not set(groups[rows]) & set(groups[held])
    assert (weights[held] > 0).any(axis=1).all()
    assert set(rows) | set(held) <= set(available)
    n = (weights[available] > 0).any(axis=1).sum()
    assert len(held) >= 0.25 * n


def test_a_single_group_cannot_be_divided(make, graphs, table):
    model = make(task_weighting="blo")
    with pytest.raises(ValueError, match="of one group"):
        model.fit(graphs, table, groups=np.zeros(len(table)))


def test_groups_reach_the_held_out_rows_and_validation(make, graphs, table):
    groups = np.arange(30) // 3
    model = make(task_weighting=BLO(RCGrad(), every=2), early_stopping=True)
    model.fit(graphs, table, groups=groups)
    held = set(groups[model.held_out_rows_])
    rest = np.setdiff1d(np.arange(30), model.held_out_rows_)
    assert held
    assert not held & set(groups[rest])
    model.set_params(task_weighting="gns").fit(graphs, table)
    assert not hasattr(model, "held_out_rows_")


def test_held_out_rows_are_not_trained_on(make, graphs, table, same_weights):
    """With weights that never change, labels of held-out rows do not matter."""
    blo = BLO(RCGrad(mode="schedule"), mode="released")
    settings = {"task_weighting": blo, "normalize_targets": False}
    first = make(**settings).fit(graphs, table)
    changed = table.copy()
    changed[first.held_out_rows_] += 100.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of these units
        second = make(**settings).fit(graphs, changed)
    assert second.held_out_rows_.tolist() == first.held_out_rows_.tolist()
    assert same_weights(first, second)
    learning = {"task_weighting": BLO(RCGrad(mode="schedule"), every=1, lr=0.1)}
    first = make(**{**settings, **learning}).fit(graphs, table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        second = make(**{**settings, **learning}).fit(graphs, changed)
    assert not same_weights(first, second)


def test_without_auxiliary_tasks_nothing_is_held_out(make, graphs, table, same_weights):
    one = {"auxiliary_tasks": (), "target_tasks": None}
    plain = make(**one, task_weighting=Equal(pool="labels")).fit(graphs, table)
    with pytest.warns(UserWarning, match="there are no auxiliary tasks"):
        model = make(**one, task_weighting="blo").fit(graphs, table)
    assert not hasattr(model, "held_out_rows_")
    assert same_weights(model, plain)


# -- pooled sums ------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["labels", "tasks"])
def test_pooled_sums_weigh_the_targets_by_labels_or_tasks(make, graphs, table, pool):
    table[10:, 1] = np.nan
    settings = {"batch_size": 100, "max_epochs": 1}
    model = make(task_weighting=Equal(pool=pool), **settings).fit(graphs, table)
    expected = [0.75, 0.25, 1.0, 1.0] if pool == "labels" else [0.5, 0.5, 1.0, 1.0]
    weights = list(model.history_[0]["task_weights"].values())
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    fixed = Fixed([2.0, 1.0, 0.1, 0.2], pool=pool)
    model = make(task_weighting=fixed, **settings).fit(graphs, table)
    weights = list(model.history_[0]["task_weights"].values())
    factors = [2.0 * expected[0], expected[1], 0.1, 0.2]
    np.testing.assert_allclose(weights, factors, rtol=1e-6)


def test_unknown_pools_are_refused(make, graphs, table):
    for weighting in (Equal(pool="rows"), BLO(pool=None), RCGrad(pool=None)):
        with pytest.raises(ValueError, match="pool"):
            make(task_weighting=weighting).fit(graphs, table)


# -- state ------------------------------------------------------------------------


@pytest.mark.filterwarnings("default:.*did not converge in")  # H may be indefinite
@pytest.mark.parametrize("inner", [None, RCGrad(learn="heldout")], ids=["sum", "inner"])
def test_state_survives_continuation_pickle_and_files(
    make, graphs, table, inner, tmp_path, same_weights
):
    part = BLO(inner, every=3, n_terms=1, scale=0.01)
    model = make(task_weighting=part)
    for _ in range(2):  # three steps each, of 24 rows
        model.partial_fit(graphs, table)
    held = model.held_out_rows_.tolist()
    assert model.task_weighting_.n_outer_steps_ == 2
    copy = pickle.loads(pickle.dumps(model))
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    for other in (copy, loaded):
        found = other.task_weighting_
        assert found.weights_.tolist() == model.task_weighting_.weights_.tolist()
        assert found.n_outer_steps_ == 2
    for other in (model, copy):
        other.partial_fit(graphs, table)
        assert other.task_weighting_.n_outer_steps_ == 3
        assert other.held_out_rows_.tolist() == held
    assert same_weights(model, copy)
    loaded.set_params(warm_start=True).fit(graphs, table)
    assert loaded.task_weighting_.n_outer_steps_ == 2 + 3
    fresh = clone(model.task_weighting_)
    assert not fresh.state_dict()
    assert part.state_dict() == {}
    model.fit(graphs, table)
    assert model.task_weighting_.n_outer_steps_ == 3


def test_statistics_of_batch_normalisation_are_those_of_the_training_steps(
    make, graphs, table
):
    def first_mean(every):
        blo = BLO(every=every, n_terms=0)
        model = make(task_weighting=blo, lr=1e-12, max_epochs=1).fit(graphs, table)
        return model.module_.encoder.norms[0].running_mean

    torch.testing.assert_close(first_mean(1), first_mean(1000), rtol=0, atol=1e-6)


def test_the_network_before_the_first_outer_step_does_not_know_of_it(
    make, graphs, table, same_weights
):
    """The same batches, masks and dropout, however often there is a look."""
    encoder = GIN(width=12, n_layers=2, dropout=0.3)
    often, never = (
        make(
            encoder=encoder,
            task_weighting=BLO(every=every, lr=1e-300, n_terms=0),
        ).fit(graphs, table)
        for every in (1, 1000)
    )
    assert often.task_weighting_.n_outer_steps_ == 9
    assert same_weights(often, never)


def test_first_weights_of_one_number_or_one_each(make, graphs, table):
    for init in (0.3, [0.1, 0.3, 0.3]):
        model = make(task_weighting=BLO(weight_init=init)).fit(graphs, table)
        weights = model.history_[-1]["task_weights"]
        assert weights["infomax"] == weights["task_2"] == pytest.approx(0.3)
    with pytest.raises(ValueError, match="3 numbers"):
        make(task_weighting=BLO(weight_init=[0.5, 0.5])).fit(graphs, table)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"mode": "angle"}, ValueError),
        ({"every": 0}, ValueError),
        ({"fraction": 1.0}, ValueError),
        ({"split": "head"}, ValueError),
        ({"n_terms": -1}, ValueError),
        ({"n_batches": 0}, ValueError),
        ({"momentum": 1.0}, ValueError),
        ({"lr": 0.0}, ValueError),
        ({"weight_init": -1.0}, ValueError),
        ({"inner": GNS()}, TypeError),
        ({"inner": RCGrad(gradients="representation")}, ValueError),
        ({"inner": RCGrad(), "weight_init": 2.0}, ValueError),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(make, graphs, table, bad, error):
    with pytest.raises(error, match=next(reversed(bad))):
        make(task_weighting=BLO(**bad)).fit(graphs, table)
    with pytest.raises(ValueError, match="gradients"):
        weighting = RCGrad(learn="heldout", gradients="representation")
        make(auxiliary_tasks=(), task_weighting=weighting).fit(graphs, table)


# -- records ----------------------------------------------------------------------


def test_records_tell_how_auxiliaries_stand_to_the_target(make, graphs, table):
    table[3:, 2] = np.nan  # absent from some batches
    model = make(task_weighting=RCGrad(rotation_init=0.5)).fit(graphs, table)
    for record in model.history_:
        for key in ("norms", "cosines", "conflict_shares", "rotation"):
            assert list(record[key]) == ["task_2", "infomax"]
        assert all(-1 <= c <= 1 for c in record["cosines"].values())
        assert record["target_norm"] > 0
        assert list(record["absent_shares"]) == [*model.task_names_, "infomax"]
        assert np.mean(list(record["absent_shares"].values())) == pytest.approx(
            record["absent_share"]
        )
    assert 0 < model.history_[0]["absent_shares"]["task_2"] < 1
    turns = model.task_weighting_.rotation_
    assert list(model.history_[-1]["rotation"].values()) == turns[2:].tolist()
    plain = make(task_weighting="equal").fit(graphs, table)
    assert "cosines" not in plain.history_[0]


@pytest.mark.filterwarnings("default:.*did not converge in")  # H may be indefinite
def test_records_of_learned_weights(make, graphs, table):
    blo = BLO(every=2, n_terms=3, scale=0.01)
    model = make(task_weighting=blo).fit(graphs, table)
    first, last = model.history_[0], model.history_[-1]
    assert first["n_outer_steps"] == 1
    assert last["n_outer_steps"] == 4
    weights = model.task_weighting_.weights_
    assert list(last["learned_weights"].values()) == weights[1:].tolist()
    assert list(last["hypergradients"]) == ["task_2", "infomax"]
    assert np.isfinite(last["target_hypergradient"])
    assert last["series_ratio"] > 0
    inner = make(task_weighting=BLO(RCGrad(), every=2)).fit(graphs, table)
    assert "series_ratio" not in inner.history_[-1]
    assert "cosines" in inner.history_[-1]


def test_a_diverging_series_is_told_once(make, graphs, table):
    model = make(task_weighting=BLO(every=1, n_terms=3, scale=1e3, lr=1e-9))
    with pytest.warns(ConvergenceWarning, match="Lower scale") as caught:
        model.fit(graphs, table)
    told = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert len(told) == 1
    assert model.history_[-1]["series_ratio"] > 1


@pytest.mark.parametrize(
    ("weighting", "warns"),
    [
        ("gns", True),
        ("rcgrad", True),
        (RCGrad(norm="keep"), False),
        (BLO(RCGrad(), every=2), True),
        ("gcs", False),
        ("anchoredpcgrad", False),
    ],
    ids=str,
)
def test_units_of_unscaled_targets_are_warned_of_once(
    make, graphs, table, weighting, warns
):
    model = make(task_weighting=weighting, normalize_targets=False, max_epochs=1)
    for units, is_odd in ((1e-3, True), (1.0, False)):
        y = table / table.std(axis=0) * [1.0, units, 1e3]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(graphs, y)
        told = [str(w.message) for w in caught if "normalize_targets" in str(w.message)]
        # The third column is no target.
        assert len(told) == int(warns and is_odd)
        assert all("'task_1' (0.001)" in text for text in told)
