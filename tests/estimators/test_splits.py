"""Splits are found whenever they exist, and refused with the reason where none does."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from skorch.callbacks import Callback

from skgnn_mtl import GATERegressor, GNNPretrainer, MultiTaskGNNClassifier
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators._sides import assign_sides
from skgnn_mtl.estimators._splits import hold_out, split_validation
from skgnn_mtl.model_selection import LabelPresenceKFold
from skgnn_mtl.weighting import BLO, HeldOut, RCGrad

NAMES = ["a", "b", "c", "d"]
nan = np.nan
# Row 1 has to watch, or else train alone.
ONE_SPLIT = np.array([[nan, 1.0], [2.0, 3.0], [4.0, nan]])
# Three tasks with two labels each, on three rows: whichever watch, one task lacks.
TRIANGLE = np.array([[1.0, nan, 2.0], [3.0, 4.0, nan], [nan, 5.0, 6.0]])


class Rows(Callback):
    """Note the rows that train and those that watch, by their molecules."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.train = dataset_train.graphs.ids.tolist()
        self.valid = dataset_valid.graphs.ids.tolist()


def sides_exist(present, needs, may_be_last=None) -> bool:
    """Search all assignments of units to sides."""
    for sides in product(range(len(needs)), repeat=len(present)):
        parts = [present[np.array(sides) == side] for side in range(len(needs))]
        given = zip(parts, needs, strict=True)
        if all(len(part) and (part.any(axis=0) | ~need).all() for part, need in given):
            last = np.array(sides) == len(needs) - 1
            if may_be_last is None or may_be_last[last].all():
                return True
    return False


def split(y, seed=0, *, groups=None, watched=None, part=None, share=0.2):
    """Positions that train, watch and are held out."""
    weights = (~np.isnan(y)).astype(float)
    watched = range(y.shape[1]) if watched is None else watched
    train, valid = split_validation(
        share,
        None,
        y,
        weights,
        groups,
        weights.any(axis=1),
        seed,
        names=NAMES[: y.shape[1]],
        watched=watched,
        held_out=part,
    )
    if part is None:
        return train, valid
    train, held = hold_out(part, weights, groups, train, seed, targets=watched)
    return train, valid, held


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("n_sides", [2, 3])
def test_sides_are_found_exactly_where_they_exist(seed, n_sides):
    rng = np.random.default_rng(seed)
    present = rng.random((rng.integers(2, 7), rng.integers(1, 5))) < 0.4
    needs = [rng.random(present.shape[1]) < 0.9 for _ in range(n_sides)]
    drawn = rng.integers(0, n_sides, len(present))
    sides = assign_sides(present, drawn, needs, seed)
    assert (sides is not None) == sides_exist(present, needs)
    if sides is not None:
        for side, need in enumerate(needs):
            assert (sides == side).any()
            assert (present[sides == side].any(axis=0) | ~need).all()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_rows_that_watch_and_rows_held_out_are_found_together(seed, grouped):
    rng = np.random.default_rng(seed)
    n, t = int(rng.integers(4, 8)), int(rng.integers(2, 4))
    y = np.where(rng.random((n, t)) < 0.55, 1.0, nan)
    y[np.isnan(y).all(axis=1), 0] = 1.0
    watched = np.sort(rng.permutation(t)[: rng.integers(1, t)])
    groups = rng.integers(0, 4, n) if grouped else np.arange(n)
    _, unit = np.unique(groups, return_inverse=True)
    present = np.array([(~np.isnan(y))[unit == u].any(0) for u in range(max(unit) + 1)])
    needs = [np.ones(t, bool), np.isin(range(t), watched), np.zeros(t, bool)]
    exists = sides_exist(present, needs, present[:, watched].any(axis=1))
    part = HeldOut(1, 0.3, ["tail", "random"][seed % 2])
    chosen = {"groups": groups if grouped else None, "watched": watched, "part": part}
    if not exists:
        with pytest.raises(ValueError, match=r"label|rows to train on|one value"):
            split(y, seed, **chosen)
        return
    train, valid, held = split(y, seed, **chosen)
    known = ~np.isnan(y)
    assert known[train].any(axis=0).all()
    assert known[valid][:, watched].any(axis=0).all()
    assert len(held) > 0
    assert known[held][:, watched].any(axis=1).all()
    parts = [set(groups[rows]) for rows in (train, valid, held)]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_scarce_tasks_that_share_rows_keep_the_size_of_the_draw():
    y = np.full((400, 4), nan)
    y[:, 0] = 1.0
    y[:20, 1] = y[10:13, 2] = y[12:14, 3] = 1.0
    for seed in range(20):
        train, valid = split(y, seed, share=0.1)
        assert len(valid) == 40
        assert sorted([*train, *valid]) == list(range(400))
        for rows in (train, valid):
            assert (~np.isnan(y[rows])).any(axis=0).all()
    # Which of the rows watch is left to the seed.
    watching = {tuple(r for r in (10, 11, 12, 13) if r in split(y, s)[1])
                for s in range(20)}  # fmt: skip
    assert len(watching) > 2


def test_many_changes_keep_the_sizes_of_large_tables():
    present = np.zeros((400, 30), dtype=bool)
    present[np.arange(60), np.arange(60) // 2] = True  # two rows a task
    needs = [np.ones(30, bool)] * 2
    for rows in (range(0, 60), range(60, 400)):  # all of the tasks watch, or none
        drawn = np.zeros(400, dtype=int)
        drawn[rows[:60]] = 1
        sides = assign_sides(present, drawn, needs, 0)
        assert sides.sum() == 60
        assert sides[:60].sum() == 30


def test_a_draw_with_which_nothing_is_wrong_is_kept():
    present = np.ones((50, 3), dtype=bool)
    for seed in range(5):
        drawn = np.random.default_rng(seed).permutation(50) < 5
        needs = [np.ones(3, bool)] * 2
        assert assign_sides(present, drawn.astype(int), needs, seed) is not None
        np.testing.assert_array_equal(
            assign_sides(present, drawn.astype(int), needs, seed), drawn
        )


def test_few_rows_change_sides():
    present = np.ones((50, 3), dtype=bool)
    present[2:, 2] = False
    drawn = np.zeros(50, dtype=int)
    drawn[10:15] = 1
    sides = assign_sides(present, drawn, [np.ones(3, bool)] * 2, 0)
    assert sorted(sides[:2]) == [0, 1]
    # One row has to watch, and another trains in its place.
    assert (sides != drawn).sum() == 2
    assert sides.sum() == 5


def test_unwatched_tasks_have_labels_on_both_sides_if_they_can():
    y = np.full((30, 2), nan)
    y[:, 0] = 1.0
    y[4:6, 1] = 1.0
    for seed in range(10):
        train, valid = split(y, seed, watched=[0])
        assert len(set(train) & {4, 5}) == len(set(valid) & {4, 5}) == 1
    # One label trains, whoever else wants it.
    y[4, 1] = nan
    for seed in range(10):
        assert 5 in split(y, seed, watched=[0])[0]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_shares_leave_rows_on_both_sides(share):
    y = np.ones((3, 1))
    for groups in (None, [0, 1, 1]):
        train, valid = split(y, share=share, groups=groups)
        assert len(train)
        assert len(valid)


@pytest.mark.parametrize("groups", [None, [7, 8, 9], ["x", "y", "z"]])
def test_a_table_without_a_split_is_refused_with_its_scarce_tasks(groups):
    kind = "row" if groups is None else "group"
    with pytest.raises(ValueError, match=f"No choice of {kind}s .*'a' .2 {kind}s"):
        split(TRIANGLE, groups=groups)
    one = ONE_SPLIT.copy()
    one[0, 1] = nan
    message = rf"'b' has labels in 1 {kind}\(s\), but needs 2: one to train on and one"
    with pytest.raises(ValueError, match=message):
        split(one, groups=groups)
    assert split(one, groups=groups, watched=[0])[1].tolist() == [2]


def test_what_cannot_be_held_out_is_refused():
    y = np.array([[1.0, nan], [nan, 1.0], [nan, 1.0], [1.0, 1.0]])
    weights = (~np.isnan(y)).astype(float)
    part = HeldOut(1, 0.5, "tail")
    _, held = hold_out(part, weights, None, np.arange(4), 0, targets=[0])
    assert held.tolist() in ([0], [3])
    with pytest.raises(ValueError, match="1 training rows have a label of a target"):
        hold_out(part, weights, None, np.arange(3), 0, targets=[0])
    # The target's second row is the only one of the other task.
    lone = weights[[0, 3]]
    _, held = hold_out(part, lone, None, np.arange(2), 0, targets=[0])
    assert held.tolist() == [0]
    both = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    with pytest.raises(ValueError, match="take another task_weighting"):
        hold_out(part, both, None, np.arange(2), 0, targets=[0])


# -- the same inside fits --------------------------------------------------------------


def watching(model, X, y, **fit_params):
    rows = Rows()
    model.set_params(callbacks=[rows], max_epochs=1).fit(X, y, **fit_params)
    return rows.valid


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("need", [{"early_stopping": True}, {"lr_schedule": "plateau"}])
def test_fits_find_the_only_split(small, graphs, smiles, seed, need):
    model = small(random_state=seed, **need)
    assert watching(model, graphs[:3], ONE_SPLIT) == [smiles[1]]
    valid = watching(model, graphs[:3], ONE_SPLIT, groups=["x", "y", "x"])
    assert valid in ([smiles[1]], [smiles[0], smiles[2]])


def test_all_estimators_find_it(graphs, smiles):
    settings = {"encoder": GIN(width=8, n_layers=1), "early_stopping": True}
    codes = np.where(np.isnan(ONE_SPLIT), nan, ONE_SPLIT > 2)
    for seed in range(6):
        pretrainer = GNNPretrainer(random_state=seed, auxiliary_tasks=[], **settings)
        assert watching(pretrainer, graphs[:3], ONE_SPLIT) == [smiles[1]]
        classifier = MultiTaskGNNClassifier(random_state=seed, **settings)
        with pytest.warns(UserWarning, match="one class only"):
            assert watching(classifier, graphs[:3], codes) == [smiles[1]]
        gate = GATERegressor(random_state=seed, **settings)
        # Rows without a label take part in the alignment, too.
        assert smiles[1] in watching(gate, graphs[:3], ONE_SPLIT)


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 0, 0, 1], ["p", "q"] * 3])
def test_additions_find_a_split(graphs, table, groups):
    settings = {"encoder": GIN(width=8, n_layers=1), "max_epochs": 1}
    y = np.array([nan, nan, nan, nan, 1.0, 2.0])
    for seed in range(5):
        model = GATERegressor(random_state=seed, add_task_steps=2, **settings)
        model.fit(graphs, table).set_params(early_stopping=True)
        model.add_task(graphs[:6], y, name="new", groups=groups)
        assert np.isfinite(model.addition_history_["new"][0]["valid_loss"])
    with pytest.raises(ValueError, match=r"'other' has labels in 1 group\(s\)"):
        model.add_task(graphs[:6], y, name="other", groups=[0, 0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.add_task(graphs[:6], y, name="other", groups=[0, 1])


@pytest.mark.parametrize("weighting", [BLO(every=1), RCGrad(learn="heldout", every=1)])
@pytest.mark.filterwarnings("ignore:.*did not converge in")
def test_rows_that_judge_and_rows_that_watch_share_scarce_labels(
    small, graphs, weighting
):
    # One of the target's three rows trains, one watches, one judges.
    y = np.full((9, 2), nan)
    y[:3, 0] = 1.0, 2.0, 3.0
    y[3:, 1] = np.arange(6.0)
    for seed in range(6):
        model = small(
            task_weighting=weighting,
            target_tasks=[0],
            early_stopping=True,
            random_state=seed,
            max_epochs=1,
        ).fit(graphs[:9], y)
        assert len(model.held_out_rows_) == 1
        assert model.held_out_rows_[0] in range(3)
    y[0, 0] = nan
    with pytest.raises(ValueError, match="target"):
        model.fit(graphs[:9], y)


@pytest.mark.parametrize("seed", range(10))
def test_folds_have_labels_of_every_task_if_they_can(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        present = rng.random((rng.integers(4, 9), rng.integers(2, 5))) < 0.4
        present[:, 0] = True
        enough = present.sum(axis=0) >= 2
        y = np.where(present, 1.0, nan)[:, enough]
        folds = list(LabelPresenceKFold(2, shuffle=False).split(y, y))
        known = present[:, enough]
        needs = [np.ones(known.shape[1], dtype=bool)] * 2
        complete = all(known[test].any(axis=0).all() for _, test in folds)
        assert complete == sides_exist(known, needs)


def test_tasks_that_share_too_few_rows_are_told():
    message = "No folds .* absent from some folds. Lower n_splits"
    with pytest.warns(UserWarning, match=message):
        list(LabelPresenceKFold(2, shuffle=False).split(TRIANGLE, TRIANGLE))
