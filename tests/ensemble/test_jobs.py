"""Fits of many members that go on from the folder of a process that was stopped."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from killed import Killed, killer
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from small_estimators import SMILES, small, with_gaps

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph
from skgnn_mtl.ensemble import (
    BlendRegressor,
    CalibratedClassifier,
    ConformalClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    EnsembleRegressor,
    HybridClassifier,
    HybridRegressor,
    PerTaskRegressor,
)
from skgnn_mtl.ensemble import _hybrid as hybrid_module
from skgnn_mtl.ensemble import _jobs as jobs_module
from skgnn_mtl.ensemble._jobs import _checkpoint_parameters
from skgnn_mtl.featurizers import SmilesToDescriptors

Y = pd.DataFrame(
    with_gaps(np.random.default_rng(0).normal(size=(len(SMILES), 2)), 0.1),
    columns=["a", "b"],
)
HALVES = (Y > 0).astype(float).where(Y.notna())
FEW = SmilesToDescriptors(("MolWt", "TPSA", "RingCount"), on_error="nan")


def network(cls=None, **changes):
    parts = {} if cls is None else {"cls": cls}
    # No seed, where the ensemble gives one or the folder keeps one.
    return make_pipeline(SmilesToGraph(), small(**parts, max_epochs=2, **changes))


def classifier():
    return network(MultiTaskGNNClassifier)


def ridge():
    return make_pipeline(FEW, PerTaskRegressor(Ridge()))


def search(estimator):
    """Choose between two estimators, which are entries of a grid."""
    grid = {"model": [estimator, clone(estimator).set_params(alpha=9.0)]}
    return GridSearchCV(Pipeline([("model", estimator)]), grid, cv=2)


PARTS = {"descriptors": FEW, "cv": 2, "random_state": 0}
KINDS = {
    "seeds": lambda **p: EnsembleRegressor(network(), 3, random_state=0, **p),
    "folds": lambda **p: EnsembleRegressor(
        network(), 3, resample="folds", random_state=0, **p
    ),
    "classes": lambda **p: EnsembleClassifier(
        classifier(), 3, resample="bootstrap", random_state=0, **p
    ),
    "tasks": lambda **p: PerTaskRegressor(network(), **p),
    "blend": lambda **p: BlendRegressor(
        [("network", network()), ("ridge", ridge())], weights="oof", cv=2, **p
    ),
    "hybrid": lambda **p: HybridRegressor(
        network(), search(Ridge()), embeddings=True, **PARTS, **p
    ),
    "hybrid of classes": lambda **p: HybridClassifier(
        classifier(), LogisticRegression(max_iter=1000), **PARTS, **p
    ),
    "split": lambda **p: ConformalRegressor(
        network(), method="split", cv=2, coverage=0.5, random_state=0, **p
    ),
    "cross": lambda **p: ConformalClassifier(
        classifier(), method="cross", cv=2, coverage=0.5, random_state=0, **p
    ),
    "calibrated": lambda **p: CalibratedClassifier(
        classifier(), cv=2, random_state=0, **p
    ),
    "ensemble in a blend": lambda **p: BlendRegressor(
        [("many", EnsembleRegressor(network(), 2, random_state=0)), ("r", ridge())],
        **p,
    ),
}


@pytest.fixture
def killed_after(monkeypatch):
    return killer(monkeypatch)


@pytest.fixture
def fits(monkeypatch):
    """Count the fits of members."""
    names = []
    fit = jobs_module._kept

    def kept(path, *rest):
        if not path.exists():
            names.append(path)
        return fit(path, *rest)

    monkeypatch.setattr(jobs_module, "_kept", kept)
    return names


def labels_of(kind):
    return HALVES if "class" in kind or kind in ("cross", "calibrated") else Y


def outcome(model):
    """Everything that a fit decides, apart from seconds."""
    found = {}
    for ask in ("predict", "predict_proba", "predict_interval", "predict_set"):
        # A ridge regression does not have a width.
        if hasattr(model, ask):
            with suppress(ValueError):
                found[ask] = getattr(model, ask)(SMILES)
    for name, value in vars(model).items():
        if name.endswith("_") and isinstance(value, np.ndarray):
            found[name] = value
    return found


def parameters(model):
    return {
        name: value
        for name, value in model.get_params(deep=True).items()
        if isinstance(value, (int, float, str, tuple, type(None)))
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_on_bit_for_bit(kind, killed_after, fits, tmp_path):
    y, path = labels_of(kind), tmp_path / "folder"
    expected = outcome(KINDS[kind]().fit(SMILES, y))
    model, n_kills = None, 0
    while model is None:
        killed_after(2 + n_kills % 2)
        try:
            model = KINDS[kind](checkpoint=path).fit(SMILES, y)
        except Killed:
            n_kills += 1
            assert path.exists()
            assert n_kills < 30, "what has ended is not kept"
    assert n_kills > 0
    np.testing.assert_equal(outcome(model), expected)
    assert not path.exists()
    # What had ended was not fitted again; an ensemble inside counts for itself, too.
    depth = 2 if "ensemble in" in kind else 1
    assert len(fits) <= len(set(fits)) + depth * n_kills
    inner = [v for k, v in parameters(model).items() if k.endswith("__checkpoint")]
    assert inner
    assert set(inner) == {None}


@pytest.mark.parametrize("kind", ["seeds", "hybrid"])
def test_the_number_of_jobs_does_not_matter(kind, tmp_path):
    expected = outcome(KINDS[kind]().fit(SMILES, Y))
    with parallel_config("threading"):
        model = KINDS[kind](checkpoint=tmp_path / "folder", n_jobs=2).fit(SMILES, Y)
    np.testing.assert_equal(outcome(model), expected)


def test_fitted_members_have_no_checkpoint(tmp_path):
    model = KINDS["seeds"](checkpoint=tmp_path / "folder").fit(SMILES, Y)
    assert {m[-1].checkpoint for m in model.estimators_} == {None}


@pytest.mark.parametrize("state", [None, 3])
def test_drawn_seeds_are_those_of_the_folder(state, killed_after, tmp_path):
    """The second process draws other seeds, and must find those of the first."""

    def make(seed):
        given = None if state is None else np.random.RandomState(state + seed)
        return EnsembleRegressor(
            network(), 2, random_state=given, checkpoint=tmp_path / "folder"
        )

    killed_after(4)  # in the second member
    with pytest.raises(Killed):
        make(0).fit(SMILES, Y)
    first = jobs_module.load(tmp_path / "folder" / "member-0", "dict")["result"]
    killed_after(0)
    model = make(1).fit(SMILES, Y)
    kept = model.estimators_[0]
    np.testing.assert_array_equal(kept.predict(SMILES), first.predict(SMILES))
    seeds = [member[-1].random_state for member in model.estimators_]
    assert len(set(seeds)) == 2


def test_folds_without_a_seed_are_those_of_the_folder(
    killed_after, monkeypatch, tmp_path
):
    def make():
        options = {**PARTS, "random_state": None, "embeddings": True}
        return HybridRegressor(
            network(), Ridge(), **options, checkpoint=tmp_path / "folder"
        )

    folds = []
    table_folds = hybrid_module.table_folds

    def noted(*arguments, **keywords):
        found = table_folds(*arguments, **keywords)
        folds.append(found[0][1].tolist())
        return found

    monkeypatch.setattr(hybrid_module, "table_folds", noted)
    killed_after(7)  # in the second fold
    with pytest.raises(Killed):
        make().fit(SMILES, Y)
    kept = jobs_module.load(tmp_path / "folder" / "fold-0", "dict")["result"]
    killed_after(0)
    fold = {}
    gathered = hybrid_module.gathered

    def seen(parts, folds, shape):
        fold.update(rows=folds[0][1], part=parts[0])
        return gathered(parts, folds, shape)

    monkeypatch.setattr(hybrid_module, "gathered", seen)
    model = make().fit(SMILES, Y)
    np.testing.assert_array_equal(fold["part"], kept)
    assert fold["rows"].tolist() == folds[0]
    assert model.network_[-1].random_state == 0


# -- what is refused ------------------------------------------------------------------


def started(killed_after, path, **changes):
    """Leave the folder of a fit that was killed in its first member."""
    killed_after(1)
    with pytest.raises(Killed):
        EnsembleRegressor(network(), 2, random_state=0, checkpoint=path).fit(SMILES, Y)
    killed_after(0)
    return EnsembleRegressor(network(**changes), 2, random_state=0, checkpoint=path)


def test_other_parameters_are_named(killed_after, tmp_path):
    model = started(killed_after, tmp_path / "f", lr=0.5)
    wanted = "estimator__multitaskgnnregressor__lr was 0.01, is 0.5"
    with pytest.raises(ValueError, match=wanted):
        model.fit(SMILES, Y)


@pytest.mark.parametrize("piece", ["X", "y", "sample weight", "groups"])
def test_other_data_are_named(piece, killed_after, tmp_path):
    model = started(killed_after, tmp_path / "f")
    ones = np.ones(len(SMILES))
    data = {"X": SMILES, "y": Y, "sample weight": None, "groups": None}
    data |= {
        "X": {"X": ["O", *SMILES[1:]]},
        "y": {"y": Y + 1},
        "sample weight": {"sample weight": ones},
        "groups": {"groups": ones},
    }[piece]
    data = {name.replace(" ", "_"): value for name, value in data.items()}
    with pytest.raises(ValueError, match=f"is of another fit: {piece} differs"):
        model.fit(**data)
    assert (tmp_path / "f").exists()


def test_what_does_not_change_the_numbers_may_differ(killed_after, tmp_path):
    model = started(killed_after, tmp_path / "f", verbose=1).set_params(n_jobs=1)
    model.fit(SMILES, Y)


def test_a_checkpoint_of_a_member_is_refused(tmp_path):
    model = EnsembleRegressor(network(checkpoint=tmp_path / "own"), 2)
    with pytest.raises(ValueError, match="Set checkpoint of EnsembleRegressor"):
        model.fit(SMILES, Y)


def test_searches_and_foreign_parts_are_not_given_one(tmp_path):
    assert list(_checkpoint_parameters(search(Ridge()))) == []
    nested = make_pipeline(network(), small())
    assert list(_checkpoint_parameters(nested)) == [
        "pipeline__multitaskgnnregressor__checkpoint",
        "multitaskgnnregressor__checkpoint",
    ]


class Own(Ridge):
    """A class that no file can hold."""


def test_a_member_that_cannot_be_kept_is_refused_before_any_fit(fits, tmp_path):
    model = BlendRegressor(
        [("network", network()), ("own", PerTaskRegressor(Own()))],
        checkpoint=tmp_path / "f",
    )
    with pytest.raises(ValueError, match=r"estimators.*Own"):
        model.fit(SMILES, Y)
    assert fits == []


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    model = KINDS["seeds"](checkpoint=tmp_path)
    with pytest.raises(ValueError, match="a folder with other files"):
        model.fit(SMILES, Y)
    model.set_params(checkpoint=tmp_path / "thesis.tex")
    with pytest.raises(ValueError, match="is a file"):
        model.fit(SMILES, Y)
    model.set_params(checkpoint=tmp_path / "absent" / "folder")
    with pytest.raises(ValueError, match="does not exist"):
        model.fit(SMILES, Y)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["é\ud800", "a\0b", "x" * 5000])
@pytest.mark.parametrize("several", [False, True])
def test_paths_that_no_file_can_have_are_refused(name, several, tmp_path):
    model = KINDS["seeds"]() if several else network()
    where = "checkpoint" if several else "multitaskgnnregressor__checkpoint"
    model.set_params(**{where: str(tmp_path / name)})
    with pytest.raises(ValueError, match="^checkpoint=.* cannot be the path of a file"):
        model.fit(SMILES, Y)


def test_a_call_that_is_refused_leaves_no_trace_of_its_parameters(tmp_path):
    path = tmp_path / "f"
    wrong = EnsembleRegressor(network(), 1, resample="folds", checkpoint=path)
    with pytest.raises(ValueError, match="n_members"):
        wrong.fit(SMILES, Y)
    wrong.set_params(n_members=2).fit(SMILES, Y)
    assert not path.exists()


def test_a_full_disk_does_not_undo_a_fit(monkeypatch, tmp_path):
    def full(path, model):
        if isinstance(path, Path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs_module, "save", full)
    model = KINDS["seeds"](checkpoint=tmp_path / "f")
    with pytest.warns(UserWarning, match="No space left on device"):
        model.fit(SMILES, Y)
    np.testing.assert_equal(outcome(model), outcome(KINDS["seeds"]().fit(SMILES, Y)))


def test_the_rest_of_a_file_that_was_never_finished_is_no_other_file(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / ".fit.0123.part").write_text("half")
    KINDS["seeds"](checkpoint=tmp_path / "f").fit(SMILES, Y)
    assert not (tmp_path / "f").exists()
