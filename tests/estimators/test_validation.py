"""The inner validation split, early stopping, and what watches the validation loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    ShuffleSplit,
)
from skorch.callbacks import Callback

from skgnn_mtl import GraphArray, SmilesToGraph
from skgnn_mtl.metrics import nan_r2_score, task_scorer
from skgnn_mtl.model_selection import LabelPresenceKFold, ScaffoldKFold


class Sides(Callback):
    """Note which molecules the network trains on and which it watches."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if len(net.history) > 1:  # after an early stop all rows are trained on
            return
        self.train = dataset_train.graphs.ids.tolist()
        self.valid = [] if dataset_valid is None else dataset_valid.graphs.ids.tolist()


class Spy:
    """A splitter that remembers what it was given."""

    def __init__(self, splitter):
        self.splitter = splitter

    def split(self, X, y=None, groups=None):
        self.X, self.y, self.groups = X, y, groups
        yield from self.splitter.split(X, y, groups)


def sides(model, X, y, **fit_params):
    watcher = Sides()
    model.set_params(callbacks=[watcher]).fit(X, y, **fit_params)
    return watcher.train, watcher.valid


def losses_by_hand(model, X, table):
    residual = (model.predict(X) - table) / model.target_scale_
    return np.nanmean(residual**2, axis=0)


@pytest.fixture
def fold():
    """Test folds of a PredefinedSplit: every fourth row watches."""
    return np.where(np.arange(30) % 4 == 1, 0, -1)


# -- who is on which side -------------------------------------------------------------


def test_nothing_is_held_out_without_need(small, graphs, smiles, gaps):
    model = small(validation=0.3)
    train, valid = sides(model, graphs, gaps)
    assert train == smiles
    assert valid == []
    assert all("valid_loss" not in record for record in model.history_)


@pytest.mark.parametrize(
    "need", [{"early_stopping": True}, {"lr_schedule": "plateau"}], ids=str
)
@pytest.mark.parametrize(("share", "n_valid"), [(0.1, 3), (0.2, 6), (0.5, 15)])
def test_a_share_is_held_out_where_needed(
    small, graphs, smiles, table, need, share, n_valid
):
    model = small(validation=share, **need)
    train, valid = sides(model, graphs, table)
    assert len(valid) == n_valid
    assert sorted(train + valid) == sorted(smiles)
    assert "valid_loss" in model.history_[0]


def test_the_split_follows_the_seed_of_the_fit(small, graphs, gaps):
    def split(seed):
        model = small(early_stopping=True, validation=0.3, random_state=seed)
        return sides(model, graphs, gaps)

    assert split(0) == split(0)
    assert split(0) != split(1)


def test_a_share_is_spread_over_the_patterns_of_labels(small, graphs, table):
    table[::3, 1] = np.nan
    table[1::3, 2] = np.nan
    labelled = dict(zip(graphs.ids, ~np.isnan(table), strict=True))
    for seed in range(5):
        model = small(
            early_stopping=True, validation=0.3, random_state=seed, max_epochs=1
        )
        _, valid = sides(model, graphs, table)
        counts = np.sum([labelled[s] for s in valid], axis=0)
        # 9 rows, of which a third has no label of task 1, another none of task 2.
        assert counts[0] == 9
        assert abs(counts[1] - 6) <= 1
        assert abs(counts[2] - 6) <= 1


@pytest.mark.parametrize("as_container", [list, np.asarray, pd.Series])
def test_groups_stay_on_one_side(small, graphs, smiles, table, as_container):
    labels = [f"group {k % 7}" for k in range(30)]
    of = dict(zip(smiles, labels, strict=True))
    for seed in range(5):
        model = small(early_stopping=True, validation=0.3, random_state=seed)
        train, valid = sides(model, graphs, table, groups=as_container(labels))
        assert valid
        assert not {of[s] for s in train} & {of[s] for s in valid}
        assert sorted(train + valid) == sorted(smiles)


def test_groups_stay_with_their_rows_when_rows_are_left_out(small, smiles, table):
    graphs = SmilesToGraph(on_error="nan")
    with pytest.warns(UserWarning, match="invalid"):
        X = graphs.fit_transform(["not a molecule", *smiles[1:]])
    table[[3, 4, 9]] = np.nan
    labels = np.arange(30) // 3
    of = dict(zip(smiles, labels, strict=True))
    model = small(early_stopping=True, validation=0.4)
    with pytest.warns(UserWarning, match="1 invalid"):
        train, valid = sides(model, X, table, groups=labels)
    assert len(train) + len(valid) == 26
    assert not {of[s] for s in train} & {of[s] for s in valid}


@pytest.mark.parametrize("n_groups", [29, 31, 60])
def test_groups_must_be_as_long_as_the_table(small, graphs, table, n_groups):
    with pytest.raises(ValueError, match=f"(?s)30.*{n_groups}|{n_groups}.*30"):
        small(early_stopping=True).fit(graphs, table, groups=np.arange(n_groups) % 5)


@pytest.mark.parametrize("n_groups", [29, 31])
def test_groups_without_use_must_fit_too(small, graphs, table, n_groups):
    # The mistake would wait for the day on which early stopping is switched on.
    with pytest.raises(ValueError, match=f"(?s)30.*{n_groups}|{n_groups}.*30"):
        small().fit(graphs, table, groups=np.arange(n_groups))


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(3),
        ShuffleSplit(1, test_size=0.2, random_state=3),
        LabelPresenceKFold(3, random_state=0),
        ScaffoldKFold(3),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
def test_the_first_split_of_a_splitter_is_used(small, graphs, table, splitter):
    expected = next(iter(splitter.split(graphs, table)))
    # A splitter asks for validation by itself.
    train, valid = sides(small(validation=splitter), graphs, table)
    assert train == graphs.ids[expected[0]].tolist()
    assert valid == graphs.ids[expected[1]].tolist()


@pytest.mark.parametrize(
    "splitter",
    [GroupKFold(3), LeaveOneGroupOut(), GroupShuffleSplit(1, random_state=0)],
    ids=lambda splitter: type(splitter).__name__,
)
def test_a_splitter_gets_the_groups(small, graphs, table, splitter):
    groups = np.arange(30) % 5
    expected = next(iter(splitter.split(graphs, table, groups)))
    train, valid = sides(small(validation=splitter), graphs, table, groups=groups)
    assert train == graphs.ids[expected[0]].tolist()
    assert valid == graphs.ids[expected[1]].tolist()


def test_a_splitter_gets_the_labels_with_their_gaps(small, graphs, gaps):
    spy = Spy(KFold(3))
    small(validation=spy).fit(graphs, gaps)
    assert isinstance(spy.X, GraphArray)
    np.testing.assert_array_equal(spy.y, gaps)


def test_a_splitter_gets_a_vector_as_a_vector(small, graphs, table):
    spy = Spy(KFold(3))
    small(validation=spy).fit(graphs, table[:, 0])
    np.testing.assert_array_equal(spy.y, table[:, 0])


def test_invalid_graphs_do_not_hinder_a_scaffold_split(small, smiles, table):
    strings = ["not a molecule", None, *smiles[2:]]
    with pytest.warns(UserWarning, match="^2 of"):
        X = SmilesToGraph(on_error="nan").fit_transform(strings)
    model = small(validation=ScaffoldKFold(3, on_error="nan"))
    with pytest.warns(UserWarning, match="2 invalid"):
        train, valid = sides(model, X, table)
    assert sorted(train + valid) == sorted(smiles[2:])


def test_a_splitter_that_spreads_labels_sees_them(small, graphs, table):
    # Three labels of a rare task: one in each of three folds, whatever the seed.
    table[:, 2] = np.nan
    table[[0, 1, 2], 2] = 1.0, 2.0, 3.0
    rare = set(graphs.ids[:3])
    for seed in range(5):
        splitter = LabelPresenceKFold(3, random_state=seed)
        train, valid = sides(small(validation=splitter), graphs, table)
        assert len(rare & set(valid)) == 1
        assert len(rare & set(train)) == 2


def test_a_fixed_validation_set(small, graphs, gaps, fold):
    train, valid = sides(small(validation=PredefinedSplit(fold)), graphs, gaps)
    assert train == graphs.ids[fold == -1].tolist()
    assert valid == graphs.ids[fold == 0].tolist()


@pytest.mark.parametrize("how", ["no label", "weight zero", "invalid graph"])
def test_a_fixed_validation_set_when_rows_are_left_out(small, smiles, table, fold, how):
    # Rows that cannot be trained on must not shift the positions of the others.
    out = [2, 3, 17]
    weights, strings = np.ones(30), np.array(smiles, dtype=object)
    if how == "no label":
        table[out] = np.nan
    elif how == "weight zero":
        weights[out] = 0.0
    else:
        strings[out] = None
    kept = np.setdiff1d(np.arange(30), out)
    model = small(validation=PredefinedSplit(fold))
    if how == "invalid graph":
        with pytest.warns(UserWarning, match="invalid"):
            X = SmilesToGraph(on_error="nan").fit_transform(strings)
        with pytest.warns(UserWarning, match="invalid"):
            train, valid = sides(model, X, table, sample_weight=weights)
    else:
        X = SmilesToGraph().fit_transform(strings)
        train, valid = sides(model, X, table, sample_weight=weights)
    assert train == [smiles[i] for i in kept if fold[i] == -1]
    assert valid == [smiles[i] for i in kept if fold[i] == 0]


def test_targets_are_standardised_over_the_training_side(small, graphs, gaps, fold):
    gaps[fold == 0] += 100.0
    model = small(validation=PredefinedSplit(fold)).fit(graphs, gaps)
    side = gaps[fold == -1]
    np.testing.assert_allclose(model.target_mean_, np.nanmean(side, axis=0))
    np.testing.assert_allclose(model.target_scale_, np.nanstd(side, axis=0))


@pytest.mark.parametrize(("side", "word"), [(0, "validation"), (-1, "training")])
def test_a_task_without_label_on_one_side_is_named(
    small, graphs, table, fold, side, word
):
    table[fold == side, 1] = np.nan
    frame = pd.DataFrame(table, columns=["a", "logP", "c"])
    with pytest.raises(ValueError, match=f"'logP' has no label.*{word}"):
        small(validation=PredefinedSplit(fold)).fit(graphs, frame)


def test_one_row_cannot_be_split(small, graphs, table):
    with pytest.raises(ValueError, match="validation.*1 rows? to train on"):
        small(early_stopping=True).fit(graphs[:1], table[:1])


# -- what is watched ------------------------------------------------------------------


def test_validation_losses_are_those_of_the_predictions(small, graphs, gaps, fold):
    model = small(validation=PredefinedSplit(fold)).fit(graphs, gaps)
    expected = losses_by_hand(model, graphs[fold == 0], gaps[fold == 0])
    record = model.history_[-1]
    assert list(record["valid_losses"]) == model.task_names_
    np.testing.assert_allclose(
        list(record["valid_losses"].values()), expected, rtol=1e-4
    )
    assert record["valid_loss"] == pytest.approx(expected.mean(), rel=1e-4)


def test_validation_losses_follow_the_weights(small, graphs, gaps, fold):
    weights = np.random.default_rng(0).uniform(0.1, 3.0, 30)
    model = small(validation=PredefinedSplit(fold), batch_size=3)
    model.fit(graphs, gaps, sample_weight=weights)
    squares = ((model.predict(graphs) - gaps) / model.target_scale_)[fold == 0] ** 2
    mass = np.where(np.isnan(squares), 0.0, weights[fold == 0][:, None])
    expected = (mass * np.nan_to_num(squares)).sum(axis=0) / mass.sum(axis=0)
    np.testing.assert_allclose(
        list(model.history_[-1]["valid_losses"].values()), expected, rtol=1e-4
    )


def test_target_tasks_are_what_is_watched(small, graphs, gaps, fold):
    split = PredefinedSplit(fold)
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    for chosen, names in [
        ("b", ["b"]),
        (2, ["c"]),
        (-3, ["a"]),
        (["a", 2], ["a", "c"]),
    ]:
        model = small(validation=split, target_tasks=chosen).fit(graphs, frame)
        record = model.history_[-1]
        expected = np.mean([record["valid_losses"][name] for name in names])
        assert record["valid_loss"] == pytest.approx(expected)


@pytest.mark.parametrize("chosen", ["nope", 3, -4, ["a", "nope"], [1.5], []])
def test_unknown_target_tasks_are_named(small, graphs, gaps, chosen):
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match="target_tasks"):
        small(target_tasks=chosen).fit(graphs, frame)


# -- early stopping -------------------------------------------------------------------


def stopped(small, graphs, gaps, fold, **changes):
    """Fit that overfits: the validation labels are noise."""
    settings = {"lr": 0.03, "max_epochs": 200, "lr_schedule": "constant", **changes}
    noisy = gaps.copy()
    noise = np.random.default_rng(0).normal(scale=3.0, size=noisy.shape)
    noisy[fold == 0] += noise[fold == 0]
    model = small(early_stopping=True, validation=PredefinedSplit(fold), **settings)
    return model.fit(graphs, noisy), noisy


@pytest.mark.parametrize("patience", [1, 4])
def test_training_stops_when_patience_is_used_up(small, graphs, gaps, fold, patience):
    model, _ = stopped(small, graphs, gaps, fold, n_iter_no_change=patience)
    assert len(model.history_) == model.best_epoch_ + patience < 200


def test_the_best_epoch_has_the_least_validation_loss(small, graphs, gaps, fold):
    model, _ = stopped(small, graphs, gaps, fold, n_iter_no_change=4)
    losses = [record["valid_loss"] for record in model.history_]
    assert model.best_epoch_ == np.argmin(losses) + 1


def test_small_improvements_count(small, graphs, table, fold):
    # At a low rate each epoch is better than the one before by less than 1e-4.
    model = small(
        early_stopping=True,
        validation=PredefinedSplit(fold),
        lr=1e-6,
        lr_schedule="constant",
        max_epochs=12,
        n_iter_no_change=5,
    ).fit(graphs, table)
    losses = [record["valid_loss"] for record in model.history_]
    assert (np.diff(losses) < 0).all()
    assert len(losses) == 12
    assert model.best_epoch_ == 12


def test_the_best_weights_are_restored(small, graphs, gaps, fold):
    model, noisy = stopped(small, graphs, gaps, fold, n_iter_no_change=4)
    expected = losses_by_hand(model, graphs[fold == 0], noisy[fold == 0])
    best = model.history_[model.best_epoch_ - 1]
    np.testing.assert_allclose(list(best["valid_losses"].values()), expected, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [100, 8])
def test_early_stopping_is_the_training_cut_short(
    small, graphs, gaps, fold, same_weights, batch_size
):
    model, noisy = stopped(
        small, graphs, gaps, fold, n_iter_no_change=4, batch_size=batch_size
    )
    short = small(
        validation=PredefinedSplit(fold),
        lr=0.03,
        lr_schedule="constant",
        max_epochs=model.best_epoch_,
        batch_size=batch_size,
    )
    assert same_weights(model, short.fit(graphs, noisy))


def test_without_early_stopping_the_last_weights_are_kept(small, graphs, gaps, fold):
    model = small(validation=PredefinedSplit(fold), max_epochs=5).fit(graphs, gaps)
    assert model.best_epoch_ == len(model.history_) == 5


# -- scores instead of losses ---------------------------------------------------------


@pytest.mark.parametrize("patience", [2, 200])
def test_the_best_epoch_has_the_largest_score(small, graphs, gaps, fold, patience):
    settings = {"n_iter_no_change": patience, "max_epochs": 40}
    model, noisy = stopped(small, graphs, gaps, fold, scoring=None, **settings)
    scores = [record["valid_score"] for record in model.history_]
    assert model.best_epoch_ == np.argmax(scores) + 1
    assert len(scores) == min(model.best_epoch_ + patience, 40)
    X, y = graphs[fold == 0], noisy[fold == 0]
    # Restored, wherever it lies: the score is that of the epoch.
    assert model.score(X, y) == pytest.approx(max(scores), rel=1e-6)
    assert max(scores) == pytest.approx(nan_r2_score(y, model.predict(X)), rel=1e-6)


def test_the_best_epoch_may_be_the_last(small, graphs, table, fold):
    # The loss is least at the beginning.
    settings = {"lr": 0.03, "max_epochs": 3, "lr_schedule": "constant"}
    scores = iter(range(3))
    model, noisy = stopped(
        small, graphs, table, fold, scoring=lambda *_: next(scores), **settings
    )
    losses = [record["valid_loss"] for record in model.history_]
    assert np.argmin(losses) == 0
    assert model.best_epoch_ == 3
    expected = losses_by_hand(model, graphs[fold == 0], noisy[fold == 0])
    assert losses[-1] == pytest.approx(expected.mean(), rel=1e-4)


def test_a_scorer_sees_labels_as_they_were_given(small, graphs, gaps, fold):
    calls = []

    def scoring(estimator, X, y, sample_weight):
        calls.append((estimator, X, y, sample_weight))
        return -float(len(calls))

    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    weights = np.arange(1.0, 31.0)
    model = small(scoring=scoring, validation=PredefinedSplit(fold))
    model.fit(graphs, frame, sample_weight=weights)
    assert len(calls) == 3
    estimator, X, y, sample_weight = calls[-1]
    assert estimator.get_params() == model.get_params()
    assert graphs[fold == 0] == X
    pd.testing.assert_frame_equal(y, frame[fold == 0])
    np.testing.assert_array_equal(sample_weight, weights[fold == 0])
    assert [r["valid_score"] for r in model.history_] == [-1.0, -2.0, -3.0]


def test_scores_of_single_tasks_and_of_scikit_learn(small, graphs, table, fold):
    split = PredefinedSplit(fold)
    one = small(scoring=task_scorer("r2", 1), validation=split).fit(graphs, table)
    name = small(scoring="r2", validation=split).fit(graphs, table[:, 1])
    every = small(scoring="r2", validation=split).fit(graphs, table)
    X, y = graphs[fold == 0], table[fold == 0]
    for model, score in [
        (one, nan_r2_score(y[:, 1], one.predict(X)[:, 1])),
        (name, nan_r2_score(y[:, 1], name.predict(X))),
        (every, nan_r2_score(y, every.predict(X))),
    ]:
        assert model.history_[-1]["valid_score"] == pytest.approx(score, rel=1e-6)


def test_no_score_without_validation_rows(small, graphs, gaps):
    model = small(scoring=None).fit(graphs, gaps)
    assert all("valid_score" not in record for record in model.history_)


def test_scoring_does_not_touch_the_training(small, graphs, gaps, fold, same_weights):
    split = PredefinedSplit(fold)
    scored = small(scoring=None, validation=split).fit(graphs, gaps)
    assert same_weights(scored, small(validation=split).fit(graphs, gaps))


def test_a_score_that_is_no_number_is_refused(small, graphs, gaps, fold):
    model = small(scoring=lambda *_: np.nan, validation=PredefinedSplit(fold))
    with pytest.raises(ValueError, match="scoring gave nan .* in epoch 1"):
        model.fit(graphs, gaps)


@pytest.mark.parametrize("step", [-1.0, 1.0])
def test_plateau_watches_the_score(small, graphs, gaps, fold, step):
    epochs = iter(range(12))
    model = small(
        scoring=lambda *_: step * next(epochs) - 5.0,
        validation=PredefinedSplit(fold),
        lr_schedule="plateau",
        max_epochs=12,
        n_iter_no_change=4,
    ).fit(graphs, gaps)
    rates = [record["lr"] for record in model.history_]
    assert (rates[-1] < rates[0]) == (step < 0)


def test_plateau_halves_the_rate(small, graphs, gaps, fold):
    noise = np.random.default_rng(0).normal(size=gaps.shape)
    model = small(
        validation=PredefinedSplit(fold),
        lr=0.05,
        lr_schedule="plateau",
        max_epochs=60,
        n_iter_no_change=4,
    ).fit(graphs, noise)
    rates = np.array([record["lr"] for record in model.history_])
    assert rates[0] == 0.05
    ratios = rates[1:] / rates[:-1]
    assert set(np.round(ratios, 12)) == {0.5, 1.0}
    # Between two cuts lie more than the two epochs of patience.
    assert (np.diff(np.flatnonzero(ratios == 0.5)) > 2).all()


# -- what is asked of the rows --------------------------------------------------------


def test_only_watched_tasks_need_labels_in_the_validation_rows(
    small, graphs, gaps, fold
):
    y = gaps.copy()
    y[fold == 0, 1] = np.nan
    settings = {"validation": PredefinedSplit(fold), "early_stopping": True}
    with pytest.raises(ValueError, match="'task_1' has no label in the validation"):
        small(**settings).fit(graphs, y)
    model = small(target_tasks=[0, 2], **settings).fit(graphs, y)
    losses = model.history_[-1]["valid_losses"]
    assert np.isnan(losses["task_1"])
    assert model.history_[-1]["valid_loss"] == pytest.approx(
        (losses["task_0"] + losses["task_2"]) / 2
    )


def test_a_scarce_label_is_on_either_side(small, graphs, table):
    y = table.copy()
    y[2:, 1] = np.nan
    for seed in range(10):
        model = small(early_stopping=True, random_state=seed)
        assert len(sides(model, graphs, y)[1]) in (3, 4)


def test_a_task_that_is_named_twice_counts_once(small, graphs, gaps, same_weights):
    once, twice = (
        small(task_weighting="gcs", target_tasks=chosen).fit(graphs, gaps)
        for chosen in ([0], [0, -3])
    )
    assert same_weights(once, twice)
    with pytest.raises(ValueError, match="target_tasks names True"):
        small(target_tasks=[True, False, False]).fit(graphs, gaps)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0), 0], ids=str)
def test_rows_that_watch_are_never_trained_on(small, graphs, table, random_state):
    model = small(
        early_stopping=True, validation=0.3, warm_start=True, random_state=random_state
    )
    assert sides(model, graphs, table) == sides(model, graphs, table)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (PredefinedSplit(np.full(30, -1)), "gives no split"),
        (PredefinedSplit(np.full(31, 0)), "knows 31 rows, but X has 30"),
        (PredefinedSplit(np.full(30, 0)), "leaves no labelled row to train on"),
        ([[0, 1], [2, 40]], "names row 40, but X has 30 rows"),
    ],
    ids=["none", "long", "all", "beyond"],
)
def test_splits_that_leave_nothing_are_named(small, graphs, table, validation, message):
    if isinstance(validation, list):
        parts = [np.array(part) for part in validation]
        validation = Spy(type("Fixed", (), {"split": lambda self, *a: [parts]})())
    with pytest.raises(ValueError, match=message):
        small(validation=validation).fit(graphs, table)


def test_groups_of_one_value_are_named(small, graphs, table):
    with pytest.raises(ValueError, match="groups has one value for all 30 rows"):
        small(early_stopping=True).fit(graphs, table, groups=np.zeros(30))


def test_a_scorer_sees_the_rows_as_they_were_given(small, table, fold):
    X, seen = pd.DataFrame(table, columns=["a", "b", "c"]), []

    def scorer(estimator, X, y):
        seen.append(list(X.columns))
        return 0.0

    split = PredefinedSplit(fold)
    small(encoder="gin", scoring=scorer, validation=split).fit(X, table)
    assert seen[0] == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", [lambda e, X, y: None, lambda y, p: 0.0, "r2"])
def test_a_scorer_that_cannot_be_used_is_explained(small, graphs, gaps, fold, wrong):
    model = small(scoring=wrong, validation=PredefinedSplit(fold))
    with pytest.raises(ValueError, match="a scorer of skgnn_mtl.metrics"):
        model.fit(graphs, gaps)


def test_the_score_finds_the_columns_of_a_frame(small, graphs, table):
    frame = pd.DataFrame(table, columns=["a", "b", "c"])
    model = small().fit(graphs, frame)
    assert model.score(graphs, frame[["c", "a", "b"]]) == model.score(graphs, frame)
    assert model.score(graphs, table) == model.score(graphs, frame)
    with pytest.raises(ValueError, match=r"columns \['a', 'b', 'd'\], but"):
        model.score(graphs, frame.rename(columns={"c": "d"}))
